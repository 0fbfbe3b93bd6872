# -*- test-case-name: tests.server.test_https -*-
"""
DNS over HTTPS (RFC 8484): connections that speak HTTP/2 or HTTP/1.1, as the TLS handshake says.

The protocols are those of h2 and h11, which do no input or output of their own. What a connection may hold is bounded: bytes that are not
read yet, bodies of requests, queries in flight, replies that the client does not take. What it may do to the others is bounded by turns, as
for TCP (:mod:`kdns.server.streams`): it is fed some hundred bytes at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h11
from hyperframe.frame import GoAwayFrame
from twisted.internet.interfaces import IPushProducer
from twisted.protocols.policies import TimeoutMixin
from zope.interface import implementer

from kdns.core.request import Transport
from kdns.server.doh import BAD_REQUEST, MOST_BODY, NO_RESPONSE, STATUSES, Response, date, message_of, response_of
from kdns.server.streams import LINGER, READ_SIZE, SLICE_SECONDS, ClientConnection, ConnectionLimit, StreamFactory
from kdns.wire.constants import RCODE_MASK, SERVFAIL
from kdns.wire.query import read_query

PIECE = 512
"""Bytes that a protocol is fed before the clock is looked at: a dozen requests of HTTP/2, which take about a millisecond."""

MOST_STREAMS = 250
"""Requests of one connection at a time, as in Go's servers."""

MOST_HEADERS = 16_384
"""Bytes of the headers of a request."""

MOST_UNSENT = 262_144
"""Bytes of replies for which a client's HTTP/2 windows have no room; with more, its requests are refused."""

MOST_RESETS = 100
"""Requests that a connection may take back beyond those that were answered: a client makes work with each, and pays nothing for it."""

MOST_NOISE = 1000
"""Frames in a row that belong to no request."""

REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 500: b"Internal Server Error"}


@implementer(IPushProducer)
class HttpsShell(ClientConnection, TimeoutMixin):
    """One connection."""

    factory: HttpsFactory

    def connectionMade(self) -> None:
        """Start the time of the handshake and the first request."""
        self._buffer = b""
        self._http: _Http1 | _Http2 | None = None
        self._in_flight = 0
        self._blocked = False
        """Whether the client does not take what was sent."""

        self._queued = self._taking = False
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
            protocol = getattr(self.transport, "negotiatedProtocol", None)
            self._http = _Http2(self) if protocol == b"h2" else _Http1(self)
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
        until = min(end, clock() + SLICE_SECONDS)
        self._taking = True
        try:
            self._http.resume()
            while self._buffer and self._ready():
                piece, self._buffer = self._buffer[:PIECE], self._buffer[PIECE:]
                self._http.received(piece)
                if clock() >= until:
                    break
        finally:
            self._taking = False
        if self._buffer and self._ready():
            self.wait_for_turn()
        self._after()

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

    def asked(self, number: int, method: bytes, target: bytes, body: bytes) -> None:
        """A request has come whole."""
        factory = self.factory
        self._stage = ""  # the next request has its own time
        factory.limit.asked(self)
        factory.own_limit.asked(self)
        message = message_of(method, target, body)
        if not isinstance(message, bytes):
            self._respond(number, message)
        elif len(message) < 12 or message[2] & 0x80:
            self._respond(number, BAD_REQUEST)
        else:
            self._ask(number, message)

    def _ask(self, number: int, message: bytes) -> None:
        factory = self.factory
        listener = factory.listener
        key = listener.table_key(message, self._client)
        now = listener.context.clock()
        ident = message[0] << 8 | message[1]
        given = listener.replay.at_hand(factory.table, key, ident, self._client, self._port, now)
        if given is not None:
            self._respond(number, response_of(message[:2] + given))
            return
        self._in_flight += 1
        respond = partial(self._answered, number, isinstance(read_query(message), bytes))
        listener.receive(message, factory.transport, self._client, self._port, self._local, respond, factory.table, key)

    def _answered(self, number: int, refused: bool, reply: bytes) -> None:
        """
        :param refused: whether no plugin saw the query. CoreDNS has a status for that in place of a reply.
        """
        self._in_flight -= 1
        if self._ended or self._closing:
            return
        if not reply:
            self._respond(number, NO_RESPONSE)
        elif refused and reply[3] & RCODE_MASK != SERVFAIL:
            self._respond(number, BAD_REQUEST)
        else:
            self._respond(number, response_of(reply))
        if not self._taking:
            self._after()

    def _respond(self, number: int, response: Response) -> None:
        if self._http is not None:
            self.factory.responses[response.status].value += 1
            self._http.respond(number, response)

    @property
    def full(self) -> bool:
        """Whether there are as many queries in flight as may be, those of streams that were taken back included."""
        return self._in_flight >= MOST_STREAMS

    def date(self) -> bytes:
        """The header of that name, for now."""
        return date(int(self.factory.listener.context.wall()))

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
        if self._buffer:
            self.wait_for_turn()
        if not self._taking:
            self._after()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._ended = True


