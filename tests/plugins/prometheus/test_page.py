"""Tests of :mod:`kdns.plugins.prometheus.page`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.slices import SLICE_SECONDS
from kdns.plugin.http import Response
from kdns.plugin.seam import ServerContext
from kdns.plugins.prometheus.page import AT_ONCE, FRESH, MetricsPage
from kdns.plugins.prometheus.process import ProcessMetrics
from tests.support import SlowReactor


class NoProcess(ProcessMetrics):
    """A process without metrics."""

    def lines(self) -> Iterator[str]:
        """Just one."""
        yield "process_x 1"


class PageTests(SynchronousTestCase):
    """How the page is made."""

    def page(self, context: ServerContext) -> MetricsPage:
        """A page with nothing of the process."""
        page = MetricsPage(context, NoProcess(Path("/nonexistent")))
        self.addCleanup(page.stop)
        return page

    def finished(self, page: Response | Deferred[Response]) -> Response:
        """A page that is there at once."""
        return page if isinstance(page, Response) else self.successResultOf(page)

    def test_short_page(self) -> None:
        """A short page is there at once: every metric, each line ended."""
        clock = Clock()
        context = ServerContext(clock, clock=clock.seconds)
        body = self.finished(self.page(context)()).body.decode()
        self.assertEqual(body, "".join(f"{line}\n" for line in [*context.registry.lines(), "process_x 1"]))
        self.assertIn("coredns_panics_total 0\n", body)

    def test_given_again(self) -> None:
        """For a second everybody gets the same page; then a new one."""
        clock = Clock()
        context = ServerContext(clock, clock=clock.seconds)
        page = self.page(context)
        first = self.finished(page())
        panics = context.registry.counter("coredns_panics_total", "").counter()
        panics.inc()
        clock.advance(FRESH - 0.1)
        self.assertIs(page(), first)
        clock.advance(0.2)
        self.assertIn(b"coredns_panics_total 1\n", self.finished(page()).body)

    def test_tallies(self) -> None:
        """What the answer table counted is on the page."""
        clock = Clock()
        context = ServerContext(clock, clock=clock.seconds)
        panics = context.registry.counter("coredns_panics_total", "").counter()
        for number in range(500):
            tally = context.tallies.tally((panics,) * (number % 400 + 1))
            tally.hits = 1
            context.tallies.touched.append(tally)
        body = self.finished(self.page(context)()).body
        self.assertIn(f"coredns_panics_total {sum(range(1, 401))}\n".encode(), body)
        self.assertEqual(context.tallies.touched, [])

    def long_page(self) -> tuple[SlowReactor, ServerContext, MetricsPage]:
        """A page of many lines, on a clock that says that a batch takes a third of a slice."""
        reactor = SlowReactor(SLICE_SECONDS / 3)
        context = ServerContext(reactor, clock=lambda: reactor.rightNow)
        family = context.registry.counter("kdns_many_total", "Many.", ["number"])
        for number in range(20 * AT_ONCE):
            family.counter(str(number))
        return reactor, context, self.page(context)

    def test_slices(self) -> None:
        """A long page takes several turns of the reactor, and all who asked meanwhile get it."""
        reactor, context, page = self.long_page()
        waiting = [page(), page()]
        turns = 0
        while reactor.turn():
            turns += 1
        self.assertGreaterEqual(turns, 6)
        bodies = []
        for each in waiting:
            assert isinstance(each, Deferred)
            bodies.append(self.successResultOf(each).body)
        self.assertEqual(bodies[0], bodies[1])
        lines = bodies[0].decode().splitlines()
        self.assertEqual(lines, [*context.registry.lines(), "process_x 1"])

    def test_asker_that_went(self) -> None:
        """Who does not want it any more does not disturb the others, and no second page is begun."""
        reactor, _, page = self.long_page()
        first, second = page(), page()
        assert isinstance(first, Deferred) and isinstance(second, Deferred)
        first.cancel()
        self.failureResultOf(first)
        second.cancel()
        self.failureResultOf(second)
        third = page()
        assert isinstance(third, Deferred)
        self.assertEqual(len(reactor.getDelayedCalls()), 1)
        reactor.settle()
        self.assertIn(b"kdns_many_total", self.successResultOf(third).body)

    def test_stop(self) -> None:
        """At the end a page that is being made is given up."""
        reactor, _, page = self.long_page()
        waiting = page()
        assert isinstance(waiting, Deferred)
        page.stop()
        self.failureResultOf(waiting, RuntimeError)
        self.assertEqual(reactor.leftovers(), [])

    def test_broken_metric(self) -> None:
        """A gauge that cannot be read fails the page, and the next one is tried anew."""
        reactor, context, page = self.long_page()
        broken = context.registry.gauge("zzz", "Broken.").gauge(read=lambda: 1 / 0)
        waiting = page()
        assert isinstance(waiting, Deferred)
        reactor.settle()
        self.failureResultOf(waiting, ZeroDivisionError)
        broken.read = None
        again = page()
        assert isinstance(again, Deferred)
        reactor.settle()
        self.assertIn(b"zzz 0\n", self.successResultOf(again).body)
