# -*- test-case-name: tests.plugins.forward.test_stream -*-
"""
A connection to an upstream that carries many queries at once (RFC 7766 section 6.2.1.1). A shell of *forward*.

Each query on it has an identifier of its own, so replies may come in any order. Which connection carries which query, and when one is
closed for want of work, is pool.py's business.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from OpenSSL.SSL import Error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.plugins.forward.failures import ExchangeFailed, PooledConnectionClosed

MOST_PIPELINED = 256
"""Queries under way on one connection."""


@implementer(IHandshakeListener)
class StreamConnection(Protocol):
    """
    Messages with their length before them, both ways (RFC 1035 section 4.2.2).

    :ivar established: fires when queries can be sent; fails when it comes to nothing.
    :ivar born: when it was established.
    :ivar idle_since: when the last query on it ended.
    :ivar retired: no more queries are put on it.
    :ivar replies: messages that came over it.
    """

    def __init__(self, protocol: str, upstream: str, seconds: Callable[[], float], chance: Random, tls: bool) -> None:
        self.established: Deferred[None] = Deferred(lambda _: self.abort())
        self.born = self.idle_since = seconds()
        self.retired = False
        self.closed = False
        self.replies = 0
        self.pending: dict[int, Deferred[bytes]] = {}
        self.on_idle: Callable[[StreamConnection], None] | None = None
        self.on_close: Callable[[StreamConnection], None] | None = None
        self.unexpected: Callable[[], None] | None = None
        self._protocol = protocol
        self._upstream = upstream
        self._seconds = seconds
        self._chance = chance
        self._tls = tls
        self._buffer = b""

    @property
    def source(self) -> str:
        """The local address, as errors show it."""
        transport: Any = self.transport
        if transport is None:
            return ""
        host = transport.getHost()
        return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"

    @property
    def usable(self) -> bool:
        """Whether one more query may be put on it."""
        return not (self.retired or self.closed) and len(self.pending) < MOST_PIPELINED

    def free_ident(self) -> int:
        """An identifier that no query under way on this connection has."""
        ident = self._chance.getrandbits(16)
        while ident in self.pending:
            ident = self._chance.getrandbits(16)
        return ident

    def ask(self, ident: int, message: bytes) -> Deferred[bytes]:
        """
        Send a query; fires with the reply that has its identifier.

        Cancelling it forgets the query; its reply, if it comes, is dropped.
        """

        def forget(_: Deferred[bytes]) -> None:
            self.pending.pop(ident, None)
            self._rest()

        reply: Deferred[bytes] = Deferred(forget)
        transport: Any = self.transport
        if self.closed or transport is None:
            reply.errback(PooledConnectionClosed(self._closed_text()))
            return reply
        self.pending[ident] = reply
        transport.write(len(message).to_bytes(2, "big") + message)
        return reply

    def retire(self) -> None:
        """Put no more queries on it, and close it when those under way have ended."""
        self.retired = True
        self._rest()

    def abort(self) -> None:
        """Close it at once."""
        self.retired = True
        if self.transport is not None:
            self.transport.abortConnection()

    def connectionMade(self) -> None:
        """The other end took the connection; with TLS, the handshake begins."""
        if not self._tls:
            self._establish()

    def handshakeCompleted(self) -> None:
        """The certificate is good."""
        self._establish()

    def _establish(self) -> None:
        self.born = self.idle_since = self._seconds()
        if not self.established.called:
            self.established.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Cut the octets into messages and give each to who waits for it."""
        buffer = self._buffer + data if self._buffer else data
        position, size = 0, len(buffer)
        while position + 2 <= size:
            end = position + 2 + (buffer[position] << 8 | buffer[position + 1])
            if end > size:
                break
            self._message(buffer[position + 2 : end])
            position = end
        self._buffer = buffer[position:]
        self._rest()

    def _message(self, message: bytes) -> None:
        self.replies += 1
        ident = message[0] << 8 | message[1] if len(message) >= 2 else -1
        reply = self.pending.pop(ident, None)
        if reply is not None:
            reply.callback(message)
        elif self.unexpected is not None:
            self.unexpected()

    def _rest(self) -> None:
        if self.pending or self.closed:
            return
        self.idle_since = self._seconds()
        if self.retired:
            self._close()
        elif self.on_idle is not None:
            self.on_idle(self)

    def _close(self) -> None:
        transport: Any = self.transport
        if transport is None:
            return
        transport.loseConnection()
        if self._tls:
            # The TLS transport waits for the other end's farewell, for ever if need be; its TCP transport does not.
            transport.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Whoever waits on it hears that it is gone."""
        self.closed = True
        text = self._closed_text()
        if not self.established.called:
            self.established.errback(ExchangeFailed(_handshake_text(self._upstream, reason) if self._tls else text))
        pending, self.pending = self.pending, {}
        for reply in pending.values():
            # One that worked before may have been closed before the query arrived: that says nothing of the upstream.
            kind = PooledConnectionClosed if self.replies else ExchangeFailed
            if not reply.called:
                reply.errback(kind(text))
        if self.on_close is not None:
            self.on_close(self)

    def _closed_text(self) -> str:
        return f"read {self._protocol} {self._upstream}: EOF"


def _handshake_text(upstream: str, reason: Failure) -> str:
    problem: Any = reason.value
    detail = reason.getErrorMessage()
    if isinstance(problem, Error) and problem.args and problem.args[0]:
        detail = "; ".join(str(part[-1]) for part in problem.args[0])  # (library, function, what is wrong) each
    return f"tls handshake with {upstream}: {detail}"


class StreamFactory(Factory):
    """Makes the one connection of a dial."""

    noisy = False

    def __init__(self, connection: StreamConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> StreamConnection:
        """Hand the connection out."""
        return self._connection
