"""A server that misbehaves by count."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import Reply, attempt, chain
from kdns.plugins.erratic import ErraticConfig, directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import AA, NS, SERVFAIL, SOA, TC


class ErraticTests(SynchronousTestCase):
    """What becomes of the queries, one after another."""

    def bench(self, text: str = "erratic") -> PluginBench:
        """A block."""
        return PluginBench(directive, text)

    def sequence(self, text: str, count: int = 8) -> str:
        """A letter for each query: dropped, truncated, or whole."""
        bench = self.bench(text)
        found = ""
        for _ in range(count):
            answer = bench.ask("a.test")
            found += "d" if answer.silent else "t" if answer.flags & TC else "w"
        return found

    def test_dropped(self) -> None:
        """By default every second query, the first one too."""
        self.assertEqual(self.sequence("erratic"), "dwdwdwdw")
        self.assertEqual(self.sequence("erratic {\n drop 3\n}"), "dwwdwwdw")
        self.assertEqual(self.sequence("erratic {\n drop 0\n}"), "wwwwwwww")

    def test_truncated(self) -> None:
        """Whose number has no bit in common; nothing is dropped unless ``drop`` says so."""
        self.assertEqual(self.sequence("erratic {\n truncate\n}"), "ttwwttww")
        self.assertEqual(self.sequence("erratic {\n truncate 1\n drop 4\n}"), "dwtwdwtw")

    def test_delayed(self) -> None:
        """Each n-th answer, failures included, comes later."""
        bench = self.bench("erratic {\n delay 2 10ms\n}")
        ask = chain(bench.builder.links)

        def late(reply: Reply) -> Answer:
            assert isinstance(reply, Deferred)
            self.assertNoResult(reply)
            bench.advance(0.011)
            return self.successResultOf(reply)

        self.assertEqual(late(ask(a_request("a.test"))).flags, AA)
        self.assertIsInstance(attempt(ask, a_request("a.test")), Answer)
        reply = ask(a_request("a.test", "MX"))
        assert isinstance(reply, Deferred)
        bench.advance(0.011)
        self.failureResultOf(reply)

    def test_records(self) -> None:
        """One address a family, thirty with ``large``, and for other types a failure."""
        bench = self.bench("erratic {\n drop 0\n large\n}")
        self.assertEqual(bench.ask("a.test", "A").body.counts, (30, 0, 0))
        self.assertEqual(bench.ask("a.test", "AAAA").body.counts, (1, 0, 0))
        self.assertEqual(bench.ask("a.test", "MX").rcode, SERVFAIL)

    def test_transfer(self) -> None:
        """A zone of its own; truncated, the closing SOA is missing."""
        bench = self.bench("erratic {\n drop 0\n truncate 1\n}")
        cut, whole = (bench.ask("a.test", "AXFR").body for _ in range(2))
        self.assertEqual([record.rtype for record in whole.sections()[0]], [SOA, NS, NS, 28, 28, SOA])
        self.assertEqual(cut.sections()[0], whole.sections()[0][:5])

    def test_ready(self) -> None:
        """Readiness comes with the third query and goes with the fifth."""
        bench = self.bench()
        ((name, ready, why),) = bench.builder.readiness
        found = []
        for _ in range(6):
            found.append(ready())
            bench.ask("a.test")
        self.assertEqual((name, found, bool(why())), ("erratic", [False, False, False, True, True, False], True))

    def test_never_repeated(self) -> None:
        """Each query is asked of the plugin."""
        validity = self.bench("erratic {\n drop 0\n}").ask("a.test").validity
        self.assertEqual((validity.repeat, validity.cacheable), (False, False))

    def test_parse(self) -> None:
        """Numbers may be left out."""
        text = "erratic {\n drop\n truncate\n delay\n}"
        self.assertEqual(self.bench(text).config, ErraticConfig(2, 2, 2, 0.1, False))
        self.assertEqual(self.bench("erratic {\n delay 3\n}").config, ErraticConfig(0, 0, 3, 0.1, False))
