# -*- test-case-name: tests.cli.test_needs -*-
"""
What one replica needs in memory and processor time, from measured figures.

``python -m bench.sizing`` measures memory again, ``python -m bench rows`` times; ``docs/performance.md`` says on which machine they were
measured. Figures here are rounded up, so that a plan is rather too large than too small.
"""

from __future__ import annotations

from dataclasses import dataclass

MB = 1_000_000
MEBI = 1024**2

BASE = 65.0
"""Megabytes with the default Corefile and next to no cluster."""

SERVICE = 0.3
"""Kilobytes of a service."""

ENDPOINT = 0.33
"""Kilobytes of an endpoint, its share of a slice included."""

POD = 0.55
"""Kilobytes of a pod besides its endpoint, with ``pods verified``."""

CACHE = 30.0
"""Megabytes of a cache whose two stores are full, 9,984 answers with one address each: twice what one store took."""

TABLE_SHARE, TABLE_LEAST, TABLE_MOST = 0.1, 4 * MEBI, 64 * MEBI
"""The answer tables' share of the memory limit, and its bounds in bytes: those of :mod:`kdns.server.limits`."""

SLACK = 0.1
"""Of everything: pages that the allocator keeps, and the moment of a relist."""

DEFAULT_LIMIT = 170 * MEBI
"""Bytes; the limit in the manifests of clusters."""

HIT, MISS, FORWARDED = 10e-6, 90e-6, 105e-6
"""Seconds of a core for an answer from the table, one that plugins make, one from an upstream; see docs/performance.md."""

SHARE_MISSED, SHARE_FORWARDED = 0.15, 0.05
"""Of all queries, where nothing else is known; the rest is answered from the table."""

LOAD = 0.6
"""Share of its core that a replica should be busy at most: the rest is for bursts, changes of the cluster, and the loss of a replica."""

REQUEST_LEAST = 0.1
"""Cores that the manifests of clusters request."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a replica has to know."""

    services: int
    endpoints: int
    pods: int = 0
    """Pods that are watched: all with ``pods verified``, else none."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, by what they are for."""

    base: int
    cluster: int
    cache: int
    table: int
    slack: int

    @property
    def all(self) -> int:
        """The sum."""
        return self.base + self.cluster + self.cache + self.table + self.slack


def table_bytes(limit: int) -> int:
    """Bytes that the answer tables may take under a memory limit."""
    return int(min(TABLE_MOST, max(TABLE_LEAST, limit * TABLE_SHARE)))


def memory(contents: Contents, limit: int = DEFAULT_LIMIT) -> Memory:
    """What a replica takes at most, with everything full, under a memory limit."""
    cluster = 1000 * (SERVICE * contents.services + ENDPOINT * contents.endpoints + POD * contents.pods)
    base, cache, table = BASE * MB, CACHE * MB, table_bytes(limit)
    return Memory(int(base), int(cluster), int(cache), table, int(SLACK * (base + cluster + cache + table)))


def limit_for(contents: Contents) -> int:
    """The memory limit to set: the default one if that is enough, else the next multiple of 10 Mi under which everything fits."""
    limit = DEFAULT_LIMIT
    while memory(contents, limit).all > limit:
        limit += 10 * MEBI
    return limit


def fixed(limit: int = DEFAULT_LIMIT) -> float:
    """Megabytes that a replica takes at most without any cluster, slack included."""
    return (1 + SLACK) * (BASE + CACHE + table_bytes(limit) / MB)


def for_each(verified: bool = False) -> float:
    """Kilobytes of a pod or a service, whichever takes more, slack included; a pod is an endpoint of one service."""
    return (1 + SLACK) * max(SERVICE, ENDPOINT + (POD if verified else 0))


def largest(limit: int = DEFAULT_LIMIT, verified: bool = False) -> int:
    """How many pods and services together fit under a limit in any case."""
    return max(0, int((limit / MB - fixed(limit)) / for_each(verified) * 1000))


def seconds_a_query(missed: float = SHARE_MISSED, forwarded: float = SHARE_FORWARDED) -> float:
    """Processor time of a query on average."""
    return HIT * (1 - missed - forwarded) + MISS * missed + FORWARDED * forwarded


def most_queries() -> int:
    """Queries a second that a replica should be given at most: it is one process, and uses one core."""
    return int(LOAD / seconds_a_query())


def cores_for(queries: float) -> float:
    """Cores to request for a replica that is asked so often."""
    return max(REQUEST_LEAST, queries * seconds_a_query() / LOAD)
