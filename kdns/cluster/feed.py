# -*- test-case-name: tests.cluster.test_feed -*-
"""
A copy of an index for a follower, and then every change of it.

The copy is read in slices while the index changes. A slice is read and sent in one piece, so a change that comes later is sent later; the
follower ends with what the index holds, whatever order the objects came in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from kdns.cluster.objects import Change, ClusterObject, Kind, Upsert
from kdns.cluster.source import ChangeSink
from kdns.core.timing import Clock, Timer, stop_timer

BATCH = 100
"""Objects sent at once: less than a millisecond here, and two in the follower."""

PAUSE = 0.005
"""Seconds until a follower that could not keep pace is looked at again."""


class Feed:
    """
    What one follower is sent.

    :param send: takes changes, in the order in which they must be applied.
    :param copied: called once, when everything that the index held has been sent.
    :param room: whether the follower can take more of the copy now; changes are sent in any case.
    """

    def __init__(
        self,
        sink: ChangeSink,
        clock: Clock,
        send: Callable[[list[Change]], None],
        copied: Callable[[], None],
        room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._send = send
        self._copied = copied
        self._room = room
        self._timer: Timer | None = None
        self._objects = self._walk()

    def _walk(self) -> Iterator[ClusterObject]:
        for kind in Kind:
            yield from self._sink.index.walk(kind)

    def start(self) -> None:
        """Begin with the copy."""
        self._sink.copy_to(self._changed)
        self._go_on()

    def stop(self) -> None:
        """Send no more."""
        stop_timer(self._timer)
        self._timer = None
        self._sink.stop_copying_to(self._changed)

    def _changed(self, change: Change) -> None:
        self._send([change])

    def _go_on(self) -> None:
        self._timer = None
        if not self._room():
            self._timer = self._clock.callLater(PAUSE, self._go_on)
            return
        batch: list[Change] = [Upsert(item) for item in islice(self._objects, BATCH)]
        if batch:
            self._send(batch)
            self._timer = self._clock.callLater(0, self._go_on)
        else:
            self._copied()
