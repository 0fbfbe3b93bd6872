"""Tests of :mod:`kdns.plugins.log.observer`: which exchanges have a line."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer, Sections
from kdns.core.failure import Refused, ResolutionFailed
from kdns.core.observe import Exchange
from kdns.core.reply import render_reply
from kdns.plugin.seam import BlockBuilder
from kdns.plugins.log import directive
from kdns.wire.constants import FORMERR, IN, NOERROR, NXDOMAIN, REFUSED, SERVFAIL
from kdns.wire.names import from_text
from kdns.wire.records import Record, a_or_aaaa
from tests.plugins.log.support import Lines, a_house_with, exchange_of, in_zone_soa
from tests.support import a_request, built

RCODES = (NOERROR, FORMERR, SERVFAIL, NXDOMAIN, REFUSED)


def reply(rcode: int, qname: str = "a.test.", seconds: float = 0.001, client: str = "127.0.0.1") -> Exchange:
    """An exchange that ended like this."""
    records = (a_or_aaaa(from_text(qname), 5, bytes(4)),) if rcode == NOERROR else ()
    authority = (in_zone_soa("test."),) if rcode == NXDOMAIN else ()
    answer = Answer(rcode, body=Sections(answer=records, authority=authority))
    return exchange_of(a_request(qname, client=client), answer, seconds)


class RuleTests(SynchronousTestCase):
    """Which exchanges have a line."""

    def setUp(self) -> None:
        self.lines = Lines()
        self.context = a_house_with(self.lines)

    def count(self, corefile: str, exchange: Exchange) -> int:
        """How many lines there are, and that a repetition has as many."""
        (observer,) = built(directive, corefile, self.context).observers
        observer.finished(exchange)
        found = len(self.lines)
        self.lines.clear()
        self.assertEqual(observer.repeat(exchange).each is not None, bool(found))
        return found

    def test_classes(self) -> None:
        """Each kind of reply belongs to one class."""
        record = a_or_aaaa(from_text("a.test."), 5, bytes(4))
        referral = Record(from_text("test."), 2, IN, 5, from_text("ns.test."))
        request = a_request("a.test.")
        for answer, wanted in [
            (Answer(body=Sections(answer=(record,))), "success"),
            (Answer(body=Sections(authority=(referral,))), "success"),
            (Answer(body=Sections(authority=(in_zone_soa("test."),))), "denial"),
            (Answer(NXDOMAIN, body=Sections(authority=(in_zone_soa("test."),))), "denial"),
            (Answer(SERVFAIL), "error"),
            (Answer(NXDOMAIN), "denial"),
            (Answer(NXDOMAIN, body=Sections(answer=(record,))), "denial"),
            (NO_REPLY, "error"),
        ]:
            for name in ("success", "denial", "error"):
                corefile = f". {{\n log {{\n  class {name}\n }}\n}}"
                self.assertEqual(
                    self.count(corefile, exchange_of(request, answer)), int(name == wanted), (answer, name)
                )

    def test_first_rule_decides(self) -> None:
        """A rule whose name fits is the last one that is looked at, whether it wants the reply or not."""
        corefile = ". {\n log example.org {\n  class error\n }\n log\n}"
        self.assertEqual(self.count(corefile, exchange_of(a_request("www.example.org."), Answer())), 0)
        self.assertEqual(self.count(corefile, exchange_of(a_request("www.example.net."), Answer())), 1)
        self.assertEqual(self.count(corefile, exchange_of(a_request("wwwexample.org."), Answer())), 1)

    def test_no_rule(self) -> None:
        """Names that no rule is for are not logged."""
        self.assertEqual(self.count(". {\n log example.org\n}", exchange_of(a_request("a.test."), Answer())), 0)

    def test_no_block(self) -> None:
        """A query that no block took is not logged."""
        request, answer = a_request("a.test."), Answer(REFUSED)
        exchange = Exchange(request, answer, render_reply(request, answer), "dropped", "", 0.0, Refused())
        self.assertEqual(self.count(". {\n log\n}", exchange), 0)


class LogCase(SynchronousTestCase):
    """A block with one directive."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.lines = Lines()
        self.context = a_house_with(self.lines, self.clock)

    def site(self, options: str, words: str = "") -> BlockBuilder:
        """The block; names are all that lines say."""
        text = words or '. "{name}"'
        return built(directive, f". {{\n log {text} {{\n {options}\n }}\n}}", self.context)

    def held(self, reason: str) -> float:
        """The metric."""
        return (
            self.context.registry.counter("kdns_log_held_lines_total", "", ["plugin", "reason"])
            .counter("log", reason)
            .value
        )


