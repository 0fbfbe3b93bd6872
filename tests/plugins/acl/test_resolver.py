"""Queries are let through, refused, emptied or dropped."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.plugins.acl import directive
from kdns.testing.plugin import PluginBench

LISTS = """
acl a.test {
    block type A net 10.0.0.0/8
    allow net 192.0.2.0/24
    drop type TXT net 2001:db8::/32
}
acl {
    filter net 10.0.0.0/8
    block net 192.0.2.0/24
}
"""

CLIENTS = ("10.1.1.1", "10.1.1.2", "192.0.2.9", "198.51.100.1", "2001:db8::1")


class AclTests(SynchronousTestCase):
    """Two lists, one for a zone and one for all names."""

    def setUp(self) -> None:
        self.bench = PluginBench(directive, LISTS)

    def asked(self, qname: str, qtype: str, client: str) -> str:
        """What becomes of a query."""
        answer: Answer = self.bench.ask(qname, qtype, client=client)
        if answer.silent:
            return "dropped"
        if answer.source == "acl":
            self.assertEqual((answer.flags, answer.body.counts), (0, (0, 0, 0)))
            return f"{answer.rcode} EDE {answer.ede[0][0]}"
        return "answered"

    def test_table(self) -> None:
        """The first rule of the first list that fits decides; where none of a list fits the next list is asked."""
        for qname, qtype, client, wanted in (
            ("x.A.test", "A", "10.1.1.1", "5 EDE 15"),
            ("x.a.test", "AAAA", "10.1.1.1", "0 EDE 17"),
            ("a.test", "A", "192.0.2.9", "answered"),
            ("b.test", "A", "192.0.2.9", "5 EDE 15"),
            ("x.a.test", "TXT", "2001:db8::1", "dropped"),
            ("x.a.test", "A", "2001:db8::1", "answered"),
            ("b.test", "A", "198.51.100.1", "answered"),
            ("xa.test", "A", "10.1.1.1", "0 EDE 17"),
        ):
            self.assertEqual(self.asked(qname, qtype, client), wanted, (qname, qtype, client))

    def test_repeated(self) -> None:
        """Neither the answer table nor a cache gives a client what another network's client got."""
        self.bench.check_repeats(["x.a.test", "b.test"], qtypes=("A", "AAAA", "TXT"), clients=CLIENTS)

    def test_networks_share_answers(self) -> None:
        """Clients that no rule tells apart are of one group; where no rule names a network all are."""
        (link,) = self.bench.builder.links
        assert link.varies.client is not None
        self.assertEqual([link.varies.client(client) for client in CLIENTS], [9, 9, 18, 0, 4])
        self.assertIsNone(PluginBench(directive, "acl {\n block type ANY\n}").builder.links[0].varies.client)

    def test_counted(self) -> None:
        """Every query counts once, repetitions included, by what became of it."""
        for client in CLIENTS:
            self.bench.ask("x.a.test", "A", client=client)
            self.bench.ask("b.test", "A", client=client)
        self.bench.ask("a.test", "TXT", client="2001:db8::1")
        lines = [line for line in self.bench.context.registry.lines() if line.startswith("coredns_acl")]
        self.assertEqual(
            sorted(lines),
            [
                'coredns_acl_allowed_requests_total{server="dns://:53",view=""} 5',
                'coredns_acl_blocked_requests_total{server="dns://:53",zone=".",view=""} 1',
                'coredns_acl_blocked_requests_total{server="dns://:53",zone="a.test.",view=""} 2',
                'coredns_acl_dropped_requests_total{server="dns://:53",zone="a.test.",view=""} 1',
                'coredns_acl_filtered_requests_total{server="dns://:53",zone=".",view=""} 2',
            ],
        )
        answer = self.bench.ask("b.test", "A", client="198.51.100.1")
        self.assertEqual(len(answer.charges), 1)
        answer.charges[0].charge(7)
        (line,) = [line for line in self.bench.context.registry.lines() if "allowed_requests_total{" in line]
        self.assertEqual(line.rpartition(" ")[2], "13")

    def test_explained(self) -> None:
        """An explanation names the rule by its place."""
        from kdns.testing.plugin import a_request

        (link,) = self.bench.builder.links
        (note,) = link.explain(a_request("x.a.test", client="10.1.1.1"))
        self.assertEqual(note, ("Corefile:4: block fits 10.1.1.1 in a.test.", True))
        (note,) = link.explain(a_request("x.a.test", client="198.51.100.1"))
        self.assertEqual(note, ("no rule fits 198.51.100.1: the query is allowed", False))
