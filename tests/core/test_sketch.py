"""The most frequent things in fixed memory, against counting all of them."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.sketch import Recent, Sketch

MET = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 64)), max_size=400)
"""Things and how often they are met at a time: some come again, some do not."""


def skewed(chance: Random, names: int, times: int) -> list[int]:
    """Names as they are asked for: few of them very often, most of them once."""
    return [int(names * chance.random() ** 8) for _ in range(times)]


class BoundTests(SynchronousTestCase):
    """What the counters promise."""

    def check(self, sketch: Sketch[int], exact: Counter[int]) -> None:
        """Every promise, for every thing that was met."""
        self.assertEqual(sketch.total, exact.total())
        self.assertLessEqual(sketch.lost * sketch.size, sketch.total)
        self.assertLessEqual(len(sketch.counts), 2 * sketch.size)
        for thing, count in exact.items():
            counted = sketch.counts.get(thing, 0)
            self.assertLessEqual(counted, count)
            self.assertLessEqual(count, counted + sketch.lost)
        self.assertEqual(sketch.counts.keys() - exact.keys(), set())

    @settings(deadline=None, derandomize=True)
    @given(MET, st.integers(1, 12))
    def test_any(self, met: list[tuple[int, int]], size: int) -> None:
        """No counter is too high, none too low by more than is said, and that is less than the whole divided by the size."""
        sketch: Sketch[int] = Sketch(size)
        exact: Counter[int] = Counter()
        for thing, times in met:
            sketch.add(thing, times)
            exact[thing] += times
        self.check(sketch, exact)

    def test_skewed(self) -> None:
        """Among a hundred thousand queries for as many names the frequent ones are found, in their order."""
        sketch: Sketch[int] = Sketch(64)
        exact: Counter[int] = Counter()
        for name in skewed(Random(1), 100_000, 100_000):
            sketch.add(name)
            exact[name] += 1
        self.check(sketch, exact)
        self.assertGreater(sketch.lost, 0)
        ordered = sorted(sketch.counts.items(), key=lambda item: -item[1])
        self.assertEqual([name for name, _ in ordered[:5]], [name for name, _ in exact.most_common(5)])

    def test_few_are_counted_exactly(self) -> None:
        """As long as there is size nothing is lost."""
        sketch: Sketch[str] = Sketch(4)
        for name in "abcdefgh" * 100:
            sketch.add(name)
        self.assertEqual(sketch.lost, 0)
        self.assertEqual(sketch.counts, dict.fromkeys("abcdefgh", 100))

    def test_flood(self) -> None:
        """A flood of names met once drives out nobody who makes up a larger share than one part of the size."""
        sketch: Sketch[int] = Sketch(16)
        for number in range(16_000):
            sketch.add(number + 1)
            if number % 14 == 0:
                sketch.add(0)
        self.assertIn(0, sketch.counts)
        self.assertLessEqual(len(sketch.counts), 32)


class RecentTests(SynchronousTestCase):
    """The last minutes."""

    def test_together(self) -> None:
        """What was met in several periods is added up."""
        recent: Recent[str] = Recent(8, 3)
        for _ in range(3):
            recent.add("a", 2)
            recent.add("b", 1)
            recent.turn()
        recent.add("b", 10)
        top = recent.top(5)
        self.assertEqual(top.items, [("b", 12), ("a", 4)])
        self.assertEqual((top.lost, top.total), (0, 16))

    def test_forgotten(self) -> None:
        """What was met long ago does not show any more."""
        recent: Recent[str] = Recent(8, 3)
        recent.add("a")
        for _ in range(2):
            recent.turn()
        self.assertEqual(recent.top(1).items, [("a", 1)])
        recent.turn()
        self.assertEqual(recent.top(1), ([], 0, 0))
        self.assertEqual(recent.total, 0)

    def test_most(self) -> None:
        """No more are shown than is asked for, the most frequent first."""
        recent: Recent[int] = Recent()
        for number in range(20):
            recent.add(number, number + 1)
        self.assertEqual(recent.top(3).items, [(19, 20), (18, 19), (17, 18)])

    @settings(deadline=None, derandomize=True)
    @given(st.lists(MET, min_size=1, max_size=6), st.integers(1, 8))
    def test_any(self, periods: list[list[tuple[int, int]]], size: int) -> None:
        """The bounds hold for all periods together: what is lost is less than the whole divided by the size."""
        recent: Recent[int] = Recent(size, 3)
        for met in periods:
            recent.turn()
            for thing, times in met:
                recent.add(thing, times)
        exact: Counter[int] = Counter()
        for met in periods[-3:]:
            for thing, times in met:
                exact[thing] += times
        top = recent.top(1000)
        counted = dict(top.items)
        self.assertEqual(top.total, exact.total())
        self.assertLessEqual(top.lost * size, top.total)
        for thing, count in exact.items():
            self.assertLessEqual(counted.get(thing, 0), count)
            self.assertLessEqual(count, counted.get(thing, 0) + top.lost)
