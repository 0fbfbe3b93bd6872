# -*- test-case-name: tests.server.test_https -*-
"""
The server's side of one HTTP/2 connection (RFC 9113): requests come whole, responses go as the client's windows allow.

It does no input or output. What a client may hold and how often it may change its mind is bounded here; what a request means is decided by
subclasses (:mod:`kdns.server.https`, :mod:`kdns.server.grpc`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import GoAwayFrame

if TYPE_CHECKING:
    from kdns.server.http_shell import HttpShell

MOST_HEADERS = 16_384
"""Bytes of the headers of a request."""

MOST_UNSENT = 262_144
"""Bytes of responses that a client does not take, for want of room in its windows or of reading; with more, its streams are reset."""

MOST_PENDING = 40_960
"""Bytes of a frame, or of a header in several, before it is complete: more than a full frame of data, or twice :data:`MOST_HEADERS`."""

MOST_TABLE = 4096
"""Bytes of the table of response headers that a client may refer to (RFC 7541 section 4.2); its default."""

MOST_REMEMBERED = 1000
"""Closed streams whose end is remembered, for frames that were under way; h2 would remember 65,536 of a connection, in 10 MB."""

MOST_RESETS = 100
"""Requests that a connection may cancel beyond those that were answered: each costs the server work and the client nothing."""

MOST_NOISE = 1000
"""Frames in a row that belong to no request."""

Headers = Iterable[tuple[bytes, bytes]]


class Http2:
    """
    Many requests at once, each a stream.

    :cvar most_body: bytes of a request's body.
    """

    waiting = False
    """Whether no more is taken before a response is sent: never, here."""

    most_body = 65_536

    def __init__(self, shell: HttpShell) -> None:
        self._shell = shell
        self._requests: dict[int, tuple[Mapping[bytes, bytes], bytearray]] = {}
        """Headers and body of requests that have come in part."""

        self._unsent: dict[int, tuple[bytes, Headers | None]] = {}
        """What is left of the bodies of responses, with the trailers that follow."""

        self.unsent = 0
        """Bytes for which the client's windows have no room."""

        self._events: deque[Any] = deque()
        """What was received and waits for its turn."""

        self._pending = 0
        """Bytes of the frame or header that is not complete."""

        self._widened = False
        """Whether there may be room again for what is unsent."""

        self._answered = self._resets = self._noise = 0
        self._last = 0
        self._gone = False
        """Whether the client was told to send its further requests elsewhere."""

        http = _Connection(_CONFIGURATION)
        codes = h2.settings.SettingCodes
        http.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: shell.most_streams,
                codes.MAX_HEADER_LIST_SIZE: MOST_HEADERS,
                codes.INITIAL_WINDOW_SIZE: self.most_body + 1,
            },
        )
        http.decoder.max_header_list_size = MOST_HEADERS
        http.initiate_connection()
        # Room is given back when a request is complete, so bodies of one connection take 128 KiB at most.
        http.increment_flow_control_window(self.most_body)
        self._http = http

    def request(self, number: int, headers: Mapping[bytes, bytes], body: bytes) -> None:
        """A request is complete."""
        raise NotImplementedError

    def too_long(self, number: int) -> None:
        """Respond to a request whose body is too long."""
        raise NotImplementedError

    def forgotten(self, number: int) -> None:
        """A stream has ended without a response."""

    @property
    def partial(self) -> bool:
        """Whether a request has come in part."""
        return bool(self._requests or self._pending)

    @property
    def more(self) -> bool:
        """Whether something that was received waits for a turn."""
        return bool(self._events)

    def flush(self) -> None:
        """Send what the protocol has to say."""
        self._shell.write(self._http.data_to_send())

    def finish(self) -> None:
        """Take no further requests; h2's own way to say so would make the pending responses errors."""
        if not self._gone:
            self._gone = True
            self.flush()
            self._shell.write(GoAwayFrame(stream_id=0, last_stream_id=self._last, error_code=0).serialize())

    def _throw_out(self, code: h2.errors.ErrorCodes) -> None:
        self._http.close_connection(error_code=code, last_stream_id=self._last)
        self.flush()
        self._shell.part()

    def received(self, data: bytes) -> None:
        """Receive some bytes."""
        try:
            events = self._http.receive_data(data)
        except (h2.exceptions.H2Error, ValueError):
            self.flush()  # the GOAWAY says what was wrong
            self._shell.part()
            return
        self._pending = 0 if events else self._pending + len(data)
        self._events += events
        self.resume()

    def resume(self) -> None:
        """Continue with what was received before."""
        events, shell = self._events, self._shell
        while events and shell.goes_on:
            self._happened(events.popleft())
        if self._widened and not shell.blocked:
            self._widened = False
            for number in list(self._unsent):
                self._send(number)
        if self._resets > MOST_RESETS + self._answered or self._noise > MOST_NOISE or self._pending > MOST_PENDING:
            self._throw_out(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)

    def _happened(self, event: Any) -> None:
        number: int = getattr(event, "stream_id", 0) or 0
        match event:
            case h2.events.RequestReceived():
                self._last = number
                if self._gone or self._shell.full or self.unsent > MOST_UNSENT:
                    self.reset(number, h2.errors.ErrorCodes.REFUSED_STREAM)
                else:
                    self._requests[number] = (dict(event.headers or ()), bytearray())
            case h2.events.DataReceived():
                self._data(number, event.data or b"", event.flow_controlled_length or 0)
            case h2.events.StreamEnded():
                self._noise = 0
                self._ended(number)
            case h2.events.StreamReset():
                self._resets += 1
                self._forget(number)
            case h2.events.WindowUpdated():
                self._noise += 1
                self._widened = True
            case h2.events.RemoteSettingsChanged():
                self._noise += 1
                self._widened = True
                # Each header of a response is looked for in the whole table, which a client may want to be of any size.
                encoder = self._http.encoder
                encoder.header_table_size = min(encoder.header_table_size, MOST_TABLE)
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
        body = request[1]
        body.extend(data)
        padding = length - len(data)
        if padding:
            self._http.acknowledge_received_data(padding, number)
        if len(body) > self.most_body:
            self._forget(number)
            self.too_long(number)
            self.reset(number, h2.errors.ErrorCodes.NO_ERROR)

    def _ended(self, number: int) -> None:
        request = self._requests.pop(number, None)
        if request is None:
            return
        headers, body = request
        if body:
            self._http.acknowledge_received_data(len(body), number)
        self.request(number, headers, bytes(body))

    def _forget(self, number: int) -> None:
        """A stream is gone; the room of its body is given back."""
        request = self._requests.pop(number, None)
        if request is not None and request[1]:
            self._http.acknowledge_received_data(len(request[1]), number)
        self.unsent -= len(self._unsent.pop(number, (b"", None))[0])
        self.forgotten(number)

    def reset(self, number: int, code: h2.errors.ErrorCodes) -> None:
        """End a stream."""
        try:
            self._http.reset_stream(number, code)
        except h2.exceptions.ProtocolError:
            pass  # it is closed already

    def send(self, number: int, headers: Headers, body: bytes, trailers: Headers | None = None) -> None:
        """Send the response of a stream, as far as its window has room; one that the client cancelled is dropped."""
        try:
            self._http.send_headers(number, headers, end_stream=not body and trailers is None)
        except h2.exceptions.ProtocolError:
            return
        self._answered += 1
        if body and self.unsent > MOST_UNSENT:
            self.reset(number, h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        elif body or trailers is not None:
            self._unsent[number] = (body, trailers)
            self.unsent += len(body)
            self._send(number)

    def _send(self, number: int) -> None:
        if number not in self._unsent:
            return
        if self._shell.blocked:
            self._widened = True
            return
        http = self._http
        body, trailers = self._unsent[number]
        try:
            while body and (room := min(http.local_flow_control_window(number), http.max_outbound_frame_size)) > 0:
                http.send_data(number, body[:room], end_stream=len(body) <= room and trailers is None)
                self.unsent -= min(room, len(body))
                body = body[room:]
            if not body and trailers is not None:
                http.send_headers(number, trailers, end_stream=True)
        except h2.exceptions.ProtocolError:
            self.unsent -= len(body)
            body = b""
        if body:
            self._unsent[number] = (body, trailers)
        else:
            del self._unsent[number]
            self._shell.progressed()


_CONFIGURATION = h2.config.H2Configuration(
    client_side=False, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
)
"""Headers of responses are kdns's own, in lower case and in order: h2 need not look at them again."""


class _Connection(h2.connection.H2Connection):
    """h2's connection, with less memory."""

    MAX_CLOSED_STREAMS = MOST_REMEMBERED
