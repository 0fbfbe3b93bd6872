"""Tests of :mod:`kdns.testing.certificates`, with TLS over the memory network."""

from __future__ import annotations

import datetime
from typing import Any

from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kdns.testing.certificates import DAY, Authority, Identity
from kdns.testing.memory import MemoryReactor


class Echo(Protocol):
    """Says again what it hears, and with whose certificate."""

    def dataReceived(self, data: bytes) -> None:
        """Say it again."""
        transport: Any = self.transport
        peer = transport.getPeerCertificate()
        name = peer.get_subject().CN.encode() if peer else b"anybody"
        transport.write(name + b":" + data)


class Asker(Protocol):
    """Asks, and notes what it hears and how it ends."""

    def __init__(self) -> None:
        self.heard = b""
        self.lost = False

    def connectionMade(self) -> None:
        """Ask."""
        transport: Any = self.transport
        transport.write(b"ask")

    def dataReceived(self, data: bytes) -> None:
        """Note it."""
        self.heard += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Note it."""
        self.lost = True


class AuthorityTests(SynchronousTestCase):
    """Who trusts whom."""

    authority = Authority()
    served = authority.server("dns.test", "127.0.0.1", "::1")

    def ask(
        self,
        host: str = "dns.test",
        trusted: Authority | None = None,
        identity: Identity | None = None,
        served: Identity | None = None,
        clients: Authority | None = None,
    ) -> Asker:
        """Connect and say something."""
        reactor, asker = MemoryReactor(), Asker()
        factory: Any = ClientFactory()
        factory.protocol = lambda: asker
        options = (served or self.served).server_options(clients)
        reactor.listenSSL(853, Factory.forProtocol(Echo), options)
        trust: Any = (trusted or self.authority).trust_root()
        certificate = identity.private_certificate() if identity else None
        reactor.connectSSL("127.0.0.1", 853, factory, optionsForClientTLS(host, trust, certificate))
        reactor.settle()
        return asker

    def test_trusted(self) -> None:
        """A server is believed under each of its names and addresses."""
        for host in ("dns.test", "127.0.0.1", "::1"):
            self.assertEqual(self.ask(host).heard, b"anybody:ask")

    def test_other_name(self) -> None:
        """It is not believed under another name."""
        asker = self.ask("other.test")
        self.assertEqual((asker.heard, asker.lost), (b"", True))

    def test_other_authority(self) -> None:
        """It is not believed by those who trust another authority."""
        asker = self.ask(trusted=Authority())
        self.assertEqual((asker.heard, asker.lost), (b"", True))

    def test_expired(self) -> None:
        """A certificate can have expired."""
        old = Authority(age=3 * DAY, life=2 * DAY)
        asker = self.ask(trusted=old, served=old.server("dns.test"))
        self.assertEqual((asker.heard, asker.lost), (b"", True))
        young = Authority(age=-DAY, life=datetime.timedelta(days=9))
        self.assertTrue(self.ask(trusted=young, served=young.server("dns.test")).lost)

    def test_client_certificate(self) -> None:
        """A server that asks for certificates lets those of its authority in, and knows their names; others not."""
        people = Authority("people")
        asker = self.ask(identity=people.client("kdns", ["system:nodes"]), clients=people)
        self.assertEqual(asker.heard, b"kdns:ask")
        self.assertEqual(self.ask(identity=self.authority.client("kdns"), clients=people).heard, b"")
        self.assertEqual(self.ask(clients=people).heard, b"")
