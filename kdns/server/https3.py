# -*- test-case-name: tests.server.test_https3 -*-
"""DNS over HTTP/3 (RFC 8484, RFC 9114): the requests and responses of :mod:`kdns.server.doh` above QUIC. aioquic has the protocol."""

from __future__ import annotations

from functools import partial
from typing import Any

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import StreamDataReceived

from kdns.core.request import Transport
from kdns.server.doh import BAD_REQUEST, MOST_BODY, STATUSES, Response, date, message_of, response_to
from kdns.server.http2 import MOST_HEADERS, MOST_RESETS
from kdns.server.listener import Listener
from kdns.server.quic import MOST_UNSENT, QuicClient, QuicFactory
from kdns.server.table import AnswerTable
from kdns.wire.query import read_query

NO_ERROR = 0x100
EXCESSIVE_LOAD = 0x107
REQUEST_REJECTED = 0x10B
REQUEST_INCOMPLETE = 0x10D
"""RFC 9114 section 8.1."""

MOST_BODIES = 131_072
"""Bytes of requests of one connection that have come in part."""


class _Request:
    """A request that has come in part."""

    __slots__ = ("body", "deadline", "method", "path")

    def __init__(self, headers: dict[bytes, bytes], deadline: float) -> None:
        self.method = headers.get(b":method", b"")
        self.path = headers.get(b":path", b"")
        self.body = bytearray()
        self.deadline = deadline


class Https3Client(QuicClient):
    """One connection."""

    factory: Https3Factory

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._http: H3Connection | None = None
        self._requests: dict[int, _Request] = {}
        """By stream, the oldest first."""

        self._bytes = 0
        self._asked: dict[int, bytes] = {}
        """Streams whose response is not sent, with the method."""

        self._answered = self._resets = 0

    def negotiated(self) -> None:
        """See :class:`QuicClient`."""
        self._http = H3Connection(self.connection)

    def gone(self) -> None:
        """See :class:`QuicClient`."""
        super().gone()
        self._http = None

    def stream_data(self, number: int, data: bytes, end: bool) -> None:
        """See :class:`QuicClient`. What is wrong with it makes aioquic close the connection."""
        if self._http is None:
            return
        event = StreamDataReceived(data=data, end_stream=end, stream_id=number)
        for happened in self._http.handle_event(event):
            if self.ended:
                return
            if isinstance(happened, HeadersReceived):
                self._headers(happened)
            elif isinstance(happened, DataReceived):
                self._data(happened)

    def _headers(self, event: HeadersReceived) -> None:
        number = event.stream_id
        if number in self._requests:
            pass  # trailers, which mean nothing here
        elif number not in self._asked:
            deadline = self.factory.listener.context.clock() + self.factory.timeouts.read
            self._requests[number] = _Request(dict(event.headers), deadline)
            if sum(len(name) + len(value) + 32 for name, value in event.headers) > MOST_HEADERS:
                self._refuse(number)
        if event.stream_ended:
            self._whole(number)

    def _data(self, event: DataReceived) -> None:
        request = self._requests.get(event.stream_id)
        if request is None:
            return
        request.body += event.data
        self._bytes += len(event.data)
        if len(request.body) > MOST_BODY:
            self._refuse(event.stream_id)
        elif event.stream_ended:
            self._whole(event.stream_id)
        elif self._bytes > MOST_BODIES:
            self.fail(EXCESSIVE_LOAD)

    def _forget(self, number: int) -> _Request | None:
        request = self._requests.pop(number, None)
        if request is not None:
            self._bytes -= len(request.body)
        return request

    def _refuse(self, number: int) -> None:
        """Respond to a request that is too long, without the rest of it."""
        request = self._forget(number)
        if request is not None:
            self._asked[number] = request.method
            self._respond(number, BAD_REQUEST)
            self.connection.stop_stream(number, NO_ERROR)

    def stream_reset(self, number: int) -> None:
        """See :class:`QuicClient`."""
        self._resets += 1
        self._forget(number)
        if self._resets > MOST_RESETS + self._answered:
            self.fail(EXCESSIVE_LOAD)

    def cancelled(self, number: int) -> None:
        """See :class:`QuicClient`."""
        self._forget(number)
        self._asked.pop(number, None)

    def deadline(self) -> float | None:
        """See :class:`QuicClient`."""
        for request in self._requests.values():
            return request.deadline
        return None

    def late(self) -> None:
        """See :class:`QuicClient`."""
        self.fail(REQUEST_INCOMPLETE)

    # Requests

    def _whole(self, number: int) -> None:
        request = self._forget(number)
        if request is None:
            return
        factory = self.factory
        factory.asked(self)
        if self.in_flight >= factory.streams or self.connection.unsent(MOST_UNSENT):
            self.connection.reset_stream(number, REQUEST_REJECTED)
            return
        self._asked[number] = request.method
        message = message_of(request.method, request.path, bytes(request.body))
        if not isinstance(message, bytes):
            self._respond(number, message)
        elif len(message) < 12 or message[2] & 0x80:
            self._respond(number, BAD_REQUEST)
        else:
            self._ask(number, message)

    def _ask(self, number: int, message: bytes) -> None:
        factory = self.factory
        listener = factory.listener
        key = listener.table_key(message, self.client)
        now = listener.context.clock()
        ident = message[0] << 8 | message[1]
        given = listener.replay.at_hand(factory.table, key, ident, self.client, self.port, now)
        if given is not None:
            self._respond(number, response_to(message[:2] + given, False))
            return
        self.in_flight += 1
        respond = partial(self._replied, number, isinstance(read_query(message), bytes))
        listener.receive(message, factory.transport, self.client, self.port, self.local, respond, factory.table, key)

    def _replied(self, number: int, refused: bool, reply: bytes) -> None:
        self.in_flight -= 1
        if self.ended:
            return
        self._respond(number, response_to(reply, refused))
        self.wait_for_turn()

    def _respond(self, number: int, response: Response) -> None:
        method = self._asked.pop(number, None)
        self.factory.responses[response.status].value += 1
        self._answered += 1
        if method is None or self._http is None:
            return  # the client does not want it any more
        now = date(int(self.factory.listener.context.wall()))
        headers = [(b":status", b"%d" % response.status), *response.headers, (b"date", now)]
        body = b"" if method == b"HEAD" else response.body
        self._http.send_headers(number, headers, end_stream=not body)
        if body:
            self._http.send_data(number, body, end_stream=True)


class Https3Factory(QuicFactory):
    """All connections of one listener."""

    kind = Https3Client
    spoken = ("h3",)
    no_error = NO_ERROR
    excessive_load = EXCESSIVE_LOAD

    def __init__(self, listener: Listener, table: AnswerTable, transport: Transport) -> None:
        super().__init__(listener, table, transport)
        responses = listener.context.registry.counter(
            "coredns_dns_https3_responses_total", "HTTP/3 responses to clients of DNS over HTTPS.", ["server", "status"]
        )
        self.responses = {status: responses.counter(listener.label, str(status)) for status in STATUSES}
