"""TLS in front of connections: what fails, and what a new configuration changes."""

from __future__ import annotations

from typing import Any

import dns.message
from OpenSSL import SSL
from twisted.internet.protocol import Factory
from twisted.logger import globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.proxied import Origin
from kdns.server.listener import Listener
from kdns.server.secure import QUIET
from kdns.server.sockets import OpenEndpoint, open_tls
from kdns.server.table import TableBudget
from kdns.testing.memory import MemoryReactor
from tests.encrypted import Client, TlsClient, connect
from tests.server.support import Slow, a_block, a_house, zones_of
from tests.server.test_https import Certificate

PORT = 1853
QUERY = dns.message.make_query("web.prod.", "A", id=1).to_wire()


class Header:
    """Takes a line in front of the connection."""

    def __init__(self) -> None:
        self.octets = b""

    def received(self, data: bytes) -> tuple[Origin | None, bytes] | None:
        """The client that the line names, and what comes after the line."""
        self.octets += data
        line, end, rest = self.octets.partition(b"\n")
        return (Origin(line.decode(), 7, ""), rest) if end else None


class Policy:
    """Every connection has such a line."""

    def stream(self, client: str) -> Header:
        """What takes it."""
        return Header()

    def datagram(self, data: bytes, client: str, port: int, now: float) -> None:
        """There are none."""


class SecureTests(SynchronousTestCase):
    """A listener on the memory network."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.context = a_house(self.reactor)
        self.room = TableBudget(1_000_000)
        self.slow = Slow()
        self.block = a_block(self.slow)
        zones = zones_of(root=self.block)
        zones.tls = Certificate()
        self.listener = Listener(self.context, "tls://:1853", zones)
        self.opened: OpenEndpoint = open_tls(self.reactor, self.listener, "127.0.0.1", PORT, self.room)
        self.clients: list[Client] = []
        self.told: list[Any] = []
        observer: Any = self.told.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def tearDown(self) -> None:
        for client in self.clients:
            if not client.closed:
                client.transport.abortConnection()
        self.opened.close(self.room)
        self.reactor.advance(0.0)
        self.assertEqual(self.reactor.leftovers(), [])

    def connect(self, tls: TlsClient | None) -> Client:
        """A connected client."""
        self.clients.append(connect(self.reactor, PORT, Client(), tls))
        return self.clients[-1]

    def test_failed_handshakes(self) -> None:
        """A failed handshake is counted; one line in ten seconds says how many there were, and why."""
        for client in range(4):
            if client == 3:
                self.reactor.advance(QUIET)
            self.connect(TlsClient(most=SSL.TLS1_1_VERSION))
            self.connect(None).transport.write(b"\x00\x10" + bytes(16))
            self.reactor.advance(0.1)
        family = next(
            one for one in self.context.registry.families() if one.name == "kdns_tls_handshake_failures_total"
        )
        self.assertEqual(family.counter("tls://:1853").value, 8)
        lines = [event["count"] for event in self.told if "handshakes failed" in (event.get("log_format") or "")]
        self.assertEqual(lines, [1, 6])

    def test_gone_in_handshake(self) -> None:
        """A client that goes away in the middle is no failure; port scanners and probes do."""
        self.connect(None).transport.loseConnection()
        self.reactor.advance(0.1)
        family = next(
            one for one in self.context.registry.families() if one.name == "kdns_tls_handshake_failures_total"
        )
        self.assertEqual(family.counter("tls://:1853").value, 0)

    def test_reload(self) -> None:
        """Connections that are open go on; new ones are as the new configuration says."""
        before = self.connect(TlsClient())
        self.listener.serve(zones_of(root=self.block))
        plain = self.connect(None)
        for client, name in ((before, "a.test."), (plain, "b.test.")):
            client.send_messages(dns.message.make_query(name, "A").to_wire())
            self.reactor.advance(0.1)
            self.slow.give()
            self.reactor.advance(0.1)
            self.assertEqual(len(client.messages), 1)

    def test_proxy(self) -> None:
        """A proxy names the client before the handshake begins."""
        self.listener.zones.proxy = Policy()
        client = self.connect(None)
        client.transport.write(b"192.0.")
        self.reactor.advance(0.1)
        client.transport.write(b"2.7\n")
        tls: Any = TlsClient()
        inner = Client()
        factory: Any = Factory.forProtocol(lambda: inner)
        secured = TLSMemoryBIOFactory(tls, True, factory, self.context.reactor).buildProtocol(None)
        client.dataReceived = secured.dataReceived  # type: ignore[method-assign]  # TLS goes on where the line ended
        secured.makeConnection(client.transport)
        inner.send_messages(QUERY)
        self.reactor.advance(0.1)
        (request, _) = self.slow.waiting[0]
        self.assertEqual((request.client, request.client_port), ("192.0.2.7", 7))
        self.slow.give()
        self.reactor.advance(0.1)
        self.assertEqual(len(inner.messages), 1)

    def test_end(self) -> None:
        """At the end a query that waits is answered, and then the connection is closed in order."""
        client = self.connect(TlsClient())
        client.send_messages(QUERY)
        self.reactor.advance(0.1)
        self.opened.factory.finish_all(reading=False)
        self.reactor.advance(0.1)
        self.assertFalse(client.closed)
        self.slow.give()
        self.reactor.advance(0.1)
        self.assertEqual(len(client.messages), 1)
        self.assertTrue(client.closed)
        self.assertTrue(self.opened.factory.empty)
        self.assertNotIsInstance(client.reason, SSL.Error)

    def test_no_datagrams(self) -> None:
        """There is no socket for UDP."""
        self.assertEqual(self.opened.datagrams, [])
