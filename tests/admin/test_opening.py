# -*- test-case-name: tests.admin.test_opening -*-
"""Opening the socket, on this machine's file system."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.admin import service
from kdns.admin.places import is_live
from kdns.admin.service import AlreadyThere, CannotOpen, OpenSocket, open_first, open_socket


class OpeningTests(SynchronousTestCase):
    """One folder."""

    def setUp(self) -> None:
        """A folder with a short name: a socket's path has 107 octets."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = str(self.folder / "kdns" / "admin.sock")
        self.patch(service, "RUN", self.path)

    def opened(self, path: str) -> OpenSocket:
        """Open, and close when the test ends."""
        one = open_socket(path)
        self.addCleanup(one.close)
        return one

    def test_private(self) -> None:
        """The folder that kdns makes and the socket are its user's alone."""
        self.opened(self.path)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.path)).st_mode), 0o700)
        self.assertTrue(is_live(self.path))

    def test_no_folders(self) -> None:
        """No other folder is made: what an operator mistyped is an error that names the folder."""
        path = self.folder / "nope" / "x.sock"
        error = self.assertRaises(CannotOpen, open_socket, str(path))
        self.assertEqual(str(error), f"{path}: there is no folder {path.parent}")
        self.assertFalse(path.parent.exists())

    def test_closed(self) -> None:
        """Closing removes the file."""
        self.opened(self.path).close()
        self.assertFalse(os.path.exists(self.path))

    def test_dead_one_replaced(self) -> None:
        """What a killed server left is replaced."""
        with socket.socket(socket.AF_UNIX) as dead:
            os.mkdir(os.path.dirname(self.path), 0o700)
            dead.bind(self.path)
        self.assertFalse(is_live(self.path))
        self.opened(self.path)
        self.assertTrue(is_live(self.path))

    def test_live_one_let_be(self) -> None:
        """A server that lives keeps its socket, and the second one's end does not take it away."""
        self.opened(self.path)
        error = self.assertRaises(AlreadyThere, open_socket, self.path)
        self.assertEqual(str(error), f"another kdns answers at {self.path}")
        self.assertTrue(is_live(self.path))

    def test_crowded_one_is_live(self) -> None:
        """A server that takes no connections for the moment is not taken for dead."""
        one = self.opened(self.path)
        one.socket.listen(0)
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            first.connect(self.path)
            second.setblocking(False)
            second.connect_ex(self.path)
            self.assertRaises(AlreadyThere, open_socket, self.path)

    def test_anothers_file_stays(self) -> None:
        """Who closes does not remove the file of a server that came after the file was taken away."""
        first = self.opened(self.path)
        os.unlink(self.path)
        self.opened(self.path)
        first.close()
        self.assertTrue(is_live(self.path))

    def test_at_once(self) -> None:
        """While another process opens a socket in the folder, ours is not opened."""
        os.mkdir(os.path.dirname(self.path), 0o700)
        descriptor = os.open(os.path.dirname(self.path), os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.assertRaises(AlreadyThere, open_socket, self.path)
        self.assertFalse(os.path.exists(self.path))

    def test_open_folder(self) -> None:
        """A folder in which others may replace the socket is not used, unless it is sticky as /tmp is."""
        os.chmod(self.folder, 0o777)
        error = self.assertRaises(CannotOpen, open_socket, str(self.folder / "x"))
        self.assertEqual(str(error), f"{self.folder} can be written to by others")
        os.chmod(self.folder, 0o1777)
        self.opened(str(self.folder / "x"))

    def test_no_socket(self) -> None:
        """A file that is no socket is not removed."""
        path = self.folder / "Corefile"
        path.write_text("whoami")
        error = self.assertRaises(CannotOpen, open_socket, str(path))
        self.assertEqual(str(error), f"{path} is there and is no socket")
        self.assertEqual(path.read_text(), "whoami")

    def test_reasons(self) -> None:
        """A path that cannot be is named with the system's reason."""
        for path in (str(self.folder / "a" / "b" / "c"), str(self.folder / ("x" * 120))):
            error = self.assertRaises(CannotOpen, open_socket, path)
            self.assertIn(path, str(error))

    def test_name(self) -> None:
        """A name without a file works where nothing can be written, and is not taken from who has it."""
        name = f"@kdns-test-{os.getpid()}"
        one = self.opened(name)
        self.assertTrue(is_live(name))
        self.assertRaises(AlreadyThere, open_socket, name)
        one.close()
        self.assertFalse(is_live(name))

    def test_first(self) -> None:
        """The first place that can be had is taken; a live server at one ends the search."""
        bad = str(self.folder / "no" / "such" / "x")
        one = open_first([bad, self.path])
        self.addCleanup(one.close)
        self.assertEqual(one.path, self.path)
        other = str(self.folder / "other")
        self.assertRaises(AlreadyThere, open_first, [bad, self.path, other])
        self.assertFalse(os.path.exists(other))
        error = self.assertRaises(CannotOpen, open_first, [bad, bad])
        reason = f"{bad}: there is no folder {os.path.dirname(bad)}"
        self.assertEqual(str(error), f"{reason}; {reason}")
