# -*- test-case-name: tests.cluster.test_snapshot -*-
"""
Snapshots: the projected objects in a file, so that kdns can answer after a restart without an API server.

The file is a line of text (name and format version), then frames, each a length, a CRC-32 and a MessagePack value: a header, batches
of objects, and an end with the number of objects and the SHA-256 of everything before it. The checks tell damage from an unknown format.
:func:`chunks` and :class:`Reader` process one batch at a time and leave files and waiting to the caller; :class:`Writer` writes a file.

The options of the projection decide which fields are kept, so they are in the header, and a file with other options is refused.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO

import msgspec

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Change, ClusterObject, Kind, Upsert
from kdns.cluster.projection import Options
from kdns.core.config_files import open_config_file

NAME = b"kdns cluster snapshot "
FORM = 1
"""Version of the form; objects.py is part of it, since objects are written as arrays of their fields."""

BATCH = 500
"""Objects in a frame: some 1 ms of work for slices of a few endpoints."""

MAX_FRAME = 64 << 20
"""Bytes. A slice has at most 1000 endpoints, so a batch stays far below; a greater length is damage."""

_FRAME = struct.Struct(">II")
_MAGIC = b"%s%d\n" % (NAME, FORM)


class SnapshotError(Exception):
    """The snapshot cannot be used: damaged, truncated, foreign, of a newer format, or written with other options."""


class Header(msgspec.Struct, frozen=True):
    """The first frame of a snapshot."""

    written: float
    """Unix seconds."""
    versions: dict[str, str] = {}
    """Where a watch would go on, by the name of the kind."""
    kept: dict[str, bool] = {}
    """The options of the projection that filled the store."""


class _End(msgspec.Struct, frozen=True):
    objects: int
    digest: bytes


_Batch = list[ClusterObject]

_encode = msgspec.msgpack.Encoder().encode
_header = msgspec.msgpack.Decoder(Header)
_batch: msgspec.msgpack.Decoder[_Batch] = msgspec.msgpack.Decoder(_Batch)
_end = msgspec.msgpack.Decoder(_End)


def kept(options: Options) -> dict[str, bool]:
    """The options of a projection, as in the header."""
    return {name: getattr(options, name) for name in Options.__slots__}


def chunks(index: ClusterIndex, header: Header, batch: int = BATCH) -> Iterator[bytes]:
    """
    The bytes of a snapshot, piece by piece; the index may change between two pieces.

    What changes meanwhile may be in it or not, which is as good: each object is one the cluster had, and the watch tells the rest.
    """
    digest = hashlib.sha256()
    count = 0
    for piece in (_MAGIC, _frame(_encode(header))):
        digest.update(piece)
        yield piece
    for kind in Kind:
        items: list[ClusterObject] = []
        for item in index.walk(kind):
            items.append(item)
            if len(items) == batch:
                count += len(items)
                piece = _frame(_encode(items))
                digest.update(piece)
                yield piece
                items = []
        if items:
            count += len(items)
            piece = _frame(_encode(items))
            digest.update(piece)
            yield piece
    # An empty batch tells that the end follows.
    piece = _frame(_encode([]))
    digest.update(piece)
    yield piece + _frame(_encode(_End(count, digest.digest())))


def _frame(data: bytes) -> bytes:
    return _FRAME.pack(len(data), zlib.crc32(data)) + data


class Reader:
    """
    Reads a snapshot from a file, a batch at a time.

    :ivar header: what the snapshot says of itself.
    :raises SnapshotError: from any method, when it cannot be used. Until :meth:`batches` has ended the checks are not complete.
    """

    def __init__(self, file: BinaryIO, options: Options | None = None) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        line = file.read(len(_MAGIC) + 8).split(b"\n", 1)[0] + b"\n"
        if not line.startswith(NAME) or not line[len(NAME) : -1].isdigit():
            raise SnapshotError("this is no kdns snapshot")
        if line != _MAGIC:
            raise SnapshotError(f"the snapshot has form {int(line[len(NAME) : -1])}, this kdns reads form {FORM}")
        file.seek(len(_MAGIC))
        self._digest.update(_MAGIC)
        try:
            self.header = _header.decode(self._read())
        except msgspec.MsgspecError as problem:
            raise SnapshotError(f"the header is damaged: {problem}") from None
        if options is not None and self.header.kept != kept(options):
            raise SnapshotError("the snapshot was written with other options of the kubernetes plugin")

    def batches(self) -> Iterator[list[ClusterObject]]:
        """The objects, some hundreds at a time."""
        count = 0
        try:
            while items := _batch.decode(self._read()):
                count += len(items)
                yield items
            digest = self._digest.digest()
            end = _end.decode(self._read())
        except (msgspec.MsgspecError, RecursionError) as problem:
            raise SnapshotError(f"the snapshot is damaged: {problem}") from None
        if end.objects != count or end.digest != digest:
            raise SnapshotError(f"the snapshot is damaged: {count} of {end.objects} objects, or the wrong ones")
        if self._file.read(1):
            raise SnapshotError("the snapshot is damaged: something follows its end")

    def _read(self) -> bytes:
        head = self._file.read(_FRAME.size)
        if len(head) != _FRAME.size:
            raise SnapshotError("the snapshot is cut off")
        length, crc = _FRAME.unpack(head)
        if length > MAX_FRAME:
            raise SnapshotError(f"the snapshot is damaged: a frame of {length} bytes")
        data = self._file.read(length)
        if len(data) != length:
            raise SnapshotError("the snapshot is cut off")
        if zlib.crc32(data) != crc:
            raise SnapshotError("the snapshot is damaged: a checksum is wrong")
        self._digest.update(head + data)
        return data


def load(reader: Reader, apply: Callable[[Change], object]) -> Iterator[int]:
    """
    Apply the objects of a snapshot, a batch for each step; each step yields how many there are so far.

    After a :class:`SnapshotError` the applied objects stay: they passed their checksums. :func:`verify` the file first for all or nothing.
    """
    count = 0
    for items in reader.batches():
        for item in items:
            apply(Upsert(item))
        count += len(items)
        yield count


def verify(path: str, options: Options | None = None) -> Header:
    """
    Check a file from beginning to end, and return its header.

    :raises SnapshotError: it cannot be used.
    """
    try:
        with open_config_file(path) as file:
            reader = Reader(file, options)
            for _ in reader.batches():
                pass
            return reader.header
    except OSError as problem:
        raise SnapshotError(f"{path}: {problem.strerror}") from None


class Writer:
    """
    Writes a snapshot to a temporary file, and then gives it its name: the file appears complete or not at all.

    Every method that fails or is closed early leaves nothing behind but the file that was there before.
    """

    def __init__(self, path: str, index: ClusterIndex, header: Header) -> None:
        self._path = path
        self._chunks = chunks(index, header)
        # In the same folder, so that the rename is one step; 0600, since it names everything in the cluster.
        descriptor, self._temporary = tempfile.mkstemp(prefix=".snapshot-", dir=os.path.dirname(os.path.abspath(path)))
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def encode(self) -> Generator[None, None, None]:
        """
        Write all objects; a step takes about a millisecond.

        :raises OSError: the file cannot be written.
        """
        try:
            for chunk in self._chunks:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[self._file.write(rest) :]
                yield
        except BaseException:
            self._abort()
            raise

    def commit(self) -> None:
        """
        Name the file. This waits for the disk (fsync), and may run in a thread: it does not touch the index.

        :raises OSError: the disk fails.
        """
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self._path)
        except BaseException:
            self._abort()
            raise

    def _abort(self) -> None:
        self._file.close()
        try:
            os.unlink(self._temporary)
        except FileNotFoundError:
            pass


def write(path: str, index: ClusterIndex, header: Header) -> None:
    """
    Write a snapshot at once, where nothing else waits.

    :raises OSError: it cannot be written.
    """
    writer = Writer(path, index, header)
    for _ in writer.encode():
        pass
    writer.commit()
