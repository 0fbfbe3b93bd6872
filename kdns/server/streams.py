# -*- test-case-name: tests.server.test_streams -*-
"""
DNS over a stream: TCP, and TLS above it (RFC 7766).

Queries on one connection are answered as they finish, not in the order they came. A connection costs little and not for long: it has a
time for its first query, for the pause between queries and for taking its replies; one that asks faster than it is answered, or does not
read, is not read from either.
"""

from __future__ import annotations

from random import random
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.protocols.policies import TimeoutMixin
from zope.interface import implementer

from kdns.core.metrics import Counter, Gauge
from kdns.core.request import Transport
from kdns.core.tally import Durations
from kdns.server.addresses import plain_address
from kdns.server.listener import Listener
from kdns.server.replay import observe
from kdns.server.table import AnswerTable

FIRST_QUERY = 3.0
"""Seconds until the first query must have come whole."""

IDLE = 10.0
"""Seconds between queries."""

WRITE = 5.0
"""Seconds in which a client must take what was sent, or at least some of it."""

LINGER = 0.5
"""Seconds in which a client that was told that nothing more comes may end the connection itself."""

TURN_SECONDS = 0.001
"""How long the queries of one connection may take in one turn of the reactor; the rest waits for the next."""

LENGTHS = tuple(size.to_bytes(2, "big") for size in range(1024))
"""The lengths that stand in front of most replies (RFC 1035 section 4.2.2)."""

MOST_AT_ONCE = 65_536
"""Octets of replies that are sent in one piece; then it is seen whether the client takes them."""

MOST_IN_FLIGHT = 64
"""Queries of one connection that may wait for their answers."""

MOST_CONNECTIONS = 2000
"""Connections of one listener; the one that is idle longest gives way to a new one."""


