# -*- test-case-name: tests.server.test_https -*-
"""
Connections of clients that speak HTTP, as DNS over HTTPS and gRPC do: turns, time, and the way of a query.

What a connection may hold is bounded: bytes that are not read yet, bodies of requests, queries in flight, replies that the client does not
take. What it may cost the others is bounded by turns, as for TCP (:mod:`kdns.server.streams`): it is fed some hundred bytes at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.protocols.policies import TimeoutMixin
from zope.interface import implementer

from kdns.core.request import Transport
from kdns.server.streams import LINGER, READ_SIZE, SLICE_SECONDS, ClientConnection, ConnectionLimit, StreamFactory
from kdns.wire.query import read_query

PIECE = 512
"""Bytes that a protocol is fed at a time. The requests in them are answered one by one, as long as the turn has time."""


class HttpProtocol(Protocol):
    """A version of HTTP, without input and output."""

    waiting: bool
    """Whether no more is taken before a response is sent."""

    unsent: int
    """Bytes of responses for which the client has no room."""

    @property
    def more(self) -> bool:
        """Whether something that was received waits for a turn."""

    @property
    def partial(self) -> bool:
        """Whether a request has come in part."""

    def received(self, data: bytes) -> None: ...

    def resume(self) -> None:
        """Continue with what was received before."""

    def flush(self) -> None:
        """Send what waits."""

    def finish(self) -> None:
        """Take no further requests."""


@implementer(IPushProducer)
class HttpShell(ClientConnection, TimeoutMixin):
    """One connection; subclasses say what is spoken on it, and what requests and replies look like."""

    factory: HttpFactory
    most_streams = 250
    """Requests of one connection at a time, as in Go's servers."""

    def connectionMade(self) -> None:
        """Start the time of the handshake and the first request."""
        self._buffer = b""
        self._http: HttpProtocol | None = None
        self._in_flight = 0
        self._blocked = False
        """Whether the client does not take what was sent."""

        self._queued = self._taking = False
        self._until = 0.0
        """When the turn ends that the connection has."""

        self._reading = True
        self.finishing = False
        """Whether the connection ends when what was asked is answered."""

        self._closing = self._ended = False
        self._stage = ""
        self.identify()
        self.factory.joined(self)
        self.transport.registerProducer(self, True)
        self._set_stage("request")

    def connectionLost(self, reason: Any = None) -> None:
        """Answers that come from now on are dropped."""
        self._ended = True
        self.setTimeout(None)
        self._buffer = b""
        self._http = None
        self.factory.left(self)

    def dataReceived(self, data: bytes) -> None:
        """Take in some bytes; they wait for a turn."""
        data = b"" if self._closing else self.without_header(data)
        if not data:
            return
        if self._http is None:
            self._http = self.speak(getattr(self.transport, "negotiatedProtocol", None))
        self._buffer += data
        self.wait_for_turn()
        if len(self._buffer) > READ_SIZE:
            self._read_or_pause()

    # Turns

    def wait_for_turn(self) -> None:
        """Go on with what has come, when it is this connection's turn."""
        if not self._queued:
            self._queued = True
            self.factory.listener.context.turns.add(self._take_turn)

    def _take_turn(self, end: float) -> None:
        self._queued = False
        if self._ended or self._closing or self._http is None:
            return
        clock = self.factory.listener.context.clock
        self._until = min(end, clock() + SLICE_SECONDS)
        self._taking = True
        try:
            self._http.resume()
            while self._buffer and self.goes_on:
                piece, self._buffer = self._buffer[:PIECE], self._buffer[PIECE:]
                self._http.received(piece)
        finally:
            self._taking = False
        if (self._buffer or (self._http is not None and self._http.more)) and self._ready():
            self.wait_for_turn()
        self._after()

    @property
    def goes_on(self) -> bool:
        """Whether more may be taken in this turn."""
        return self._ready() and self.factory.listener.context.clock() < self._until

    def _ready(self) -> bool:
        """Whether the protocol takes more."""
        http = self._http
        return http is not None and not (self._blocked or self._ended or self._closing or http.waiting)

    def _after(self) -> None:
        """What came was taken, or something was answered: read on or not, and set the time."""
        if self._ended or self._closing or self._http is None:
            return
        self._http.flush()
        self._read_or_pause()
        if self.finishing and not (self._in_flight or self._queued or self._http.unsent or self._blocked):
            self.part()
        elif self._blocked or self._http.unsent:
            self._set_stage("write")
        elif self._in_flight:
            self._set_stage("answer")
        else:
            self._set_stage("request" if self._http.partial or self._buffer else "idle")

    def _read_or_pause(self) -> None:
        if self._closing or self._ended:
            return
        reading = not self._blocked and len(self._buffer) <= READ_SIZE
        if reading and not self._reading:
            self.transport.resumeProducing()
        elif self._reading and not reading:
            self.transport.pauseProducing()
        self._reading = reading

    # Requests

    def speak(self, negotiated: bytes | None) -> HttpProtocol:
        """
        The protocol of the connection.

        :param negotiated: what the TLS handshake agreed on.
        """
        raise NotImplementedError

    def answer(self, number: int, reply: bytes, refused: bool) -> None:
        """
        Respond to a request that :meth:`ask` took.

        :param reply: empty where the server block says nothing.
        :param refused: whether no plugin saw the query; *reply* says why.
        """
        raise NotImplementedError

    def asked(self) -> None:
        """A request is complete: the connection is in use, and the next request has its own time. The time to take responses goes on."""
        if self._stage != "write":
            self._stage = ""
        self.factory.limit.asked(self)
        self.factory.own_limit.asked(self)

    def ask(self, number: int, message: bytes) -> None:
        """Answer a query of at least 12 bytes from the answer table, else ask the listener."""
        factory = self.factory
        listener = factory.listener
        key = listener.table_key(message, self._client)
        now = listener.context.clock()
        ident = message[0] << 8 | message[1]
        given = listener.replay.at_hand(factory.table, key, ident, self._client, self._port, now)
        if given is not None:
            self.answer(number, message[:2] + given, False)
            return
        self._in_flight += 1
        respond = partial(self._answered, number, isinstance(read_query(message), bytes))
        listener.receive(message, factory.transport, self._client, self._port, self._local, respond, factory.table, key)

    def _answered(self, number: int, refused: bool, reply: bytes) -> None:
        self._in_flight -= 1
        if self._ended or self._closing:
            return
        self.answer(number, reply, refused)
        if not self._taking:
            self._after()

    @property
    def blocked(self) -> bool:
        """Whether the client does not read."""
        return self._blocked

    def progressed(self) -> None:
        """The client has taken a whole response: the time for the others begins again."""
        self._stage = ""

    @property
    def full(self) -> bool:
        """Whether there are as many queries in flight as may be, those of cancelled streams included."""
        return self._in_flight >= self.most_streams

    def write(self, data: bytes) -> None:
        """Send bytes of the protocol."""
        if data and not self._ended:
            self.transport.write(data)

    # The end

    def close(self) -> None:
        """See :meth:`StreamShell.close`."""
        if not (self._closing or self._ended):
            self._end(self.factory.timeouts.write)
            self.transport.loseConnection()

    def part(self) -> None:
        """Close when the client has: a reset would take responses with it that the client has not read."""
        if self._closing or self._ended:
            return
        self._end(LINGER)
        self.transport.resumeProducing()
        if hasattr(self.transport, "negotiatedProtocol"):
            self.transport.loseConnection()  # TLS says so itself, and waits for the client to say it, too
        else:
            self.transport.loseWriteConnection()

    def _end(self, seconds: float) -> None:
        self._closing = True
        if self._http is not None:
            self._http.flush()
        self.transport.unregisterProducer()
        self.setTimeout(seconds)

    def finish(self, reading: bool = True) -> None:
        """See :meth:`StreamShell.finish`."""
        if self._closing or self._ended or self.finishing:
            return
        self.finishing = True
        if self._http is None:
            self.close()
        else:
            self._http.finish()
            self._after()

    # Time

    def _set_stage(self, stage: str) -> None:
        """Time runs from the beginning of a stage: bytes that trickle in do not begin it again."""
        if stage != self._stage:
            self._stage = stage
            self.factory.limit.reads(self, stage != "write")
            times = self.factory.timeouts
            seconds = {"request": times.read, "write": times.write, "answer": None, "idle": times.idle}[stage]
            self.setTimeout(seconds)  # an answer has a deadline of its own

    def timeoutConnection(self) -> None:
        """The time is over."""
        if self._blocked or self._closing or (self._http is not None and self._http.unsent):
            self.transport.abortConnection()
        else:
            if self._http is not None:
                self._http.finish()
            self.close()

    def callLater(self, seconds: float, call: Callable[[], object]) -> Any:
        """:class:`TimeoutMixin`'s way to the clock."""
        return self.factory.listener.context.reactor.callLater(seconds, call)

    # The connection as a producer of replies: the transport says when the client does not take them.

    def pauseProducing(self) -> None:
        """The client does not read."""
        self._blocked = True
        if not self._taking:
            self._after()

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._blocked = False
        self.wait_for_turn()
        if not self._taking:
            self._after()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._ended = True


class HttpFactory(StreamFactory):
    """All connections of one listener."""

    def __init__(self, listener: Any, table: Any, transport: Transport, limit: ConnectionLimit | None = None) -> None:
        super().__init__(listener, table, transport, limit)
        self.own_limit = ConnectionLimit()
        self._process_most = self.own_limit.most

    def joined(self, connection: ClientConnection) -> None:
        """Add a connection; the configuration limits their number."""
        self.own_limit.most = self.listener.zones.limits.connections or self._process_most
        self.own_limit.add(connection)
        super().joined(connection)

    def left(self, connection: ClientConnection) -> None:
        """The connection is closed."""
        self.own_limit.remove(connection)
        super().left(connection)
