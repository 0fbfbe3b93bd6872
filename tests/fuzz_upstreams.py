"""Fuzz targets for what upstreams send: responses of gRPC over HTTP/2, and datagrams and streams of QUIC."""

from __future__ import annotations

from random import Random
from typing import Any

import dns.message
import h2.config
import h2.connection
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from kdns.plugins.forward.config import NO_FILES
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.grpc import GrpcConnection
from kdns.plugins.forward.quic import QuicConnection, configuration_for
from kdns.wire.grpc import framed

QUERY = dns.message.make_query("web.prod.", "A", id=0).to_wire()
REPLY = QUERY[:2] + b"\x81\x80" + QUERY[4:]


def _response() -> bytes:
    """What an honest server sends: its settings, a response with trailers, and one without a body."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    for number in (1, 3):
        client.send_headers(number, [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "x")])
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    server.receive_data(client.data_to_send())
    server.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    server.send_data(1, framed(REPLY))
    server.send_headers(1, [("grpc-status", "0")], end_stream=True)
    server.send_headers(3, [(":status", "200"), ("grpc-status", "5")], end_stream=True)
    data: bytes = server.data_to_send()
    return data


RESPONSES = (_response(),)
STREAMS = (len(REPLY).to_bytes(2, "big") + REPLY, b"\x40" + bytes(60), b"\xc0\0\0\0\1\x08" + bytes(60))
_CONFIGURATION = configuration_for(NO_FILES, "dns.test")


def _is_answer(found: object) -> bool:
    """Whether a query has a reply, or has failed as it may."""
    return isinstance(found, bytes) or (isinstance(found, Failure) and found.check(ExchangeFailed) is not None)


def run_grpc_upstream(data: bytes) -> None:
    """Send bytes to a connection that waits for two replies."""
    clock = Clock()
    connection = GrpcConnection("192.0.2.1:443", clock, Random(1), False)
    connection.makeConnection(StringTransport())
    http: Any = connection._http
    http.received(b"\0\0\0\4\0\0\0\0\0")
    found: list[object] = []
    for _ in range(2):
        asked: Deferred[bytes] = connection.ask(QUERY[2:])
        asked.addBoth(found.append)
    connection.dataReceived(data)
    connection.connectionLost()
    clock.advance(1)
    assert len(found) == 2 and all(map(_is_answer, found)), found


class _Wire:
    """A connected socket."""

    def write(self, data: bytes) -> None:
        """It is lost."""

    def connect(self, host: str, port: int) -> None:
        """It is connected."""

    def stopListening(self) -> None:
        """It is closed."""


class _Reactor:
    """Opens such sockets."""

    def listenUDP(self, port: int, protocol: Any, interface: str, most: int) -> None:
        """Open one."""
        protocol.transport = _Wire()
        protocol.startProtocol()


def run_quic_upstream(data: bytes) -> None:
    """Send bytes as a datagram, and as the reply on a stream."""
    clock = Clock()
    connection: Any = QuicConnection(_CONFIGURATION, "192.0.2.1:853", clock, Random(1), False)
    connection.connect(_Reactor(), "192.0.2.1", 853, 1.0, "", None)
    connection.received(data)
    found: list[object] = []
    if connection._quic is not None:
        connection.ask(QUERY[2:]).addBoth(found.append)
        (number,) = connection._parts
        for end in (len(data) // 2, len(data)):
            connection._data(
                number, data[: len(data) // 2] if end < len(data) else data[len(data) // 2 :], end == len(data)
            )
    connection.abort()
    clock.advance(1)
    assert all(map(_is_answer, found)), found
    assert not clock.getDelayedCalls()
