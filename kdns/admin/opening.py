# -*- test-case-name: tests.admin.test_opening -*-
"""
Open the admin socket's file or name: private to the user, and never at the cost of another server.

What a dead server left behind is replaced, a living one is let be. The folder is locked while that is found out, so two servers that start
at once do not both believe that they replace a dead one.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import AF_UNIX, SOCK_STREAM, socket

from kdns.admin.places import address_of, is_live

BACKLOG = 16

FOLDER_MODE, SOCKET_MODE = 0o700, 0o600


class CannotOpen(Exception):
    """There will be no socket at a place; the text says why."""


class AlreadyThere(CannotOpen):
    """Another server has the place."""


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """A socket that listens."""

    path: str
    socket: socket
    inode: tuple[int, int] | None
    """Device and number of its file; None without a file."""

    def close(self) -> None:
        """Listen no more, and remove the file unless it is another's by now."""
        if self.inode is not None:
            try:
                if _inode(self.path) == self.inode:
                    os.unlink(self.path)
            except OSError:
                pass  # somebody else removed it, or the folder
        self.socket.close()


def open_first(places: Iterable[str]) -> OpenSocket:
    """
    Open the first place that can be had.

    A place that another server has ends the search: two servers with sockets in different places would be mistaken for each other.

    :raises CannotOpen: none can.
    """
    reasons = []
    for place in places:
        try:
            return open_socket(place)
        except AlreadyThere:
            raise
        except CannotOpen as error:
            reasons.append(str(error))
    raise CannotOpen("; ".join(reasons))


def open_socket(path: str) -> OpenSocket:
    """
    Listen at *path*.

    :raises CannotOpen: not there.
    """
    listener = socket(AF_UNIX, SOCK_STREAM)
    try:
        listener.setblocking(False)
        if path.startswith("@"):
            inode = None
            _bind_name(listener, path)
        else:
            inode = _bind_file(listener, path)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotOpen(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except CannotOpen:
        listener.close()
        raise
    return OpenSocket(path, listener, inode)


def _bind_name(listener: socket, path: str) -> None:
    try:
        listener.bind(address_of(path))
    except OSError as error:
        if is_live(path):
            raise AlreadyThere(f"another kdns answers at {path}") from error
        raise


def _bind_file(listener: socket, path: str) -> tuple[int, int]:
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.mkdir(folder, FOLDER_MODE)
    except FileExistsError:
        pass
    with _locked(folder) as descriptor:
        _check(folder, os.fstat(descriptor))
        _clear(path)
        os.fchmod(listener.fileno(), SOCKET_MODE)  # on Linux the file is born with it
        listener.bind(path)
        os.chmod(path, SOCKET_MODE)
        return _inode(path)


@contextmanager
def _locked(folder: str) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyThere(f"another process is opening a socket in {folder}") from None
        yield descriptor
    finally:
        os.close(descriptor)


def _check(folder: str, status: os.stat_result) -> None:
    """A folder in which others can put files of their own in the socket's place will not do."""
    if status.st_uid not in (0, os.geteuid()):
        raise CannotOpen(f"{folder} belongs to user {status.st_uid}")
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise CannotOpen(f"{folder} can be written to by others")


def _clear(path: str) -> None:
    """Remove what a dead server left."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise CannotOpen(f"{path} is there and is no socket")
    try:
        live = is_live(path)
    except PermissionError:
        raise CannotOpen(f"{path} belongs to user {status.st_uid}") from None
    if live:
        raise AlreadyThere(f"another kdns answers at {path}")
    os.unlink(path)


def _inode(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
