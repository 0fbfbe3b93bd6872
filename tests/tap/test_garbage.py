"""When the process looks for garbage."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.tap.garbage import INTERVAL, LONGEST, NEVER, WORTH, GarbagePlan


class Collector:
    """Remembers what is asked of it, as :mod:`gc` would be."""

    def __init__(self) -> None:
        self.threshold = (700, 10, 10)
        self.collected: list[int] = []
        self.frozen = False
        self.enabled = False
        self.found = WORTH

    def get_threshold(self) -> tuple[int, int, int]:
        """What is set."""
        return self.threshold

    def set_threshold(self, *threshold: int) -> None:
        """Set it."""
        young, middle, old = threshold
        self.threshold = (young, middle, old)

    def collect(self, generation: int = 2) -> int:
        """Remember how far it went."""
        self.collected.append(generation)
        return self.found

    def enable(self) -> None:
        """Remember."""
        self.enabled = True

    def freeze(self) -> None:
        """Remember."""
        self.frozen = True

    def unfreeze(self) -> None:
        """Forget."""
        self.frozen = False


def due(clock: Clock) -> float:
    """Seconds until the one call that is planned."""
    (call,) = clock.getDelayedCalls()
    planned: Any = call  # Twisted's annotation of DelayedCall.getTime cannot be called
    return float(planned.getTime() - clock.seconds())


class GarbagePlanTests(SynchronousTestCase):
    """The plan between its start and its stop."""

    def test_plan(self) -> None:
        """Old objects are looked through at intervals, not at the start, and never by Python itself; the stop undoes all."""
        clock, collector = Clock(), Collector()
        plan = GarbagePlan(clock, collector)
        plan.start()
        plan.start()
        self.assertEqual((collector.collected, collector.frozen, collector.threshold[2]), ([], True, NEVER))
        self.assertTrue(collector.enabled)
        clock.pump([INTERVAL] * 2)
        self.assertEqual(collector.collected, [2, 2])
        plan.stop()
        plan.stop()
        self.assertEqual((collector.threshold, collector.frozen), ((700, 10, 10), False))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_in_vain(self) -> None:
        """A look that finds next to nothing is repeated later and later, up to a limit, until one finds something."""
        clock, collector = Clock(), Collector()
        collector.found = WORTH - 1
        plan = GarbagePlan(clock, collector)
        plan.start()
        waits = []
        for _ in range(9):
            waits.append(due(clock))
            clock.advance(waits[-1])
        self.assertEqual(waits, [INTERVAL * 2**number for number in range(7)] + [LONGEST] * 2)
        collector.found = WORTH
        clock.advance(LONGEST)
        self.assertEqual(due(clock), INTERVAL)
        plan.stop()
