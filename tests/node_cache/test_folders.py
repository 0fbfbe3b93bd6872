"""A mounted ConfigMap is read as the kubelet lays it out."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.node_cache.folders import read_folder


class FolderTests(SynchronousTestCase):
    """Files directly in a folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_read(self) -> None:
        """Files and links to files, by name; hidden ones, folders and pipes are skipped."""
        (self.folder / "..data").mkdir()
        (self.folder / "..data" / "stubDomains").write_text("{}")
        (self.folder / "stubDomains").symlink_to("..data/stubDomains")
        (self.folder / "b").write_text("é", encoding="utf-8")
        (self.folder / ".hidden").write_text("x")
        (self.folder / "folder").mkdir()
        os.mkfifo(self.folder / "pipe")
        self.assertEqual(read_folder(str(self.folder)), {"b": "é", "stubDomains": "{}"})

    def test_unreadable(self) -> None:
        """A folder that is not there, and a file that is no text, are errors."""
        self.assertRaises(FileNotFoundError, read_folder, str(self.folder / "none"))
        (self.folder / "a").write_bytes(b"\xff\xfe")
        self.assertRaises(UnicodeDecodeError, read_folder, str(self.folder))
        (self.folder / "a").write_bytes(b"x" * ((1 << 20) + 1))
        self.assertRaises(OSError, read_folder, str(self.folder))
