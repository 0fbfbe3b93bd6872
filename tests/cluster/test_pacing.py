"""Rate limit and backoff of requests to the API server."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.pacing import Backoff, Limiter, Permit


class LimiterTests(SynchronousTestCase):
    """So many a second, so many at once."""

    def setUp(self) -> None:
        self.clock = Clock()

    def ask(self, limiter: Limiter, count: int) -> list[Deferred[Permit]]:
        """Ask for so many permits."""
        return [limiter.acquire() for _ in range(count)]

    def test_defaults(self) -> None:
        """Ten at once, then five a second, as 0 and 0 mean what the usual client does."""
        permits = self.ask(Limiter(self.clock), 17)
        self.assertEqual(sum(permit.called for permit in permits), 10)
        self.clock.advance(0.19)
        self.assertEqual(sum(permit.called for permit in permits), 10)
        self.clock.pump([0.02] * 50)
        self.assertEqual(sum(permit.called for permit in permits), 15)
        self.clock.pump([0.1] * 10)
        self.assertEqual(sum(permit.called for permit in permits), 17)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_rate(self) -> None:
        """A thousand requests at 50 a second take the time they should, and each knows how long it waited."""
        permits = self.ask(Limiter(self.clock, qps=50, burst=5), 1005)
        self.clock.pump([0.01] * 2010)
        self.assertTrue(all(permit.called for permit in permits))
        self.assertAlmostEqual(self.successResultOf(permits[-1]).waited, 20.0, places=1)
        self.assertEqual(self.successResultOf(permits[0]).waited, 0.0)

    def test_burst_is_no_savings_book(self) -> None:
        """A quiet hour gives the burst back, not more."""
        limiter = Limiter(self.clock, qps=1, burst=3)
        self.ask(limiter, 3)
        self.clock.advance(3600)
        self.assertEqual(sum(permit.called for permit in self.ask(limiter, 10)), 3)

    def test_in_flight(self) -> None:
        """No more than so many are out at once; each that comes back lets the next one go, in order."""
        limiter = Limiter(self.clock, qps=1000, burst=1000, most=2)
        first, second, third, fourth = self.ask(limiter, 4)
        self.assertEqual(limiter.in_flight, 2)
        self.assertNoResult(third)
        permit = self.successResultOf(first)
        permit.release()
        permit.release()
        self.assertEqual(limiter.in_flight, 2)
        self.successResultOf(third).release()
        self.successResultOf(fourth).release()
        self.successResultOf(second).release()
        self.assertEqual(limiter.in_flight, 0)

    def test_cancelled(self) -> None:
        """Who gives up takes no permit, and the last one to give up takes the timer along."""
        limiter = Limiter(self.clock, qps=1, burst=1)
        _, second, third = self.ask(limiter, 3)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(third).waited, 1.0)
        fourth = limiter.acquire()
        fourth.cancel()
        self.failureResultOf(fourth, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fraction(self) -> None:
        """Less than one request a second is a rate, too."""
        limiter = Limiter(self.clock, qps=0.1, burst=1)
        _, second = self.ask(limiter, 2)
        self.clock.advance(9.9)
        self.assertNoResult(second)
        self.clock.advance(0.2)
        self.assertAlmostEqual(self.successResultOf(second).waited, 10.0, places=0)


class Fixed(Random):
    """Chance that always draws the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        """The number given."""
        return self.value


class BackoffTests(SynchronousTestCase):
    """How long a watch waits."""

    def delays(self, backoff: Backoff, count: int, now: float = 0.0) -> list[float]:
        """Delays of failures that follow one another as fast as they can."""
        found = []
        for _ in range(count):
            found.append(backoff.delay(now))
            now += found[-1]
        return found

    def test_doubles(self) -> None:
        """Without jitter: 0.8 seconds, twice that, and so on up to 30."""
        self.assertEqual(self.delays(Backoff(Fixed(0.0)), 8), [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])

    def test_jitter(self) -> None:
        """Chance stretches each delay, to less than twice its length."""
        drawn = self.delays(Backoff(Random(7)), 50)
        self.assertGreater(len({round(delay, 6) for delay in drawn[6:]}), 40)
        self.assertTrue(all(30.0 <= delay < 60.0 for delay in drawn[6:]), drawn)

    def test_forgiven(self) -> None:
        """After two minutes without failure, counted from the end of the waiting, the delays begin anew."""
        backoff = Backoff(Fixed(0.0))
        self.delays(backoff, 5)
        end = 0.8 + 1.6 + 3.2 + 6.4 + 12.8
        self.assertEqual(backoff.delay(end + 119.0), 25.6)
        self.assertEqual(backoff.delay(end + 119.0 + 25.6 + 120.1), 0.8)

    def test_waiting_is_not_success(self) -> None:
        """A Retry-After of several minutes does not forgive what failed before it."""
        backoff = Backoff(Fixed(0.0))
        first = backoff.delay(0.0, retry_after=300)
        self.assertEqual(first, 300.0)
        self.assertEqual(backoff.delay(first), 1.6)

    def test_retry_after(self) -> None:
        """What the server asks for is never undercut, and gets jitter on top."""
        self.assertEqual(Backoff(Fixed(0.5)).delay(0.0, retry_after=5), 5.4)
        self.assertEqual(Backoff(Fixed(0.5)).delay(0.0, retry_after=0), 0.8 * 1.5)

    def test_absurd_wish(self) -> None:
        """A Retry-After of a month is cut to ten minutes."""
        self.assertEqual(Backoff(Fixed(0.0)).delay(0.0, retry_after=2_592_000), 600.0)
