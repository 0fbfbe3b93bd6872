# -*- test-case-name: tests.server.test_deadlines -*-
"""
Deadlines of in-flight queries, and how many there may be.

Every accepted query is answered. At its deadline the listener gets a query back, answers SERVFAIL and cancels the work for it. All queries
have the same timeout, so the oldest is due first, and one timer serves all.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import Generic, TypeVar

PATIENCE = 4.8
"""Seconds that a query may take. Most clients wait 5 s, so they still hear why they got no answer."""

T = TypeVar("T")


class InFlight(Generic[T]):
    """The in-flight queries of a listener, oldest first."""

    def __init__(self, most: int, patience: float = PATIENCE) -> None:
        self.most = most
        self.patience = patience
        self._open: OrderedDict[int, tuple[float, T]] = OrderedDict()
        self._next = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        """Whether no further query may be in flight."""
        return len(self._open) >= self.most

    @property
    def newest(self) -> int:
        """The last ticket; 0 before the first."""
        return self._next

    @property
    def oldest(self) -> float:
        """The lowest ticket in flight; infinite when there is none."""
        return next(iter(self._open), inf)

    def add(self, item: T, now: float) -> int:
        """Add an item at *now*; the ticket is what :meth:`end` takes."""
        self._next += 1
        self._open[self._next] = (now + self.patience, item)
        return self._next

    def has(self, ticket: int) -> bool:
        """Whether the item of *ticket* is in flight."""
        return ticket in self._open

    def replace(self, ticket: int, item: T) -> None:
        deadline, _ = self._open[ticket]
        self._open[ticket] = (deadline, item)

    def end(self, ticket: int) -> bool:
        return self._open.pop(ticket, None) is not None

    def next_deadline(self) -> float | None:
        """The deadline of the oldest item; None when there is none."""
        for deadline, _ in self._open.values():
            return deadline
        return None

    def expire(self, now: float, most: int) -> list[T]:
        """Remove and return the items whose deadline has passed, the oldest *most* of them."""
        expired: list[T] = []
        while self._open and len(expired) < most:
            ticket, (deadline, item) = next(iter(self._open.items()))
            if deadline > now:
                break
            del self._open[ticket]
            expired.append(item)
        return expired

    def drain(self) -> list[T]:
        """Remove and return all items."""
        items = [item for _, item in self._open.values()]
        self._open.clear()
        return items
