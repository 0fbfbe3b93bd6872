"""Tests of the delays after failures."""

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.backoff import Backoff


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
