# -*- test-case-name: tests.server.test_self_checks -*-
"""
Faults that nobody reports because they come slowly: memory near its limit, log lines that are lost, a cache that one client fills.

The service calls :meth:`SelfChecks.look` each second. What is found stands in the list of degraded states.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from kdns.core.degraded import Condition, Fault
from kdns.core.metrics import Family, Gauge, Histogram, Registry
from kdns.plugin.seam import ServerContext
from kdns.server.limits import resident
from kdns.server.top_talkers import TopTalkers

log = Logger(namespace="kdns.server")

INTERVAL = 10.0
"""Seconds between two looks."""

CALM = 60.0
"""Seconds without a new sign after which a fault counts as over."""

HIGH, LOW = 0.9, 0.85
"""Shares of the memory limit at which the state begins and ends, apart so that it does not flap."""

CROWD = 0.5
"""Share of all queries from which one client is blamed for evictions."""

EVICTIONS = 100
"""Answers evicted between two looks before anybody is blamed."""


class SelfChecks:
    """
    The checks of one service.

    :param limit: bytes of memory that the process may take; None without a limit.
    :param used: bytes that it takes now.
    """

    def __init__(
        self,
        context: ServerContext,
        talkers: TopTalkers,
        limit: int | None,
        used: Callable[[], int] = resident,
    ) -> None:
        self._context = context
        self._talkers = talkers
        self._limit = limit
        self._used = used
        self._next = float("-inf")
        degraded = context.degraded
        self._memory = degraded.condition(Fault.MEMORY, "memory")
        self._log = _Growing(
            degraded.condition(Fault.LOG, "log output"), context.registry, "kdns_log_dropped_lines_total"
        )
        self._client = _Growing(degraded.condition(Fault.CLIENT, "client"), context.registry, "kdns_over_share_total")
        self._cache = _Growing(
            degraded.condition(Fault.CACHE, "cache"), context.registry, "coredns_cache_evictions_total"
        )

    def look(self) -> None:
        """Look whether anything is wrong, unless that was done less than ten seconds ago."""
        now = self._context.clock()
        if now < self._next:
            return
        self._next = now + INTERVAL
        self._look_at_memory()
        lost = self._log.growth(now)
        if lost:
            self._log.begin(f"lines are lost, {lost:.0f} in {INTERVAL:.0f} s when it was noticed", self._context.wall())
        if self._client.growth(now):
            self._name_refused()
        evicted = self._cache.growth(now)
        if evicted >= EVICTIONS:
            self._look_for_crowder()
        for growing in (self._log, self._cache, self._client):
            growing.calm(now, self._context.wall())

    def _look_at_memory(self) -> None:
        if not self._limit:
            return
        share = self._used() / self._limit
        if share >= HIGH:
            mebibytes = self._limit >> 20
            self._memory.begin(f"over {HIGH:.0%} of the limit of {mebibytes} MiB is used", self._context.wall(), log)
        elif share < LOW:
            self._memory.end(self._context.wall(), log)

    def _name_refused(self) -> None:
        for client, _ in self._talkers.refused.top(1).items:
            self._client.begin(
                f"{client} asks more than its share, and some of its queries are refused", self._context.wall()
            )

    def _look_for_crowder(self) -> None:
        top = self._talkers.clients.top(1)
        for client, times in top.items:
            if times >= CROWD * top.total:
                text = f"{client} asks most of all queries while answers are evicted to make room"
                self._cache.begin(text, self._context.wall())


class _Growing:
    """A fault that a counter tells of: it is over when the counter has not caused it again for a while."""

    def __init__(self, condition: Condition, registry: Registry, name: str) -> None:
        self._condition = condition
        self._registry = registry
        self._name = name
        self._before: float | None = None
        self._blamed_at: float | None = None
        self._now = 0.0

    def growth(self, now: float) -> float:
        """What was counted since the last call."""
        family = next((family for family in self._registry.families() if family.name == self._name), None)
        total = 0.0 if family is None else _total(family)
        before, self._before = self._before, total
        self._now = now
        return 0.0 if before is None else max(0.0, total - before)

    def begin(self, text: str, wall: float) -> None:
        """The fault is there at the time of the last :meth:`growth`; its first text stays."""
        if self._blamed_at is None:
            self._condition.begin(text, wall, log)
        self._blamed_at = self._now

    def calm(self, now: float, wall: float) -> None:
        """End the fault if its last sign is long ago."""
        if self._blamed_at is not None and now - self._blamed_at >= CALM:
            self._blamed_at = None
            self._condition.end(wall, log)


def _total(family: Family) -> float:
    cells = (cell for cell in family.cells.values() if not isinstance(cell, Histogram))
    return sum(cell.read() if isinstance(cell, Gauge) and cell.read is not None else cell.value for cell in cells)
