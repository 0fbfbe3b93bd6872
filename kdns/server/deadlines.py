# -*- test-case-name: tests.server.test_deadlines -*-
"""
Queries that wait for an answer: how many may, and until when.

Every query that was accepted is answered. One that is still open at its deadline is handed back, first come first, so that the listener
can answer SERVFAIL and drop what it waited for. All queries have the same patience, so a queue is enough and one timer serves all.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import Generic, TypeVar

PATIENCE = 4.8
"""Seconds that a query may take: clients that wait 5 s, as most do, still hear why they got nothing."""

T = TypeVar("T")


class Waiting(Generic[T]):
    """The open queries of a listener, oldest first."""

    def __init__(self, most: int, patience: float = PATIENCE) -> None:
        self.most = most
        self.patience = patience
        self._open: OrderedDict[int, tuple[float, T]] = OrderedDict()
        self._next = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        """Whether no further query may wait."""
        return len(self._open) >= self.most

    @property
    def newest(self) -> int:
        """The ticket given last; 0 when none was."""
        return self._next

    @property
    def oldest(self) -> float:
        """The lowest ticket that has not ended; more than any when nothing waits."""
        return next(iter(self._open), inf)

    def add(self, item: T, now: float) -> int:
        """Let *item* wait from *now* on; the ticket ends it."""
        self._next += 1
        self._open[self._next] = (now + self.patience, item)
        return self._next

    def end(self, ticket: int) -> bool:
        """The item of *ticket* waits no longer; False when it had ended before."""
        return self._open.pop(ticket, None) is not None

    def next_deadline(self) -> float | None:
        """When the oldest item's patience ends; None when nothing waits."""
        for deadline, _ in self._open.values():
            return deadline
        return None

    def expire(self, now: float) -> list[T]:
        """Take out and return the items whose patience has ended."""
        expired = []
        while self._open:
            ticket, (deadline, item) = next(iter(self._open.items()))
            if deadline > now:
                break
            del self._open[ticket]
            expired.append(item)
        return expired

    def drain(self) -> list[T]:
        """Take out and return all items."""
        items = [item for _, item in self._open.values()]
        self._open.clear()
        return items
