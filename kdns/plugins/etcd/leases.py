# -*- test-case-name: tests.plugins.etcd.test_leases -*-
"""
How long the leases of etcd last: a core module of *etcd*.

etcd tells when a lease has ended, by deleting its keys, and not when it was renewed. So each is asked about when it is first seen, and
again when half of what was left has passed. Asking is left to the store.
"""

from __future__ import annotations

from heapq import heappop, heappush

LEAST_PAUSE = 5.0
"""Seconds between two questions about one lease, at least."""


class Lease:
    """A lease of etcd; its keys go when it ends."""

    __slots__ = ("ends", "granted", "number", "records")

    def __init__(self, number: int) -> None:
        self.number = number
        self.records = 0
        """How many records are bound to it."""

        self.granted = 0
        """Seconds that it was granted for; 0 until it is known."""

        self.ends = 0.0
        """When it ends unless it is renewed, in seconds of the server's clock, as far as is known."""


class Leases:
    """The leases that records are bound to, and when to ask about which."""

    def __init__(self) -> None:
        self._known: dict[int, Lease] = {}
        self._due: list[tuple[float, int, Lease]] = []
        """When to ask about which: a heap, with a number that tells equal times apart."""

        self._count = 0

    def __len__(self) -> int:
        return len(self._known)

    def bind(self, number: int, now: float) -> Lease:
        """One more record has this lease."""
        lease = self._known.get(number)
        if lease is None:
            lease = self._known[number] = Lease(number)
            self._plan(lease, now)
        lease.records += 1
        return lease

    def release(self, lease: Lease) -> None:
        """A record with this lease is gone, and with its last one the lease."""
        lease.records -= 1
        if lease.records <= 0:
            self._known.pop(lease.number, None)

    def next_deadline(self) -> float | None:
        """When to ask about a lease; None where there is none."""
        # A lease that all records left may have come again as another object.
        while self._due and self._known.get(self._due[0][2].number) is not self._due[0][2]:
            heappop(self._due)
        return self._due[0][0] if self._due else None

    def take_due(self, now: float) -> Lease | None:
        """The lease to ask about; the caller then says what became of it."""
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return None
        return heappop(self._due)[2]

    def told(self, lease: Lease, granted: int, left: int, asked: float) -> None:
        """
        etcd has answered.

        :param left: seconds; negative where the lease is gone, whose keys will be, too.
        :param asked: when it was asked.
        """
        lease.granted = granted
        lease.ends = asked + max(0, left)
        self._plan(lease, asked + max(LEAST_PAUSE, left / 2))

    def failed(self, lease: Lease, now: float) -> None:
        """etcd has not answered."""
        self._plan(lease, now + LEAST_PAUSE)

    def _plan(self, lease: Lease, at: float) -> None:
        self._count += 1
        heappush(self._due, (at, self._count, lease))
