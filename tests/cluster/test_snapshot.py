"""Snapshots of the store."""

from __future__ import annotations

import io
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Delete, Kind, Namespace, Upsert
from kdns.cluster.projection import Options
from kdns.cluster.snapshot import Header, Reader, SnapshotError, Writer, chunks, kept, load, verify, write
from tests.cluster.test_objects import OBJECTS

OPTIONS = Options(zonal=True)
HEADER = Header(1000.5, {"Service": "12", "Pod": "13"}, kept(OPTIONS))


def index_of(count: int = 0) -> ClusterIndex:
    """An index with an object of each sort, and more."""
    index = ClusterIndex()
    for item in [*OBJECTS, *(Namespace(b"n%d" % number) for number in range(count))]:
        index.apply(Upsert(item), 1.0)
    return index


def loaded(octets: bytes, options: Options | None = None) -> tuple[ClusterIndex, Header]:
    """What a snapshot holds."""
    index = ClusterIndex()
    reader = Reader(io.BytesIO(octets), options)
    for _ in load(reader, lambda change: index.apply(change, 2.0)):
        pass
    return index, reader.header


class RoundTripTests(SynchronousTestCase):
    """What was written is read."""

    def test_all_of_it(self) -> None:
        """Objects, header and all."""
        index = index_of()
        copy, header = loaded(b"".join(chunks(index, HEADER)), OPTIONS)
        self.assertTrue(copy.same_as(index))
        self.assertEqual((header, copy.serial()), (HEADER, 2))

    def test_nothing(self) -> None:
        """An empty store is a snapshot, too."""
        copy, _ = loaded(b"".join(chunks(ClusterIndex(), Header(1.0))))
        self.assertEqual(set(copy.counts().values()), {0})

    def test_in_turns(self) -> None:
        """Writing and loading go a batch at a time, and changes between two turns do no harm."""
        index = index_of(50)
        pieces = []
        for number, piece in enumerate(chunks(index, HEADER, batch=10)):
            pieces.append(piece)
            index.apply(Delete(Kind.NAMESPACE, b"", b"n%d" % (49 - number)), 1.0)
            index.apply(Upsert(Namespace(b"later%d" % number)), 1.0)
        self.assertGreater(len(pieces), 8)
        copy = ClusterIndex()
        steps = list(load(Reader(io.BytesIO(b"".join(pieces))), lambda change: copy.apply(change, 2.0)))
        self.assertGreater(len(steps), 4)
        self.assertEqual(steps[-1], sum(copy.counts().values()))
        self.assertTrue(copy.has_namespace(b"n0"))


class DamageTests(SynchronousTestCase):
    """A snapshot that cannot be used says why, and never anything else happens."""

    def test_every_octet_counts(self) -> None:
        """A changed octet anywhere, or a cut anywhere, is noticed."""
        octets = b"".join(chunks(index_of(), HEADER))
        for position in range(len(octets)):
            damaged = bytearray(octets)
            damaged[position] ^= 0x20
            self.assertRaises(SnapshotError, loaded, bytes(damaged))
            self.assertRaises(SnapshotError, loaded, octets[:position])
        self.assertRaises(SnapshotError, loaded, octets + b"x")

    def test_frames_in_another_order(self) -> None:
        """Frames that are right each but not together are noticed."""
        pieces = list(chunks(index_of(), HEADER))
        pieces[2], pieces[3] = pieces[3], pieces[2]
        error = self.assertRaises(SnapshotError, loaded, b"".join(pieces))
        self.assertIn("damaged", str(error))

    def test_foreign_and_newer(self) -> None:
        """What it is instead is told."""
        for octets, words in (
            (b"", "this is no kdns snapshot"),
            (b"\x7fELF and so on", "this is no kdns snapshot"),
            (b"kdns cluster snapshot \n", "this is no kdns snapshot"),
            (b"kdns cluster snapshot 2\nanything", "the snapshot has form 2, this kdns reads form 1"),
            (b"kdns cluster snapshot 1\n", "the snapshot is cut off"),
        ):
            self.assertEqual(str(self.assertRaises(SnapshotError, loaded, octets)), words)

    def test_other_options(self) -> None:
        """A store that lacks what is needed now is refused before anything is entered."""
        octets = b"".join(chunks(index_of(), HEADER))
        error = self.assertRaises(SnapshotError, loaded, octets, Options())
        self.assertIn("other options", str(error))


class FileTests(SynchronousTestCase):
    """Snapshots in files."""

    def setUp(self) -> None:
        """A folder of its own."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = str(self.folder / "kdns.snapshot")

    def test_write_and_verify(self) -> None:
        """The file is complete, private, and alone in its folder."""
        write(self.path, index_of(), HEADER)
        self.assertEqual(verify(self.path, OPTIONS), HEADER)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(self.folder), ["kdns.snapshot"])

    def test_the_older_one_stays_until_the_newer_is_complete(self) -> None:
        """Under the name is always a whole snapshot; giving up leaves the older one and nothing else."""
        write(self.path, index_of(), HEADER)
        writer = Writer(self.path, index_of(10), Header(2000.0))
        steps = writer.encode()
        for _ in range(3):
            next(steps)
            self.assertEqual(verify(self.path), HEADER)
        steps.close()
        self.assertEqual((verify(self.path), os.listdir(self.folder)), (HEADER, ["kdns.snapshot"]))
        write(self.path, index_of(10), Header(2000.0))
        self.assertEqual(verify(self.path).written, 2000.0)

    def test_errors_of_the_disk(self) -> None:
        """A target that cannot be replaced is an OSError and leaves nothing behind; a missing file is a SnapshotError."""
        os.mkdir(self.path)
        self.assertRaises(OSError, write, self.path, index_of(), HEADER)
        self.assertEqual(os.listdir(self.folder), ["kdns.snapshot"])
        self.assertRaises(OSError, write, str(self.folder / "no" / "file"), index_of(), HEADER)
        error = self.assertRaises(SnapshotError, verify, str(self.folder / "gone"))
        self.assertIn("No such file", str(error))
