"""Sharing the turns of the reactor."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.turns import Lane, TurnQueue
from kdns.testing.memory import MemoryReactor


class TurnTests(SynchronousTestCase):
    """Who is called in which turn; each step takes a millisecond, and a turn three."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.now = 0.0
        self.queue = TurnQueue(self.reactor, lambda: self.now, 0.003)
        self.called = ""

    def step(self, name: str, times: int = 1, lane: Lane = Lane.CLIENTS) -> None:
        """Add a step that does its work in so many pieces."""

        def work(end: float) -> None:
            nonlocal times
            self.called += name
            self.now += 0.001
            times -= 1
            if times:
                self.queue.add(work, lane)

        self.queue.add(work, lane)

    def turn(self) -> str:
        """The steps that one turn of the reactor calls."""
        self.called = ""
        self.reactor.turn()
        return self.called

    def test_one_deadline(self) -> None:
        """However many wait, a turn ends at its deadline, and the rest is called in the next."""
        for name in "abcdefgh":
            self.step(name)
        self.assertEqual([self.turn() for _ in range(4)], ["abc", "def", "gh", ""])

    def test_round_robin(self) -> None:
        """A step with much to do goes behind the others each time."""
        self.step("a", 5)
        self.step("b", 2)
        self.step("c", 1)
        self.assertEqual([self.turn() for _ in range(3)], ["abc", "aba", "aa"])

    def test_lanes(self) -> None:
        """Lanes take turns: a probe does not wait for all clients, nor do they for probes without end."""
        for _ in range(20):
            self.step("c")
        self.step("p", 20, Lane.PROBES)
        self.step("q", 1, Lane.PAGES)
        self.assertEqual([self.turn() for _ in range(4)], ["pqc", "pcp", "cpc", "pcp"])

    def test_not_before_its_turn(self) -> None:
        """Nothing is called where it is added, and nothing is left behind when all is done."""
        self.step("a")
        self.assertEqual(self.called, "")
        self.assertEqual(self.turn(), "a")
        self.assertEqual(self.reactor.leftovers(), [])

    def test_failure(self) -> None:
        """A step that raises does not take the others with it."""
        self.queue.add(lambda end: 1 / 0)
        self.step("a")
        self.assertEqual(self.turn(), "")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.turn(), "a")
