# -*- test-case-name: tests.cluster.test_change_sink -*-
"""
The one way into the index: every source (the API, manifests, a snapshot) hands its changes to a :class:`ChangeSink`.

Changes are plain values (changes.py), so a listener can apply them to an index of its own, in another process too.

A change is visible when :meth:`ChangeSink.apply` returns, and every answer that it makes wrong is dead: no query sees one without the
other. Long work (a page, a sweep) is cut into slices, between which DNS is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias

import msgspec

from kdns.cluster.bodies import SLICE
from kdns.cluster.changes import Change
from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Kind
from kdns.cluster.relist import Relist
from kdns.cluster.timing import Clock, Timer, stop_timer
from kdns.core.slices import in_slices

SWEPT_AT_ONCE = 50
"""Objects between two looks at the clock: deleting that many takes less than a millisecond."""

Listener: TypeAlias = Callable[[Change, bool], None]
"""Told of a change, and whether DNS can see it."""


class ChangeSink:
    """
    Enters changes into an index, tells its listeners, and keeps the timer for what the index holds back for a moment.

    :param wall: Unix seconds, as the index wants them.
    """

    def __init__(self, index: ClusterIndex, clock: Clock, wall: Callable[[], float]) -> None:
        self.index = index
        self.wall = wall
        self._clock = clock
        self._listeners: list[Listener] = []
        self._timer: Timer | None = None

    def listen(self, listener: Listener) -> None:
        """Tell *listener* of each change from now on, once it is entered."""
        self._listeners.append(listener)

    def apply(self, change: Change) -> bool:
        """Enter a change; whether DNS can see it."""
        changed = self.index.apply(change, self.wall())
        if self._timer is None:
            self._plan()
        for listener in self._listeners:
            listener(change, changed)
        return changed

    def relist(self, kind: Kind) -> Relist:
        """Begin to enter a new list of a kind; one that is under way for it is given up."""
        return self.index.relist(kind, lambda change, now: self.apply(change))

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
            while not relist.sweep(SWEPT_AT_ONCE, self.wall()):
                yield

        await in_slices(self._clock, work(), SLICE)

    def stop(self) -> None:
        """Keep no timer any more; what is held back is let go of."""
        stop_timer(self._timer)
        self._timer = None
        self.index.expire(max(self.wall(), self.index.next_deadline() or 0.0))

    def _plan(self) -> None:
        deadline = self.index.next_deadline()
        if deadline is not None and self._timer is None:
            self._timer = self._clock.callLater(max(0.0, deadline - self.wall()), self._expire)

    def _expire(self) -> None:
        self._timer = None
        self.index.expire(self.wall())
        self._plan()
