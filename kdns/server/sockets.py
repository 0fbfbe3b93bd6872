# -*- test-case-name: tests.server.test_sockets -*-
"""
Open the sockets of an endpoint: TCP and UDP on one port, for one address or for all.

A process that takes over shares the ports of its predecessor for a while (:mod:`kdns.plugin.listening`), so there is no gap.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred

from kdns.core.request import Transport
from kdns.core.text import bracketed, reason_of
from kdns.plugin.listening import NO_FAMILY, CannotListen, bound_socket
from kdns.plugin.seam import ServerContext
from kdns.server import mmsg
from kdns.server.datagrams import MAX_QUERY, DatagramShell
from kdns.server.listener import Listener
from kdns.server.receive_drops import receive_drops
from kdns.server.streams import ACCEPTED_AT_ONCE, ConnectionLimit, PacedTransport, StreamFactory
from kdns.server.table import TableBudget

if TYPE_CHECKING:
    from kdns.server.quic import QuicFactory

BACKLOG = 1024
"""Connections that may wait to be accepted."""

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes of UDP queued in the kernel while kdns is busy; the kernel caps it at its own limit."""

MORE_ATTEMPTS = 20
"""How often another port is chosen where the first is not free for both TCP and UDP."""

T = TypeVar("T")


@dataclass(slots=True)
class OpenEndpoint:
    """An endpoint with open sockets."""

    listener: Listener
    port: int
    factory: Any
    """A :class:`StreamFactory` or :class:`~kdns.server.quic.QuicFactory`: all its connections."""

    datagrams: list[Any] = field(default_factory=list)
    receiving: list[socket.socket] = field(default_factory=list)
    """The kernel's sockets for UDP."""

    streams: list[Any] = field(default_factory=list)
    tables: list[Any] = field(default_factory=list)
    departures: list[Callable[[], None]] = field(default_factory=list)
    """What the sockets do before they take nothing new any more, each once."""

    closing: list[Deferred[Any]] = field(default_factory=list)

    def drops(self) -> int:
        """Queries over UDP that the kernel dropped."""
        return sum(map(receive_drops, self.receiving))

    def leave(self) -> None:
        """Take no new queries and connections; queries and connections already accepted by the kernel are served."""
        departures, self.departures = self.departures, []
        for depart in departures:
            depart()
        self.closing += [maybeDeferred(port.stopListening) for port in self.streams]
        self.streams.clear()

    def close(self, budget: TableBudget) -> Deferred[Any]:
        """Accept nothing more, answer waiting queries with SERVFAIL, and end the connections; fires when the sockets are closed."""
        self.leave()
        self.listener.stop()  # while there are sockets to answer with
        closing = [*self.closing, *(maybeDeferred(port.stopListening) for port in self.datagrams)]
        self.factory.close_all()
        for table in self.tables:
            budget.leave(table)
        return gatherResults(closing, consumeErrors=True)


def open_endpoint(
    reactor: Any, listener: Listener, address: str, port: int, budget: TableBudget, limit: ConnectionLimit | None = None
) -> OpenEndpoint:
    """
    Open the sockets for *address* (empty: all) and *port* (0: one that the system chooses, the same for TCP and UDP).

    :param limit: bounds the connections of all endpoints that share it.
    :raises CannotListen: one of them cannot be opened; none is left open then.
    """

    def factory() -> Factories:
        return StreamFactory(listener, budget.table(), limit=limit), None

    return _open(reactor, address, port, budget, factory)


def open_tls(
    reactor: Any, listener: Listener, address: str, port: int, budget: TableBudget, limit: ConnectionLimit | None = None
) -> OpenEndpoint:
    """DNS over TLS (RFC 7858); see :func:`open_endpoint`."""
    from kdns.server.secure import SecureFactory

    def factory() -> Factories:
        made = StreamFactory(listener, budget.table(), Transport.TLS, limit)
        made.spoken = (b"dot",)
        return made, SecureFactory(made)

    return _open(reactor, address, port, budget, factory)


