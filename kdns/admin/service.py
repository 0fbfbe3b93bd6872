# -*- test-case-name: tests.admin.test_service -*-
"""
The admin socket of a server: opened for its own user and root, at no cost to another server, and closed in order.

A failure to open it is logged as a warning; DNS is served all the same.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from kdns.admin.commands import Commands
from kdns.admin.places import RUN, address_of, default_places, is_live, is_off, mount_namespace, peer_uid
from kdns.core.text import reason_of

log = Logger(namespace="kdns.admin")

BACKLOG = MAX_ACCEPTS = 16
"""Connections that wait, and that are accepted in one turn."""

RETRY = 1.0
"""Seconds until the next ``accept`` after one failed for want of descriptors; retried at once it would fail in each turn."""

MAX_LINE = 16384
"""Bytes of a question: names and flags; a name has 255."""

MAX_CONNECTIONS = 16
"""Operators and scripts that ask at a time."""

IDLE = 60.0
"""Seconds without a question, or without a byte of a reply taken, after which a connection is dropped."""


class CannotOpen(Exception):
    """There will be no socket at a place; the text says why."""


class AlreadyThere(CannotOpen):
    """Another server has the place."""


# The socket's file or name


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """A listening socket."""

    path: str
    socket: socket
    inode: tuple[int, int] | None
    """Device and inode of its file; None for a name."""

    def close(self) -> None:
        """Stop listening, and remove the file unless another server has replaced it."""
        try:
            if self.inode is not None and _inode(self.path) == self.inode:
                os.unlink(self.path)
        except OSError:
            pass  # somebody removed it, or the folder
        self.socket.close()


def open_first(places: Iterable[str]) -> OpenSocket:
    """
    Open the first place that can be opened.

    A place that another server has ends the search: with sockets in different places one server would be mistaken for the other.

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
    Listen at *path*, private to this user. Only the folder of :data:`~kdns.admin.places.RUN` is made where it is missing.

    :raises CannotOpen: it cannot be opened.
    """
    listener = socket(AF_UNIX, SOCK_STREAM)
    try:
        listener.setblocking(False)
        inode = None
        if path.startswith("@"):
            _bind_name(listener, path)
        else:
            inode = _bind_file(listener, path)
        listener.listen(BACKLOG)
    except (OSError, CannotOpen) as error:
        listener.close()
        if isinstance(error, CannotOpen):
            raise
        reason = (
            f"there is no folder {os.path.dirname(path)}" if isinstance(error, FileNotFoundError) else reason_of(error)
        )
        raise CannotOpen(f"{path}: {reason}") from error
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
    if path == RUN and not os.path.exists(folder):
        os.mkdir(folder, 0o700)
    # Two servers that start at once must not both take the other's new file for that of a dead one: the folder is locked meanwhile.
    with _locked(folder) as descriptor:
        status = os.fstat(descriptor)
        if status.st_uid not in (0, os.geteuid()):
            raise CannotOpen(f"{folder} belongs to user {status.st_uid}")
        if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            raise CannotOpen(f"{folder} can be written to by others")
        _remove_dead(path)
        os.fchmod(listener.fileno(), 0o600)  # on Linux the file is created with this mode
        listener.bind(path)
        os.chmod(path, 0o600)
        return _inode(path)


@contextmanager
def _locked(folder: str) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise AlreadyThere(f"another process is opening a socket in {folder}") from None
    finally:
        os.close(descriptor)


def _remove_dead(path: str) -> None:
    """Remove the file of a server that was killed."""
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


# Connections


class AdminProtocol(LineReceiver, TimeoutMixin):
    """A line of JSON in, a line of JSON out, one question after another."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE
    transport: Any

    def __init__(self, factory: AdminFactory) -> None:
        self.factory = factory
        self._asked: Deferred[bytes] | None = None

    def callLater(self, period: float, func: Any) -> Any:
        """TimeoutMixin's clock."""
        return self.factory.reactor.callLater(period, func)

    def connectionMade(self) -> None:
        """Wait for a question."""
        self.factory.connections.add(self)
        self.setTimeout(IDLE)

    def lineReceived(self, line: bytes) -> None:
        """Carry out a question; the next one on the connection waits."""
        self.setTimeout(None)
        self.pauseProducing()
        self._asked = self.factory.commands.run(line)
        self._asked.addCallback(self._answer)

    def _answer(self, reply: bytes) -> None:
        self._asked = None
        if self in self.factory.connections:
            self.sendLine(reply)
            self.setTimeout(IDLE)
            self.resumeProducing()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Say so and hang up: where the next question begins is not known."""
        self.sendLine(b'{"error":"the question is too long"}')
        self.transport.loseConnection()

    def timeoutConnection(self) -> None:
        """Drop an idle connection."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the question whose client hung up."""
        self.setTimeout(None)
        self.factory.connections.discard(self)
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()


