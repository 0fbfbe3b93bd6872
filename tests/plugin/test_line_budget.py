"""Tests of :mod:`kdns.plugin.line_budget`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.metrics import Counter
from kdns.plugin.line_budget import LineBudget


class BudgetTests(SynchronousTestCase):
    """What is admitted."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.counter = Counter()
        self.said: list[tuple[int, int]] = []

    def budget(self, lines: int, reserve: int = 0) -> LineBudget:
        """A budget; what it says is kept."""
        return LineBudget(
            lines, reserve, self.clock, self.counter, lambda held, errors: self.said.append((held, errors))
        )

    def test_second_begins_with_a_line(self) -> None:
        """A budget that nobody draws on keeps no timer; the first line begins a second."""
        budget = self.budget(2)
        self.clock.advance(0.9)
        self.assertEqual([budget.admit(False) for _ in range(3)], [True, True, False])
        self.clock.advance(0.9)
        self.assertFalse(budget.admit(True))
        self.clock.advance(0.1)
        self.assertEqual(self.said, [(2, 1)])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(budget.admit(False))
        self.clock.advance(1)
        self.assertEqual(self.said, [(2, 1)])

    @given(st.integers(1, 20), st.integers(0, 20), st.lists(st.tuples(st.booleans(), st.floats(0, 0.5))))
    def test_never_more(self, lines: int, reserve: int, asked: list[tuple[bool, float]]) -> None:
        """No second has more lines than the budget, errors find theirs, and what is held back is said to the last line."""
        self.setUp()
        reserve = min(reserve, lines - 1)
        budget = self.budget(lines, reserve)
        admitted: list[tuple[float, bool]] = []
        for error, pause in asked:
            if budget.admit(error):
                admitted.append((self.clock.seconds(), error))
            self.clock.advance(pause)
        budget.stop()
        self.assertEqual(sum(held for held, _ in self.said), self.counter.value)
        self.assertEqual(len(admitted) + self.counter.value, len(asked))
        begin, inside = -1.0, [0, 0]
        for when, error in admitted:
            if when >= begin + 1:
                begin, inside = when, [0, 0]
            inside[error] += 1
            self.assertTrue(sum(inside) <= lines)
            self.assertTrue(inside[False] <= lines - reserve)
