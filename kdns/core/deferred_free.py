# -*- test-case-name: tests.core.test_deferred_free -*-
"""
Tables that nobody uses any more, and that are let go of a part at a time.

A table of 20,000 entries that is dropped at once takes 10 to 50 ms in which nobody is answered: each entry is a dozen objects, and Python
frees them there and then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any

FEW = 500
"""Entries that may as well go at once."""


class DeferredFree:
    """
    What is to be let go of.

    :ivar wake: called when there is something; as long as there is none, everything goes at once.
    """

    def __init__(self) -> None:
        self.wake: Callable[[], None] | None = None
        self._tables: deque[MutableMapping[Any, Any]] = deque()

    def __len__(self) -> int:
        return sum(len(table) for table in self._tables)

    def take(self, table: MutableMapping[Any, Any]) -> None:
        """Let go of a table that its owner has put another in the place of."""
        if self.wake is not None and len(table) > FEW:
            self._tables.append(table)
            self.wake()

    def drop(self, most: int) -> bool:
        """
        Let go of so many entries.

        :return: whether there are more.
        """
        while most > 0 and self._tables:
            table = self._tables[0]
            for _ in range(min(most, len(table))):
                table.popitem()
                most -= 1
            if not table:
                self._tables.popleft()
        return bool(self._tables)
