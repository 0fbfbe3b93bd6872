# -*- test-case-name: tests.tap.test_garbage -*-
"""
When the process collects cyclic garbage.

Python collects the old generation whenever it has grown by a quarter. With full caches that takes 200 ms, several times a minute under a
flood of new names, and no query is answered meanwhile. kdns leaves no cycles behind a query, so there is hardly anything to find. Young
objects are collected often and in small numbers, old ones after ten minutes, and objects of the start (modules, configuration, the index)
never. As long as a collection of the old generation finds next to nothing, the interval doubles.

Only the daemon does this; a program that embeds kdns decides for itself.
"""

from __future__ import annotations

import gc
from typing import Any

from kdns.core.timing import Clock

YOUNG, MIDDLE = 1000, 5
"""Thresholds of the young and the middle generation, as gc.set_threshold() takes them: a collection takes 4 ms at most."""

NEVER = 1 << 30
"""A threshold that keeps Python from collecting the old generation by itself."""

INTERVAL = 600.0
"""Seconds until the first full collection, and between two that find something."""

LONGEST = 64 * INTERVAL
"""Most seconds between two full collections that find nothing: a bit more than ten hours."""

WORTH = 1000
"""Objects that a full collection must find for the interval to stay short; they are less than 1 MiB."""


class GarbagePlan:
    """
    Plans garbage collections between :meth:`start` and :meth:`stop`.

    :param collector: Python's module ``gc``, or a test's.
    """

    def __init__(self, reactor: Clock, collector: Any = gc) -> None:
        self._reactor = reactor
        self._gc = collector
        self._before: tuple[int, int, int] | None = None
        self._call: Any = None
        self._interval = INTERVAL

    def start(self) -> None:
        """
        Exempt all objects that there are now; a second call does nothing.

        They are not collected first: that would take 25 to 45 ms, and imports leave little.
        """
        if self._before is not None:
            return
        self._before = self._gc.get_threshold()
        self._gc.set_threshold(YOUNG, MIDDLE, NEVER)
        self._gc.freeze()
        self._gc.enable()
        self._interval = INTERVAL
        self._call = self._reactor.callLater(self._interval, self._again)

    def _again(self) -> None:
        worth = self._gc.collect() >= WORTH
        self._interval = INTERVAL if worth else min(2 * self._interval, LONGEST)
        self._call = self._reactor.callLater(self._interval, self._again)

    def stop(self) -> None:
        """Restore Python's own thresholds."""
        if self._before is None:
            return
        self._call.cancel()
        self._gc.set_threshold(*self._before)
        self._gc.unfreeze()
        self._before = None
