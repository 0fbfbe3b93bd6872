# -*- test-case-name: tests.server.test_https -*-
"""
DNS over HTTPS (RFC 8484): connections that speak HTTP/2 or HTTP/1.1, as the TLS handshake says.

The protocols are those of h2 and h11, which do no input or output of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h11

from kdns.core.request import Transport
from kdns.server.doh import BAD_REQUEST, MOST_BODY, STATUSES, Response, date, message_of, response_to
from kdns.server.http2 import MOST_HEADERS, Http2
from kdns.server.http_shell import HttpFactory, HttpProtocol, HttpShell
from kdns.server.streams import ConnectionLimit

REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 500: b"Internal Server Error"}


class HttpsShell(HttpShell):
    """One connection."""

    factory: HttpsFactory
    _http: _Http1 | _Https2 | None

    def speak(self, negotiated: bytes | None) -> HttpProtocol:
        """See :class:`HttpShell`."""
        return _Https2(self) if negotiated == b"h2" else _Http1(self)

    def requested(self, number: int, method: bytes, target: bytes, body: bytes) -> None:
        """A request is complete."""
        self.asked()
        message = message_of(method, target, body)
        if not isinstance(message, bytes):
            self._respond(number, message)
        elif len(message) < 12 or message[2] & 0x80:
            self._respond(number, BAD_REQUEST)
        else:
            self.ask(number, message)

    def answer(self, number: int, reply: bytes, refused: bool) -> None:
        """See :class:`HttpShell`."""
        self._respond(number, response_to(reply, refused))

    def _respond(self, number: int, response: Response) -> None:
        if self._http is not None:
            self.factory.responses[response.status].value += 1
            self._http.respond(number, response)

    def date(self) -> bytes:
        """The header of that name, for now."""
        return date(int(self.factory.listener.context.wall()))


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

        self.more = False
        """Whether something that was received waits for a turn."""

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
                self.more = not self._shell.goes_on
                if self.more:
                    return
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
            self._shell.requested(0, self._request.method, self._request.target, bytes(self._body))
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


class _Https2(Http2):
    """HTTP/2."""

    most_body = MOST_BODY
    _shell: HttpsShell

    def __init__(self, shell: HttpsShell) -> None:
        super().__init__(shell)
        self._heads: set[int] = set()
        """Streams whose request is HEAD: their responses have no body."""

    def request(self, number: int, headers: Mapping[bytes, bytes], body: bytes) -> None:
        """See :class:`Http2`."""
        method = headers.get(b":method", b"")
        if method == b"HEAD":
            self._heads.add(number)
        self._shell.requested(number, method, headers.get(b":path", b""), body)

    def too_long(self, number: int) -> None:
        """See :class:`Http2`."""
        self._shell.factory.responses[400].value += 1
        self.respond(number, BAD_REQUEST)

    def forgotten(self, number: int) -> None:
        """See :class:`Http2`."""
        self._heads.discard(number)

    def respond(self, number: int, response: Response) -> None:
        """Send a response."""
        headers = [(b":status", b"%d" % response.status), *response.headers, (b"date", self._shell.date())]
        body = b"" if number in self._heads else response.body
        self._heads.discard(number)
        self.send(number, headers, body)


class HttpsFactory(HttpFactory):
    """All connections of one listener."""

    protocol: Any = HttpsShell
    spoken = (b"h2", b"http/1.1")

    def __init__(self, listener: Any, table: Any, transport: Transport, limit: ConnectionLimit | None = None) -> None:
        super().__init__(listener, table, transport, limit)
        responses = listener.context.registry.counter(
            "coredns_dns_https_responses_total", "HTTP responses to clients of DNS over HTTPS.", ["server", "status"]
        )
        self.responses = {status: responses.counter(listener.label, str(status)) for status in STATUSES}
