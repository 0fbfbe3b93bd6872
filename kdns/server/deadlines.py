# -*- test-case-name: tests.server.test_deadlines -*-
"""
Deadlines of in-flight queries, and how many there may be: of all clients, and of one.

Every accepted query is answered. At its deadline the listener gets a query back, answers SERVFAIL and cancels the work for it. All queries
have the same timeout, so the oldest is due first, and one timer serves all. No client takes all places: the more are taken, the fewer may
one client have.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import Generic, TypeVar

from kdns.server.fairness import BUCKETS, FACTOR, GUARANTEED

PATIENCE = 4.8
"""Seconds that a query may take. Most clients wait 5 s, so they still hear why they got no answer."""

T = TypeVar("T")


class InFlight(Generic[T]):
    """
    The in-flight queries of a listener, oldest first.

    :ivar shared: how many are shared out among clients: *most*, or what upstreams take at a time if that is less.
    """

    def __init__(self, most: int, patience: float = PATIENCE) -> None:
        self.most = self.shared = most
        self.patience = patience
        self._open: OrderedDict[int, tuple[float, T, int]] = OrderedDict()
        self._next = 0
        self._held = [0] * BUCKETS

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

    @property
    def tight(self) -> bool:
        """Whether a bucket of clients may be over its share."""
        return len(self._open) * (FACTOR + 1) >= self.shared * FACTOR

    def over_share(self, bucket: int) -> bool:
        """
        Whether a bucket of clients has as many as it may have now.

        A bucket may have FACTOR times as many as are left. So one client that floods leaves a fifth of all places to others, and two leave
        a ninth: none can take the last.
        """
        held = self._held[bucket]
        return held >= GUARANTEED and held >= FACTOR * (self.shared - len(self._open))

    def add(self, item: T, now: float, bucket: int = 0) -> int:
        """
        Add an item at *now*.

        :param bucket: of the client, see :func:`kdns.server.fairness.bucket_of`.
        :return: the ticket, which :meth:`end` takes.
        """
        self._next += 1
        self._open[self._next] = (now + self.patience, item, bucket)
        self._held[bucket] += 1
        return self._next

    def has(self, ticket: int) -> bool:
        """Whether the item of *ticket* is in flight."""
        return ticket in self._open

    def replace(self, ticket: int, item: T) -> None:
        deadline, _, bucket = self._open[ticket]
        self._open[ticket] = (deadline, item, bucket)

    def end(self, ticket: int) -> bool:
        found = self._open.pop(ticket, None)
        if found is None:
            return False
        self._held[found[2]] -= 1
        return True

    def next_deadline(self) -> float | None:
        """The deadline of the oldest item; None when there is none."""
        for deadline, _, _ in self._open.values():
            return deadline
        return None

    def expire(self, now: float, most: int) -> list[T]:
        """Remove and return the items whose deadline has passed, the oldest *most* of them."""
        expired: list[T] = []
        while self._open and len(expired) < most:
            ticket, (deadline, item, _) = next(iter(self._open.items()))
            if deadline > now:
                break
            self.end(ticket)
            expired.append(item)
        return expired

    def drain(self) -> list[T]:
        """Remove and return all items."""
        items = [item for _, item, _ in self._open.values()]
        self._open.clear()
        self._held = [0] * BUCKETS
        return items