def open_https(
    reactor: Any, listener: Listener, address: str, port: int, budget: TableBudget, limit: ConnectionLimit | None = None
) -> OpenEndpoint:
    """DNS over HTTPS (RFC 8484); see :func:`open_endpoint`."""
    from kdns.server.https import HttpsFactory
    from kdns.server.secure import SecureFactory

    def factory() -> Factories:
        made = HttpsFactory(listener, budget.table(), Transport.HTTPS, limit)
        return made, SecureFactory(made)

    return _open(reactor, address, port, budget, factory)


def open_grpc(
    reactor: Any, listener: Listener, address: str, port: int, budget: TableBudget, limit: ConnectionLimit | None = None
) -> OpenEndpoint:
    """DNS over gRPC; see :func:`open_endpoint`."""
    from kdns.server.grpc import GrpcFactory
    from kdns.server.secure import SecureFactory

    def factory() -> Factories:
        made = GrpcFactory(listener, budget.table(), Transport.GRPC, limit)
        return made, SecureFactory(made)

    return _open(reactor, address, port, budget, factory)


def open_quic(
    reactor: Any, listener: Listener, address: str, port: int, budget: TableBudget, limit: ConnectionLimit | None = None
) -> OpenEndpoint:
    """DNS over QUIC (RFC 9250); its connections have no descriptors, so *limit* does not concern them. See :func:`open_endpoint`."""
    from kdns.server.doq import DoqFactory

    def factory() -> DoqFactory:
        return DoqFactory(listener, budget.table(), Transport.QUIC)

    return _one_port(port, lambda: _open_datagrams(reactor, address, port, budget, factory()))


def open_https3(
    reactor: Any, listener: Listener, address: str, port: int, budget: TableBudget, limit: ConnectionLimit | None = None
) -> OpenEndpoint:
    """DNS over HTTP/3 (RFC 8484, RFC 9114); see :func:`open_quic`."""
    from kdns.server.https3 import Https3Factory

    def factory() -> Https3Factory:
        return Https3Factory(listener, budget.table(), Transport.HTTPS3)

    return _one_port(port, lambda: _open_datagrams(reactor, address, port, budget, factory()))


def _open_datagrams(reactor: Any, address: str, port: int, budget: TableBudget, factory: QuicFactory) -> OpenEndpoint:
    """Open the sockets of connections above UDP."""
    from kdns.server.addressed_port import AddressedPort
    from kdns.server.quic import MOST_DATAGRAM, QuicSocket

    context = factory.listener.context
    opened = OpenEndpoint(factory.listener, port, factory, tables=[factory.table], departures=[factory.leave])
    try:
        if context.kernel_sockets:
            quiet = context.processes > 1
            share = context.share_ports or quiet
            for host in _hosts(address):
                try:
                    bound = _bound(socket.SOCK_DGRAM, host, address, opened.port, share, quiet=quiet)
                except _NoFamily:
                    continue
                with bound:  # the reactor works on a copy of the descriptor
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
                    opened.port = bound.getsockname()[1]
                    shell = QuicSocket(factory)
                    if address:
                        made = reactor.adoptDatagramPort(bound.fileno(), bound.family, shell, MOST_DATAGRAM)
                    else:
                        made = AddressedPort.adopt(reactor, bound, shell, MOST_DATAGRAM)
                opened.datagrams.append(made)
                opened.receiving.append(made.socket)
        else:
            made = _listen_udp(reactor, opened.port, QuicSocket(factory), address, MOST_DATAGRAM)
            opened.port = made.getHost().port
            opened.datagrams.append(made)
    except Exception:
        opened.close(budget)
        raise
    return opened


def _listen_udp(reactor: Any, port: int, protocol: Any, address: str, most: int) -> Any:
    """Listen through the reactor's own port; one on the IPv6 wildcard takes IPv4 too, where there is IPv6."""
    from twisted.internet.error import CannotListenError

    for host in (address,) if address else ("::", "0.0.0.0"):
        try:
            return reactor.listenUDP(port, protocol, host, most)
        except CannotListenError as error:
            cause = error.socketError
            if host != "::" or address or getattr(cause, "errno", None) not in NO_FAMILY:
                text = reason_of(cause) if isinstance(cause, OSError) else str(cause)
                raise cannot_listen(False, address, port, text) from None
    raise AssertionError("the last host is tried or fails")


