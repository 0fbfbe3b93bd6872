"""Tests of :mod:`kdns.core.degraded`."""

from __future__ import annotations

from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.degraded import DegradedState, DegradedStates


class DegradedTests(SynchronousTestCase):
    """States that begin, change and end."""

    log = Logger()

    def setUp(self) -> None:
        self.states = DegradedStates()

    def ended(self, name: str, now: float) -> list[str | None]:
        """What is logged at the end of a state."""
        with capturedLogs() as events:
            self.states.end(name, now, self.log)
        return [formatEvent(event) for event in events]

    def test_begin_and_end(self) -> None:
        """The beginning is news once, and the end is logged with how long it took."""
        self.assertTrue(self.states.begin("hosts", "gone", 100.0))
        self.assertFalse(self.states.begin("hosts", "gone", 105.0))
        self.assertEqual(list(self.states), [DegradedState("hosts", 100.0, "gone")])
        self.assertEqual(self.ended("hosts", 130.0), ["hosts: in order again after 30 s"])
        self.assertEqual(list(self.states), [])
        self.assertEqual(self.ended("hosts", 140.0), [])

    def test_other_text(self) -> None:
        """Another fault of the same thing is news, and the thing is degraded since the first."""
        self.states.begin("hosts", "gone", 100.0)
        self.assertTrue(self.states.begin("hosts", "not readable", 110.0))
        self.assertEqual(list(self.states), [DegradedState("hosts", 100.0, "not readable")])

    def test_order(self) -> None:
        """The oldest stands first."""
        for name, since in (("b", 20.0), ("a", 30.0), ("c", 10.0)):
            self.states.begin(name, "x", since)
        self.assertEqual([state.name for state in self.states], ["c", "b", "a"])

    def test_forget(self) -> None:
        """What does not exist any more is not degraded, and nothing is logged."""
        self.states.begin("hosts", "gone", 100.0)
        self.states.forget("hosts")
        self.assertEqual(list(self.states), [])
        self.assertEqual(self.ended("hosts", 130.0), [])

    def test_clock_goes_back(self) -> None:
        """A clock that was put back makes no negative time."""
        self.states.begin("hosts", "gone", 100.0)
        self.assertEqual(self.ended("hosts", 40.0), ["hosts: in order again after 0 s"])
