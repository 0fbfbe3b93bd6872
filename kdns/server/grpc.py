# -*- test-case-name: tests.server.test_grpc -*-
"""
DNS over gRPC: the service that CoreDNS offers at server keys with ``grpc://``.

gRPC is HTTP/2 with a packet in each body (:mod:`kdns.wire.grpc`) and a status in the trailers. Its time limit of a call
(``grpc-timeout``) is not looked at: a client that gives up cancels the stream, and every query has a deadline anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdns.server.http2 import Http2
from kdns.server.http_shell import HttpFactory, HttpProtocol, HttpShell
from kdns.wire.constants import RCODE_MASK, SERVFAIL
from kdns.wire.grpc import (
    CONTENT_TYPE,
    HEAD,
    MOST_MESSAGE,
    MOST_PACKET,
    PATH,
    UNAVAILABLE,
    UNIMPLEMENTED,
    UNKNOWN,
    GrpcError,
    encoded_text,
    framed,
    message_of,
    too_large,
)

STREAMS = 256
"""Calls of a connection at a time, unless the Corefile has another number."""

_HEADERS = ((b":status", b"200"), (b"content-type", CONTENT_TYPE))
_OK = ((b"grpc-status", b"0"), (b"grpc-message", b""))

REJECTED = GrpcError(UNKNOWN, "dns request rejected")
"""No plugin saw the query: CoreDNS's text."""


class GrpcShell(HttpShell):
    """One connection."""

    _http: _Grpc | None

    @property
    def most_streams(self) -> int:  # type: ignore[override]  # a constant in HTTPS
        """Calls at a time."""
        return self.factory.listener.zones.limits.streams or STREAMS

    def speak(self, negotiated: bytes | None) -> HttpProtocol:
        """See :class:`HttpShell`. Without TLS the client is known to speak HTTP/2 (RFC 9113 section 3.3)."""
        return _Grpc(self)

    def called(self, number: int, headers: Mapping[bytes, bytes], body: bytes) -> None:
        """A call is complete."""
        self.asked()
        try:
            message = _message(headers, body)
        except GrpcError as error:
            self._fail(number, error)
            return
        self.ask(number, message)

    def answer(self, number: int, reply: bytes, refused: bool) -> None:
        """See :class:`HttpShell`."""
        if not reply:
            self._fail(number, GrpcError(UNAVAILABLE, "no response"))
        elif refused and reply[3] & RCODE_MASK != SERVFAIL:
            self._fail(number, REJECTED)
        elif self._http is not None:
            self._http.send(number, _HEADERS, framed(reply), _OK)

    def _fail(self, number: int, error: GrpcError) -> None:
        if self._http is not None:
            self._http.fail(number, error)


def _message(headers: Mapping[bytes, bytes], body: bytes) -> bytes:
    """
    The query of a call.

    :raises GrpcError: there is none that a plugin may see.
    """
    path = headers.get(b":path", b"")
    if path != PATH:
        raise _unimplemented(path)
    message = message_of(body, headers.get(b"grpc-encoding", b"identity"))
    if len(message) < 12:
        raise GrpcError(UNKNOWN, "dns: buffer size too small")
    if len(message) > MOST_MESSAGE:
        raise GrpcError(UNKNOWN, f"dns message exceeds size limit: {len(message)}")
    if message[2] & 0x80:
        raise REJECTED
    return message


def _unimplemented(path: bytes) -> GrpcError:
    service, _, method = path.decode("utf-8", "replace").removeprefix("/").rpartition("/")
    known = PATH.decode()[1:].partition("/")[0]
    if service == known:
        return GrpcError(UNIMPLEMENTED, f"unknown method {method} for service {service}")
    return GrpcError(UNIMPLEMENTED, f"unknown service {service}" if service else f'malformed method name: "{method}"')


class _Grpc(Http2):
    """HTTP/2 with packets and statuses."""

    most_body = HEAD + MOST_PACKET
    _shell: GrpcShell

    def request(self, number: int, headers: Mapping[bytes, bytes], body: bytes) -> None:
        """See :class:`Http2`."""
        if headers.get(b":method") != b"POST":
            self.send(number, ((b":status", b"405"),), b"")
        elif not headers.get(b"content-type", b"").startswith(CONTENT_TYPE):
            self.send(number, ((b":status", b"415"),), b"")
        else:
            self._shell.called(number, headers, body)

    def too_long(self, number: int) -> None:
        """See :class:`Http2`."""
        self.fail(number, too_large(MOST_PACKET + 1))

    def fail(self, number: int, error: GrpcError) -> None:
        """End a call without a reply."""
        status = ((b"grpc-status", b"%d" % error.status), (b"grpc-message", encoded_text(error.text)))
        self.send(number, (*_HEADERS, *status), b"")


class GrpcFactory(HttpFactory):
    """All connections of one listener."""

    protocol: Any = GrpcShell
    spoken = (b"h2",)
