"""How profiles are taken."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.pprof.profile import Place
from kdns.plugins.pprof.taking import MOST_STACKS, CpuSamples, ObjectCount, by_signal, thread_stacks


def frame() -> FrameType:
    """The frame of a function of this module."""
    return sys._getframe()


class Thing:
    """A type whose objects are counted."""


class TakingTests(SynchronousTestCase):
    """Samples of stacks, and counts of objects."""

    def test_stacks(self) -> None:
        """A stack that is seen again counts; the innermost place is first."""
        samples, here = CpuSamples(), frame()
        for _ in range(2):
            samples.take(here)
        samples.take(None)
        profile = samples.profile(5.0, 1.0)
        (((inner, outer, *_), values),) = profile.samples.items()
        self.assertEqual((inner.function, outer.function), ("frame", "TakingTests.test_stacks"))
        self.assertEqual(values, (2, 20_000_000))

    def test_too_many(self) -> None:
        """Past a number of different stacks further ones are one."""
        samples = CpuSamples()
        code = frame().f_code
        samples._stacks.update({((code, line),): 1 for line in range(MOST_STACKS)})
        samples.take(frame())
        self.assertEqual(samples.profile(0.0, 1.0).samples[(Place("(other stacks)"),)], (1, 10_000_000))

    def test_signal(self) -> None:
        """The handler and the timer of the process are as before when it ends."""
        before = signal.getsignal(signal.SIGPROF)
        disarm = by_signal(lambda frame: None, 100.0)
        self.assertNotEqual(signal.getsignal(signal.SIGPROF), before)
        self.assertGreater(signal.getitimer(signal.ITIMER_PROF)[0], 0)
        disarm()
        self.assertEqual(signal.getsignal(signal.SIGPROF), before)
        self.assertEqual(signal.getitimer(signal.ITIMER_PROF)[0], 0)

    def test_objects(self) -> None:
        """Objects are counted by type."""
        things = [Thing() for _ in range(7)]
        count = ObjectCount()
        for _ in count.counting():
            pass
        values = count.profile(0.0).samples[(Place(f"{__name__}.Thing"),)]
        self.assertEqual((values[0], values[1] > 0), (len(things), True))

    def test_threads(self) -> None:
        """The main thread is here."""
        self.assertIn("test_threads", thread_stacks())
