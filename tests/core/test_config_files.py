"""Tests of :mod:`kdns.core.config_files`."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.config_files import append_to_file, config_file_status, open_config_file, read_config_file


class ConfigFileTests(SynchronousTestCase):
    """What may stand behind a path of a configuration."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def path(self, name: str) -> str:
        """A path in the folder of the test."""
        return str(self.folder / name)

    def refused(self, path: str) -> str:
        """Why a path is refused, whatever is wanted of it."""
        texts = set()
        for use in (config_file_status, open_config_file, read_config_file):
            error = self.assertRaises(OSError, use, path)
            self.assertEqual(error.filename, path)
            texts.add(error.strerror)
        (text,) = texts
        return str(text)

    def test_regular(self) -> None:
        """A file is read, through a symbolic link too."""
        Path(self.path("file")).write_bytes(b"text")
        os.symlink("file", self.path("link"))
        for name in ("file", "link"):
            self.assertEqual(read_config_file(self.path(name)), b"text")
            self.assertEqual(config_file_status(self.path(name)).st_size, 4)

    def test_named_pipe(self) -> None:
        """A named pipe is refused at once, whether or not another process has it open, directly and behind a link."""
        os.mkfifo(self.path("pipe"))
        os.symlink("pipe", self.path("link"))
        self.assertEqual(self.refused(self.path("pipe")), "is a named pipe, not a regular file")
        self.assertEqual(self.refused(self.path("link")), "is a named pipe, not a regular file")

    def test_others(self) -> None:
        """Devices, sockets, folders and what does not exist are refused with the reason."""
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        # Relative, since the path of a socket has room for some hundred bytes only.
        here = os.getcwd()
        os.chdir(self.folder)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        self.assertEqual(self.refused(self.path("socket")), "is a socket, not a regular file")
        self.assertEqual(self.refused("/dev/zero"), "is a device, not a regular file")
        self.assertEqual(self.refused(str(self.folder)), "Is a directory")
        self.assertEqual(self.refused(self.path("none")), "No such file or directory")

    def test_append(self) -> None:
        """A file to write to is made, and written to at its end; a pipe is refused at once."""
        for line in (b"one\n", b"two\n"):
            with append_to_file(self.path("log")) as file:
                file.write(line)
        self.assertEqual(Path(self.path("log")).read_bytes(), b"one\ntwo\n")
        self.assertEqual(os.stat(self.path("log")).st_mode & 0o777, 0o600)
        os.mkfifo(self.path("pipe"))
        error = self.assertRaises(OSError, append_to_file, self.path("pipe"))
        self.assertEqual(error.strerror, "is a named pipe, not a regular file")
        self.assertRaises(IsADirectoryError, append_to_file, str(self.folder))

    def test_limit(self) -> None:
        """A file with more bytes than wanted is refused, and no more of it than that is read."""
        Path(self.path("file")).write_bytes(b"12345")
        self.assertEqual(read_config_file(self.path("file"), 5), b"12345")
        error = self.assertRaises(OSError, read_config_file, self.path("file"), 4)
        self.assertEqual(error.strerror, "file is larger than 4 bytes")
