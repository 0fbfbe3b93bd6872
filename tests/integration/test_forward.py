"""*forward* over the loopback of this machine: what memory cannot prove about kernels, refusals and TLS."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from kdns.core.failure import ResolutionFailed
from kdns.core.request import Transport
from kdns.plugins.forward import Carrier, Forwarder, Stanza, Target
from kdns.plugins.forward.config import TlsFiles
from kdns.testing.certificates import Authority
from kdns.testing.upstream import Entry, FakeUpstream, UpstreamServer
from tests.plugins.forward.support import last_octet
from tests.support import a_request


class LoopbackTests(TestCase):
    """One upstream on real sockets."""

    timeout = 20.0

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.authority = Authority()
        self.fake = FakeUpstream()
        self.fake.say("www.example.com", "www.example.com. 300 IN A 192.0.2.1")
        self.server = UpstreamServer(self.fake, reactor, self.authority.server("127.0.0.1"))
        self.address = self.server.start()
        self.forwarders: list[Forwarder] = []
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close()))

    async def close(self) -> None:
        """Stop everything, and let the reactor see it."""
        for forwarder in self.forwarders:
            forwarder.stop()
        await self.server.stop()
        await deferLater(self.reactor, 0.01)

    def forwarder(self, target: Target | None = None, **options: Any) -> Forwarder:
        """A started forwarder."""
        made = Forwarder(Stanza((target or Target(*self.address),), **options), self.reactor)
        made.start()
        self.forwarders.append(made)
        return made

    async def test_udp(self) -> None:
        """Many queries at once over UDP, each answered."""
        forwarder = self.forwarder()
        for number in range(50):
            self.fake.say(f"host{number}.example.com", f"host{number}.example.com. 300 IN A 192.0.2.{number}")
        waiting = [forwarder.ask(a_request(f"host{number}.example.com")) for number in range(50)]
        self.assertEqual([last_octet(await one) for one in waiting], list(range(50)))

    async def test_refused(self) -> None:
        """Nobody listens: the kernel says so, and nothing is waited for."""
        await self.server.refuse("udp")
        began = self.reactor.seconds()
        failure = await self.assertFailure(
            self.forwarder(max_fails=0).ask(a_request("www.example.com")), ResolutionFailed
        )
        port = self.address[1]
        self.assertRegex(str(failure), rf"read udp 127\.0\.0\.1:\d+->127\.0\.0\.1:{port}: read: connection refused$")
        self.assertLess(self.reactor.seconds() - began, 1.5)

    async def test_tcp(self) -> None:
        """One connection carries query after query; when the upstream closes it another takes over."""
        forwarder = self.forwarder(force_tcp=True, max_connect_attempts=1)
        for _ in range(3):
            await forwarder.ask(a_request("www.example.com"))
        self.assertEqual(len(self.server.streams.open), 1)
        await self.server.streams.drop()
        self.assertEqual(last_octet(await forwarder.ask(a_request("www.example.com", transport=Transport.TCP))), 1)

    async def test_tls(self) -> None:
        """TLS with a verified certificate, over one connection."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(self.authority.certificate_pem)
        target = Target(*self.server.tls_address, Carrier.TLS)
        forwarder = self.forwarder(target, tls=TlsFiles(authority=path))
        for _ in range(3):
            self.assertEqual(last_octet(await forwarder.ask(a_request("www.example.com"))), 1)
        self.assertEqual(len(self.server.secured.open), 1)

    async def test_cancelled(self) -> None:
        """Cancelling leaves no socket in the reactor."""
        self.fake.say_everywhere(Entry(silent=True))
        before = len(self.reactor.getReaders())
        waiting: Deferred[Any] = self.forwarder().ask(a_request("www.example.com"))
        self.assertEqual(len(self.reactor.getReaders()), before + 1)
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.assertEqual(len(self.reactor.getReaders()), before)
