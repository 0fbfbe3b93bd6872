"""Tests of :mod:`kdns.plugins.errors`."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.failure import NoNextPlugin, Refused, ResolutionFailed
from kdns.core.observe import Exchange, Observer, Repeat
from kdns.corefile.errors import SetupError
from kdns.plugin.seam import BlockBuilder
from kdns.plugins.errors import BUDGET, Config, Consolidation, directive
from kdns.wire.constants import AAAA, REFUSED, A
from tests.support import a_house, a_request, built, parsed

TIMEOUT = ResolutionFailed("read udp 10.0.0.2:4512->8.8.8.8:53: i/o timeout")


def failed(
    failure: ResolutionFailed | None, qname: str = "WWW.example.com.", qtype: int = A, zone: str = "."
) -> Exchange:
    """An exchange that ended like this."""
    answer = Answer(failure.rcode if failure else 0)
    return Exchange(a_request(qname, qtype), answer, b"", zone, "", 0.001, failure)


class ParseTests(SynchronousTestCase):
    """What the Corefile may say."""

    def test_configs(self) -> None:
        """Each option with all its words."""
        for text, wanted in [
            ("errors", Config()),
            ("errors stdout", Config()),
            ("errors {\n stacktrace\n}", Config(stacktrace=True)),
            ("errors {\n budget 5\n}", Config(budget=5)),
            ("errors {\n budget 0\n}", Config(budget=0)),
            ('errors {\n consolidate 5m ".* timeout$"\n}', Config((Consolidation(300.0, ".* timeout$"),))),
            ("errors {\n consolidate 1s a warning\n}", Config((Consolidation(1.0, "a", "warning"),))),
            ("errors {\n consolidate 1s a show_first\n}", Config((Consolidation(1.0, "a", "error", True),))),
            (
                "errors {\n consolidate 1s a info show_first\n consolidate 2s b debug\n}",
                Config((Consolidation(1.0, "a", "info", True), Consolidation(2.0, "b", "debug"))),
            ),
        ]:
            self.assertEqual(parsed(directive, f". {{\n{text}\n}}"), wanted, text)

    def test_errors(self) -> None:
        """What it may not say."""
        place = "plugin/errors: Corefile:3 - Error during parsing: "
        for text, wanted in [
            ("errors {\n consolidate 1x a\n}", place + 'time: unknown unit "x" in duration "1x"'),
            ("errors {\n consolidate 1m a loud\n}", place + "unknown option in consolidate: loud"),
            (
                "errors {\n consolidate 1m a show_first info\n}",
                place + "log level must come before show_first in consolidate",
            ),
            (
                "errors {\n consolidate 1m a info error\n}",
                place + "multiple log levels specified in consolidate",
            ),
            ("errors {\n consolidate 1m a info b\n}", place + "unknown option in consolidate: b"),
            (
                "errors {\n consolidate 1m (?=a)\n}",
                place + "error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
            ),
            ("errors {\n frob\n}", place + "unknown property 'frob'"),
            ("errors {\n stacktrace x\n}", place + "Wrong argument count or unexpected line ending after 'x'"),
            ("errors {\n budget -1\n}", place + "budget must be at least 0, found -1"),
            ("errors {\n budget x\n}", place + 'strconv.Atoi: parsing "x": invalid syntax'),
            ("errors {\n budget 1\n budget 2\n}", place.replace("3", "4") + "budget can only be used once"),
            ("errors\nerrors", "plugin/errors: this plugin can only be used once per Server Block"),
        ]:
            error = self.assertRaises(SetupError, parsed, directive, f". {{\n{text}\n}}")
            self.assertEqual(str(error), wanted)


class LineTests(SynchronousTestCase):
    """What is printed."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.context = a_house(self.clock)

    def site(self, options: str = "") -> BlockBuilder:
        """A block with these options."""
        return built(directive, f". {{\n errors {options}\n}}", self.context)

    def lines(self, act: Callable[[], object]) -> list[tuple[str, str]]:
        """Level and text of what is logged meanwhile."""
        with capturedLogs() as events:
            act()
        return [(event["log_level"].name, formatEvent(event)) for event in events]

    def finish(self, observer: Observer, *failures: ResolutionFailed | None) -> None:
        """One exchange after another."""
        for failure in failures:
            observer.finished(failed(failure))

    def test_failure(self) -> None:
        """Response code, name in lower case, type and what went wrong."""
        (observer,) = self.site().observers
        wanted = "2 www.example.com. A: read udp 10.0.0.2:4512->8.8.8.8:53: i/o timeout"
        self.assertEqual(self.lines(lambda: self.finish(observer, TIMEOUT)), [("error", wanted)])
        exchange = failed(ResolutionFailed("concurrent queries exceeded maximum 1", REFUSED), "a\\.b.test.", AAAA)
        wanted = "5 a\\.b.test. AAAA: concurrent queries exceeded maximum 1"
        self.assertEqual(self.lines(lambda: observer.finished(exchange)), [("error", wanted)])

    def test_end_of_chain(self) -> None:
        """A chain that ends is a failure like any other."""
        (observer,) = self.site().observers
        wanted = "2 www.example.com. A: plugin/errors: no next plugin found"
        self.assertEqual(self.lines(lambda: self.finish(observer, NoNextPlugin("errors"))), [("error", wanted)])

    def test_text_is_taken_as_it_is(self) -> None:
        """Braces in the text are no format."""
        (observer,) = self.site().observers
        lines = self.lines(lambda: self.finish(observer, ResolutionFailed("{log_level} {x")))
        self.assertEqual(lines, [("error", "2 www.example.com. A: {log_level} {x")])

    def test_no_failure(self) -> None:
        """What was answered, and what the server refused, is none; neither is what no block took."""
        (observer,) = self.site().observers
        self.assertEqual(self.lines(lambda: self.finish(observer, None, Refused())), [])
        self.assertEqual(self.lines(lambda: observer.finished(failed(TIMEOUT, zone="dropped"))), [])

    def test_repetition(self) -> None:
        """A repetition from the answer table means nothing."""
        (observer,) = self.site().observers
        self.assertEqual(observer.repeat(failed(None)), Repeat())

    def test_nothing_runs(self) -> None:
        """Without failures there is nothing to stop, and without a budget and consolidation there never is."""
        self.site("{\n  consolidate 30s x\n }")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.site("{\n  budget 0\n }").resources, [])

    def test_budget(self) -> None:
        """A flood of failures is some lines a second, and one that says how many there were on top."""
        builder = self.site("{\n  consolidate 1m ^refused\n  budget 3\n }")
        (observer,) = builder.observers
        line = ("error", f"2 www.example.com. A: {TIMEOUT.text}")
        summed_up = [ResolutionFailed("refused")] * 10
        self.assertEqual(self.lines(lambda: self.finish(observer, *summed_up, *[TIMEOUT] * 8)), [line] * 3)
        said = ("error", "5 errors not shown in 1s: the budget is 3 lines a second")
        self.assertEqual(self.lines(lambda: self.clock.advance(1)), [said])
        self.assertEqual(self.lines(lambda: self.finish(observer, TIMEOUT)), [line])
        self.assertEqual(self.lines(lambda: self.clock.advance(1)), [])
        held = self.context.registry.counter("kdns_log_held_lines_total", "", ["plugin", "reason"])
        self.assertEqual(held.counter("errors", "budget").value, 5)
        for resource in builder.resources:
            resource.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_default_budget(self) -> None:
        """There is one, unless it is taken away."""
        for options, wanted in [("", BUDGET), ("{\n  budget 0\n }", 250)]:
            builder = self.site(options)
            lines = self.lines(lambda builder=builder: self.finish(builder.observers[0], *[TIMEOUT] * 250))  # type: ignore[misc]
            self.assertEqual(len(lines), wanted)
            for resource in builder.resources:
                resource.stop()

    def test_consolidation(self) -> None:
        """Failures that match are counted, and a line sums them up at the end of the period that the first began."""
        (observer,) = self.site('{\n  consolidate 30s "^read udp .* i/o timeout$" warning\n }').observers
        other = ResolutionFailed("no healthy proxies")
        lines = self.lines(lambda: self.finish(observer, TIMEOUT, other, TIMEOUT))
        self.assertEqual(lines, [("error", "2 www.example.com. A: no healthy proxies")])
        self.clock.advance(29.9)
        self.finish(observer, TIMEOUT)
        wanted = "3 errors like '^read udp .* i/o timeout$' occurred in last 30s"
        self.assertEqual(self.lines(lambda: self.clock.advance(0.2)), [("warn", wanted)])
        self.assertEqual(self.lines(lambda: self.clock.advance(60)), [])
        self.finish(observer, TIMEOUT)
        wanted = "1 errors like '^read udp .* i/o timeout$' occurred in last 30s"
        self.assertEqual(self.lines(lambda: self.clock.advance(30)), [("warn", wanted)])

    def test_first_match_wins(self) -> None:
        """Each failure is counted once, where it matches first; the period is written as Go does."""
        (observer,) = self.site("{\n  consolidate 5m timeout info\n  consolidate 5m i/o debug\n }").observers
        self.finish(observer, TIMEOUT, ResolutionFailed("i/o broken"))
        self.assertEqual(
            self.lines(lambda: self.clock.advance(300)),
            [
                ("info", "1 errors like 'timeout' occurred in last 5m0s"),
                ("debug", "1 errors like 'i/o' occurred in last 5m0s"),
            ],
        )

    def test_show_first(self) -> None:
        """The first of a period is printed; the sum counts it too, and is left out when it was alone."""
        (observer,) = self.site("{\n  consolidate 10s timeout warning show_first\n }").observers
        line = ("warn", f"2 www.example.com. A: {TIMEOUT.text}")
        self.assertEqual(self.lines(lambda: self.finish(observer, TIMEOUT, TIMEOUT)), [line])
        summary = ("warn", "2 errors like 'timeout' occurred in last 10s")
        self.assertEqual(self.lines(lambda: self.clock.advance(10)), [summary])
        self.assertEqual(self.lines(lambda: self.finish(observer, TIMEOUT)), [line])
        self.assertEqual(self.lines(lambda: self.clock.advance(10)), [])

    def test_stop(self) -> None:
        """At the end what was counted is told, and what still comes is printed one by one."""
        builder = self.site("{\n  consolidate 10s timeout\n }")
        (observer,) = builder.observers
        self.finish(observer, TIMEOUT, TIMEOUT)
        summary = ("error", "2 errors like 'timeout' occurred in last 10s")
        self.assertEqual(self.lines(lambda: [resource.stop() for resource in builder.resources]), [summary])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.lines(lambda: self.finish(observer, TIMEOUT))), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_levels(self) -> None:
        """The words of the Corefile are levels of the log."""
        (observer,) = self.site("{\n  consolidate 1s timeout error\n }").observers
        with capturedLogs() as events:
            self.finish(observer, TIMEOUT)
            self.clock.advance(1)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.error])