Factories = tuple[StreamFactory, Any]
"""The factory of an endpoint, and what makes the protocols of its connections in its place; then there are no sockets for UDP."""


def _open(reactor: Any, address: str, port: int, budget: TableBudget, factory: Callable[[], Factories]) -> OpenEndpoint:
    return _one_port(port, lambda: _open_once(reactor, address, port, budget, *factory()))


def _one_port(port: int, attempt: Callable[[], T]) -> T:
    """What *attempt* returns. For port 0 it has more than one try: the port that TCP is given may be taken for UDP."""
    for _ in range(0 if port else MORE_ATTEMPTS):
        with suppress(CannotListen):
            return attempt()
    return attempt()


def _open_once(
    reactor: Any, address: str, port: int, budget: TableBudget, factory: StreamFactory, acceptor: Any
) -> OpenEndpoint:
    listener = factory.listener
    opened = OpenEndpoint(listener, port, factory, tables=[factory.table])
    factory.ports = opened.streams
    try:
        if listener.context.kernel_sockets and mmsg.available(reactor):
            _open_sockets(reactor, opened, address, budget, acceptor)
        else:
            _listen(reactor, opened, address, budget, acceptor)
    except Exception:  # for instance too many open files: no socket must stay open unnoticed
        opened.close(budget)
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
        budget: TableBudget,
        limit: ConnectionLimit | None = None,
    ) -> OpenEndpoint: ...


LISTENERS: dict[str, Opener] = {
    "dns": open_endpoint,
    "tls": open_tls,
    "https": open_https,
    "quic": open_quic,
    "https3": open_https3,
    "grpc": open_grpc,
}
"""How endpoints are opened, by the scheme of their server keys; a scheme that is not here is not served."""


SOCKETS: dict[str, tuple[socket.SocketKind, ...]] = {
    "dns": (socket.SOCK_STREAM, socket.SOCK_DGRAM),
    "tls": (socket.SOCK_STREAM,),
    "https": (socket.SOCK_STREAM,),
    "grpc": (socket.SOCK_STREAM,),
    "quic": (socket.SOCK_DGRAM,),
    "https3": (socket.SOCK_DGRAM,),
}
"""The sockets of an endpoint, by scheme."""


def check_endpoint(context: ServerContext, scheme: str, address: str, port: int) -> None:
    """
    Open the sockets of an endpoint for a moment.

    :raises CannotListen: one of them cannot be opened.
    """
    for kind in SOCKETS[scheme]:
        for host in _hosts(address):
            try:
                _bound(kind, host, address, port, context.share_ports).close()
            except _NoFamily:
                continue


def reserve_endpoint(
    context: ServerContext, scheme: str, address: str, port: int, *, again: bool = False
) -> tuple[list[socket.socket], int]:
    """
    Bind the sockets of an endpoint before worker processes share it.

    As long as they are open no other server gets the port, while workers, which bind with ``SO_REUSEPORT``, do. They take no connections.
    Datagrams that come to them are lost, so there are none for UDP where somebody else answers on the port already: a server that this one
    takes over from, or workers of this one.

    :param again: workers of this server may have the port already.
    :return: the sockets, and the port, which the system chose for 0.
    :raises CannotListen: another process has the port.
    """
    return _one_port(port, lambda: _reserve_once(context, scheme, address, port, again))


def _reserve_once(
    context: ServerContext, scheme: str, address: str, port: int, again: bool
) -> tuple[list[socket.socket], int]:
    reserved: list[socket.socket] = []
    share = context.share_ports or again
    try:
        for host in _hosts(address):
            for kind in SOCKETS[scheme]:
                if share and port and kind == socket.SOCK_DGRAM:
                    continue
                try:
                    reserved.append(_bound(kind, host, address, port, share, quiet=again, backlog=0))
                except _NoFamily:
                    continue
                port = reserved[0].getsockname()[1]
    except CannotListen:
        for one in reserved:
            one.close()
        raise
    return reserved, port


