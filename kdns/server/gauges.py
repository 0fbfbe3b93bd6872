# -*- test-case-name: tests.server.test_gauges -*-
"""
Metrics of a service that are computed when the page is scraped.

Names and addresses are no labels: clients could make as many as they like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from kdns.core.degraded import Fault
from kdns.core.sketch import Recent
from kdns.plugin.capabilities import ServesCluster
from kdns.server.limits import memory_limit, waited
from kdns.server.top_talkers import SearchPaths
from kdns.wire.names import from_text, is_subdomain

if TYPE_CHECKING:
    from kdns.server.assembly import Configuration
    from kdns.server.service import KdnsService
    from kdns.server.top_talkers import TopTalkers

ARPA = from_text("arpa")

FRESH = 1.0
"""Seconds that computed shares are kept: each takes 0.1 ms, and a page has six."""


def clusters_of(configuration: Configuration | None) -> Iterator[ServesCluster]:
    """The ``kubernetes`` plugins of all blocks."""
    for builder in configuration.builders if configuration is not None else ():
        link = builder.find(ServesCluster)
        if link is not None:
            yield link


def search_paths(configuration: Configuration) -> SearchPaths:
    """The search paths of the cluster domains in a configuration."""
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
    registry, talkers = service.context.registry, service.top_talkers

    def gauge(name: str, text: str, read: Callable[[], float], greatest: bool = False) -> None:
        registry.gauge(name, text, greatest=greatest).gauge(read=read)

    gauge(
        "kdns_saturation",
        "Processor time used over the last ten seconds, as a share of what the process may use, 0 to 1.",
        service.saturation.share,
        greatest=True,
    )
    limit = float(memory_limit() or inf)
    gauge("kdns_memory_limit_bytes", "Memory that the control group allows; +Inf without a limit.", lambda: limit, True)
    gauge(
        "kdns_answer_table_room_bytes",
        "Bytes that finished replies may take.",
        lambda: float(service.table_budget.octets),
    )
    budget = service.table_budget
    hits = registry.counter(
        "kdns_answer_table_hits_total",
        "Queries answered without asking plugins: with a finished reply, or with one made by the fast path.",
        ["kind"],
    )
    hits.read_from("reply", read=lambda: float(budget.uses().given))
    hits.read_from("made", read=lambda: float(budget.uses().made))

    def counter(name: str, text: str, read: Callable[[], float]) -> None:
        registry.counter(name, text).read_from(read=read)

    counter("kdns_processor_wait_seconds_total", "Seconds that the process could have run and got no core.", waited)
    counter(
        "kdns_answer_table_misses_total",
        "Queries forwarded, or given to plugins.",
        lambda: float(budget.uses().asked),
    )
    counter("kdns_answer_table_evicted_total", "Finished replies dropped to make room.", lambda: float(budget.evicted))
    counter(
        "kdns_answer_table_outdated_total",
        "Finished replies that were no longer valid when they were asked for.",
        lambda: float(budget.outdated),
    )
    counter(
        "kdns_udp_receive_drops_total",
        "Queries over UDP that the kernel dropped because they were not read in time.",
        lambda: float(service.receive_drops()),
    )
    gauge(
        "kdns_kubernetes_stale",
        "1 while names of the cluster are answered from a snapshot because the API has not answered yet.",
        lambda: float(any(link.cluster.staleness() is not None for link in clusters_of(service.configuration))),
        greatest=True,
    )
    gauge(
        "kdns_search_waste_ratio",
        "Share of the queries of the last minutes for names that a search path made and that do not exist.",
        lambda: talkers.waste().share,
        greatest=True,
    )
    counter(
        "kdns_search_waste_queries_total",
        "Queries for names that a search path made and that do not exist, estimated from samples.",
        lambda: float(talkers.wasted_ever),
    )
    by_namespace = registry.counter(
        "kdns_search_waste_namespace_queries_total",
        "Queries that the first step of the search path of a namespace wasted, estimated from samples.",
        ["namespace"],
    )

    def namespace_wasted(namespace: bytes) -> None:
        by_namespace.read_from(namespace.decode("ascii", "replace"), read=lambda: float(talkers.wasted_by[namespace]))

    talkers.namespace_seen = namespace_wasted
    degraded = registry.gauge(
        "kdns_degraded",
        "How many things are degraded at present, by kind; 0: none of that kind.",
        ["what"],
        greatest=True,
    )
    for fault in Fault:
        degraded.gauge(fault.value.label, read=partial(_count, service, fault))
    top = registry.gauge(
        "kdns_top_ratio",
        "Share of the queries of the last minutes that the most frequent have.",
        ["of", "top"],
        greatest=True,
    )
    shares = Shares(talkers, service.context.clock)
    for kind in Shares.KINDS:
        for most in Shares.MOST:
            top.gauge(kind, str(most), read=partial(shares.share, kind, most))


def _count(service: KdnsService, fault: Fault) -> float:
    return float(service.context.degraded.count(fault))


class Shares:
    """Shares of the most frequent clients and names in all queries."""

    KINDS = ("clients", "names", "denied")
    MOST = (1, 10)

    def __init__(self, talkers: TopTalkers, clock: Callable[[], float]) -> None:
        self._talkers = talkers
        self._clock = clock
        self._until = -inf
        self._shares: dict[tuple[str, int], float] = {}

    def share(self, kind: str, most: int) -> float:
        """The share of the first *most*, 0 to 1; *denied* are the queries for names that do not exist."""
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