ACCEPTED_AT_ONCE = 10
"""Connections accepted in one turn of the reactor, or 20 more: 5 ms. Left alone, Twisted takes yet 20 more each time there are many."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class StreamShell(Protocol, TimeoutMixin):
    """One connection."""

    factory: StreamFactory
    transport: Any  # ITCPTransport or a TLS transport; both have what is used here

    def connectionMade(self) -> None:
        """Start the clock of the first query."""
        self._buffer = b""
        self._replies: list[bytes] = []
        self._octets = 0
        self._in_flight = 0
        self._blocked = False
        self._taking = False
        self._later: Any = None
        self._said_all = False
        self._finishing = False
        self._deaf = False
        self._closing = False
        self._ended = False
        peer = self.transport.getPeer()
        self._client = plain_address(getattr(peer, "host", ""))
        self._port = getattr(peer, "port", 0)
        self._local = plain_address(getattr(self.transport.getHost(), "host", "::"))
        self.factory.joined(self)
        self.transport.registerProducer(self, True)
        self.setTimeout(self.factory.first_query)

    def connectionLost(self, reason: Any = None) -> None:
        """Answers that come now go nowhere."""
        self._ended = True
        self.setTimeout(None)
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._buffer = b""
        self.factory.left(self)

    def dataReceived(self, data: bytes) -> None:
        """Take in some octets of queries, each behind its length (RFC 1035 section 4.2.2)."""
        if self._closing:
            return  # it was told that nothing more comes, which it had not read when it wrote this
        self._buffer += data
        self._take_queries()

    def readConnectionLost(self) -> None:
        """The client has said all it will say, and still listens: it gets the answers that are under way."""
        self._said_all = True
        if self._closing:
            self.transport.loseConnection()
        self._end_if_done()

    def writeConnectionLost(self) -> None:
        """Only one end of the way to the client is ever closed by itself, and it is not this one."""

    def close(self) -> None:
        """Read no more, and end the connection when what was written has gone out, or when nobody takes it in time."""
        if self._closing or self._ended:
            return
        self._closing = True
        # A producer that was told to pause would keep the transport waiting for more.
        self.transport.unregisterProducer()
        self.setTimeout(self.factory.write)
        self.transport.loseConnection()

    def finish(self, reading: bool = True) -> None:
        """
        End as soon as nothing waits for an answer.

        :param reading: whether to take queries until then; who waits for a slow answer may have asked more.
        """
        if self._closing or self._ended:
            return
        self._finishing = True
        if not reading:
            self._deaf = True
            self.transport.pauseProducing()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._in_flight or self._blocked or self._taking or self._later is not None or self._closing or self._ended:
            return
        if self._said_all:
            self.close()
        elif self._finishing:
            self._part()

    def _part(self) -> None:
        """
        Tell the client that nothing more comes, and let it close.

        To close while it still writes would have the kernel reset the connection, and replies that it has not read might be lost with it.
        """
        self._closing = True
        self.transport.unregisterProducer()
        self.setTimeout(LINGER)
        self.transport.loseWriteConnection()
        self.transport.resumeProducing()

    def _take_queries(self) -> None:
        if self._taking or self._later is not None:
            return  # asked for by an answer that came at once: the loop below goes on anyway
        self._taking = True
        try:
            self._take_all()
        finally:
            self._taking = False

    def _take_all(self) -> None:
        """
        Answer the queries that have come whole, as long as a turn allows.

        What is in the answer table goes out in one piece, and is counted once for all of it.
        """
        factory = self.factory
        listener, table, context = factory.listener, factory.table, factory.listener.context
        now = context.clock()
        until = now + TURN_SECONDS
        octets, position, size = self._buffer, 0, len(self._buffer)
        family = b"\xff" if ":" in self._client else b""
        told: list[tuple[Any, int]] = []
        durations: tuple[Durations, ...] = ()
        same = answered = given = 0
        sampled = (b"", b"")
        more = False
        while position + 2 <= size and not (self._ended or self._closing):
            if self._in_flight >= factory.most_in_flight or self._blocked:
                self._read(False)
                break
            begin = position + 2
            end = begin + (octets[position] << 8 | octets[position + 1])
            if end > size:
                break
            if context.clock() >= until:
                # Somebody else's turn: a read brings up to 64 KiB, which is 2000 queries.
                more = True
                break
            position = end
            answered += 1
            key = family + octets[begin + 2 : end]
            found = listener.replay.look(table, key, now) if end - begin > 12 else None
            if found is None:
                self._ask(octets[begin:end], key)
                continue
            reply, tally, each = found
            self._append(octets[begin : begin + 2], reply)
            given += 1
            if random() * given < 1.0:
                sampled = (key, reply)  # each of them with the same chance, whoever came before
            if tally.durations is durations:
                same += 1
            else:
                observe(durations, same, context.clock() - now)
                durations, same = tally.durations, 1
            if each:
                told.append((each, octets[begin] << 8 | octets[begin + 1]))
        if not self._ended:
            self._buffer = octets[position:]
        if answered:
            factory.seen(self)
            if not self._blocked and not self._closing:
                self.setTimeout(factory.idle)
        self._flush()
        if given and context.sample is not None:
            context.sample(*sampled, self._client, given)
        seconds = context.clock() - now
        observe(durations, same, seconds)
        for each, ident in told:
            listener.replay.tell(each, self._client, self._port, ident, seconds)
        if more and not self._ended:
            self._read(False)
            self._later = context.reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """Take what had to wait for this turn."""
        self._later = None
        self._take_queries()
        if self._later is None and not self._blocked and self._in_flight < self.factory.most_in_flight:
            self._read(True)
        self._end_if_done()

    def _ask(self, message: bytes, key: bytes) -> None:
        factory = self.factory
        if len(message) < 12 or message[2] & 0x80:
            # No reply will come to what cannot be a query; it ends the connection (RFC 7766 section 8).
            self._flush()
            self.close()
            return
        self._in_flight += 1
        factory.listener.receive(
            message, factory.transport, self._client, self._port, self._local, self._answered, factory.table, key
        )

    def _answered(self, reply: bytes) -> None:
        self._in_flight -= 1
        if self._ended:
            return
        if reply:
            self._write(reply)
        if not self._blocked and self._in_flight == self.factory.most_in_flight - 1:
            self._read(True)
        self._end_if_done()

    def _write(self, reply: bytes) -> None:
        """Send a reply; while queries are taken, together with others."""
        self._append(reply[:2], reply[2:])
        if not self._taking:
            self._flush()

    def _append(self, ident: bytes, reply: bytes) -> None:
        size = len(reply) + 2
        self._replies += (LENGTHS[size] if size < len(LENGTHS) else size.to_bytes(2, "big"), ident, reply)
        self._octets += size
        if self._octets > MOST_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        replies, self._replies, self._octets = self._replies, [], 0
        if replies and not self._ended:
            self.transport.write(b"".join(replies))

    def _read(self, on: bool) -> None:
        if on:
            if self._later is not None or self._closing:
                return
            if not (self._said_all or self._deaf):
                self.transport.resumeProducing()
            if self._buffer:
                self._take_queries()
        else:
            self.transport.pauseProducing()

    # The connection as a producer of replies: the transport says when its client does not take them.

    def pauseProducing(self) -> None:
        """The client does not read: neither does kdns, and it has so long to go on."""
        self._blocked = True
        self.setTimeout(self.factory.write)
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._blocked = False
        self.setTimeout(self.factory.idle)
        if self._in_flight < self.factory.most_in_flight:
            self._read(True)
        self._end_if_done()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._ended = True

    def timeoutConnection(self) -> None:
        """The time is up: queries that wait are still answered, unless the client does not read."""
        if self._blocked or self._closing:
            self.transport.abortConnection()
        elif self._in_flight:
            self.setTimeout(self.factory.idle)
        else:
            self.close()

    def callLater(self, seconds: float, call: Any) -> Any:
        """:class:`TimeoutMixin`'s way to the clock."""
        return self.factory.listener.context.reactor.callLater(seconds, call)


