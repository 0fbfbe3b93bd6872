"""The whole way: a server in memory whose clients are behind a proxy."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugins.proxyproto import directive
from kdns.plugins.proxyproto.header import DGRAM, STREAM
from kdns.plugins.proxyproto.policy import ProxyConfig, Rule
from kdns.testing.plugin import a_query
from tests.conformance.client import tell
from tests.conformance.world import SERVER, MemoryWorld
from tests.plugins.proxyproto.headers import version_2
from tests.support import parsed

PLUGIN, AT = "plugin/proxyproto: ", "Corefile:3 - Error during parsing: "
ERRORS = {
    "allow 10.0.0.1": PLUGIN + "10.0.0.1: invalid CIDR address: 10.0.0.1",
    "default": PLUGIN + AT + "Wrong argument count or unexpected line ending after 'default'",
    "default frob": PLUGIN + AT + "Wrong argument count or unexpected line ending after 'frob'",
    "default use skip": PLUGIN + AT + "Wrong argument count or unexpected line ending after 'skip'",
    "frob": AT + "unknown option 'frob'",
    "udp_session_tracking": PLUGIN + AT + "Wrong argument count or unexpected line ending after 'udp_session_tracking'",
    "udp_session_tracking 30": PLUGIN
    + 'udp_session_tracking: invalid duration "30": time: missing unit in duration "30"',
    "udp_session_tracking 30s 0": PLUGIN + 'udp_session_tracking: invalid max sessions "0": must be a positive integer',
    "udp_session_tracking 30s x": PLUGIN + 'udp_session_tracking: invalid max sessions "x": must be a positive integer',
}

COREFILE = """
.:1053 {
    proxyproto {
        allow 127.0.0.0/30
        default reject
    }
    acl {
        block net 198.51.100.0/24
    }
    whoami
}
"""


class ConfigTests(SynchronousTestCase):
    """From words to a value."""

    def test_errors(self) -> None:
        """What is wrong is said in CoreDNS's words."""
        for line, text in ERRORS.items():
            error = self.assertRaises(CorefileError, parsed, directive, f".:53 {{\n proxyproto {{\n{line}\n}}\n}}\n")
            self.assertEqual(str(error), text, line)

    def test_options(self) -> None:
        """Each has its place in the value."""
        text = ".:53 {\n proxyproto {\n allow 10.0.0.0/8\n allow ::1/128\n default USE\n udp_session_tracking 30s 100\n}\n}\n"
        networks = (ip_network("10.0.0.0/8"), ip_network("::1/128"))
        self.assertEqual(parsed(directive, text), ProxyConfig(networks, Rule.USE, 30.0, 100))
        self.assertEqual(parsed(directive, ".:53 {\n proxyproto\n proxyproto\n}\n"), ProxyConfig())


class _Client(Protocol):
    """A connection that keeps what comes."""

    transport: Any  # Twisted's own annotations cannot be called

    def __init__(self) -> None:
        self.received = b""
        self.closed = False

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: object = None) -> None:
        """The server, or the test, has closed it."""
        self.closed = True


class _Connect(ClientFactory[Protocol]):
    noisy = False

    def __init__(self, client: _Client) -> None:
        self.client = client

    def buildProtocol(self, addr: object) -> Protocol:
        """The one connection."""
        return self.client


class ServerTests(SynchronousTestCase):
    """Clients behind a proxy at 127.0.0.1, and one that is no proxy."""

    def setUp(self) -> None:
        self.world = MemoryWorld(COREFILE)
        self.world.start()
        self.addCleanup(lambda: self.assertEqual(self.world.stop(), []))
        self.query = a_query("www.test")

    def asked(self, message: bytes, proto: str, source: str = "127.0.0.1") -> list[str] | None:
        """The addresses that whoami tells; the response code where it tells none."""
        reply, port = self.world.ask(message, proto, source)
        if reply is None:
            return None
        expect = tell(reply, port).expect
        found: list[str] = [text.split()[3] for text in expect["additional"] if " SRV " not in text]
        return found or [expect["rcode"]]

    def test_datagrams(self) -> None:
        """The header's client is the client, for all that ask."""
        for client, wanted in (
            ("192.0.2.7", ["192.0.2.7"]),
            ("198.51.100.7", ["REFUSED"]),
            ("2001:db8::7", ["2001:db8::7"]),
        ):
            server = "10.0.0.53" if "." in client else "2001:db8::53"
            header = version_2(client, 4000, server, 53, DGRAM)
            for _ in range(3):
                self.assertEqual(self.asked(header + self.query, "udp"), wanted)
        self.assertEqual(self.asked(self.query, "udp"), ["127.0.0.1"])

    def test_no_proxy(self) -> None:
        """A header of somebody who is no proxy is dropped; a query without one is answered."""
        header = version_2("192.0.2.7", 4000, "10.0.0.53", 53, DGRAM)
        self.assertIsNone(self.asked(header + self.query, "udp", "127.0.0.77"))
        self.assertEqual(self.asked(self.query, "udp", "127.0.0.77"), ["127.0.0.77"])

    def streamed(self, data: bytes, source: str = "127.0.0.1") -> tuple[bytes, bool]:
        """What comes back on a connection that begins with these bytes, sent one at a time, and whether it was closed."""
        client = _Client()
        self.world.reactor.connectTCP(*SERVER, _Connect(client), bindAddress=(source, 0))
        self.world.reactor.settle()
        for byte in data:
            client.transport.write(bytes((byte,)))
            self.world.reactor.settle()
        self.world.reactor.advance(0.1)
        closed = client.closed
        client.transport.loseConnection()
        self.world.reactor.settle()
        return client.received, closed

    def test_streams(self) -> None:
        """A header in front of the first query names the client of the whole connection."""
        framed = len(self.query).to_bytes(2, "big") + self.query
        header = version_2("192.0.2.7", 4000, "10.0.0.53", 53, STREAM)
        for start in (header, b"PROXY TCP4 192.0.2.7 10.0.0.53 4000 53\r\n"):
            received, closed = self.streamed(start + framed + framed)
            size = int.from_bytes(received[:2], "big")
            self.assertEqual((len(received), closed), (2 * (size + 2), False))
            (told,) = [text for text in tell(received[2 : 2 + size]).expect["additional"] if " A " in text]
            self.assertEqual(told.split()[3], "192.0.2.7")
        received, closed = self.streamed(framed)
        self.assertTrue(received)
        self.assertFalse(closed)

    def test_streams_refused(self) -> None:
        """A header that is broken, or of somebody who is no proxy, closes the connection."""
        header = version_2("192.0.2.7", 4000, "10.0.0.53", 53, STREAM)
        self.assertEqual(self.streamed(b"PROXY nonsense\r\n"), (b"", True))
        self.assertEqual(self.streamed(header, "127.0.0.77"), (b"", True))

    def test_broken(self) -> None:
        """A broken header is dropped, and counted."""
        header = version_2("192.0.2.7", 4000, "10.0.0.53", 53, DGRAM)
        self.assertIsNone(self.asked(header[:20], "udp"))
        self.assertIn("kdns_proxyproto_dropped_total 1", self.world.context.registry.lines())
