# -*- test-case-name: tests.plugins.file.test_answering -*-
"""Answers from zones: for how long they hold, what is passed on, and what an operator is told."""

from __future__ import annotations

from kdns.core.answer import Answer
from kdns.core.request import Transport
from kdns.plugins.file import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import AA, DS, NOTIFY, NXDOMAIN, REFUSED, SERVFAIL, A
from tests.plugins.file.support import ZoneTestCase, zone_text


class AnsweringTests(ZoneTestCase):
    """kdns.plugins.file.answering."""

    def bench(self, options: str = "", *lines: str, zone: str = ".") -> PluginBench:
        """*file* for example.org in front of an upstream."""
        self.path = self.write(
            "db", zone_text(5, "www A 10.0.0.1", "deep.ent A 10.0.0.2", "out CNAME www.example.net.", *lines)
        )
        bench = PluginBench(directive, f"file {self.path} example.org {{\n reload 1s\n {options}\n}}", zone=zone)
        self.addCleanup(bench.stop)
        return bench

    def test_from_the_zone(self) -> None:
        """Names of the zone are answered with authority; others are the next plugin's."""
        bench = self.bench()
        answer = bench.ask("www.example.org")
        self.assertEqual((answer.flags, answer.source, answer.answer[0].rdata), (AA, "file", b"\x0a\x00\x00\x01"))
        self.assertEqual(bench.ask("nope.example.org").rcode, NXDOMAIN)
        self.assertEqual(bench.ask("www.example.com").source, "forward")

    def test_fallthrough(self) -> None:
        """Names without records go on, those with other types do not."""
        bench = self.bench("fallthrough")
        for name, source in (("nope", "forward"), ("ent", "forward"), ("www", "file")):
            self.assertEqual(bench.ask(f"{name}.example.org", "TXT").source, source)
        part = self.bench("fallthrough ent.example.org")
        self.assertEqual([part.ask(f"{name}.example.org").source for name in ("nope", "ent")], ["file", "forward"])

    def test_outside_target(self) -> None:
        """An alias out of the zone is looked up through the server; the answer is no more than that look-up allows."""
        bench = self.bench()
        answer = bench.ask("out.example.org")
        self.assertEqual((answer.flags, len(answer.answer)), (AA, 2))
        self.assertFalse(answer.validity.repeat)

    def test_repeated(self) -> None:
        """Neither the table nor a cache says what the zone does not say any more, with every change of the file."""
        bench = self.bench("fallthrough ent.example.org", "cut NS ns.cut", "*.w A 10.0.0.9")

        def change() -> None:
            self.write("db", zone_text(6, "www A 10.0.0.8", "nope A 10.0.0.7", "ent A 10.0.0.6"))
            bench.advance(1.1)
            bench.advance(0)

        names = [f"{name}.example.org" for name in ("www", "nope", "ent", "x.w", "x.cut", "out")]
        bench.check_repeats([*names, "example.org", "www.example.com"], qtypes=("A", "TXT", "DS"), change=change)
        self.assertEqual(bench.ask("www.example.org").answer[0].rdata, b"\x0a\x00\x00\x08")

    def test_transfers_and_notify(self) -> None:
        """Without *transfer*, AXFR is refused; a NOTIFY is not answered."""
        bench = self.bench()
        self.assertEqual(bench.ask("example.org", "AXFR", transport=Transport.TCP).rcode, REFUSED)
        self.assertTrue(bench.ask("example.org", "SOA", flags=NOTIFY << 11).silent)
        self.assertEqual(self.logged("Dropping notify from 127.0.0.1 for example.org."), 1)

    def test_ds_at_the_parent(self) -> None:
        """DS of a zone whose parent is here and delegates it is the parent's to answer."""
        parent = self.write("parent", zone_text(1, "child NS ns.child", f"child DS 1 13 2 {'00' * 32}"))
        child = self.write("child", zone_text(1))
        bench = PluginBench(directive, f"file {parent} example.org\nfile {child} child.example.org")
        self.addCleanup(bench.stop)
        answer = bench.ask("child.example.org", DS)
        self.assertEqual([record.rtype for record in answer.answer], [DS])
        self.assertEqual(bench.ask("child.example.org", "SOA").flags, AA)

    def test_without_data(self) -> None:
        """A zone that is not loaded, or has expired, is SERVFAIL with a reason for clients that read one."""
        bench = PluginBench(directive, f"file {self.folder}/none example.org")
        self.addCleanup(bench.stop)
        answer = bench.ask("www.example.org")
        self.assertEqual((answer.rcode, answer.ede), (SERVFAIL, ((14, "zone not loaded"),)))
        bench = self.bench()
        served = bench.builder.links[0].zones[b"\x07example\x03org\x00"]  # type: ignore[attr-defined]
        served.expire()
        self.assertEqual(bench.ask("www.example.org").ede, ((14, "zone expired"),))
        served.confirm()
        self.assertEqual(bench.ask("www.example.org").rcode, 0)

    def test_explained(self) -> None:
        """An explanation names the zone, its version, and what decides."""
        bench = self.bench("fallthrough ent.example.org", "cut NS ns.cut", "*.w A 10.0.0.9")
        link = bench.builder.links[0]
        for name, text in (
            ("www.example.org", "zone example.org. with serial 5 and 8 records: 1 records answer"),
            ("nope.example.org", "NXDOMAIN"),
            ("ent.example.org", "the next plugin is asked (fallthrough)"),
            ("x.cut.example.org", "at or below the delegation cut.example.org."),
            ("x.w.example.org", "the wildcard *.w.example.org. stands for the name"),
            ("out.example.org", "an alias leads to www.example.net."),
            ("www.example.com", "not for this name: its zones are example.org."),
        ):
            (note,) = link.explain(a_request(name, A))
            self.assertIn(text, note.text)
        self.assertEqual(list(link.freshness()), ["zone example.org.: serial 5"])

    def test_refused_without_next(self) -> None:
        """Where nobody is behind it, *file* refuses what is not its own, as an authoritative server should."""
        self.write("db", zone_text())
        world = self.world(".:{{PORT}} {\n file DIR/db example.org\n}\n")
        self.assertEqual(self.ask(world, "www.example.com")["rcode"], "REFUSED")
        self.assertEqual(self.ask(world, "ns.example.org")["rcode"], "NOERROR")

    def test_silent_target(self) -> None:
        """No reply for the target of an alias leaves the alias."""
        self.write("db", zone_text(5, "out CNAME www.example.net."))
        bench = PluginBench(directive, f"file {self.folder}/db example.org", lambda request: Answer(silent=True))
        self.addCleanup(bench.stop)
        self.assertEqual((bench.ask("out.example.org").rcode, len(bench.ask("out.example.org").answer)), (0, 1))
