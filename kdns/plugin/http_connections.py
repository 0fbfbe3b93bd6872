# -*- test-case-name: tests.plugin.test_http_connections -*-
"""
Connections to HTTP pages: how many there may be, how long each may take, and when its requests are answered.

twisted.web answers all requests of one read at once, whether or not the client takes the replies, and starts its timeout again with each
line of a request. So three parts stand around it:

* :class:`Connections` bounds how many are open. Clients on this host have places of their own, so a probe never waits behind strangers.
* :class:`Connection` hands over what it reads when its turn has come, and ends when its time is up.
* :class:`Reply` sends one response in pieces, as the client takes them. The next request is answered when it has been sent.
"""

from __future__ import annotations

from collections import Counter as Count
from ipaddress import ip_address
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import Request
from zope.interface import implementer

from kdns.core.metrics import Counter
from kdns.core.timing import Clock, Timer, stop_timer
from kdns.plugin.descriptors import page_connections
from kdns.plugin.turns import Lane, TurnQueue

REQUEST_SECONDS = 5.0
"""From the connection, or from the last response, until a request has come whole."""

RESPONSE_SECONDS = 30.0
"""From the request until its response has been sent."""

PIECE = 16_384
"""Bytes read at a time, and written before it is seen whether the client takes them."""

ACCEPTED_AT_ONCE = 10
"""Connections accepted in one turn of the reactor, or 20 more; Twisted raises the number by itself each time there are many."""


class Connection(ProtocolWrapper):
    """One connection, outside of its TLS and HTTP; both see it as their transport."""

    factory: Connections
    transport: Any  # ITCPTransport

    def makeConnection(self, transport: Any) -> None:
        """Start the time of the first request."""
        self._held = b""
        self._paused = False
        self._timer: Timer | None = None
        self.client = transport.getPeer().host
        # A connection within a host has one address at both ends, unless it chose another; and the loopback is nowhere else.
        self.local = self.client == transport.getHost().host or ip_address(self.client.partition("%")[0]).is_loopback
        self.lane = Lane.PROBES if self.local else Lane.PAGES
        transport.bufferSize = PIECE
        self._timer = self.factory.reactor.callLater(REQUEST_SECONDS, transport.abortConnection)
        super().makeConnection(transport)

    def limit(self, seconds: float) -> None:
        """End the connection after *seconds*, unless another limit is set before."""
        stop_timer(self._timer)
        self._timer = self.factory.reactor.callLater(seconds, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """Hold what came until its turn: a request, or a step of a TLS handshake, takes some tenths of a millisecond."""
        self._held += data
        self.transport.pauseProducing()
        self.factory.turns.add(self._deliver, self.lane)

    def _deliver(self, end: float) -> None:
        data, self._held = self._held, b""
        if data:
            super().dataReceived(data)
            if not self._paused:
                self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """HTTP takes no more for now."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """HTTP takes more."""
        self._paused = False
        if not self._held:
            self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Drop what was held."""
        self._held = b""
        stop_timer(self._timer)
        super().connectionLost(reason)


class Connections(WrappingFactory):
    """
    The connections of one listener.

    When too many are open, the client with the most of them loses its oldest. A quarter of the places is for clients on this host.

    :param evicted: counts connections that were closed to make room.
    """

    noisy = False
    protocol = Connection
    protocols: dict[Connection, int]

    def __init__(self, wrapped: Any, reactor: Clock, turns: TurnQueue, evicted: Counter) -> None:
        super().__init__(wrapped)
        self.reactor = reactor
        self.turns = turns
        self.port: Any = None
        """The listening port."""

        most = page_connections()
        self._most = {True: most // 4, False: most - most // 4}
        self._evicted = evicted

    def registerProtocol(self, p: Connection) -> None:
        """Take in a connection, oldest first; see the class about those that make room for it."""
        rivals = [connection for connection in self.protocols if connection.local is p.local]
        if len(rivals) >= self._most[p.local]:
            self._evict(rivals)
        super().registerProtocol(p)
        if self.port is not None:
            self.port.numberAccepts = ACCEPTED_AT_ONCE

    def _evict(self, connections: list[Connection]) -> None:
        clients = Count(connection.client for connection in connections)
        most = max(clients.values())
        oldest = next(connection for connection in connections if clients[connection.client] == most)
        del self.protocols[oldest]
        self._evicted.value += 1
        oldest.transport.abortConnection()

    def unregisterProtocol(self, p: Connection) -> None:
        """Forget a connection that ended; one that was evicted is forgotten already."""
        self.protocols.pop(p, None)


@implementer(IPushProducer)
class Reply:
    """
    The response to one request: sent in pieces, one in each turn, as long as the client takes them.

    :param seconds: from now until it has been sent.
    """

    def __init__(self, request: Request, turns: TurnQueue, seconds: float = RESPONSE_SECONDS) -> None:
        self._request = request
        self._turns = turns
        self._rest = memoryview(b"")
        self._sending = self._paused = self._queued = False
        self.gone = False
        """Whether the client closed the connection."""

        connection: Any = request.channel.transport
        while not isinstance(connection, Connection):  # TLS may be in between
            connection = connection.transport
        self._connection: Connection = connection
        connection.limit(seconds)
        request.notifyFinish().addErrback(self._lost)

    def _lost(self, reason: Failure) -> None:
        self.gone = True

    def send(self, body: bytes) -> None:
        """Begin to send; status and headers have been set."""
        if self.gone:
            return
        self._rest = memoryview(body)
        self._request.registerProducer(self, True)
        self._queue()

    def _queue(self) -> None:
        if not self._queued:
            self._queued = True
            self._turns.add(self._send_piece, self._connection.lane)

    def _send_piece(self, end: float) -> None:
        self._queued = False
        if self.gone or self._paused:
            return
        if self._rest:
            piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
            self._request.write(bytes(piece))
        if self._paused:
            return
        if self._rest:
            self._queue()
            return
        self._request.unregisterProducer()
        # Before the end of this one, because it may have twisted.web begin with the next.
        self._connection.limit(REQUEST_SECONDS)
        self._request.finish()

    def pauseProducing(self) -> None:
        """The client does not take what was written."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client takes more."""
        self._paused = False
        self._queue()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.gone = True
