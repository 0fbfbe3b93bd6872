# -*- test-case-name: tests.cluster.test_api_source -*-
"""
Entering changes into the index, for all watches of a source.

An event is visible, and every answer that it makes wrong is dead, when :meth:`Entrance.apply` returns: no query sees one without the other.
Long work (a page, a sweep) is cut into slices of some milliseconds, between which DNS is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

import msgspec

from kdns.cluster.bodies import SLICE
from kdns.cluster.changes import Change
from kdns.cluster.index import ClusterIndex
from kdns.cluster.relist import Relist
from kdns.cluster.timing import Clock, Timer, stop_timer
from kdns.core.slices import in_slices

SWEPT_AT_ONCE = 50
"""Objects between two looks at the clock: deleting that many takes less than a millisecond."""


class Entrance:
    """
    The way into an index; keeps the timer for what the index holds back for a moment.

    :param wall: Unix seconds, as the index wants them.
    :param watch_change: is told of each change that was entered, and whether DNS can see it.
    """

    def __init__(
        self,
        index: ClusterIndex,
        clock: Clock,
        wall: Callable[[], float],
        watch_change: Callable[[Change, bool], None] = lambda change, changed: None,
    ) -> None:
        self.index = index
        self._clock = clock
        self._wall = wall
        self._watch_change = watch_change
        self._timer: Timer | None = None

    def apply(self, change: Change) -> bool:
        """Enter a change; whether DNS can see it."""
        changed = self.index.apply(change, self._wall())
        if self._timer is None:
            self._plan()
        self._watch_change(change, changed)
        return changed

    async def each(self, items: Iterable[msgspec.Raw], enter: Callable[[msgspec.Raw], None]) -> None:
        """Call *enter* for each item, in slices."""

        def work() -> Generator[None, None, None]:
            for item in items:
                enter(item)
                yield

        await in_slices(self._clock, work(), SLICE)

    async def sweep(self, relist: Relist) -> None:
        """Delete the objects that were not listed, in slices."""

        def work() -> Generator[None, None, None]:
            while not relist.sweep(SWEPT_AT_ONCE, self._wall()):
                yield

        await in_slices(self._clock, work(), SLICE)
        self._plan()

    def stop(self) -> None:
        """Keep no timer any more; what is held back is let go of."""
        stop_timer(self._timer)
        self._timer = None
        self.index.expire(max(self._wall(), self.index.next_deadline() or 0.0))

    def _plan(self) -> None:
        deadline = self.index.next_deadline()
        if deadline is not None and self._timer is None:
            self._timer = self._clock.callLater(max(0.0, deadline - self._wall()), self._expire)

    def _expire(self) -> None:
        self._timer = None
        self.index.expire(self._wall())
        self._plan()
