# -*- test-case-name: tests.core.test_deferred_free -*-
"""
Free large tables in slices.

To drop a table of 20,000 entries at once takes 10 to 50 ms in which no query is answered: each entry is a dozen objects, and Python frees
them there and then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Protocol

from twisted.internet.defer import Deferred

from kdns.core.slices import in_slices
from kdns.core.timing import Clock

FEW = 500
"""Entries of a table that is freed at once."""

_STEP = 50
"""Entries freed between two looks at the clock: some 100 microseconds."""


class Table(Protocol):
    """What can be emptied an entry at a time; every dictionary can."""

    def __len__(self) -> int: ...

    def popitem(self) -> object:
        """Remove an entry."""


class DeferredFree:
    """The tables that are being freed. Without a running reactor, before :meth:`start` and after :meth:`stop`, they are freed at once."""

    def __init__(self) -> None:
        self._clock: Clock | None = None
        self._tables: deque[Table] = deque()
        self._freeing: Deferred[None] | None = None

    def __len__(self) -> int:
        """Entries that are still to be freed."""
        return sum(len(table) for table in self._tables)

    def start(self, clock: Clock) -> None:
        """From now on free large tables in the turns of the reactor *clock*."""
        self._clock = clock

    def stop(self) -> None:
        """Free what is left."""
        self._clock = None
        freeing, self._freeing = self._freeing, None
        if freeing is not None:
            freeing.addErrback(lambda cancelled: None).cancel()
        self._tables.clear()

    def take(self, table: Table) -> None:
        """Free a table that nobody else uses any more; its owner must drop it."""
        if self._clock is None or len(table) <= FEW:
            return
        self._tables.append(table)
        if self._freeing is None:
            self._freeing = in_slices(self._clock, self._free(), at_once=False)

    def _free(self) -> Generator[None, None, None]:
        while self._tables:
            table = self._tables[0]
            for _ in range(min(_STEP, len(table))):
                table.popitem()
            if not table:
                self._tables.popleft()
            yield
        self._freeing = None
