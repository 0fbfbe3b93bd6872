# -*- test-case-name: tests.server.test_sockets -*-
"""
Open the sockets of an endpoint: TCP and UDP on one port, for one address or for all.

All of them share their port (SO_REUSEPORT), so that a new process can take over from an old one without a gap.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred

from kdns.core.text import bracketed
from kdns.plugin.seam import Unavailable
from kdns.server import mmsg
from kdns.server.datagrams import MAX_QUERY, DatagramShell
from kdns.server.listener import Listener
from kdns.server.streams import ACCEPTED_AT_ONCE, ConnectionLimit, PacedTransport, StreamFactory
from kdns.server.table import TableBudget

BACKLOG = 1024
"""Connections that may wait to be accepted."""

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Octets of UDP that the kernel may keep while kdns is busy; it grants what its own limit allows."""

_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class CannotListen(Unavailable):
    """A socket could not be opened; the text names it as CoreDNS would."""

    def __init__(self, transport: str, address: str, port: int, reason: str) -> None:
        call = "Listen" if transport == "tcp" else "ListenPacket"
        super().__init__(f"{call}: listen {transport} {bracketed(address)}:{port}: bind: {reason}")
        self.transport = transport
        self.address = address
        self.port = port
        self.reason = reason


@dataclass(slots=True)
class OpenEndpoint:
    """An endpoint that is being served."""

    listener: Listener
    port: int
    factory: StreamFactory
    datagrams: list[Any] = field(default_factory=list)
    streams: list[Any] = field(default_factory=list)
    tables: list[Any] = field(default_factory=list)
    departures: list[Callable[[], None]] = field(default_factory=list)
    """What the sockets do before they take nothing new any more, each once."""

    closing: list[Deferred[Any]] = field(default_factory=list)

    def leave(self) -> None:
        """Take no new queries and connections; what the kernel took for this process already is answered."""
        departures, self.departures = self.departures, []
        for depart in departures:
            depart()
        self.closing += [maybeDeferred(port.stopListening) for port in self.streams]
        self.streams.clear()

    def close(self, room: TableBudget) -> Deferred[Any]:
        """Accept nothing more, answer what still waits with SERVFAIL, and end the connections; fires when the sockets are closed."""
        self.leave()
        self.listener.stop()  # while there are sockets to answer with
        closing = [*self.closing, *(maybeDeferred(port.stopListening) for port in self.datagrams)]
        self.factory.close_all()
        for table in self.tables:
            room.leave(table)
        return gatherResults(closing, consumeErrors=True)


def open_endpoint(
    reactor: Any, listener: Listener, address: str, port: int, room: TableBudget, limit: ConnectionLimit | None = None
) -> OpenEndpoint:
    """
    Open the sockets for *address* (empty: all) and *port* (0: one that the system chooses, the same for TCP and UDP).

    :param limit: bounds the connections of all endpoints that share it.
    :raises CannotListen: one of them cannot be opened; none is left open then.
    """
    stream_table = room.table()
    opened = OpenEndpoint(listener, port, StreamFactory(listener, stream_table, limit=limit), tables=[stream_table])
    opened.factory.ports = opened.streams
    try:
        if listener.context.kernel_sockets and mmsg.available(reactor):
            _open_sockets(reactor, opened, address, room)
        else:
            _listen(reactor, opened, address, room)
    except Exception:  # too many open files, say: nothing may be left listening that nobody knows of
        opened.close(room)
        raise
    for stream in opened.streams:
        stream.numberAccepts = ACCEPTED_AT_ONCE
    return opened


class Opener(Protocol):
    """Opens the sockets of an endpoint; see :func:`open_endpoint`."""

    def __call__(
        self,
        reactor: Any,
        listener: Listener,
        address: str,
        port: int,
        room: TableBudget,
        limit: ConnectionLimit | None = None,
    ) -> OpenEndpoint: ...


LISTENERS: dict[str, Opener] = {"dns": open_endpoint}
"""How endpoints are opened, by the scheme of their server keys; a scheme that is not here is not served."""


def _open_sockets(reactor: Any, opened: OpenEndpoint, address: str, room: TableBudget) -> None:
    families = _families(address)
    for number, (family, host) in enumerate(families):
        optional = not address and number > 0
        try:
            stream = _bound(family, socket.SOCK_STREAM, host, opened.port, "tcp", address)
        except _Skipped:
            if optional:
                continue
            raise AssertionError("the first family is never skipped") from None
        opened.port = stream.getsockname()[1]
        stream.listen(BACKLOG)
        port = reactor.adoptStreamPort(stream.fileno(), family, opened.factory)
        port.transport = PacedTransport
        stream.close()  # the reactor works on a copy of the descriptor
        opened.streams.append(port)
        opened.departures.append(partial(_accept_waiting, port))
        datagram = _bound(family, socket.SOCK_DGRAM, host, opened.port, "udp", address)
        datagram.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        table = room.table()
        opened.tables.append(table)
        shell = mmsg.MmsgPort(reactor, datagram, opened.listener, table)
        opened.datagrams.append(shell)
        opened.departures.append(shell.step_aside)
        shell.startReading()


def _accept_waiting(port: Any) -> None:
    """Accept the connections that wait to be: they would be reset when the port closes."""
    waiting = select.poll()
    waiting.register(port.fileno(), select.POLLIN)
    for _ in range(BACKLOG):
        if not waiting.poll(0):
            break
        port.doRead()


class _Skipped(Exception):
    """This machine does not have the address family."""


def _families(address: str) -> list[tuple[socket.AddressFamily, str]]:
    if not address:
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    return [(socket.AF_INET6 if ":" in address else socket.AF_INET, address)]


def _bound(
    family: socket.AddressFamily, kind: socket.SocketKind, host: str, port: int, transport: str, address: str
) -> socket.socket:
    try:
        sock = socket.socket(family, kind)
    except OSError as error:
        if host == "::" and error.errno in _NO_FAMILY:
            raise _Skipped from None
        raise CannotListen(transport, address, port, reason(error)) from None
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(socket.getaddrinfo(host, port, family, kind, 0, socket.AI_NUMERICHOST)[0][4])
    except OSError as error:
        sock.close()
        if host == "::" and error.errno in _NO_FAMILY:
            raise _Skipped from None
        raise CannotListen(transport, address, port, reason(error)) from None
    return sock


def _listen(reactor: Any, opened: OpenEndpoint, address: str, room: TableBudget) -> None:
    """The way through any reactor's own ports; one on the IPv6 wildcard takes IPv4 too, where there is IPv6."""
    from twisted.internet.error import CannotListenError

    try:
        try:
            stream = reactor.listenTCP(opened.port, opened.factory, BACKLOG, address or "::")
            host = address or "::"
        except CannotListenError as error:
            if address or getattr(error.socketError, "errno", None) not in _NO_FAMILY:
                raise
            stream, host = reactor.listenTCP(opened.port, opened.factory, BACKLOG, "0.0.0.0"), "0.0.0.0"
        opened.streams.append(stream)
        opened.port = stream.getHost().port
        table = room.table()
        opened.tables.append(table)
        shell = DatagramShell(opened.listener, table)
        opened.datagrams.append(reactor.listenUDP(opened.port, shell, host, MAX_QUERY))
    except CannotListenError as error:
        transport = "udp" if opened.streams else "tcp"
        cause = error.socketError
        text = reason(cause) if isinstance(cause, OSError) else str(cause)
        raise CannotListen(transport, address, opened.port, text) from None


def reason(error: OSError) -> str:
    """What the system says about an error, as Go programs write it: without a capital."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]
