# -*- test-case-name: tests.testing.test_upstream_server -*-
"""
The fake upstream resolver on the network, real or in memory: shells that do what resolver.py decides.

:class:`UpstreamServer` listens with UDP and TCP on one port, and with TLS on another when it is given an identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as Face
from typing import cast

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolFactory
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from kdns.testing.certificates import Authority, Identity
from kdns.testing.upstream.entries import Action
from kdns.testing.upstream.resolver import FakeUpstream, Step

ATTEMPTS = 20
"""How often another port is tried, when one is free for UDP and taken for TCP."""

Address = tuple[str, int]


class _Host(Face):
    host: str
    port: int


class _Port(Face):
    """The part of a listening port that is used."""

    def getHost(self) -> _Host: ...
    def stopListening(self) -> Deferred[None] | None: ...


class _Datagrams(Face):
    def write(self, data: bytes, address: Address) -> None: ...


class _Stream(Face):
    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...


class Reactor(Face):
    """The part of a reactor that is used; Twisted's and the memory reactor have it."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall: ...
    def listenUDP(self, port: int, protocol: DatagramProtocol, interface: str, maxPacketSize: int) -> _Port: ...
    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int, interface: str) -> _Port: ...
    def listenSSL(
        self, port: int, factory: IProtocolFactory, contextFactory: object, backlog: int, interface: str
    ) -> _Port: ...


