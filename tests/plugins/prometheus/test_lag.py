"""Tests of :mod:`kdns.plugins.prometheus.lag`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.metrics import Registry
from kdns.plugins.prometheus.lag import PERIOD, QUIET, ReactorLag


class LagTests(SynchronousTestCase):
    """How late timers are."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.late = 0.0
        self.registry = Registry()
        self.lag = ReactorLag(self.clock, lambda: self.clock.seconds() + self.late, self.registry)
        self.lag.start()

    def turn(self, late: float) -> list[str]:
        """The next measurement comes so late; what is logged meanwhile."""
        self.late += late
        with capturedLogs() as events:
            self.clock.advance(PERIOD)
        return [formatEvent(event) for event in events]

    def test_histogram(self) -> None:
        """Each measurement is one observation."""
        for late in (0.0, 0.003, 0.02):
            self.assertEqual(self.turn(late), [])
        lines = list(self.registry.lines())
        self.assertIn('kdns_reactor_lag_seconds_bucket{le="0.001"} 1', lines)
        self.assertIn('kdns_reactor_lag_seconds_bucket{le="0.005"} 2', lines)
        self.assertIn("kdns_reactor_lag_seconds_count 3", lines)

    def test_warning(self) -> None:
        """A long turn is worth a warning; more of them within a minute are summed up."""
        text = "The reactor was busy for more than 50 ms {} times, at worst for {} ms"
        self.assertEqual(self.turn(0.08), [text.format(1, 80)])
        self.assertEqual(self.turn(0.1), [])
        self.assertEqual(self.turn(0.3), [])
        later = [line for _ in range(int(QUIET / PERIOD)) for line in self.turn(0.0)]
        self.assertEqual(later, [text.format(2, 300)])

    def test_stop(self) -> None:
        """Nothing runs afterwards, however often it is stopped."""
        self.lag.stop()
        self.lag.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
