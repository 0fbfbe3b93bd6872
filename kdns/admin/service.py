# -*- test-case-name: tests.admin.test_service -*-
"""
The admin socket of a server: opens it, takes connections of its own user and of root, and closes it.

That it cannot be opened is a warning. Names are answered all the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from socket import socket
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.admin.commands import Commands
from kdns.admin.opening import AlreadyThere, CannotOpen, OpenSocket, open_first
from kdns.admin.places import default_places, is_off, mount_namespace, peer_uid
from kdns.admin.protocol import AdminFactory

log = Logger(namespace="kdns.admin")

BREATH = 1.0
"""Seconds to wait when the system gives no connection, for want of descriptors: it would be tried in each turn."""

AT_ONCE = 16
"""Connections taken in one turn."""


class AdminSocket:
    """
    The socket and its connections between :meth:`start` and :meth:`stop`.

    :param reactor: watches descriptors of this machine.
    :param path: where; None for the first of the default places that can be had, empty or ``off`` for nowhere.
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
        """Open it. A second time nothing happens; what prevents it is logged."""
        if self._open is not None or is_off(self._path):
            return
        places: Sequence[str] = (self._path,) if self._path else _default_places()
        try:
            self._open = open_first(places)
        except AlreadyThere as error:
            advice = "-admin.socket PATH gives this server one of its own, -admin.socket off none"
            log.warn("No admin socket: {error}; {advice}", error=error, advice=advice)
            return
        except CannotOpen as error:
            log.warn("No admin socket; kdns explain, status and cache cannot reach this server: {error}", error=error)
            return
        self._acceptor = _Acceptor(self._reactor, self._open.socket, self._factory)
        self._acceptor.startReading()

    def stop(self) -> None:
        """Close it and hang up on everybody."""
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        if self._open is not None:
            self._open.close()
            self._open = None
        self._factory.drop_all()


def _default_places() -> tuple[str, ...]:
    return default_places(os.environ, os.geteuid(), mount_namespace())


def _turn_away(connection: socket, why: bytes) -> None:
    try:
        connection.send(b'{"error":"%s"}\n' % why)
    except OSError:
        pass  # it has hung up itself


class _Acceptor(FileDescriptor):
    """Takes connections from a listening socket."""

    def __init__(self, reactor: Any, listener: socket, factory: AdminFactory) -> None:
        super().__init__(reactor)
        self._listener = listener
        self._factory = factory
        self._again: Any = None

    def fileno(self) -> int:
        """The socket's."""
        return self._listener.fileno()

    def logPrefix(self) -> str:
        """As Twisted names it in its log."""
        return "kdns.admin"

    def doRead(self) -> None:
        """Somebody connects."""
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warn("The admin socket takes no connection: {error}", error=error.strerror)
                self.stopReading()
                self._again = self.reactor.callLater(BREATH, self._read_again)
                return
            connection.setblocking(False)
            with connection:  # Twisted takes a descriptor of its own
                self._take(connection)

    def _take(self, connection: socket) -> None:
        uid = peer_uid(connection)
        if uid not in (None, 0, os.geteuid()):
            log.warn("The admin socket turned away a process of user {uid}", uid=uid)
            _turn_away(connection, b"kdns answers only the user it runs as, and root")
            return
        if self._factory.full:
            _turn_away(connection, b"too many ask kdns at the same time; try again")
            return
        self.reactor.adoptStreamConnection(connection.fileno(), connection.family, self._factory)

    def _read_again(self) -> None:
        self._again = None
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """The socket is gone from under it; :meth:`AdminSocket.stop` is what closes it in order."""
        self.close()

    def close(self) -> None:
        """Take no more."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self.stopReading()
