"""Names of the local host, and the reverse zones that no resolver should see."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.fast_path import NO_EFFECT
from kdns.plugins.local import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import NXDOMAIN
from kdns.wire.presentation import record_line

SOA = "604800 IN SOA localhost. root.localhost. 1 0 0 0 604800"


class LocalTests(SynchronousTestCase):
    """What is answered, and what goes on."""

    def ask(self, qname: str, qtype: str = "A", text: str = "local") -> str:
        """What the plugin says, as text; nothing where the upstream is asked."""
        self.bench = PluginBench(directive, text)
        answer: Answer = self.bench.ask(qname, qtype)
        if answer.source != "local":
            return ""
        lines = [" ".join(map(str, record_line(record))) for section in answer.sections() for record in section]
        return ("NXDOMAIN " if answer.rcode == NXDOMAIN else "") + "; ".join(lines)

    def test_host(self) -> None:
        """Addresses, and for other types the SOA at the name itself."""
        for qname, qtype, wanted in (
            ("localhost", "A", "localhost. 604800 IN A 127.0.0.1"),
            ("LocalHost", "AAAA", "LocalHost. 604800 IN AAAA ::1"),
            ("localhost", "MX", f"localhost. {SOA}"),
            ("localhost", "SOA", f"localhost. {SOA}"),
            ("localhost", "NS", "localhost. 604800 IN NS localhost."),
            ("x.localhost", "A", "x.localhost. 604800 IN A 127.0.0.1"),
            ("x.localhost", "NS", f"x.localhost. {SOA}"),
            ("localhost.svc.test", "AAAA", "localhost.svc.test. 604800 IN AAAA ::1"),
            ("localhostx.test", "A", ""),
            ("x.localhost.test", "A", ""),
            ("notlocalhost", "A", ""),
        ):
            self.assertEqual(self.ask(qname, qtype), wanted, (qname, qtype))

    def test_without_prefix(self) -> None:
        """With ``localhost_prefix off`` only localhost itself and names below it are meant."""
        text = "local {\n localhost_prefix off\n}"
        self.assertEqual(self.ask("localhost.svc.test", "A", text), "")
        self.assertEqual(self.ask("x.localhost", "A", text), "x.localhost. 604800 IN A 127.0.0.1")

    def test_reverse(self) -> None:
        """Three zones with SOA, NS and one PTR; what stands above it exists (RFC 8020), everything else does not."""
        zone = "127.in-addr.arpa."
        for qname, qtype, wanted in (
            (zone, "SOA", f"{zone} {SOA}"),
            (zone, "NS", f"{zone} 604800 IN NS localhost."),
            (zone, "PTR", f"{zone} {SOA}"),
            (f"1.0.0.{zone}", "PTR", f"1.0.0.{zone} 604800 IN PTR localhost."),
            (f"1.0.0.{zone}", "A", f"{zone} {SOA}"),
            (f"0.0.{zone}", "PTR", f"{zone} {SOA}"),
            (f"2.0.0.{zone}", "PTR", f"NXDOMAIN {zone} {SOA}"),
            (f"x.1.0.0.{zone}", "A", f"NXDOMAIN {zone} {SOA}"),
            ("x.0.in-addr.arpa.", "PTR", f"NXDOMAIN 0.in-addr.arpa. {SOA}"),
            ("255.in-addr.arpa.", "SOA", f"255.in-addr.arpa. {SOA}"),
            ("10.in-addr.arpa.", "SOA", ""),
        ):
            self.assertEqual(self.ask(qname, qtype), wanted, (qname, qtype))

    def test_counter(self) -> None:
        """Names like localhost are counted, each repetition included; localhost itself is not."""
        bench = PluginBench(directive, "local")
        for qname in ("localhost", "x.localhost", "localhost.a.test", "a.test", "127.in-addr.arpa"):
            bench.ask(qname)
        counter = bench.context.registry.counter("coredns_local_localhost_requests_total", "").counter()
        self.assertEqual(counter.value, 2)
        self.assertEqual(bench.ask("x.localhost").charges, (counter,))

    def test_repeated(self) -> None:
        """The question alone decides."""
        names = ("localhost", "localhost.a.test", "a.test", "127.in-addr.arpa", "1.0.0.127.in-addr.arpa")
        PluginBench(directive, "local").check_repeats(names, qtypes=("A", "AAAA", "TXT"))

    def test_fast_path(self) -> None:
        """With the prefix every query must come here; without it only those for its own zones."""
        for text, wanted in (("local", None), ("local {\n localhost_prefix off\n}", NO_EFFECT)):
            (link,) = PluginBench(directive, text).builder.links
            self.assertEqual((link.fast_effect("", b"\0"), len(link.fast_sources())), (wanted, 4))

    def test_explain(self) -> None:
        """An explanation says why the name is answered here."""
        link: Any = PluginBench(directive, "local").builder.links[0]
        found = [len(link.explain(a_request(name))) for name in ("x.localhost", "1.0.0.127.in-addr.arpa", "a.test")]
        self.assertEqual(found, [1, 1, 0])
