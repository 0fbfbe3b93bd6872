"""Timers by the monotonic clock."""

from __future__ import annotations

from time import monotonic

from twisted.internet.base import DelayedCall
from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from kdns.tap.clock import use_monotonic_clock
from kdns.testing.memory import MemoryReactor


class Quiet(SelectReactor):
    """A reactor besides the one that runs the tests."""

    _registerAsIOThread = False

    def installWaker(self) -> None:
        """It never sleeps."""


class ClockTests(SynchronousTestCase):
    """What becomes of a reactor's time."""

    def test_monotonic(self) -> None:
        """Timers set from now on go by the monotonic clock; those set before come when they would have come."""
        reactor = Quiet()
        early = reactor.callLater(10.0, lambda: None)
        use_monotonic_clock(reactor)
        use_monotonic_clock(reactor)
        late = reactor.callLater(20.0, lambda: None)
        self.assertIs(reactor.seconds, monotonic)
        for call, delay in ((early, 10.0), (late, 20.0)):
            assert isinstance(call, DelayedCall)
            self.assertApproximates(call.getTime() - monotonic(), delay, 5.0)
        early.reset(30.0)
        self.assertGreater(early.getTime(), late.getTime())

    def test_other_clocks(self) -> None:
        """A reactor that keeps a time of its own goes on with it."""
        reactor = MemoryReactor()
        use_monotonic_clock(reactor)
        reactor.advance(3.0)
        self.assertEqual(reactor.seconds(), 3.0)