class _Http1:
    """One request at a time; others wait unread (RFC 9112 section 9.3.2)."""

    unsent = 0

    def __init__(self, shell: HttpsShell) -> None:
        self._shell = shell
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADERS)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self.waiting = False
        """Whether a request waits for its response."""

    @property
    def partial(self) -> bool:
        """Whether a request has come in part."""
        return self._request is not None or bool(self._http.trailing_data[0])

    def flush(self) -> None:
        """Nothing waits: all is written at once."""

    def finish(self) -> None:
        """Each response that comes now says that it is the last."""

    def received(self, data: bytes) -> None:
        """Some bytes."""
        self._http.receive_data(data)
        self.resume()

    def resume(self) -> None:
        """Go on with what has come."""
        try:
            while not self.waiting:
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    if self._http.they_are_waiting_for_100_continue:
                        go_on = h11.InformationalResponse(status_code=100, headers=[])
                        self._shell.write(self._http.send(go_on) or b"")
                    return
                self._happened(event)
        except h11.RemoteProtocolError:
            self._refuse()

    def _happened(self, event: Any) -> None:
        if isinstance(event, h11.Request):
            self._request = event
            self._body.clear()
        elif isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > MOST_BODY:
                self._refuse()
        elif isinstance(event, h11.EndOfMessage):
            assert self._request is not None, "a message begins with it"
            self.waiting = True
            self._shell.asked(0, self._request.method, self._request.target, bytes(self._body))
        elif isinstance(event, h11.ConnectionClosed):
            self.waiting = True
            self._shell.part()

    def _refuse(self) -> None:
        """What came is no request: say so if that is still possible, and end."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._shell.factory.responses[400].value += 1
            self.respond(0, BAD_REQUEST, last=True)
        self.waiting = True
        self._shell.part()

    def respond(self, number: int, response: Response, last: bool = False) -> None:
        """Send the response to the request that waits."""
        http, shell = self._http, self._shell
        headers = [*response.headers, (b"date", shell.date())]
        if last or shell.finishing:
            headers.append((b"connection", b"close"))
        reason = REASONS[response.status]
        data = http.send(h11.Response(status_code=response.status, headers=headers, reason=reason)) or b""
        if self._request is None or self._request.method != b"HEAD":
            data += http.send(h11.Data(response.body)) or b""
        data += http.send(h11.EndOfMessage()) or b""
        shell.write(data)
        self._request = None
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            self.waiting = False
            if http.trailing_data[0]:
                shell.wait_for_turn()
        else:
            shell.part()


class _Http2:
    """Many requests at once, each a stream (RFC 9113)."""

    waiting = False

    def __init__(self, shell: HttpsShell) -> None:
        self._shell = shell
        self._requests: dict[int, tuple[bytes, bytes, bytearray]] = {}
        """Those that have come in part."""

        self._heads: set[int] = set()
        """Streams whose request is HEAD: their responses have no body."""

        self._unsent: dict[int, bytes] = {}
        self.unsent = 0
        """Bytes for which the client's windows have no room."""

        self._answered = self._resets = self._noise = 0
        self._last = 0
        self._gone = False
        """Whether the client was told to take its further requests elsewhere."""

        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        codes = h2.settings.SettingCodes
        http.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: MOST_STREAMS,
                codes.MAX_HEADER_LIST_SIZE: MOST_HEADERS,
                codes.INITIAL_WINDOW_SIZE: MOST_BODY + 1,
            },
        )
        http.decoder.max_header_list_size = MOST_HEADERS
        http.initiate_connection()
        # Room is given back when a request is complete, so bodies of one connection take 128 KiB at most.
        http.increment_flow_control_window(MOST_BODY)
        self._http = http

    @property
    def partial(self) -> bool:
        """Whether a request has come in part."""
        return bool(self._requests)

    def resume(self) -> None:
        """Nothing waits within the protocol."""

    def flush(self) -> None:
        """Send what the protocol has to say."""
        self._shell.write(self._http.data_to_send())

    def finish(self) -> None:
        """Take no further requests; h2 itself would take the responses to the others for an error."""
        if not self._gone:
            self._gone = True
            self.flush()
            self._shell.write(GoAwayFrame(stream_id=0, last_stream_id=self._last, error_code=0).serialize())

    def _throw_out(self, code: h2.errors.ErrorCodes) -> None:
        self._http.close_connection(error_code=code, last_stream_id=self._last)
        self.flush()
        self._shell.part()

    def received(self, data: bytes) -> None:
        """Some bytes."""
        try:
            for event in self._http.receive_data(data):
                self._happened(event)
        except (h2.exceptions.H2Error, ValueError):
            self.flush()  # the GOAWAY says what was wrong
            self._shell.part()
            return
        if self._resets > MOST_RESETS + self._answered or self._noise > MOST_NOISE:
            self._throw_out(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)

    def _happened(self, event: Any) -> None:
        number: int = getattr(event, "stream_id", 0) or 0
        match event:
            case h2.events.RequestReceived():
                self._last = number
                headers = dict(event.headers or ())
                if self._gone or self._shell.full or self.unsent > MOST_UNSENT:
                    self._reset(number, h2.errors.ErrorCodes.REFUSED_STREAM)
                else:
                    self._requests[number] = (headers.get(b":method", b""), headers.get(b":path", b""), bytearray())
            case h2.events.DataReceived():
                self._data(number, event.data or b"", event.flow_controlled_length or 0)
            case h2.events.StreamEnded():
                self._noise = 0
                self._ended(number)
            case h2.events.StreamReset():
                self._resets += 1
                self._forget(number)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                self._noise += 1
                for one in [number] if number else list(self._unsent):
                    self._send(one)
            case h2.events.ConnectionTerminated():
                self._shell.finish()
            case _:
                self._noise += 1

    def _data(self, number: int, data: bytes, length: int) -> None:
        request = self._requests.get(number)
        if request is None or not data:
            self._noise += 1
            self._http.acknowledge_received_data(length, number)
            return
        request[2].extend(data)
        padding = length - len(data)
        if padding:
            self._http.acknowledge_received_data(padding, number)
        if len(request[2]) > MOST_BODY:
            self._forget(number)
            self._shell.factory.responses[400].value += 1
            self.respond(number, BAD_REQUEST)
            self._reset(number, h2.errors.ErrorCodes.NO_ERROR)

    def _ended(self, number: int) -> None:
        request = self._requests.pop(number, None)
        if request is None:
            return
        method, path, body = request
        if body:
            self._http.acknowledge_received_data(len(body), number)
        if method == b"HEAD":
            self._heads.add(number)
        self._shell.asked(number, method, path, bytes(body))

    def _forget(self, number: int) -> None:
        """A stream is gone; the room of its body is given back."""
        request = self._requests.pop(number, None)
        if request is not None and request[2]:
            self._http.acknowledge_received_data(len(request[2]), number)
        self._heads.discard(number)
        self.unsent -= len(self._unsent.pop(number, b""))

    def _reset(self, number: int, code: h2.errors.ErrorCodes) -> None:
        try:
            self._http.reset_stream(number, code)
        except h2.exceptions.ProtocolError:
            pass  # it is closed already

    def respond(self, number: int, response: Response) -> None:
        """Send the response of a stream, as far as its window has room; one that the client took back is dropped."""
        headers = [(b":status", b"%d" % response.status), *response.headers, (b"date", self._shell.date())]
        body = b"" if number in self._heads else response.body
        self._heads.discard(number)
        try:
            self._http.send_headers(number, headers, end_stream=not body)
        except h2.exceptions.ProtocolError:
            return
        self._answered += 1
        if body:
            self._unsent[number] = body
            self.unsent += len(body)
            self._send(number)

    def _send(self, number: int) -> None:
        body = self._unsent.get(number)
        if body is None:
            return
        http = self._http
        try:
            while body and (room := min(http.local_flow_control_window(number), http.max_outbound_frame_size)) > 0:
                http.send_data(number, body[:room], end_stream=len(body) <= room)
                self.unsent -= min(room, len(body))
                body = body[room:]
        except h2.exceptions.ProtocolError:
            self.unsent -= len(body)
            body = b""
        if body:
            self._unsent[number] = body
        else:
            del self._unsent[number]


class HttpsFactory(StreamFactory):
    """All connections of one listener."""

    protocol: Any = HttpsShell
    spoken = (b"h2", b"http/1.1")

    def __init__(self, listener: Any, table: Any, transport: Transport, limit: ConnectionLimit | None = None) -> None:
        super().__init__(listener, table, transport, limit)
        self.own_limit = ConnectionLimit()
        self._process_most = self.own_limit.most
        responses = listener.context.registry.counter(
            "coredns_dns_https_responses_total", "HTTP responses to clients of DNS over HTTPS.", ["server", "status"]
        )
        self.responses = {status: responses.counter(listener.label, str(status)) for status in STATUSES}

    def joined(self, connection: ClientConnection) -> None:
        """Take a connection in, and the configuration's number of them at most."""
        self.own_limit.most = self.listener.zones.most_https_connections or self._process_most
        self.own_limit.add(connection)
        super().joined(connection)

    def left(self, connection: ClientConnection) -> None:
        """The connection is closed."""
        self.own_limit.remove(connection)
        super().left(connection)