class ChoiceTests(LogCase):
    """Which replies a directive wants."""

    def shown(self, options: str, *exchanges: Exchange) -> str:
        """One letter for each exchange: y or n; a repetition has a line if the exchange had."""
        (observer,) = self.site(options).observers
        found = ""
        for exchange in exchanges:
            observer.finished(exchange)
            count = len(self.lines)
            each = observer.repeat(exchange).each
            if each is not None:
                each(exchange.request.client, 1, 1, exchange.seconds)
            self.assertEqual(len(self.lines), 2 * count, (options, exchange))
            found += "y" if count else "n"
            self.lines.clear()
        return found

    def test_rcodes(self) -> None:
        """By response code; a query without a reply has none."""
        exchanges = [*map(reply, RCODES), exchange_of(a_request("a.test."), NO_REPLY)]
        for options, wanted in [
            ("only rcode SERVFAIL nxdomain", "nnyynn"),
            ("only rcode SERVFAIL\n only rcode NXDOMAIN", "nnyynn"),
            ("except rcode NOERROR", "nyyyyy"),
            ("only rcode SERVFAIL NXDOMAIN\n except rcode NXDOMAIN", "nnynnn"),
            ("class error\n except rcode SERVFAIL", "nynnyy"),
        ]:
            self.assertEqual(self.shown(options, *exchanges), wanted, options)

    def test_names(self) -> None:
        """By name, with all below it."""
        exchanges = [reply(NOERROR, name) for name in ("test.", "a.test.", "b.a.test.", "atest.", ".")]
        for options, wanted in [
            ("only name a.test", "nyynn"),
            ("except name a.test", "ynnyy"),
            ("only name test atest\n except name B.A.test.", "yynyn"),
            ("except name .", "nnnnn"),
        ]:
            self.assertEqual(self.shown(options, *exchanges), wanted, options)

    def test_clients(self) -> None:
        """By the client's network, which may differ from one repetition to the next."""
        clients = ("10.1.0.1", "10.2.0.1", "192.168.0.1", "fd00::1", "2001:db8::1")
        exchanges = [reply(NOERROR, client=client) for client in clients]
        for options, wanted in [
            ("only client 10.0.0.0/8", "yynnn"),
            ("only client 10.0.0.0/8 fd00::/8", "yynyn"),
            ("except client 10.2.0.1", "ynyyy"),
            ("only client 10.0.0.0/8\n except client 10.2.0.0/16", "ynnnn"),
        ]:
            self.assertEqual(self.shown(options, *exchanges), wanted, options)
        each = self.site("only client 10.1.0.0/16").observers[0].repeat(exchanges[1]).each
        assert each is not None
        for client in clients:
            each(client, 1, 1, 0.001)
        self.assertEqual(len(self.lines), 1)

    def test_slower(self) -> None:
        """By the time a reply took."""
        exchanges = [reply(NOERROR, seconds=seconds) for seconds in (0.05, 0.1, 3.0)]
        self.assertEqual(self.shown("slower 100ms", *exchanges), "nyy")

    def test_all_of_them(self) -> None:
        """What is asked for by several kinds must fit each."""
        options = "only name a.test\n only rcode SERVFAIL\n only client 10.0.0.0/8\n slower 1s"
        exchanges = [
            reply(SERVFAIL, "a.test.", 2.0, "10.0.0.1"),
            reply(SERVFAIL, "b.test.", 2.0, "10.0.0.1"),
            reply(REFUSED, "a.test.", 2.0, "10.0.0.1"),
            reply(SERVFAIL, "a.test.", 2.0, "192.0.2.1"),
            reply(SERVFAIL, "a.test.", 0.5, "10.0.0.1"),
        ]
        self.assertEqual(self.shown(options, *exchanges), "ynnnn")

    def test_alike_below(self) -> None:
        """Names that do not exist need not be told of below a zone where none of them has a line."""
        zone = from_text("cluster.local.")
        for text, wanted in [
            ("log", False),
            ("log {\n class error\n}", True),
            ("log {\n class error denial\n}", False),
            ("log {\n only rcode SERVFAIL\n}", True),
            ("log {\n except rcode NXDOMAIN\n}", True),
            ("log {\n except name cluster.local\n}", True),
            ("log {\n except name local\n}", True),
            ("log {\n except name svc.cluster.local\n}", False),
            ("log {\n only name example.org\n}", True),
            ("log {\n only name cluster.local\n}", False),
            ("log {\n only name svc.cluster.local\n}", False),
            ("log {\n only client 10.0.0.0/8\n}", False),
            ("log example.org", True),
            ("log svc.cluster.local", False),
            ("log svc.cluster.local {\n class success\n}", True),
            ("log cluster.local {\n class error\n}\n log", True),
            ("log svc.cluster.local {\n class error\n}\n log", False),
        ]:
            observer: Any = built(directive, f". {{\n{text}\n}}", self.context).observers[0]
            self.assertEqual(observer.alike_below(zone), wanted, text)
            if wanted:
                for name in ("x.cluster.local.", "x.svc.cluster.local."):
                    self.assertIsNone(observer.repeat(reply(NXDOMAIN, name)).each, text)

    def test_left_out_is_not_held(self) -> None:
        """What nobody asked for is no line, and is neither sampled nor paid from a budget."""
        (observer,) = self.site("only rcode SERVFAIL\n sample 5\n budget 1").observers
        for _ in range(50):
            observer.finished(reply(NOERROR))
        self.assertEqual((self.lines, self.held("sample"), self.held("budget")), ([], 0, 0))


