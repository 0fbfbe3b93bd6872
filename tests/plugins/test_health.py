"""Tests of :mod:`kdns.plugins.health`."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.values import ListenAddress
from kdns.plugin.seam import Keeper, Resource
from kdns.plugins.health import Config, HealthPage, directive
from kdns.testing.memory import MemoryReactor
from tests.plugins.web import Client, memory_house
from tests.support import built, parsed


def seconds_seen(house_lines: list[str]) -> str:
    """The line with the number of questions that the page was asked."""
    return next(line for line in house_lines if line.startswith("coredns_health_request_duration_seconds_count"))


class ParseTests(SynchronousTestCase):
    """What the Corefile may say."""

    def test_configs(self) -> None:
        """Address and lameduck, each with its default."""
        for text, wanted in [
            ("health", Config(ListenAddress("", 8080), 0.0)),
            ("health localhost:8091", Config(ListenAddress("localhost", 8091))),
            ("health {\n lameduck 5s\n}", Config(lameduck=5.0)),
            ("health [::1]:80 {\n lameduck 1m30s\n}", Config(ListenAddress("::1", 80), 90.0)),
            ("health :1\nhealth :2", Config(ListenAddress("", 2))),
        ]:
            self.assertEqual(parsed(directive, f". {{\n{text}\n}}"), wanted, text)


class PageTests(SynchronousTestCase):
    """The page, from start to stop."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(["127.0.0.1"])
        self.context = memory_house(self.reactor)
        self.client = Client(self.reactor)

    def start(self, corefile: str = ". {\n health\n}", kept: Keeper | None = None) -> list[Resource]:
        """Build from a Corefile and start what came of it."""
        resources = built(directive, corefile, self.context, kept).resources
        for resource in resources:
            resource.start()
        return resources

    def test_ok(self) -> None:
        """It says OK as long as it is there, and leaves nothing behind."""
        resources = self.start()
        answered = self.client.get(8080, "/health")
        self.assertEqual((answered.status, answered.body), (200, b"OK"))
        self.assertEqual(answered.headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(self.client.get(8080, "/").status, 404)
        for resource in resources:
            resource.stop()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])

    def test_asks_itself(self) -> None:
        """Each second it asks itself, without a word in the log, and the time that takes is a metric."""
        self.start()
        self.assertTrue(seconds_seen(list(self.context.registry.lines())).endswith(" 0"))
        with capturedLogs() as events:
            self.reactor.advance(3.5)
        self.assertEqual(events, [])
        lines = list(self.context.registry.lines())
        self.assertTrue(seconds_seen(lines).endswith(" 3"))
        self.assertIn('coredns_health_request_duration_seconds_bucket{le="0.00025"} 3', lines)
        self.assertIn("coredns_health_request_failures_total 0", lines)

    def test_no_answer(self) -> None:
        """A page that does not answer itself is a failure, with a warning, and it is asked again."""
        self.start()
        self.reactor.blackhole("127.0.0.1", 8080)
        with capturedLogs() as events:
            self.reactor.advance(4.5)
        warnings = [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn]
        self.assertEqual(
            warnings, ['Local health request to "http://127.0.0.1:8080/health" failed: no answer within 3s']
        )
        self.assertIn("coredns_health_request_failures_total 1", list(self.context.registry.lines()))
        self.reactor.lift("127.0.0.1", 8080)
        self.reactor.advance(3)
        self.assertIn("coredns_health_request_failures_total 1", list(self.context.registry.lines()))
        self.assertFalse(seconds_seen(list(self.context.registry.lines())).endswith(" 1"))

    def test_slow_answer(self) -> None:
        """An answer that takes more than a second is worth a warning."""
        self.start()
        self.reactor.advance(0.9)
        self.reactor.blackhole("127.0.0.1", 8080)
        self.reactor.advance(1.6)
        with capturedLogs() as events:
            self.reactor.lift("127.0.0.1", 8080)
            self.reactor.advance(0)
        self.assertEqual(
            [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn],
            ['Local health request to "http://127.0.0.1:8080/health" took more than 1s: 1.5s'],
        )

    def test_lameduck(self) -> None:
        """At the end of the process it answers for a while longer; at a stop alone it does not wait."""
        resources = self.start(". {\n health {\n  lameduck 5s\n }\n}")
        page = resources[-1]
        assert isinstance(page, HealthPage)
        with capturedLogs() as events:
            leaving = cast("Deferred[None]", page.leave())
        self.assertEqual([formatEvent(event) for event in events], ["Going into lameduck mode for 5s"])
        self.reactor.advance(4.9)
        self.assertNoResult(leaving)
        self.assertEqual(self.client.get(8080, "/health").body, b"OK")
        self.reactor.advance(0.2)
        self.assertIsNone(self.successResultOf(leaving))
        for resource in resources:
            resource.stop()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])

    def test_lameduck_called_off(self) -> None:
        """Cancelling the pause leaves no timer."""
        page = self.start(". {\n health {\n  lameduck 5s\n }\n}")[-1]
        leaving = cast("Deferred[None]", page.leave())
        leaving.cancel()
        self.failureResultOf(leaving)
        page.stop()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])

    def test_no_lameduck(self) -> None:
        """Without the option the end is not held up."""
        self.assertIsNone(self.start()[-1].leave())

    def test_stop_while_asking(self) -> None:
        """A question under way is dropped without a word."""
        resources = self.start()
        self.reactor.blackhole("127.0.0.1", 8080)
        self.reactor.advance(1.5)
        with capturedLogs() as events:
            for resource in resources:
                resource.stop()
            self.reactor.advance(5)
        self.assertEqual([event for event in events if event["log_namespace"] == "plugin/health"], [])

    def test_reload(self) -> None:
        """A reload with the same directive keeps the page; with another pause it is open all the time."""
        kept = Keeper()
        old = self.start(kept=kept)
        same = built(directive, ". {\n health\n}", self.context, Keeper(kept.taken)).resources
        self.assertEqual(same, old)
        changed = built(directive, ". {\n health {\n  lameduck 1s\n }\n}", self.context, Keeper(kept.taken)).resources
        self.assertIs(changed[0], old[0])
        self.assertIsNot(changed[1], old[1])
        changed[1].start()
        old[1].stop()
        self.reactor.settle()
        self.assertEqual(self.client.get(8080, "/health").body, b"OK")
        changed[1].stop()
