# -*- test-case-name: tests.server.test_streams -*-
"""
DNS over a stream: TCP, and TLS above it (RFC 7766).

Queries on one connection are answered as they finish, not in the order they came. All connections share one deadline for a turn of the
reactor (:mod:`kdns.plugin.turns`), and each takes a short part of it at a time. A connection has a limited time for its first query, for
the pause between queries and for taking its replies. kdns stops reading from a client that asks faster than it is answered, or that does
not read.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from random import random
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.tcp import Server
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from kdns.core.metrics import Counter, Gauge
from kdns.core.request import Transport
from kdns.core.tally import Durations
from kdns.plugin.descriptors import client_connections
from kdns.plugin.proxied import ProxyRefused, StreamHeader
from kdns.plugin.seam import StreamTimeouts
from kdns.server.addresses import plain_address
from kdns.server.fairness import BUCKETS, GUARANTEED, bucket_of
from kdns.server.limits import table_bytes
from kdns.server.listener import Listener
from kdns.server.replay import observe
from kdns.server.table import AnswerTable

log = Logger(namespace="kdns.server")

LINGER = 0.5
"""Seconds in which a client may close the connection itself after it was told that nothing more comes."""

SLICE_SECONDS = 0.0005
"""How long the queries of one connection may take at a time; then it goes to the end of the queue."""

READ_SIZE = 16_384
"""Bytes read at a time, and held unanswered before kdns stops reading: 2,000 connections hold 32 MiB at most."""

LENGTHS = tuple(size.to_bytes(2, "big") for size in range(1024))
"""Length prefixes of most replies (RFC 1035 section 4.2.2)."""

MOST_AT_ONCE = 65_536
"""Bytes of replies that are sent in one piece, before it is seen whether the client takes them."""

UNREAD_BYTES = 524_288
"""
Bytes that may wait for a client that does not read; a tenth of the memory is for all of them.