class AdminFactory(Factory):
    """Makes the connections, and keeps a list of them."""

    noisy = False

    def __init__(self, reactor: Any, commands: Commands) -> None:
        self.reactor = reactor
        self.commands = commands
        self.connections: set[AdminProtocol] = set()

    @property
    def full(self) -> bool:
        """Whether no further connection is accepted."""
        return len(self.connections) >= MAX_CONNECTIONS

    def buildProtocol(self, addr: Any) -> AdminProtocol:
        """For one connection."""
        return AdminProtocol(self)

    def drop_all(self) -> None:
        """Close all connections; what was written is sent first."""
        for connection in list(self.connections):
            connection.transport.loseConnection()


class AdminSocket:
    """
    The socket and its connections between :meth:`start` and :meth:`stop`.

    :param reactor: watches descriptors of this machine.
    :param path: None for the first default place that can be opened, empty or ``off`` for none.
    """

    def __init__(self, reactor: Any, commands: Commands, path: str | None = None) -> None:
        self.commands = commands
        self._reactor = reactor
        self._path = path
        self._open: OpenSocket | None = None
        self._acceptor: _Acceptor | None = None
        self._factory = AdminFactory(reactor, commands)

    @property
    def path(self) -> str | None:
        """Where it is open; None when it is not."""
        return self._open.path if self._open is not None else None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._factory.connections)

    def start(self) -> None:
        """Open it, unless it is open; a failure is logged."""
        if self._open is not None or is_off(self._path):
            return
        try:
            defaults = default_places(os.environ, os.geteuid(), mount_namespace())
            self._open = open_first((self._path,) if self._path else defaults)
        except AlreadyThere as error:
            advice = "-admin.socket PATH gives this server one of its own, -admin.socket off none"
            log.warn("No admin socket: {error}; {advice}", error=error, advice=advice)
        except CannotOpen as error:
            log.warn("No admin socket; kdns explain, status and cache cannot reach this server: {error}", error=error)
        else:
            self._acceptor = _Acceptor(self._reactor, self._open.socket, self._factory)
            self._acceptor.startReading()

    def stop(self) -> None:
        """Close it and all connections."""
        if self._acceptor is not None:
            self._acceptor.close()
        if self._open is not None:
            self._open.close()
        self._acceptor = self._open = None
        self._factory.drop_all()


class _Acceptor(FileDescriptor):
    """
    Accepts connections. Not Twisted's Unix port: that one removes the file at its end even when it is another server's, and does not let
    us ask whose connection it is before there is a protocol.
    """

    def __init__(self, reactor: Any, listener: socket, factory: AdminFactory) -> None:
        super().__init__(reactor)
        self.fileno = listener.fileno  # type: ignore[method-assign]  # Twisted's way to delegate it
        self._listener = listener
        self._factory = factory
        self._retry: Any = None

    def logPrefix(self) -> str:
        """The name in Twisted's log."""
        return "kdns.admin"

    def doRead(self) -> None:
        """Accept what waits."""
        for _ in range(MAX_ACCEPTS):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warn("The admin socket accepts no connection: {error}", error=reason_of(error))
                self.stopReading()
                self._retry = self.reactor.callLater(RETRY, self._read_again)
                return
            connection.setblocking(False)
            with connection:  # Twisted duplicates the descriptor
                self._take(connection)

    def _take(self, connection: socket) -> None:
        uid = peer_uid(connection)
        refusal = b""
        if uid not in (None, 0, os.geteuid()):
            log.warn("The admin socket turned away a process of user {uid}", uid=uid)
            refusal = b"kdns answers only the user it runs as, and root"
        elif self._factory.full:
            refusal = b"too many ask kdns at the same time; try again"
        if not refusal:
            self.reactor.adoptStreamConnection(connection.fileno(), connection.family, self._factory)
            return
        try:
            connection.send(b'{"error":"%s"}\n' % refusal)
        except OSError:
            pass  # it has hung up itself

    def _read_again(self) -> None:
        self._retry = None
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor cannot watch the socket any more; :meth:`AdminSocket.stop` closes it."""
        self.close()

    def close(self) -> None:
        """Accept no more."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.stopReading()
