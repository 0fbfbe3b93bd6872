"""*family* and *leakguard* in a whole server: with the cache, the answer table, a cluster and an upstream."""

from __future__ import annotations

import dns.message
import dns.rcode
from twisted.trial.unittest import SynchronousTestCase

from kdns.server.assembly import read_text
from tests.conformance.cases import CASES
from tests.conformance.world import MemoryWorld

COREFILE = """\
.:{{PORT}} {
    family ipv4
    leakguard
    cache 30
    kubernetes cluster.local in-addr.arpa {
        kubeconfig {{KUBECONFIG}}
        fallthrough
    }
    forward . {{UPSTREAM}}
}
"""


class PrivateNamesTests(SynchronousTestCase):
    """What clients are told, again and again, and after a reload."""

    def setUp(self) -> None:
        self.world = MemoryWorld(COREFILE, (CASES / "cluster.yaml",))
        self.world.start()
        self.addCleanup(lambda: self.assertEqual(self.world.stop(), []))

    def told(self, name: str, qtype: str) -> str:
        """Response code and types of the records in all sections: the same for two clients, over UDP and TCP, three times each."""
        found = set()
        for source in ("127.0.0.1", "127.0.0.2"):
            for proto in ("udp", "tcp"):
                for _ in range(3):
                    reply, _ = self.world.ask(dns.message.make_query(name, qtype).to_wire(), proto, source)
                    assert reply is not None
                    message = dns.message.from_wire(reply)
                    sections = (message.answer, message.authority)
                    types = [sorted(rrset.to_rdataset().rdtype.name for rrset in section) for section in sections]
                    found.add(f"{dns.rcode.to_text(message.rcode())} {types}")
        (one,) = found
        return one

    def guarded(self, name: str) -> bool:
        """Whether a reverse name is denied here: the upstream's denials have another SOA."""
        reply, _ = self.world.ask(dns.message.make_query(name, "PTR").to_wire())
        assert reply is not None
        return str(dns.message.from_wire(reply).authority[0].name) == "10.in-addr.arpa."

    def test_told(self) -> None:
        """Addresses of one family, denials as they were, and private names from nowhere else."""
        for name, qtype, wanted in (
            ("www.example.com.", "A", "NOERROR [['A'], []]"),
            ("www.example.com.", "AAAA", "NOERROR [[], ['SOA']]"),
            ("no.such.example.com.", "AAAA", "NXDOMAIN [[], ['SOA']]"),
            ("web.prod.svc.cluster.local.", "A", "NOERROR [['A'], []]"),
            ("no.such.svc.cluster.local.", "A", "NXDOMAIN [[], ['SOA']]"),
            ("9.9.9.10.in-addr.arpa.", "PTR", "NXDOMAIN [[], ['SOA']]"),  # by leakguard, see below
        ):
            self.assertEqual(self.told(name, qtype), wanted, (name, qtype))

    def test_reload(self) -> None:
        """After a reload the other family is told, and what was guarded is asked; nothing of before stays in cache and table."""
        self.assertEqual(self.told("www.example.com.", "AAAA"), "NOERROR [[], ['SOA']]")
        self.assertTrue(self.guarded("9.9.9.10.in-addr.arpa."))
        corefile = self.world.corefile.replace("family ipv4", "family ipv6").replace("    leakguard\n", "")
        self.assertNotEqual(corefile, self.world.corefile)
        done = self.world.service.adopt(read_text(corefile, {}))
        self.world.reactor.advance(10)
        self.successResultOf(done)
        self.assertEqual(self.told("www.example.com.", "AAAA"), "NOERROR [['AAAA'], []]")
        self.assertEqual(self.told("www.example.com.", "A"), "NOERROR [[], ['SOA']]")
        self.assertFalse(self.guarded("9.9.9.10.in-addr.arpa."))
