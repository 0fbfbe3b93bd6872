# -*- test-case-name: tests.tap.test_garbage -*-
"""
When the process looks for cyclic garbage.

Python looks through everything that lives whenever there is a quarter more of it. With full caches that takes 200 ms, several times a
minute under a flood of new names, and nobody is answered meanwhile. What kdns makes for a query it does not leave in cycles, so there is
hardly anything to find: young objects are looked through often and in small numbers, old ones after ten minutes, and what the start made
(modules, configuration, the index) never again. As long as a look at the old ones finds next to nothing, the next one comes twice as late.

Only a process that is kdns's own does this; a program that embeds kdns knows best itself.
"""

from __future__ import annotations

import gc
from typing import Any

YOUNG, MIDDLE = 1000, 5
"""Objects more than before until the youngest are looked through, and how often that is done until the middle ones are: 4 ms at most."""

NEVER = 1 << 30
"""What keeps Python from looking through the old ones by itself."""

INTERVAL = 600.0
"""Seconds until the first look through everything, and between two when they find something."""

LONGEST = 64 * INTERVAL
"""Seconds between two looks that found nothing, at most: a bit more than ten hours."""

WORTH = 1000
"""Objects that a look must find for the next one to come as soon again; they are less than 1 MiB."""


class GarbagePlan:
    """
    Takes the collection of garbage into its hands between :meth:`start` and :meth:`stop`.

    :param reactor: keeps the time.
    :param collector: Python's module ``gc``, or what a test puts in its place.
    """

    def __init__(self, reactor: Any, collector: Any = gc) -> None:
        self._reactor = reactor
        self._gc = collector
        self._before: tuple[int, int, int] | None = None
        self._call: Any = None
        self._interval = INTERVAL

    def start(self) -> None:
        """
        Set aside what is there now, unseen; a second time nothing happens.

        To look through it first would take 25 to 45 ms in which nobody is answered, to find what little the imports left.
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
        """Leave it to Python again."""
        if self._before is None:
            return
        self._call.cancel()
        self._gc.set_threshold(*self._before)
        self._gc.unfreeze()
        self._before = None
