"""Tests of :mod:`kdns.core.degraded`."""

from __future__ import annotations

from pathlib import Path

from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.degraded import Condition, DegradedState, DegradedStates, Fault


class DegradedTests(SynchronousTestCase):
    """States that begin, change and end."""

    log = Logger()

    def setUp(self) -> None:
        self.states = DegradedStates()
        self.hosts = self.states.condition(Fault.HOSTS_FILE, "hosts")

    def ended(self, condition: Condition, now: float) -> list[str | None]:
        """What is logged at the end of a state."""
        with capturedLogs() as events:
            condition.end(now, self.log)
        return [formatEvent(event) for event in events]

    def test_begin_and_end(self) -> None:
        """The beginning is news once, and the end is logged with how long it took."""
        with capturedLogs() as events:
            self.assertTrue(self.hosts.begin("gone", 100.0, self.log))
            self.assertFalse(self.hosts.begin("gone", 105.0, self.log))
        self.assertEqual([formatEvent(event) for event in events], ["hosts: gone"])
        self.assertEqual(list(self.states), [DegradedState("hosts", 100.0, "gone", Fault.HOSTS_FILE)])
        self.assertEqual(self.ended(self.hosts, 130.0), ["hosts: in order again after 30 s"])
        self.assertEqual(list(self.states), [])
        self.assertEqual(self.ended(self.hosts, 140.0), [])

    def test_other_text(self) -> None:
        """Another fault of the same thing is news, and the thing is degraded since the first."""
        self.hosts.begin("gone", 100.0)
        self.assertTrue(self.hosts.begin("not readable", 110.0))
        self.assertEqual([(state.since, state.text) for state in self.states], [(100.0, "not readable")])

    def test_order_and_count(self) -> None:
        """The oldest stands first; each kind is counted."""
        for name, since in (("b", 20.0), ("a", 30.0), ("c", 10.0)):
            self.states.condition(Fault.UPSTREAM, name).begin("x", since)
        self.hosts.begin("gone", 5.0)
        self.assertEqual([state.name for state in self.states], ["hosts", "c", "b", "a"])
        self.assertEqual([self.states.count(kind) for kind in (Fault.UPSTREAM, Fault.HOSTS_FILE, Fault.LOG)], [3, 1, 0])

    def test_forget(self) -> None:
        """What does not exist any more is not degraded, and nothing is logged."""
        self.hosts.begin("gone", 100.0)
        self.hosts.forget()
        self.assertEqual(list(self.states), [])
        self.assertEqual(self.ended(self.hosts, 130.0), [])

    def test_two_owners(self) -> None:
        """The end of an old configuration leaves the state of its successor, though both have one name; it is listed once."""
        successor = self.states.condition(Fault.HOSTS_FILE, "hosts")
        self.hosts.begin("gone", 100.0)
        successor.begin("gone", 110.0)
        self.assertEqual([state.since for state in self.states], [100.0])
        self.hosts.forget()
        self.assertEqual([state.since for state in self.states], [110.0])

    def test_what_matters(self) -> None:
        """An answer suffers from the faults of its own plugins, and from those that concern all."""
        for kind in Fault:
            self.states.condition(kind, kind.value.label).begin("x", 1.0)
        spoiling = {state.kind for state in self.states.spoiling({"hosts", "whoami"})}
        self.assertEqual(spoiling, {Fault.HOSTS_FILE, Fault.COREFILE, Fault.MISSING_PLUGIN})

    def test_labels(self) -> None:
        """Each kind has a label of its own, and says what it means and what to do."""
        explained = [kind.value for kind in Fault]
        self.assertEqual(len({one.label for one in explained}), len(explained))
        self.assertTrue(all(one.means.endswith(".") and one.do.endswith(".") for one in explained))

    def test_documented(self) -> None:
        """The documents have each kind, with its own words."""
        text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
        for kind in Fault:
            self.assertIn(f"| `{kind.value.label}` | {kind.value.means} | {kind.value.do} |", text)

    def test_clock_goes_back(self) -> None:
        """A clock that was put back makes no negative time."""
        self.hosts.begin("gone", 100.0)
        self.assertEqual(self.ended(self.hosts, 40.0), ["hosts: in order again after 0 s"])
