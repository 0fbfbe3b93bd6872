"""
Fuzz target for connections of DNS over HTTPS: octets as HTTP/1.1 and as HTTP/2.

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
from kdns.server.https import HttpsFactory, HttpsShell
from kdns.server.listener import Listener
from kdns.server.table import TableBudget
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


def _http2() -> bytes:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    head = [(":path", "/dns-query"), (":scheme", "https"), (":authority", "dns.test")]
    client.send_headers(1, [(":method", "POST"), *head])
    client.send_data(1, QUERY, end_stream=True)
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


def run_https(octets: bytes) -> None:
    """Send octets on a connection of each kind, whole and in two pieces."""
    for protocol in (b"h2", b"http/1.1"):
        for cut in (len(octets), len(octets) // 2):
            clock = Clock()
            context = a_house(clock)
            listener = Listener(context, "https://:443", zones_of(root=a_block()))
            factory = HttpsFactory(listener, TableBudget(100_000).table(), Transport.HTTPS)
            shell = factory.buildProtocol(None)
            assert isinstance(shell, HttpsShell)
            transport = _Transport(protocol)
            shell.makeConnection(transport)
            for piece in (octets[:cut], octets[cut:]):
                if piece:
                    shell.dataReceived(piece)
                for _ in range(len(octets)):
                    clock.advance(0)
            assert len(transport.value()) < 100 * MOST_BODY
            shell.connectionLost()
            assert factory.empty
