"""
Fuzz targets for connections of DNS over HTTPS and gRPC: octets as HTTP/1.1 and as HTTP/2, and packets of gRPC.

Whatever a client sends, nothing is raised and nothing is logged as unforeseen; what a connection holds stays within its bounds.
"""

from __future__ import annotations

import dns.message
import h2.config
import h2.connection
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from kdns.core.request import Transport
from kdns.server.doh import MOST_BODY
from kdns.server.grpc import GrpcFactory
from kdns.server.http_shell import HttpFactory, HttpShell
from kdns.server.https import HttpsFactory
from kdns.server.listener import Listener
from kdns.server.table import TableBudget
from kdns.wire.grpc import PATH, GrpcError, framed, message_of
from tests.server.support import a_block, a_house, zones_of

QUERY = dns.message.make_query("web.prod.", "A", id=0).to_wire()


class _Transport(StringTransport):
    """A transport whose handshake has agreed on a protocol."""

    def __init__(self, protocol: bytes) -> None:
        super().__init__()
        self.negotiatedProtocol = protocol
        self.bufferSize = 0

    def loseWriteConnection(self) -> None:
        """Nothing more is written."""


def _http2(path: str = "/dns-query", body: bytes = QUERY) -> bytes:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    head = [(":path", path), (":scheme", "https"), (":authority", "dns.test"), ("content-type", "application/grpc")]
    client.send_headers(1, [(":method", "POST"), *head])
    client.send_data(1, body, end_stream=True)
    client.send_headers(3, [(":method", "GET"), *head], end_stream=True)
    client.ping(b"12345678")
    client.increment_flow_control_window(5)
    client.send_headers(5, [(":method", "POST"), *head])
    client.reset_stream(5)
    octets: bytes = client.data_to_send()
    return octets


CONNECTIONS = (
    _http2(),
    b"POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(QUERY) + QUERY,
    b"POST /dns-query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET /dns-query?dns=AAABAAABAAAAAAAAA3dlYgRwcm9kAAABAAE HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
)


CALLS = (_http2(PATH.decode(), framed(QUERY)),)
PACKETS = (framed(QUERY), framed(QUERY)[:4] + bytes((len(QUERY) + 4,)) + framed(QUERY)[5:] + b"\x10\x01")


def run_https(octets: bytes) -> None:
    """Send octets on a connection of each kind."""
    for protocol in (b"h2", b"http/1.1"):
        _send(HttpsFactory, Transport.HTTPS, protocol, octets)


def run_grpc(octets: bytes) -> None:
    """Send octets on a connection, and read them as a packet."""
    _send(GrpcFactory, Transport.GRPC, b"h2", octets)
    try:
        message_of(octets)
    except GrpcError as error:
        assert error.text


def _send(kind: type[HttpFactory], transport: Transport, protocol: bytes, octets: bytes) -> None:
    """Send octets whole and in two pieces."""
    for cut in (len(octets), len(octets) // 2):
        clock = Clock()
        context = a_house(clock)
        listener = Listener(context, f"{transport.value}://:443", zones_of(root=a_block()))
        factory = kind(listener, TableBudget(100_000).table(), transport)
        shell = factory.buildProtocol(None)
        assert isinstance(shell, HttpShell)
        connection = _Transport(protocol)
        shell.makeConnection(connection)
        for piece in (octets[:cut], octets[cut:]):
            if piece:
                shell.dataReceived(piece)
            for _ in range(len(octets)):
                clock.advance(0)
        assert len(connection.value()) < 100 * MOST_BODY
        shell.connectionLost()
        assert factory.empty