Over TCP it is cut off with more. It is not read from any more, so that takes eight of the largest replies, to queries it had asked before.
"""

LEAST_UNREAD = 32

MOST_IN_FLIGHT = 64
"""Queries of one connection that may wait for their answers."""

ACCEPTED_AT_ONCE = 10
"""Connections accepted in one turn of the reactor, or 20 more: 5 ms. Twisted raises the number by itself each time there are many."""


class ClientConnection(Protocol):
    """A connection of a client, whatever it speaks, as far as its factory uses it."""

    factory: StreamFactory
    transport: Any  # ITCPTransport or a TLS transport; both have the methods used here

    def identify(self) -> None:
        """Note the client's address. With ``proxyproto`` a proxy names it before anything else is sent."""
        peer = self.transport.getPeer()
        self._client = plain_address(getattr(peer, "host", ""))
        self._port = getattr(peer, "port", 0)
        self._local = plain_address(getattr(self.transport.getHost(), "host", "::"))
        proxy = self.factory.listener.zones.proxy
        self._header: StreamHeader | None = None if proxy is None else proxy.stream(self._client)
        """Takes what a proxy says of the client."""

    @property
    def client(self) -> str:
        """The client's address; that of a proxy until it has named the client."""
        return self._client

    def without_header(self, data: bytes) -> bytes:
        """The bytes after a proxy's header; nothing as long as the header is not complete. It comes before TLS."""
        if self._header is None:
            return data
        try:
            found = self._header.received(data)
        except ProxyRefused as error:
            log.debug("connection from {client} closed: {error}", client=self._client, error=str(error))
            self._header = None
            self.close()
            return b""
        if found is None:
            return b""
        self._header = None
        origin, data = found
        if origin is not None:
            self._client, self._port, self._local = origin.client, origin.port, origin.local or self._local
        return data

    def finish(self, reading: bool = True) -> None:
        """See :meth:`StreamShell.finish`."""

    def close(self) -> None:
        """See :meth:`StreamShell.close`."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class StreamShell(ClientConnection, TimeoutMixin):
    """One connection."""

    def connectionMade(self) -> None:
        """Start the timeout of the first query."""
        self._buffer = b""
        self._replies: list[bytes] = []
        self._reply_bytes = 0
        self._in_flight = 0
        self._blocked = False
        """Whether the client does not take what was sent."""

        self._unread = 0
        """Bytes that were sent since then."""

        self._queued = False
        """Whether queries wait for a turn."""

        self._taking = False
        self._streams: deque[Iterator[bytes]] = deque()
        """Replies of several messages that are being sent."""

        self._streaming = False
        """Whether the next message of a stream waits for a turn."""

        self._reading = True
        self._half_closed = False
        """Whether the client will send nothing more."""

        self._finishing = False
        self._deaf = False
        self._closing = False
        self._ended = False
        self.identify()
        self.transport.bufferSize = READ_SIZE
        self._left = self.factory.timeouts.queries or sys.maxsize
        """Queries that the connection may still ask."""

        self.factory.joined(self)
        self.transport.registerProducer(self, True)
        self.setTimeout(self.factory.timeouts.read)

    def connectionLost(self, reason: Any = None) -> None:
        """Drop the answers that come from now on."""
        self._ended = True
        self.setTimeout(None)
        self._buffer = b""
        self._streams.clear()
        self.factory.left(self)

    def dataReceived(self, data: bytes) -> None:
        """Receive some bytes of queries, each with its length in front (RFC 1035 section 4.2.2)."""
        if self._closing:
            return  # the client wrote this before it read that nothing more comes
        if self._header is not None:
            data = self.without_header(data)
            if not data:
                return
        self._buffer += data
        self._wait_for_turn()
        if len(self._buffer) > READ_SIZE:
            self._read_or_pause()

    def readConnectionLost(self) -> None:
        """The client closed its sending half: it still gets the answers in flight."""
        self._half_closed = True
        if self._closing:
            self.transport.loseConnection()
        self._end_if_done()

    def writeConnectionLost(self) -> None:
        """kdns closes its sending half only in :meth:`_part`, which waits for the client."""

    def close(self) -> None:
        """Stop reading, and close the connection when the client has read everything or the write timeout is over."""
        if self._closing or self._ended:
            return
        self._closing = True
        # The transport would wait for more from a producer that it has paused.
        self.transport.unregisterProducer()
        self.setTimeout(self.factory.timeouts.write)
        self.transport.loseConnection()

    def finish(self, reading: bool = True) -> None:
        """
        End as soon as no answer is waited for.

        :param reading: whether to take queries until then; a client that waits for a slow answer may have sent more.
        """
        if self._closing or self._ended:
            return
        self._finishing = True
        if not reading:
            self._deaf = True
            self._read_or_pause()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._in_flight or self._blocked or self._taking or self._queued or self._closing or self._ended:
            return
        if self._half_closed:
            self.close()
        elif self._finishing:
            self._part()

    def _part(self) -> None:
        """
        Tell the client that nothing more comes, and let it close.

        If kdns closed while the client still writes, the kernel would reset the connection, and replies that the client has not read might
        be lost with it.
        """
        self._closing = True
        self.transport.unregisterProducer()
        self.setTimeout(LINGER)
        self.transport.resumeProducing()
        if isinstance(self.transport, TLSMemoryBIOProtocol):
            self.transport.loseConnection()  # TLS says so itself, and waits for the client to say it, too
        else:
            self.transport.loseWriteConnection()

    def _wait_for_turn(self) -> None:
        if not self._queued:
            self._queued = True
            self.factory.listener.context.turns.add(self._take_turn)

    def _take_turn(self, end: float) -> None:
        self._queued = False
        if self._ended or self._closing:
            return
        self._taking = True
        try:
            more = self._take_queries(end)
        finally:
            self._taking = False
        if more:
            self._wait_for_turn()
        self._read_or_pause()
        self._end_if_done()

    def _read_or_pause(self) -> None:
        """Read while queries can be answered and the client reads the answers."""
        if self._closing or self._ended:
            return
        full = self._queued and len(self._buffer) > READ_SIZE
        reading = not (
            self._blocked or self._deaf or self._half_closed or full or self._in_flight >= self.factory.most_in_flight
        )
        if reading and not self._reading:
            self.transport.resumeProducing()
        elif self._reading and not reading:
            self.transport.pauseProducing()
        self._reading = reading

    def _take_queries(self, end: float) -> bool:
        """
        Answer the queries that have come whole, until *end* or until this connection's slice is over.

        Replies from the answer table go out in one piece, and are counted once for all of them.

        :return: whether there are more that could be answered.
        """
        factory = self.factory
        listener, table, context = factory.listener, factory.table, factory.listener.context
        now = context.clock()
        until = min(end, now + SLICE_SECONDS)
        data, position, size = self._buffer, 0, len(self._buffer)
        prefix = listener.table_key(b"  ", self._client)
        told: list[tuple[Any, int, bytes]] = []
        durations: tuple[Durations, ...] = ()
        same = answered = given = 0
        sampled = (b"", b"")
        more = False
        left = self._left
        while position + 2 <= size and answered < left and not (self._ended or self._closing):
            if self._in_flight >= factory.most_in_flight or self._blocked:
                break
            begin = position + 2
            stop = begin + (data[position] << 8 | data[position + 1])
            if stop > size:
                break
            if answered and context.clock() >= until:
                more = True
                break
            position = stop
            answered += 1
            key = prefix + data[begin + 2 : stop]
            found = listener.replay.look(table, key, now) if stop - begin > 12 else None
            if found is None:
                self._ask(data[begin:stop], key)
                continue
            reply, tally, each = found
            self._append(data[begin : begin + 2], reply)
            given += 1
            if random() * given < 1.0:
                sampled = (key, reply)  # reservoir sampling: each reply has the same chance
            if tally.durations is durations:
                same += 1
            else:
                observe(durations, same, context.clock() - now)
                durations, same = tally.durations, 1
            if each:
                told.append((each, data[begin] << 8 | data[begin + 1], reply))
        if not self._ended:
            self._buffer = data[position:]
        if answered:
            self._left -= answered
            if not self._left:
                self._buffer = b""
                self.finish(reading=False)
            factory.limit.asked(self)
            if not self._blocked and not self._closing:
                self.setTimeout(factory.timeouts.idle)
        self._flush()
        if given and context.sample is not None:
            context.sample(*sampled, self._client, given)
        seconds = context.clock() - now
        observe(durations, same, seconds)
        for each, ident, reply in told:
            listener.replay.tell(each, self._client, self._port, ident, seconds, reply)
        return more

    def _ask(self, message: bytes, key: bytes) -> None:
        factory = self.factory
        if len(message) < 12 or message[2] & 0x80:
            # A message that cannot be a query gets no reply; it ends the connection (RFC 7766 section 8).
            self._flush()
            self.close()
            return
        self._in_flight += 1
        factory.listener.receive(
            message,
            factory.transport,
            self._client,
            self._port,
            self._local,
            self._answered,
            factory.table,
            key,
            self._stream,
        )

    def _answered(self, reply: bytes) -> None:
        self._in_flight -= 1
        if self._ended:
            return
        if reply:
            self._write(reply)
        if self._taking:
            return
        if self._buffer and not self._blocked and self._in_flight == self.factory.most_in_flight - 1:
            self._wait_for_turn()  # queries waited for this one to be answered
        self._read_or_pause()
        self._end_if_done()

    def _stream(self, first: bytes, rest: Iterator[bytes]) -> None:
        """Send a reply of several messages; the query is in flight until the last one is written."""
        if self._ended:
            return
        self._write(first)
        self._streams.append(rest)
        self._wait_to_stream()

    def _wait_to_stream(self) -> None:
        if self._streams and not self._streaming and not self._blocked:
            self._streaming = True
            self.factory.listener.context.turns.add(self._stream_some)

    def _stream_some(self, end: float) -> None:
        """Send one message of a stream; making it takes about a millisecond."""
        self._streaming = False
        if self._ended or self._closing or self._blocked or not self._streams:
            return
        stream = self._streams.popleft()
        try:
            message = next(stream, None)
        except Exception:
            log.failure("Making a reply of several messages failed; the connection is closed")
            self.transport.abortConnection()
            return
        if message is None:
            self._answered(b"")
        else:
            self._streams.append(stream)
            self._write(message)
        self._wait_to_stream()

    def _write(self, reply: bytes) -> None:
        """Send a reply; during a batch of queries it waits for the following replies."""
        self._append(reply[:2], reply[2:])
        if not self._taking:
            self._flush()

    def _append(self, ident: bytes, reply: bytes) -> None:
        size = len(reply) + 2
        self._replies += (LENGTHS[size] if size < len(LENGTHS) else size.to_bytes(2, "big"), ident, reply)
        self._reply_bytes += size
        if self._reply_bytes > MOST_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        replies, self._replies = self._replies, []
        size, self._reply_bytes = self._reply_bytes, 0
        if replies and not self._ended:
            self.transport.write(b"".join(replies))
            if self._blocked:
                self._unread += size
                if self._unread > UNREAD_BYTES:
                    self.factory.evict(self)

    # The connection as a producer of replies: the transport says when the client does not take them.

    def pauseProducing(self) -> None:
        """The client does not read: stop reading too, and wait for it as long as ``timeouts`` allows."""
        self._blocked = True
        self.setTimeout(self.factory.timeouts.write)
        self.factory.limit.reads(self, False)
        self._read_or_pause()

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._blocked = False
        self._unread = 0
        self.factory.limit.reads(self, True)
        self.setTimeout(self.factory.timeouts.idle)
        if self._buffer:
            self._wait_for_turn()
        self._wait_to_stream()
        self._read_or_pause()
        self._end_if_done()

    def stopProducing(self) -> None:
        self._ended = True

    def timeoutConnection(self) -> None:
        """The timeout is over. Waiting queries are still answered, unless the client does not read."""
        if self._blocked or self._closing:
            self.transport.abortConnection()
        elif self._in_flight:
            self.setTimeout(self.factory.timeouts.idle)
        else:
            self.close()

    def callLater(self, seconds: float, call: Any) -> Any:
        """The clock of :class:`TimeoutMixin`."""
        return self.factory.listener.context.reactor.callLater(seconds, call)


class PacedTransport(Server):
    """
    A connection's socket that is read and written only as long as the turn has time for it.

    epoll reports the socket again in the next turn. Sockets that were served are ready again behind those that were not, so all get on.
    """

    protocol: Any  # a shell of DNS, or TLS around one; the factory of either knows the listener

    def doRead(self) -> Any:
        """Read, or leave it to the next turn."""
        return super().doRead() if self.protocol.factory.listener.context.turns.io_allowed() else None

    def doWrite(self) -> Any:
        """Write, or leave it to the next turn."""
        return super().doWrite() if self.protocol.factory.listener.context.turns.io_allowed() else None


class ConnectionLimit:
    """
    The connections of all listeners of a process, in the order of their last queries.

    When there are too many, one gives way to a new one: of the clients with the most connections, if they have an eighth of all, the one
    that has asked nothing for longest; otherwise, of all. So a client that opens thousands closes its own.
    When too many clients do not read, the one that has not for longest is cut off: what they were sent waits in memory.

    :ivar most: how many there may be.
    :ivar most_unread: how many of them may have replies that wait to be read.
    """

    def __init__(self) -> None:
        self.most = client_connections()
        self.most_unread = max(LEAST_UNREAD, table_bytes() // UNREAD_BYTES)
        self._connections: dict[ClientConnection, None] = {}
        self._buckets: dict[ClientConnection, int] = {}
        self._held = [0] * BUCKETS
        self._unread: dict[ClientConnection, None] = {}

    def add(self, connection: ClientConnection) -> None:
        if len(self._connections) >= self.most:
            oldest = self._least_needed()
            self.remove(oldest)
            oldest.factory.evict(oldest)
        bucket = self._buckets[connection] = bucket_of(connection.client)
        self._held[bucket] += 1
        self._connections[connection] = None

    def asked(self, connection: ClientConnection) -> None:
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def remove(self, connection: ClientConnection) -> None:
        if connection in self._connections:
            del self._connections[connection]
            self._held[self._buckets.pop(connection)] -= 1
        self._unread.pop(connection, None)

    def _least_needed(self) -> ClientConnection:
        most = max(self._held)
        if most >= max(GUARANTEED, self.most // 8):
            bucket = self._held.index(most)
            return next(one for one in self._connections if self._buckets[one] == bucket)
        return next(iter(self._connections))

    def reads(self, connection: ClientConnection, reading: bool) -> None:
        """The client of a connection reads again, or does not."""
        if reading:
            self._unread.pop(connection, None)
        elif connection in self._connections:
            self._unread.setdefault(connection)
            if len(self._unread) > self.most_unread:
                oldest = next(iter(self._unread))
                self.remove(oldest)
                oldest.factory.evict(oldest)


class StreamFactory(ServerFactory):
    """All connections of one listener over one transport."""

    protocol: Any = StreamShell
    noisy = False

    spoken: tuple[bytes, ...] = ()
    """What is agreed on in a TLS handshake (RFC 7301), best first."""

    def __init__(
        self,
        listener: Listener,
        table: AnswerTable,
        transport: Transport = Transport.TCP,
        limit: ConnectionLimit | None = None,
    ) -> None:
        self.listener = listener
        self.table = table
        self.transport = transport
        self.limit = limit or ConnectionLimit()
        self.most_in_flight = MOST_IN_FLIGHT
        self.ports: list[Any] = []
        """The listening ports."""

        self._connections: set[ClientConnection] = set()
        registry = listener.context.registry
        self._open: Gauge = registry.gauge(
            "kdns_stream_connections", "Open connections of DNS clients.", ["server", "transport"]
        ).gauge(listener.label, transport.value)
        self._evicted: Counter = registry.counter(
            "kdns_stream_evictions_total",
            "Connections closed to make room for new ones.",
            ["server", "transport"],
        ).counter(listener.label, transport.value)

    @property
    def timeouts(self) -> StreamTimeouts:
        """The timeouts of the current configuration."""
        return self.listener.zones.timeouts

    def joined(self, connection: ClientConnection) -> None:
        self.limit.add(connection)
        self._connections.add(connection)
        self._open.value = len(self._connections)
        for port in self.ports:
            port.numberAccepts = ACCEPTED_AT_ONCE

    def evict(self, connection: ClientConnection) -> None:
        """Close a connection to make room for another."""
        self._evicted.value += 1
        self._connections.discard(connection)
        connection.transport.abortConnection()

    def left(self, connection: ClientConnection) -> None:
        self.limit.remove(connection)
        self._connections.discard(connection)
        self._open.value = len(self._connections)

    @property
    def empty(self) -> bool:
        """Whether no client is connected."""
        return not self._connections

    def finish_all(self, reading: bool = True) -> None:
        """End each connection as soon as it has no query in flight; see :meth:`StreamShell.finish`."""
        for connection in list(self._connections):
            connection.finish(reading)

    def close_all(self) -> None:
        """End each connection once its client has read everything."""
        for connection in list(self._connections):
            connection.close()
