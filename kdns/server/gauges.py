# -*- test-case-name: tests.server.test_gauges -*-
"""
What a service shows of itself on the metrics page, beside what is counted for each query; everything is asked for when somebody scrapes.

No name and no address is a label: there are as many of them as clients like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from kdns.core.sketch import Recent
from kdns.plugin.capabilities import ServesCluster
from kdns.server.limits import memory_limit
from kdns.server.saturation import waited
from kdns.server.search_path import SearchPaths
from kdns.wire.names import from_text, is_subdomain

if TYPE_CHECKING:
    from kdns.server.assembly import Configuration
    from kdns.server.service import KdnsService
    from kdns.server.top_talkers import TopTalkers

ARPA = from_text("arpa")

FRESH = 1.0
"""Seconds for which shares are not computed again: each takes 0.1 ms, and six of them are on a page."""


def clusters_of(configuration: Configuration | None) -> Iterator[ServesCluster]:
    """The ``kubernetes`` plugins of all blocks."""
    for builder in configuration.builders if configuration is not None else ():
        link = builder.find(ServesCluster)
        if link is not None:
            yield link


def search_paths(configuration: Configuration) -> SearchPaths:
    """What resolvers append to names, as far as the configuration tells it."""
    return SearchPaths(
        {
            zone.name: link.cluster.index
            for link in clusters_of(configuration)
            for zone in link.config.zones
            if not is_subdomain(zone.name, ARPA)
        }.items()
    )


def declare(service: KdnsService) -> None:
    """Make the gauges of a service."""
    registry, talkers = service.context.registry, service.talkers

    def gauge(name: str, text: str, read: Callable[[], float]) -> None:
        registry.gauge(name, text).gauge(read=read)

    gauge(
        "kdns_saturation",
        "Share of the processor time it can have that the process took over the last ten seconds, 0 to 1.",
        service.vitals.saturation,
    )
    limit = float(memory_limit() or inf)
    gauge("kdns_memory_limit_bytes", "Memory that the control group allows; +Inf without a limit.", lambda: limit)
    gauge(
        "kdns_answer_table_room_bytes",
        "Octets that finished replies may take.",
        lambda: float(service.room.octets),
    )
    room = service.room
    hits = registry.counter(
        "kdns_answer_table_hits_total",
        "Queries answered without asking plugins: from a reply that was there, or made of the denial of another name.",
        ["kind"],
    )
    hits.read_from("reply", read=lambda: float(room.uses().given))
    hits.read_from("denial", read=lambda: float(room.uses().denied))

    def counter(name: str, text: str, read: Callable[[], float]) -> None:
        registry.counter(name, text).read_from(read=read)

    counter("kdns_processor_wait_seconds_total", "Seconds that the process could have run and got no core.", waited)
    counter("kdns_answer_table_misses_total", "Queries for which plugins were asked.", lambda: float(room.uses().asked))
    counter("kdns_answer_table_evicted_total", "Finished replies dropped to make room.", lambda: float(room.evicted))
    counter(
        "kdns_answer_table_outdated_total",
        "Finished replies that did not hold any more when somebody asked for them.",
        lambda: float(room.outdated),
    )
    gauge(
        "kdns_kubernetes_stale",
        "1 while names of the cluster are answered from a snapshot because the API has not spoken yet.",
        lambda: float(any(link.cluster.staleness() is not None for link in clusters_of(service.configuration))),
    )
    gauge(
        "kdns_search_waste_ratio",
        "Share of the queries of the last minutes that a search path made up in vain.",
        lambda: talkers.waste().share,
    )
    counter(
        "kdns_search_waste_queries_total",
        "Queries that a search path made up in vain, estimated from samples.",
        lambda: float(talkers.wasted_ever),
    )
    top = registry.gauge(
        "kdns_top_ratio", "Share of the queries of the last minutes that the most frequent have.", ["of", "top"]
    )
    shares = Shares(talkers, service.context.clock)
    for kind in Shares.KINDS:
        for most in Shares.MOST:
            top.gauge(kind, str(most), read=partial(shares.share, kind, most))


class Shares:
    """Which share of all queries the most frequent clients and names have."""

    KINDS = ("clients", "names", "denied")
    MOST = (1, 10)

    def __init__(self, talkers: TopTalkers, clock: Callable[[], float]) -> None:
        self._talkers = talkers
        self._clock = clock
        self._until = -inf
        self._shares: dict[tuple[str, int], float] = {}

    def share(self, kind: str, most: int) -> float:
        """The share of the first *most*, 0 to 1; of *denied* it is of the queries for names that do not exist."""
        now = self._clock()
        if now >= self._until:
            self._until = now + FRESH
            for one in self.KINDS:
                self._count(one)
        return self._shares[kind, most]

    def _count(self, kind: str) -> None:
        recent: Recent[Any] = getattr(self._talkers, kind)
        top = recent.top(max(self.MOST))
        for most in self.MOST:
            times = sum(count for _, count in top.items[:most])
            self._shares[kind, most] = times / top.total if top.total else 0.0
