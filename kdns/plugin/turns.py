# -*- test-case-name: tests.plugin.test_turns -*-
"""
Share the turns of the reactor among many connections: one deadline bounds what all of them do in a turn.

A bound for each connection alone is no bound: with hundreds of clients that send what they can, their shares add up to seconds in which
nobody else is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TypeAlias

from kdns.core.timing import Clock

TURN_SECONDS = 0.0015
"""Seconds that all steps of a turn may take together, and as many for reading and writing; the last one begins within them."""

Step: TypeAlias = Callable[[float], object]
"""A short piece of work, called with the time at which its turn ends. To do more, it adds itself again."""


class Lane(Enum):
    """
    Steps of one kind; lanes take turns, whatever the length of their queues.

    A probe must be answered within a second while a thousand clients each have half a millisecond of work waiting.
    """

    PROBES = "pages for clients on this host"
    PAGES = "pages for other clients"
    CLIENTS = "DNS"
    UPSTREAMS = "long replies of upstreams"


class TurnQueue:
    """
    Steps that wait for their turn; in each lane, first come first served.

    A step that adds itself again goes to the end, so connections take turns, and one that always has more to do holds up no other.

    :param clock: seconds of a clock that never goes back.
    """

    def __init__(self, reactor: Clock, clock: Callable[[], float], seconds: float = TURN_SECONDS) -> None:
        self._reactor = reactor
        self._clock = clock
        self._seconds = seconds
        self._lanes: dict[Lane, deque[Step]] = {lane: deque() for lane in Lane}
        self._order = deque(self._lanes.values())
        self._planned = False
        self._io_end: float | None = None

    @property
    def waiting(self) -> bool:
        """Whether a step waits for its turn."""
        return any(self._order)

    def io_allowed(self) -> bool:
        """
        Whether there is time to read or write another socket in this turn; the time begins with the first call of a turn.

        A reactor serves all sockets that are ready in one turn. With a thousand of them this takes 15 ms, although each takes a few
        microseconds.
        """
        now = self._clock()
        if self._io_end is None:
            self._io_end = now + self._seconds
            self._plan()
        return now < self._io_end

    def add(self, step: Step, lane: Lane = Lane.CLIENTS) -> None:
        """Call *step* in the next turn, or in a later one when those before it take long."""
        self._lanes[lane].append(step)
        self._plan()

    def run(self, steps: Iterator[object], lane: Lane = Lane.UPSTREAMS) -> None:
        """Take all steps of an iterator, one after the other, each when it is its turn. That cannot be stopped."""

        def step(end: float) -> None:
            for _ in steps:
                self.add(step, lane)
                break

        self.add(step, lane)

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._reactor.callLater(0, self._run)

    def _run(self) -> None:
        self._planned = False
        self._io_end = None
        order, clock = self._order, self._clock
        end = clock() + self._seconds
        try:
            while any(order):
                steps = order[0]
                order.rotate(-1)  # the next turn begins with the lane after the last one
                if steps:
                    steps.popleft()(end)
                    if clock() >= end:
                        break
        finally:  # a step that raises does not take the others with it
            if any(order):
                self._plan()