class _Steps:
    """Delayed steps."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._waiting: set[IDelayedCall] = set()

    def take(self, delay: float, call: Callable[[], None]) -> None:
        """Call now, or *delay* seconds later."""
        if delay <= 0:
            call()
            return

        def run() -> None:
            self._waiting.discard(waiting)
            call()

        waiting = self._reactor.callLater(delay, run)
        self._waiting.add(waiting)

    def cancel(self) -> None:
        for waiting in self._waiting:
            cast(_Cancellable, waiting).cancel()
        self._waiting.clear()


class _Cancellable(Face):
    def cancel(self) -> None: ...


class _Elsewhere(DatagramProtocol):
    """Another source address; data sent to it is ignored."""


class UpstreamDatagrams(DatagramProtocol):
    """
    The resolver over UDP.

    :ivar loop_to: where queries go that shall be asked back; the reply goes to the first asker.
    :ivar elsewhere: the port that replies with a wrong source are sent from.
    """

    def __init__(self, upstream: FakeUpstream, reactor: Reactor) -> None:
        self.upstream = upstream
        self.loop_to: Address | None = None
        self.elsewhere: _Elsewhere | None = None
        self._steps = _Steps(reactor)
        self._talkers: dict[bytes, Address] = {}

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """Answer, or relay the reply to a looped query."""
        source = cast(Address, addr)
        if source == self.loop_to and len(datagram) > 2 and datagram[2] & 0x80:
            if (asker := self._talkers.pop(datagram[:2], None)) is not None:
                self._write(self, datagram, asker)
            return
        for step in self.upstream.answer(datagram, "udp"):
            self._steps.take(step.delay, lambda step=step: self._do(step, source))  # type: ignore[misc]  # a default for a closure

    def _do(self, step: Step, asker: Address) -> None:
        if step.action is Action.SEND:
            self._write(self, step.message, asker)
        elif step.action is Action.SEND_FROM_ELSEWHERE:
            assert self.elsewhere is not None, "a server that shall send from elsewhere listens there"
            self._write(self.elsewhere, step.message, asker)
        elif step.action is Action.ASK_BACK and self.loop_to is not None:
            self._talkers[step.message[:2]] = asker
            self._write(self, step.message, self.loop_to)

    def _write(self, port: DatagramProtocol, message: bytes, address: Address) -> None:
        cast(_Datagrams, port.transport).write(message, address)

    def stopProtocol(self) -> None:
        """Unsent data is dropped."""
        self._steps.cancel()


class UpstreamStream(Int16StringReceiver):
    """One connection of the resolver, TCP or TLS, with a length before each message (RFC 1035 section 4.2.2)."""

    MAX_LENGTH = 0xFFFF

    def __init__(self, upstream: FakeUpstream, reactor: Reactor, name: str) -> None:
        self._upstream = upstream
        self._reactor = reactor
        self._name = name
        self._steps = _Steps(reactor)
        self._held: list[bytes] = []
        self._outgoing = bytearray()
        self._queries = 0
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        if self._upstream.tcp.hang_up_first:
            self._hang_up()

    def stringReceived(self, string: bytes) -> None:
        manners = self._upstream.tcp
        steps = self._upstream.answer(string, self._name)
        self._queries += 1
        if manners.hang_up_after and self._queries >= manners.hang_up_after:
            self._hang_up()
        elif not manners.mute:
            for step in steps:
                self._steps.take(step.delay, lambda step=step: self._do(step))  # type: ignore[misc]  # a default for a closure

    def _do(self, step: Step) -> None:
        if step.action is Action.HANG_UP:
            self._hang_up()
        elif step.action is not Action.ASK_BACK:
            self._held.append(step.message)
            if len(self._held) >= self._upstream.tcp.hold:
                for message in reversed(self._held):
                    self._send(message)
                self._held.clear()

    def _send(self, message: bytes) -> None:
        framed = len(message).to_bytes(2, "big") + message
        if not self._upstream.tcp.piece:
            self.stream().write(framed)
            return
        idle = not self._outgoing
        self._outgoing += framed
        if idle:
            self._send_piece()

    def _send_piece(self) -> None:
        size = self._upstream.tcp.piece or len(self._outgoing)
        piece = bytes(self._outgoing[:size])
        del self._outgoing[:size]
        self.stream().write(piece)
        if self._outgoing:
            # Not 0: each piece must be a separate segment on the wire.
            self._steps.take(1e-6, self._send_piece)

    def _hang_up(self) -> None:
        self.stream().loseConnection()

    def stream(self) -> _Stream:
        """The transport; present as long as steps are pending."""
        return cast(_Stream, self.transport)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted has a default here, and never uses it
        """Unsent data is dropped."""
        self._steps.cancel()
        self.lost.callback(None)


class UpstreamStreams(Factory[UpstreamStream]):
    """
    The resolver over TCP, or TLS, whichever *name* says: ``tcp`` or ``tls``.

    :ivar open: connections that are open now.
    :ivar accepted: how many there have been.
    """

    def __init__(self, upstream: FakeUpstream, reactor: Reactor, name: str = "tcp") -> None:
        self._upstream = upstream
        self._reactor = reactor
        self._name = name
        self.open: list[UpstreamStream] = []
        self.accepted = 0

    def buildProtocol(self, addr: IAddress | None) -> UpstreamStream:
        made = UpstreamStream(self._upstream, self._reactor, self._name)
        self.open.append(made)
        self.accepted += 1
        made.lost.addCallback(lambda _: self.open.remove(made))
        return made

    def drop(self, *, abruptly: bool = False) -> Deferred[None]:
        """
        End all connections, orderly or with a reset, like a restarted resolver.

        The Deferred fires when they are ended; an orderly end needs the other side.
        """
        waiting = []
        for connection in list(self.open):
            ended: Deferred[None] = Deferred()
            connection.lost.chainDeferred(ended)
            waiting.append(ended)
            stream = connection.stream()
            stream.abortConnection() if abruptly else stream.loseConnection()
        return gatherResults(waiting).addCallback(lambda _: None)


class UpstreamServer:
    """
    A fake upstream resolver that listens.

    :param identity: with it, TLS is offered on a port of its own; with *clients* to those with a certificate of that authority only.
    """

    def __init__(
        self,
        upstream: FakeUpstream,
        reactor: object,
        identity: Identity | None = None,
        clients: Authority | None = None,
    ) -> None:
        self.upstream = upstream
        self.reactor = cast(Reactor, reactor)
        self.datagrams = UpstreamDatagrams(upstream, self.reactor)
        self.streams = UpstreamStreams(upstream, self.reactor)
        self.secured = UpstreamStreams(upstream, self.reactor, "tls")
        self._options = None if identity is None else identity.server_options(clients)
        self._ports: dict[str, _Port] = {}
        self.address: Address = ("", 0)
        self.tls_address: Address = ("", 0)

    def start(self, interface: str = "127.0.0.1", port: int = 0) -> Address:
        """
        Listen, and return the address that UDP and TCP share; it stays the same when the server is started again.

        :raises CannotListenError: the address is in use.
        """
        port = port or (self.address[1] if self.address[0] == interface else 0)
        for attempt in range(1, ATTEMPTS + 1):
            datagrams = self.reactor.listenUDP(port, self.datagrams, interface, 65535)
            chosen = datagrams.getHost().port
            try:
                streams = self.reactor.listenTCP(chosen, cast(IProtocolFactory, self.streams), 50, interface)
            except CannotListenError:
                maybeDeferred(datagrams.stopListening)
                if port or attempt == ATTEMPTS:
                    raise
                self.datagrams = UpstreamDatagrams(self.upstream, self.reactor)
                continue
            self._ports |= {"udp": datagrams, "tcp": streams}
            self.address = interface, chosen
            break
        self.datagrams.elsewhere = _Elsewhere()
        self._ports["elsewhere"] = self.reactor.listenUDP(0, self.datagrams.elsewhere, interface, 65535)
        if self._options is not None:
            factory = cast(IProtocolFactory, self.secured)
            secured = self.reactor.listenSSL(self.tls_address[1], factory, self._options, 50, interface)
            self._ports["tls"] = secured
            self.tls_address = interface, secured.getHost().port
        return self.address

    def loop_to(self, address: Address) -> None:
        """Send queries back to *address* where an entry says so."""
        self.datagrams.loop_to = address

    def refuse(self, *transports: str) -> Deferred[None]:
        """Stop listening on *transports*: new connections are refused. Open ones stay; :meth:`UpstreamStreams.drop` ends them."""
        stopping = [maybeDeferred(self._ports.pop(name).stopListening) for name in transports if name in self._ports]
        return gatherResults(stopping).addCallback(lambda _: None)

    def stop(self) -> Deferred[None]:
        """Stop listening and close all connections; the Deferred fires when all is closed."""
        return gatherResults(
            [self.streams.drop(abruptly=True), self.secured.drop(abruptly=True), self.refuse(*self._ports)]
        ).addCallback(lambda _: None)