class SampleTests(LogCase):
    """One of so many."""

    def test_share(self) -> None:
        """One of N has a line, on the whole; the others are counted, whichever way they went."""
        (observer,) = self.site("sample 10").observers
        exchange = reply(NOERROR)
        each = observer.repeat(exchange).each
        assert each is not None
        for _ in range(5000):
            observer.finished(exchange)
            each("10.0.0.1", 1, 1, 0.001)
        self.assertEqual(len(self.lines) + self.held("sample"), 10_000)
        self.assertTrue(900 < len(self.lines) < 1100, len(self.lines))

    def test_pairs(self) -> None:
        """Questions that come in turn are drawn equally often, though N is even."""
        (observer,) = self.site("sample 2").observers
        pair = [observer.repeat(reply(NOERROR, name)).each for name in ("a.test.", "b.test.")]
        for _ in range(1000):
            for each in pair:
                assert each is not None
                each("10.0.0.1", 1, 1, 0.001)
        self.assertTrue(400 < self.lines.count("[INFO] a.test.") < 600)
        self.assertTrue(400 < self.lines.count("[INFO] b.test.") < 600)

    def test_slow(self) -> None:
        """What took long always has a line, one second if nothing else is said."""
        for options, shown, not_shown in [("sample 1000000", 1.0, 0.9), ("sample 1000000 50ms", 0.05, 0.04)]:
            (observer,) = self.site(options).observers
            each = observer.repeat(reply(NOERROR)).each
            assert each is not None
            self.lines.clear()
            each("10.0.0.1", 1, 1, not_shown)
            self.assertEqual(len(self.lines), 0)
            each("10.0.0.1", 1, 1, shown)
            self.assertEqual(len(self.lines), 1)

    def test_one_of_one(self) -> None:
        """A sample of one is no sample."""
        (observer,) = self.site("sample 1").observers
        for _ in range(20):
            observer.finished(reply(NOERROR))
        self.assertEqual(len(self.lines), 20)

    def test_names_share(self) -> None:
        """The names of one directive share its sample, other directives have their own."""
        (observer,) = self.site("sample 1000000000", '. a.test "{name}"').observers
        for name in ("a.test.", "b.test."):
            observer.finished(reply(NOERROR, name))
        self.assertEqual(self.held("sample"), 2)


