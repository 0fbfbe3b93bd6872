# -*- test-case-name: tests.plugins.test_grpc -*-
"""Queries over gRPC, to another CoreDNS or kdns: many on one connection, each a call of the service of :mod:`kdns.wire.grpc`."""

from __future__ import annotations

from typing import Any

import h2.exceptions

from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.http2 import Http2, Response
from kdns.plugins.forward.streams import Connection
from kdns.wire.constants import NXDOMAIN, QR
from kdns.wire.grpc import (
    CONTENT_TYPE,
    HEAD,
    MOST_PACKET,
    NOT_FOUND,
    PATH,
    UNKNOWN,
    GrpcError,
    decoded_text,
    framed,
    message_of,
)
from kdns.wire.names import skip_name


class GrpcConnection(Connection):
    protocol = "grpc"
    longest = HEAD + MOST_PACKET

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._http: Http2 | None = None
        self._asked: dict[int, bytes] = {}
        """Queries in flight: a reply is made of one where the server says NOT_FOUND."""

    @property
    def shared(self) -> bool:  # type: ignore[override]  # known when the connection is made
        """Queries share a connection as soon as there is one."""
        return self._http is not None

    def most(self) -> int:
        return self._http.most() if self._http is not None else 0

    def connectionMade(self) -> None:
        if not self._tls:
            self._http = Http2(self)  # the server's settings establish it

    def handshakeCompleted(self) -> None:
        """The certificate is valid."""
        self._http = Http2(self)

    def send(self, message: bytes) -> int:
        assert self._http is not None, "queries are sent when it is established"
        message = b"\0\0" + message
        number = self._http.send(message)
        self._asked[number] = message
        return number

    def fields(self, message: bytes) -> tuple[list[tuple[str, str]], bytes]:
        headers = [
            (":method", "POST"),
            (":scheme", "https" if self._tls else "http"),
            (":authority", self._upstream),
            (":path", PATH.decode()),
            ("content-type", CONTENT_TYPE.decode()),
            ("te", "trailers"),
        ]
        return headers, framed(message)

    def forgotten(self, number: int) -> None:
        assert self._http is not None, "queries are sent when it is established"
        self._asked.pop(number, None)
        self._http.forgotten(number)

    def dataReceived(self, data: bytes) -> None:
        if self._http is None:
            return
        try:
            self._http.received(data)
        except h2.exceptions.ProtocolError:
            self.abort()
        else:
            self.rest()

    def write(self, data: bytes) -> None:
        transport: Any = self.transport
        if data and transport is not None:
            transport.write(data)

    def finished(self, number: int, response: Response) -> None:
        """The response to a query is complete."""
        query = self._asked.pop(number, b"")
        try:
            self.replied(number, _reply(response, query))
        except GrpcError as error:
            self.failed(number, f"status {error.status}: {error.text}")

    def failed(self, number: int, text: str, kind: type[ExchangeFailed] = ExchangeFailed) -> None:
        """There is no response to a query, or an unusable one."""
        self._asked.pop(number, None)
        self.replied(number, kind(f"grpc {self._upstream}: {text}"))


def _reply(response: Response, query: bytes) -> bytes:
    """
    The DNS message of a response.

    :raises GrpcError: there is none.
    """
    if response.status != 200:
        raise GrpcError(UNKNOWN, f"HTTP status {response.status}")
    headers = response.headers
    text = headers.get(b"grpc-status", b"")
    if not text.isdigit() or len(text) > 3:
        raise GrpcError(UNKNOWN, "the response has no status")
    status = int(text)
    if status == NOT_FOUND:
        # As CoreDNS takes it: a name that does not exist, without a record that says for how long.
        flags = int.from_bytes(query[2:4], "big") | QR | NXDOMAIN
        return query[:2] + flags.to_bytes(2, "big") + query[4:6] + bytes(6) + query[12 : skip_name(query, 12) + 4]
    if status:
        raise GrpcError(status, decoded_text(headers.get(b"grpc-message", b"")))
    return message_of(bytes(response.body), headers.get(b"grpc-encoding", b"identity"))
