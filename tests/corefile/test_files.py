"""The real file system behind ``import``."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.files import MAX_FILE, DiskFiles, Kind


class DiskFilesTests(SynchronousTestCase):
    """A folder with a few files in it."""

    def setUp(self) -> None:
        """A folder of our own."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.files = DiskFiles(str(self.folder))

    def test_absolute(self) -> None:
        """Relative paths start at the folder, or at the working directory when none was given."""
        self.assertEqual(self.files.absolute("a/../b"), f"{self.folder}/b")
        self.assertEqual(self.files.absolute("/x/./y"), "/x/y")
        self.assertEqual(DiskFiles().absolute("b"), os.path.join(os.getcwd(), "b"))

    def test_matches(self) -> None:
        """A pattern finds existing paths in order, hidden ones too; a plain path finds itself if it exists."""
        for name in ("b.conf", "a.conf", ".c.conf", "other"):
            (self.folder / name).touch()
        found = [os.path.basename(path) for path in self.files.matches(f"{self.folder}/*.conf")]
        self.assertEqual(found, [".c.conf", "a.conf", "b.conf"])
        self.assertEqual(self.files.matches(f"{self.folder}/other"), [f"{self.folder}/other"])
        self.assertEqual(self.files.matches(f"{self.folder}/missing"), [])

    def test_impossible_names(self) -> None:
        """A name that no file can have is not there, rather than an accident."""
        for name in ("a\0b", "a\ud800*", "a\0*/b"):
            self.assertEqual(self.files.matches(f"{self.folder}/{name}"), [])
        self.assertIs(self.files.kind("a\0b"), Kind.MISSING)
        self.assertRaises(OSError, self.files.read, "a\0b")

    def test_kind(self) -> None:
        """Regular files, directories, devices and nothing are told apart."""
        (self.folder / "file").touch()
        (self.folder / "link").symlink_to("file")
        for path, kind in (
            ("file", Kind.FILE),
            ("link", Kind.FILE),
            (".", Kind.DIRECTORY),
            ("/dev/null", Kind.OTHER),
            ("missing", Kind.MISSING),
        ):
            self.assertIs(self.files.kind(path), kind)

    def test_read(self) -> None:
        """Octets that are no UTF-8 are replaced, line ends stay."""
        (self.folder / "file").write_bytes(b"a\r\n\xff\xc3\xa9")
        self.assertEqual(self.files.read("file"), "a\r\n\ufffd\u00e9")

    def test_read_fails(self) -> None:
        """A missing file, one that is too large and a device are errors of the system."""
        self.assertRaises(FileNotFoundError, self.files.read, "missing")
        with (self.folder / "large").open("wb") as file:
            file.truncate(MAX_FILE + 1)
        with self.assertRaisesRegex(OSError, str(MAX_FILE)):
            self.files.read("large")
        with self.assertRaisesRegex(OSError, "is a device"):
            self.files.read("/dev/zero")
