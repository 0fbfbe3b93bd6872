# -*- test-case-name: tests.core.test_sketch -*-
"""
Who is met most often among very many: heavy hitters in fixed memory, over the last minutes.

A :class:`Sketch` keeps a counter for some of the things it is told of. When there are too many, the same number is taken from every
counter, and what is left with nothing goes (Misra and Gries; "Space-Saving" is the same numbers, counted from above). So a counter is
never too high, and too low by :attr:`Sketch.lost` at most, which is less than the whole divided by :attr:`Sketch.room`. Whatever makes
up a larger share than that is surely there.

A :class:`Recent` has a sketch for each of some periods, the oldest of which is forgotten when a new one begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from heapq import nlargest
from typing import Generic, NamedTuple, TypeVar

Thing = TypeVar("Thing", bound=Hashable)

ROOM = 256
"""Counters that are kept when room is made, and as many may be added until then: what makes up 0.4 % is never missed."""

PERIODS = 3
"""Sketches of a :class:`Recent`, the one that is being filled included."""


class Sketch(Generic[Thing]):
    """
    Counters of the most frequent things.

    :ivar counts: the counters, each at most as high as it should be.
    :ivar lost: what the counter of anything, known or not, may be short of.
    :ivar total: how many things there were, each time counted.
    """

    __slots__ = ("counts", "lost", "room", "total")

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self.counts: dict[Thing, int] = {}
        self.lost = 0
        self.total = 0

    def add(self, thing: Thing, times: int = 1) -> None:
        """It was met *times* times, at least once."""
        self.total += times
        counts = self.counts
        count = counts.get(thing)
        if count is not None:
            counts[thing] = count + times
            return
        if len(counts) >= 2 * self.room:
            self._make_room()
            counts = self.counts
        counts[thing] = times

    def _make_room(self) -> None:
        # Half of the counters at least lose all of this, which is why what is lost stays below total / room.
        less = sorted(self.counts.values(), reverse=True)[self.room - 1]
        self.lost += less
        self.counts = {thing: count - less for thing, count in self.counts.items() if count > less}


class Top(NamedTuple, Generic[Thing]):
    """The most frequent things."""

    things: list[tuple[Thing, int]]
    """Each with how often it was met at least; the most frequent first."""

    lost: int
    """How much more often each of them may have been met."""

    total: int
    """How often anything was met."""


class Recent(Generic[Thing]):
    """The most frequent things of some periods; when one ends, its owner knows."""

    __slots__ = ("_periods", "_room", "add")

    def __init__(self, room: int = ROOM, periods: int = PERIODS) -> None:
        self._room = room
        self._periods: deque[Sketch[Thing]] = deque(maxlen=periods)
        self.turn()

    def turn(self) -> None:
        """A period ends, and the next one begins."""
        sketch: Sketch[Thing] = Sketch(self._room)
        self._periods.append(sketch)
        self.add = sketch.add
        """See :meth:`Sketch.add`."""

    @property
    def total(self) -> int:
        """How often anything was met."""
        return sum(sketch.total for sketch in self._periods)

    def top(self, most: int) -> Top[Thing]:
        """The *most* frequent things of all periods together."""
        periods = list(self._periods)
        counts = dict(periods[0].counts)
        for sketch in periods[1:]:
            for thing, count in sketch.counts.items():
                counts[thing] = counts.get(thing, 0) + count
        things = nlargest(most, counts.items(), key=lambda item: item[1])
        return Top(things, sum(sketch.lost for sketch in periods), self.total)
