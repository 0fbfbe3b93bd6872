"""Which certificates of upstreams are accepted, over TLS and over HTTPS: :mod:`kdns.core.tls_identity` put to use."""

from __future__ import annotations

from twisted.web.server import Site

from kdns.core.failure import ResolutionFailed
from kdns.plugins.forward import Carrier, Target
from kdns.testing.upstream import UpstreamServer
from tests.certificate_cases import CASES, NAME, Case
from tests.plugins.forward.test_https import Doh
from tests.plugins.forward.test_streams import SecuredCase


class CertificateTests(SecuredCase):
    """An upstream with each of the certificates."""

    def accepts(self, target: Target, name: str) -> bool:
        """Whether a query to *target*, whose certificate must be for *name*, is answered."""
        forwarder = self.forwarder(target, tls_servername=name)
        waiting = self.asked(forwarder, seconds=0.1)
        outcome: list[object] = []
        waiting.addBoth(outcome.append)
        forwarder.stop()
        if outcome and getattr(outcome[0], "rcode", None) == 0:
            return True
        self.assertIsInstance(getattr(outcome[0], "value", None), ResolutionFailed)
        return False

    def compare(self, case: Case, target: Target) -> None:
        """Ask with the name and with the address of the upstream."""
        asked = self.fake.asked()
        self.assertEqual(self.accepts(target, NAME), case.for_name, f"{case.text}: by name")
        self.assertEqual(self.accepts(target, "10.0.0.1"), case.for_address, f"{case.text}: by address")
        self.assertEqual(self.fake.asked() - asked, case.for_name + case.for_address, "refused before anything is sent")

    def test_tls(self) -> None:
        """DNS over TLS: only a certificate for the wanted name is shown a query."""
        for case in CASES:
            identity = self.authority.server_with(case.names, case.common_name)
            server = UpstreamServer(self.fake, self.reactor, identity)
            server.start("127.0.0.1")
            self.compare(case, Target("127.0.0.1", server.tls_address[1], Carrier.TLS))
            server.stop()
            self.reactor.settle()

    def test_https(self) -> None:
        """DNS over HTTPS: the same."""
        for case in CASES:
            options = self.authority.server_with(case.names, case.common_name).server_options()
            site = Site(Doh(self.fake), reactor=self.reactor)
            port = self.reactor.listenSSL(0, site, options, interface="127.0.0.1")
            self.compare(case, Target("127.0.0.1", port.getHost().port, Carrier.HTTPS))
            port.stopListening()
            self.reactor.settle()

    def test_reason(self) -> None:
        """The error says which names the certificate has."""
        target = self.listen("other.example.com")
        reason = "the certificate is for other.example.com, not for dns.example.com"
        self.assertIn(
            f"tls handshake with {target.text}: {reason}", self.fails(self.forwarder(target, tls_servername=NAME))
        )