class BudgetTests(LogCase):
    """Lines a second."""

    def finish(self, builder: BlockBuilder, count: int, rcode: int = NOERROR) -> int:
        """How many of *count* exchanges have a line."""
        before = len(self.lines)
        for _ in range(count):
            builder.observers[0].finished(reply(rcode))
        return len(self.lines) - before

    def test_errors_have_a_part_of_their_own(self) -> None:
        """A tenth is for errors; they may take all."""
        builder = self.site("budget 100")
        self.assertEqual(self.finish(builder, 200), 90)
        self.assertEqual(self.finish(builder, 200, SERVFAIL), 10)
        self.clock.advance(1)
        self.assertEqual(self.finish(builder, 200, SERVFAIL), 100)
        self.assertEqual(self.held("budget"), 110 + 190 + 100)
        self.clock.advance(1)

    def test_says_what_was_held_back(self) -> None:
        """One line at the end of the second, and none when nothing was."""
        builder = self.site("budget 10")
        with capturedLogs() as events:
            self.finish(builder, 20)
            self.finish(builder, 3, SERVFAIL)
            self.clock.advance(1)
            self.finish(builder, 20)
            self.clock.advance(1)
            self.finish(builder, 5)
            self.clock.advance(1)
        said = [(event["log_level"], formatEvent(event)) for event in events]
        self.assertEqual(
            said,
            [
                (LogLevel.warn, "13 lines held back in 1s, 2 of them errors: the budget is 10 lines a second"),
                (LogLevel.warn, "11 lines held back in 1s: the budget is 10 lines a second"),
            ],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_end(self) -> None:
        """The end of a configuration says what is due, and leaves no timer; what is answered after it has its line."""
        builder = self.site("budget 1")
        self.finish(builder, 5)
        with capturedLogs() as events:
            for resource in builder.resources:
                resource.stop()
        self.assertEqual(len(events), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.finish(builder, 5), 5)
        for resource in self.site("budget 1").resources:
            resource.stop()

    def test_one_line(self) -> None:
        """The smallest budget has no part for errors."""
        self.assertEqual(self.finish(self.site("budget 1"), 5), 1)
        self.clock.advance(1)


class SumTests(LogCase):
    """Nothing that is to be logged goes without a trace."""

    @given(
        st.lists(st.tuples(st.sampled_from(RCODES), st.booleans(), st.sampled_from((0.001, 2.0)), st.booleans())),
        st.integers(1, 10),
        st.integers(1, 30),
        st.lists(st.integers(0, 200)),
    )
    def test_sum(self, replies: list[tuple[int, bool, float, bool]], n: int, lines: int, seconds: list[int]) -> None:
        """Lines, sampled and held back are together what was asked; sampling takes away no error and nothing slow."""
        self.setUp()
        builder = self.site(f"sample {n}\n budget {lines}")
        (observer,) = builder.observers
        kept = 0
        for number, (rcode, failed, took, again) in enumerate(replies * 5):
            exchange = reply(rcode, seconds=took)
            if failed:
                answer = Answer(SERVFAIL)
                exchange = exchange_of(exchange.request, answer, took, ResolutionFailed("x"))
            sampled = self.held("sample")
            if again:
                each = observer.repeat(exchange).each
                assert each is not None
                each("10.0.0.1", 1, 1, took)
            else:
                observer.finished(exchange)
            if failed or took > 1 or rcode in (FORMERR, SERVFAIL, REFUSED):
                self.assertEqual(self.held("sample"), sampled)
                kept += 1
            if number in seconds:
                self.clock.advance(1)
        self.assertEqual(len(self.lines) + self.held("sample") + self.held("budget"), 5 * len(replies))
        self.assertTrue(kept <= len(self.lines) + self.held("budget"))
        for resource in builder.resources:
            resource.stop()

    @given(st.lists(st.sampled_from(RCODES), max_size=50))
    def test_every_error_is_shown(self, rcodes: list[int]) -> None:
        """With a sample alone every error has its line."""
        self.setUp()
        (observer,) = self.site("sample 1000000", '. "{rcode}"').observers
        for rcode in rcodes:
            observer.finished(reply(rcode))
        shown = [line.removeprefix("[INFO] ") for line in self.lines]
        names = {FORMERR: "FORMERR", SERVFAIL: "SERVFAIL", REFUSED: "REFUSED"}
        self.assertEqual(
            [one for one in shown if one in names.values()], [names[rcode] for rcode in rcodes if rcode in names]
        )
