"""
Fuzz targets for QUIC: datagrams, and what an honest client's packets hold: streams of DNS over QUIC and of HTTP/3.

Whatever a client sends, nothing is raised or logged as unforeseen, and no connection is left when it is closed.
"""

from __future__ import annotations

import ssl
from typing import Any

import dns.message
from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from twisted.internet.task import Clock

from kdns.core.request import Transport
from kdns.plugin.seam import ConnectionLimits
from kdns.server.doq import DoqFactory
from kdns.server.https3 import Https3Factory
from kdns.server.listener import Listener
from kdns.server.quic import QuicFactory, QuicSocket
from kdns.server.table import TableBudget
from tests.server.support import a_block, a_house, zones_of
from tests.server.test_doq import Certificate

QUERY = dns.message.make_query("web.prod.", "A", id=0).to_wire()
CLIENT, SERVER = ("192.0.2.1", 5000), ("192.0.2.2", 853)
CERTIFICATE = Certificate()


class _Transport:
    """A socket: what is sent waits in a list."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def getHost(self) -> Any:
        """There is none."""
        return type("Host", (), {"host": ""})

    def write(self, data: bytes, addr: Any) -> None:
        """Keep it."""
        self.sent.append(data)


class _Conversation:
    """A server and an honest client without a network between them."""

    def __init__(self, kind: type[QuicFactory], transport: Transport) -> None:
        self.clock = Clock()
        zones = zones_of(root=a_block())
        zones.tls = CERTIFICATE
        zones.limits = ConnectionLimits()
        listener = Listener(a_house(self.clock), f"{transport.value}://:853", zones)
        self.factory = kind(listener, TableBudget(100_000).table(), transport)
        self.socket = QuicSocket(self.factory)
        self.wire = _Transport()
        self.socket.transport = self.wire
        self.socket.startProtocol()
        configuration = QuicConfiguration(is_client=True, alpn_protocols=list(kind.spoken), server_name="dns.test")
        configuration.verify_mode = ssl.CERT_NONE
        self.client = QuicConnection(configuration=configuration)
        self.client.connect(SERVER, 0.0)

    def first(self) -> bytes:
        """The client's first datagram."""
        return self.client.datagrams_to_send(0.0)[0][0]

    def give(self, data: bytes) -> None:
        """A datagram from the client's address."""
        self.socket.datagramReceived(data, CLIENT)
        for _ in range(3):
            self.clock.advance(0)

    def talk(self) -> None:
        """Exchange datagrams."""
        for _ in range(4):
            self.clock.advance(0.001)
            for data, _ in self.client.datagrams_to_send(self.clock.seconds()):
                self.give(data)
            sent, self.wire.sent = self.wire.sent, []
            for data in sent:
                self.client.receive_datagram(data, SERVER, self.clock.seconds())

    def end(self) -> None:
        """Everything ends."""
        self.factory.close_all()
        assert self.factory.empty and not self.factory.by_id
        assert not self.clock.getDelayedCalls()


def _requests() -> bytes:
    """Streams of a client of HTTP/3, one after another: the number and the length of each in front."""
    conversation = _Conversation(Https3Factory, Transport.HTTPS3)
    sent: list[tuple[int, bytes]] = []
    client: Any = conversation.client
    client.send_stream_data = lambda number, data, end=False: sent.append((number, data))
    http = H3Connection(client)
    head = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"dns.test"), (b":path", b"/dns-query")]
    http.send_headers(0, head)
    http.send_data(0, QUERY, True)
    return b"".join(bytes((number,)) + len(data).to_bytes(2, "big") + data for number, data in sent)


DATAGRAMS = (_Conversation(DoqFactory, Transport.QUIC).first(),)
STREAMS = (
    b"\0" + (len(QUERY) + 2).to_bytes(2, "big") + len(QUERY).to_bytes(2, "big") + QUERY,
    _requests(),
)


def run_quic(data: bytes) -> None:
    """Send bytes as a first datagram, and in the middle of a connection."""
    conversation = _Conversation(DoqFactory, Transport.QUIC)
    conversation.give(data)
    conversation.end()
    conversation = _Conversation(DoqFactory, Transport.QUIC)
    conversation.talk()
    conversation.give(data)
    conversation.give(data[:1] + next(iter(conversation.factory.by_id), b"") + data[9:])
    conversation.end()


def run_quic_streams(data: bytes) -> None:
    """Send bytes on streams, cut as they say."""
    for kind, transport in ((DoqFactory, Transport.QUIC), (Https3Factory, Transport.HTTPS3)):
        conversation = _Conversation(kind, transport)
        conversation.talk()
        rest = data
        while len(rest) >= 3:
            number, size = rest[0] & 0x1E, int.from_bytes(rest[1:3], "big") % 2000
            try:
                conversation.client.send_stream_data(number, rest[3 : 3 + size], bool(rest[0] & 0x20))
            except (ValueError, RuntimeError):
                pass  # the client itself does not do that
            rest = rest[3 + size :]
        conversation.talk()
        conversation.end()
