"""Names that never go upstream."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply
from kdns.core.request import Request
from kdns.plugin.capabilities import AsksUpstreams
from kdns.plugins.leakguard import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import EDE_PROHIBITED, NXDOMAIN
from kdns.wire.names import from_text
from kdns.wire.presentation import record_line


class Forwards(Link, AsksUpstreams):
    """Passes on, and has upstreams of their own for some zones."""

    name = "forward"

    def __init__(self, *origins: str) -> None:
        self.forwarders = [
            SimpleNamespace(stanza=SimpleNamespace(origin=from_text(origin), max_concurrent=0)) for origin in origins
        ]

    def answer(self, request: Request, next: Next) -> Reply:
        return next(request)


class LeakguardTests(SynchronousTestCase):
    """What is stopped, and what passes."""

    def bench_of(self, text: str, *origins: str) -> PluginBench:
        bench = PluginBench(directive, text, behind=[Forwards(*origins)])
        bench.builder.links[0].placed([Forwards(*origins)])
        return bench

    def stopped(self, bench: PluginBench, *names: str) -> list[bool]:
        return [bench.ask(name, "PTR").source == "leakguard" for name in names]

    def test_private(self) -> None:
        """Reverse zones of private addresses are stopped, and public ones beside them pass."""
        bench = self.bench_of("leakguard")
        for stops, passes in (
            ("1.2.3.10.in-addr.arpa", "1.2.3.11.in-addr.arpa"),
            ("1.0.16.172.in-addr.arpa", "1.0.15.172.in-addr.arpa"),
            ("1.0.31.172.in-addr.arpa", "1.0.32.172.in-addr.arpa"),
            ("1.0.168.192.in-addr.arpa", "1.0.169.192.in-addr.arpa"),
            ("1.0.254.169.in-addr.arpa", "1.0.253.169.in-addr.arpa"),
            ("1.0.64.100.in-addr.arpa", "1.0.63.100.in-addr.arpa"),
            ("1.0.127.100.in-addr.arpa", "1.0.128.100.in-addr.arpa"),
            ("1.0.d.f.ip6.arpa", "1.0.c.f.ip6.arpa"),
            ("0.b.e.f.ip6.arpa", "0.c.e.f.ip6.arpa"),
            ("x.svc.CLUSTER.local", "cluster.local.example"),
            ("cluster.local", "local"),
        ):
            self.assertEqual(self.stopped(bench, stops, passes), [True, False], (stops, passes))
        counter = bench.context.registry.counter("kdns_leakguard_stopped_total", "").counter()
        self.assertEqual(counter.value, 11)

    def test_answer(self) -> None:
        """Names do not exist, the zone itself has no records; the SOA and an Extended DNS Error say who says so."""
        bench = self.bench_of("leakguard")
        for name, rcode in (("1.2.3.10.IN-addr.arpa", NXDOMAIN), ("10.IN-addr.arpa", 0)):
            answer: Answer = bench.ask(name, "PTR")
            self.assertEqual((answer.rcode, answer.ede), (rcode, ((EDE_PROHIBITED, "kept from upstreams"),)))
            (line,) = (" ".join(map(str, record_line(record))) for record in answer.authority)
            self.assertEqual(line, "10.IN-addr.arpa. 300 IN SOA 10.in-addr.arpa. nobody.invalid. 1 300 300 300 300")

    def test_allowed(self) -> None:
        """What is allowed passes, within a guarded zone, too; so does a zone that has upstreams of its own."""
        names = ("1.2.3.10.in-addr.arpa", "1.2.4.10.in-addr.arpa", "a.cluster.local")
        for text, origins, wanted in (
            ("leakguard", (), [True, True, True]),
            ("leakguard {\n allow 10.3.0.0/16\n}", (), [False, True, True]),
            ("leakguard {\n allow 10.0.0.0/8 cluster.local\n}", (), [False, False, False]),
            ("leakguard", (".",), [True, True, True]),
            ("leakguard", ("10.in-addr.arpa",), [False, False, True]),
        ):
            self.assertEqual(self.stopped(self.bench_of(text, *origins), *names), wanted, (text, origins))

    def test_more_zones(self) -> None:
        """Zones of one's own are guarded, too; a longer one within what is allowed."""
        bench = self.bench_of("leakguard corp.test secret.open.test {\n allow open.test\n}")
        self.assertEqual(self.stopped(bench, "a.corp.test", "a.open.test", "secret.open.test"), [True, False, True])

    def test_errors(self) -> None:
        """Unknown options, and words that are no zones."""
        bench = PluginBench(directive, "leakguard")
        for text in ("leakguard {\n deny x\n}", "leakguard {\n allow\n}", "leakguard a..b", "leakguard\nleakguard"):
            self.assertIn("leakguard", bench.error(text))

    def test_repeated(self) -> None:
        """The question alone decides."""
        names = ("1.2.3.10.in-addr.arpa", "10.in-addr.arpa", "a.test", "a.cluster.local")
        PluginBench(directive, "leakguard").check_repeats(names, qtypes=("A", "TXT"))

    def test_fast_path(self) -> None:
        """What passes keeps the fast path."""
        link: Any = self.bench_of("leakguard").builder.links[0]
        admits = link.fast_effect("", b"\0").admits
        self.assertEqual([admits(from_text(name), 1, "") for name in ("a.test", "a.cluster.local")], [True, False])

    def test_explain(self) -> None:
        """An explanation says why, and what lets the name pass."""
        link: Any = self.bench_of("leakguard").builder.links[0]
        self.assertEqual([len(link.explain(a_request(name))) for name in ("a.test", "1.10.in-addr.arpa")], [0, 1])