class StreamFactory(ServerFactory):
    """All connections of one listener over one transport."""

    protocol: Any = StreamShell
    noisy = False

    def __init__(
        self,
        listener: Listener,
        table: AnswerTable,
        transport: Transport = Transport.TCP,
        most_connections: int = MOST_CONNECTIONS,
        most_in_flight: int = MOST_IN_FLIGHT,
    ) -> None:
        self.listener = listener
        self.table = table
        self.transport = transport
        self.most_connections = most_connections
        self.most_in_flight = most_in_flight
        self.first_query = FIRST_QUERY
        self.idle = IDLE
        self.write = WRITE
        self.ports: list[Any] = []
        """The listening ports, as far as they say how many connections they accept at once."""

        self._connections: dict[StreamShell, None] = {}
        registry = listener.context.registry
        self._open: Gauge = registry.gauge(
            "kdns_stream_connections", "Open connections of DNS clients.", ["server", "transport"]
        ).gauge(listener.label, transport.value)
        self._evicted: Counter = registry.counter(
            "kdns_stream_evictions_total",
            "Connections closed to make room for new ones.",
            ["server", "transport"],
        ).counter(listener.label, transport.value)

    def joined(self, connection: StreamShell) -> None:
        """Take a connection in; the one that asked least lately gives way when there are too many."""
        if len(self._connections) >= self.most_connections:
            self._evicted.value += 1
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.transport.abortConnection()
        self._connections[connection] = None
        self._open.value = len(self._connections)
        for port in self.ports:
            port.numberAccepts = ACCEPTED_AT_ONCE

    def seen(self, connection: StreamShell) -> None:
        """The connection asked something."""
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def left(self, connection: StreamShell) -> None:
        """The connection is closed."""
        self._connections.pop(connection, None)
        self._open.value = len(self._connections)

    @property
    def empty(self) -> bool:
        """Whether nobody is connected."""
        return not self._connections

    def finish_all(self, reading: bool = True) -> None:
        """Each connection ends as soon as nothing on it waits for an answer; see :meth:`StreamShell.finish`."""
        for connection in list(self._connections):
            connection.finish(reading)

    def close_all(self) -> None:
        """End all connections once what was written has gone out."""
        for connection in list(self._connections):
            connection.close()
