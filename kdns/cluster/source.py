# -*- test-case-name: tests.cluster.test_source -*-
"""
What all sources of cluster data share (the Kubernetes API, manifests, a snapshot): their interface, and the one way into the index.

Every source hands its changes to a :class:`ChangeSink`. A change is visible when :meth:`ChangeSink.apply` returns, and every answer that
it makes wrong is invalid by then: no query sees one without the other. Long work (a page, a sweep) is sliced; DNS is answered in between.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeAlias

import msgspec
from twisted.internet.defer import Deferred, succeed

from kdns.cluster.bodies import SLICE
from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Change, Kind
from kdns.cluster.relist import Relist
from kdns.core.slices import in_slices
from kdns.core.timing import Clock, Timer, stop_timer


class ClusterSource(Protocol):
    """A source that fills an index and keeps it current."""

    @property
    def synced(self) -> bool:
        """Whether everything has been entered once; stays true whatever happens to the source."""
        ...

    def start(self) -> None: ...

    def stop(self) -> Deferred[None]: ...

    def when_synced(self) -> Deferred[None]:
        """Fires when :attr:`synced` is true; each caller gets its own Deferred and may cancel it."""
        ...

    def why_not_ready(self) -> str:
        """What the source waits for, for the operator; empty when nothing."""
        ...


class SyncWaiters:
    """Deferreds that wait until a source is synced."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def wait(self, synced: bool) -> Deferred[None]:
        """A Deferred that the caller may cancel; already fired when the source is *synced*."""
        if synced:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def fire(self) -> None:
        """The source is synced."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def cancel(self) -> None:
        for waiter in list(self._waiting):
            waiter.cancel()


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
        self._copies: list[Callable[[Change], None]] = []
        self._timer: Timer | None = None

    def listen(self, listener: Listener) -> None:
        """Call *listener* after each change from now on."""
        self._listeners.append(listener)

    def copy_to(self, copy: Callable[[Change], None]) -> None:
        """
        Call *copy* from now on with each change that altered the index, whether DNS can see it or not.

        A list without news, as after a lost watch, reaches no copy.
        """
        self._copies.append(copy)

    def stop_copying_to(self, copy: Callable[[Change], None]) -> None:
        """Undo :meth:`copy_to`; a second call does nothing."""
        if copy in self._copies:
            self._copies.remove(copy)

    def apply(self, change: Change) -> bool:
        """Enter a change; whether DNS can see it."""
        before = self.index.changes
        changed = self.index.apply(change, self.wall())
        if self.index.changes != before:
            for copy in self._copies:
                copy(change)
        if self._timer is None:
            self._plan()
        for listener in self._listeners:
            listener(change, changed)
        return changed

    def relist(self, kind: Kind) -> Relist:
        """Begin a new list of a kind; a list in progress for it is abandoned."""
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
        """Stop the timer and delete what the index holds back."""
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