def _hosts(address: str) -> tuple[str, ...]:
    return (address,) if address else ("0.0.0.0", "::")


def _open_sockets(reactor: Any, opened: OpenEndpoint, address: str, budget: TableBudget, acceptor: Any) -> None:
    context = opened.listener.context
    quiet = context.processes > 1
    share = context.share_ports or quiet
    for host in _hosts(address):
        try:
            stream = _bound(socket.SOCK_STREAM, host, address, opened.port, share, quiet=quiet)
        except _NoFamily:
            continue
        with stream:  # the reactor works on a copy of the descriptor
            opened.port = stream.getsockname()[1]
            port = reactor.adoptStreamPort(stream.fileno(), stream.family, acceptor or opened.factory)
        port.transport = PacedTransport
        opened.streams.append(port)
        opened.departures.append(partial(_accept_waiting, port))
        if acceptor is not None:
            continue
        datagram = _bound(socket.SOCK_DGRAM, host, address, opened.port, share, quiet=quiet)
        datagram.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        table = budget.table()
        opened.tables.append(table)
        shell = mmsg.MmsgPort(reactor, datagram, opened.listener, table)
        opened.datagrams.append(shell)
        opened.receiving.append(datagram)
        opened.departures.append(shell.stop_receiving)
        shell.startReading()


def _accept_waiting(port: Any) -> None:
    """Accept the connections in the backlog: closing the port would reset them."""
    waiting = select.poll()
    waiting.register(port.fileno(), select.POLLIN)
    for _ in range(BACKLOG):
        if not waiting.poll(0):
            break
        port.doRead()


class _NoFamily(Exception):
    """This machine does not have IPv6."""


def _bound(
    kind: socket.SocketKind,
    host: str,
    address: str,
    port: int,
    share: bool,
    *,
    quiet: bool = False,
    backlog: int = BACKLOG,
) -> socket.socket:
    """
    :param address: as the Corefile has it; empty for all.
    """
    stream = kind == socket.SOCK_STREAM
    try:
        return bound_socket(kind, host, port, share=share, backlog=backlog if stream else 0, quiet=quiet)
    except OSError as error:
        if host == "::" and not address and error.errno in NO_FAMILY:
            raise _NoFamily from None
        raise cannot_listen(stream, address, port, reason_of(error)) from None


def cannot_listen(stream: bool, address: str, port: int, why: str) -> CannotListen:
    """The error for a port of TCP (*stream*) or UDP, as CoreDNS words it."""
    transport, call = ("tcp", "Listen: ") if stream else ("udp", "ListenPacket: ")
    return CannotListen(transport, f"{bracketed(address)}:{port}", why, call)


def _listen(reactor: Any, opened: OpenEndpoint, address: str, budget: TableBudget, acceptor: Any) -> None:
    """Listen through the reactor's own ports; one on the IPv6 wildcard takes IPv4 too, where there is IPv6."""
    from twisted.internet.error import CannotListenError

    factory = acceptor or opened.factory
    try:
        try:
            stream = reactor.listenTCP(opened.port, factory, BACKLOG, address or "::")
            host = address or "::"
        except CannotListenError as error:
            if address or getattr(error.socketError, "errno", None) not in NO_FAMILY:
                raise
            stream, host = reactor.listenTCP(opened.port, factory, BACKLOG, "0.0.0.0"), "0.0.0.0"
        opened.streams.append(stream)
        opened.port = stream.getHost().port
        if acceptor is not None:
            return
        table = budget.table()
        opened.tables.append(table)
        shell = DatagramShell(opened.listener, table)
        opened.datagrams.append(reactor.listenUDP(opened.port, shell, host, MAX_QUERY))
    except CannotListenError as error:
        cause = error.socketError
        text = reason_of(cause) if isinstance(cause, OSError) else str(cause)
        raise cannot_listen(not opened.streams, address, opened.port, text) from None
