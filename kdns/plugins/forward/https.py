# -*- test-case-name: tests.plugins.forward.test_https -*-
"""
Queries over HTTPS (RFC 8484): HTTP/2 where the server speaks it, so that many queries share a connection, else HTTP/1.1.

The protocols are those of h2 and h11, which do no input or output of their own.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

import h2.exceptions
import h11

from kdns.plugins.forward.config import DohMethod
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.http2 import Http2, Response
from kdns.plugins.forward.streams import Connection

PROTOCOLS = (b"h2", b"http/1.1")
"""Offered in the TLS handshake (RFC 7301)."""

MEDIA_TYPE = "application/dns-message"
PATH = "/dns-query"

LONGEST = 65535
"""Bytes of a message; a longer body is none."""


class HttpsConnection(Connection):
    protocol = "https"
    longest = LONGEST

    def __init__(self, method: DohMethod, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.method = method
        self.authority = self._upstream.removesuffix(":443")
        self._http: _Http1 | Http2 | None = None

    @property
    def shared(self) -> bool:  # type: ignore[override]  # known when the handshake is over
        """The certificate is valid. A server with HTTP/2 now sends the number of streams it allows."""
        return isinstance(self._http, Http2)

    def most(self) -> int:
        return self._http.most() if self._http is not None else 1

    def handshakeCompleted(self) -> None:
        """The certificate is valid. An HTTP/2 server now sends its stream limit."""
        transport: Any = self.transport
        if transport.negotiatedProtocol == b"h2":
            self._http = Http2(self)
        else:
            self._http = _Http1(self)
            self.establish()

    def send(self, message: bytes) -> int:
        assert self._http is not None, "queries are sent when it is established"
        # Identifier 0 keeps URLs cacheable (RFC 8484 section 4.1).
        return self._http.send(b"\0\0" + message)

    def forgotten(self, number: int) -> None:
        assert self._http is not None, "queries are sent when it is established"
        self._http.forgotten(number)

    def dataReceived(self, data: bytes) -> None:
        if self._http is None:
            return
        try:
            self._http.received(data)
        except (h2.exceptions.ProtocolError, h11.RemoteProtocolError):
            self.abort()
        else:
            self.rest()

    def fields(self, message: bytes) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of the request that carries a query over HTTP/2."""
        post = self.method is DohMethod.POST
        headers = [
            (":method", self.method.value),
            (":scheme", "https"),
            (":authority", self.authority),
            (":path", self.target_of(message)),
            ("accept", MEDIA_TYPE),
        ]
        if post:
            headers += [("content-type", MEDIA_TYPE), ("content-length", str(len(message)))]
        return headers, message if post else b""

    def write(self, data: bytes) -> None:
        transport: Any = self.transport
        if data and transport is not None:
            transport.write(data)

    def finished(self, number: int, response: Response) -> None:
        """The response to a query is complete."""
        if response.status != 200:
            self.failed(number, f"status {response.status}")
        else:
            self.replied(number, bytes(response.body))

    def failed(self, number: int, text: str, kind: type[ExchangeFailed] = ExchangeFailed) -> None:
        """There is no response to a query, or an unusable one."""
        self.replied(number, kind(f"https {self._upstream}: {text}"))

    def target_of(self, message: bytes) -> str:
        """Path and query of the URL."""
        if self.method is DohMethod.POST:
            return PATH
        return f"{PATH}?dns={urlsafe_b64encode(message).rstrip(b'=').decode()}"


class _Http1:
    """HTTP/1.1: one query at a time."""

    def __init__(self, connection: HttpsConnection) -> None:
        self._connection = connection
        self._http = h11.Connection(h11.CLIENT)
        self._response = Response()
        self._number = 0

    def most(self) -> int:
        return 1

    def send(self, message: bytes) -> int:
        connection, post = self._connection, self._connection.method is DohMethod.POST
        headers = [("host", connection.authority), ("accept", MEDIA_TYPE)]
        if post:
            headers += [("content-type", MEDIA_TYPE), ("content-length", str(len(message)))]
        request = h11.Request(method=connection.method.value, target=connection.target_of(message), headers=headers)
        connection.write(
            (self._http.send(request) or b"")
            + ((self._http.send(h11.Data(message)) or b"") if post else b"")
            + (self._http.send(h11.EndOfMessage()) or b"")
        )
        self._number += 1
        return self._number

    def forgotten(self, number: int) -> None:
        self._connection.abort()  # nothing else can be asked before its response has come

    def received(self, data: bytes) -> None:
        http, response = self._http, self._response
        http.receive_data(data)
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.Response):
                response.status = event.status_code
            elif isinstance(event, h11.Data):
                response.body += event.data
                if len(response.body) > LONGEST:
                    self._connection.abort()
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._response = Response()
                if http.our_state is h11.DONE and http.their_state is h11.DONE:
                    http.start_next_cycle()
                else:
                    self._connection.retired = True  # the server closes it
                self._connection.finished(self._number, response)
                response = self._response
