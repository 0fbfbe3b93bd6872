# -*- test-case-name: tests.core.test_sketch -*-
"""
The most frequent items of a stream, in bounded memory (Misra and Gries).

A :class:`Sketch` has a counter for some items only. When there are too many counters, the same number is subtracted from all of them, and
those that reach zero are dropped. A counter is therefore never too high, and too low by at most :attr:`Sketch.lost`, which is less than the
total divided by :attr:`Sketch.size`. An item with a larger share than that is certain to have a counter.

A :class:`Recent` has one sketch for each of the last periods.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from heapq import nlargest
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item", bound=Hashable)

SIZE = 256
"""Counters kept when the sketch is reduced, which happens at twice as many. An item with a share of 0.4 % is never missed."""

PERIODS = 3
"""Sketches of a :class:`Recent`, the current one included."""


class Sketch(Generic[Item]):
    """
    Counters of the most frequent items.

    :ivar counts: the counters, never too high.
    :ivar lost: how much too low any counter may be; an item without one was seen at most so often.
    :ivar total: how many items were counted.
    """

    __slots__ = ("counts", "lost", "size", "total")

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.counts: dict[Item, int] = {}
        self.lost = 0
        self.total = 0

    def add(self, item: Item, times: int = 1) -> None:
        """Count an item *times* times, at least once."""
        self.total += times
        counts = self.counts
        count = counts.get(item)
        if count is not None:
            counts[item] = count + times
            return
        if len(counts) >= 2 * self.size:
            self._reduce()
            counts = self.counts
        counts[item] = times

    def _reduce(self) -> None:
        # At least *size* counters lose this much, so all that is ever lost stays below total / size.
        less = sorted(self.counts.values(), reverse=True)[self.size - 1]
        self.lost += less
        self.counts = {item: count - less for item, count in self.counts.items() if count > less}


class Top(NamedTuple, Generic[Item]):
    """The most frequent items."""

    items: list[tuple[Item, int]]
    """Each with the number of times it was seen at least; the most frequent first."""

    lost: int
    """How much too low each number may be."""

    total: int
    """How many items were counted."""


class Recent(Generic[Item]):
    """The most frequent items of the last periods. Its owner says when a period ends."""

    __slots__ = ("_periods", "_size", "add")

    def __init__(self, size: int = SIZE, periods: int = PERIODS) -> None:
        self._size = size
        self._periods: deque[Sketch[Item]] = deque(maxlen=periods)
        self.turn()

    def turn(self) -> None:
        """End a period: begin a new sketch, and forget the oldest."""
        sketch: Sketch[Item] = Sketch(self._size)
        self._periods.append(sketch)
        self.add = sketch.add
        """See :meth:`Sketch.add`."""

    @property
    def total(self) -> int:
        """How many items were counted in all periods."""
        return sum(sketch.total for sketch in self._periods)

    def top(self, most: int) -> Top[Item]:
        """The *most* frequent items of all periods together."""
        periods = list(self._periods)
        counts = dict(periods[0].counts)
        for sketch in periods[1:]:
            for item, count in sketch.counts.items():
                counts[item] = counts.get(item, 0) + count
        items = nlargest(most, counts.items(), key=lambda pair: pair[1])
        return Top(items, sum(sketch.lost for sketch in periods), self.total)
