# -*- test-case-name: tests.admin.test_status -*-
"""
``status``: everything that ``kdns status`` shows, at one moment: numbers counted since the start, and what is the case now.

Rates and shares of a time are the asker's business: it asks twice and subtracts.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdns import __version__
from kdns.admin.commands import Arguments, Result, number_of
from kdns.core.metrics import Family, Gauge, Histogram
from kdns.core.slices import in_slices
from kdns.plugin.capabilities import AsksUpstreams
from kdns.server.gauges import clusters_of
from kdns.server.limits import STATM, memory_limit, resident, waited
from kdns.server.service import KdnsService
from kdns.server.top_talkers import name_text, who
from kdns.wire.names import to_text

TOP, MOST_TOP = 10, 100
"""Clients and names in a reply, by default and at most; a thousand may be known."""

DROPPED = {
    "coredns_forward_max_concurrent_rejects_total": "refused: too many under way to upstreams",
    "coredns_panics_total": "exceptions",
    "kdns_deadline_exceeded_total": "answered too late for the client",
    "kdns_log_dropped_lines_total": "log lines not taken by the output",
    "kdns_log_held_lines_total": "log lines held back by sample or budget",
    "kdns_malformed_queries_total": "malformed messages",
    "kdns_over_share_total": "refused: the client had its share",
    "kdns_stream_evictions_total": "connections closed to make room",
    "kdns_udp_send_errors_total": "replies not taken by the kernel",
    "kdns_waiting_rejects_total": "refused: too many waiting",
}
"""Counters of what was lost or refused, and what they are in words."""


class Status:
    """The command, for one server."""

    def __init__(self, server: KdnsService, statm: Path = STATM) -> None:
        self._server = server
        self._statm = statm
        self._began = server.context.clock()

    async def __call__(self, arguments: Arguments) -> Result:
        """
        Tell it all.

        Argument ``top``: how many clients and names.
        """
        most = number_of(arguments, "top", TOP, MOST_TOP)
        context = self._server.context
        await in_slices(context.reactor, context.tallies.folding())
        families = {family.name: family for family in context.registry.families()}
        return {
            "version": __version__,
            "pid": os.getpid(),
            "now": context.wall(),
            "seconds": context.clock() - self._began,
            "degraded": [state.as_dict() for state in context.degraded],
            "corefile": self._corefile(families),
            "queries": _summed(families, "coredns_dns_requests_total", "proto"),
            "rcodes": _summed(families, "coredns_dns_responses_total", "rcode"),
            "durations": _histogram(families, "coredns_dns_request_duration_seconds"),
            "table": self._table(),
            "cache": _cache(families),
            "talkers": self._talkers(most),
            "clusters": [self._cluster(link) for link in clusters_of(self._server.configuration)],
            "upstreams": list(self._upstreams(families)),
            "process": self._process(families),
            "waiting": sum(len(opened.listener.waiting) for opened in self._server.endpoints.values()),
            "connections": _total(families, "kdns_stream_connections"),
            "dropped": {
                text: count for name, text in DROPPED.items() if (count := _total(families, name))
            },
        }  # fmt: skip

    def _corefile(self, families: Mapping[str, Family]) -> dict[str, Any]:
        server = self._server
        last = server.reloads.last
        return {
            "hash": server.configuration.corefile.fingerprint if server.configuration is not None else "",
            "taken_over": _total(families, "kdns_reload_last_success_timestamp_seconds"),
            "bad": server.reloads.config_bad,
            "last": None
            if last is None
            else {"at": last.at, "taken_over": last.taken_over, "error": last.error},
        }  # fmt: skip

    def _table(self) -> dict[str, float]:
        budget = self._server.table_budget
        uses = budget.uses()
        return {
            "entries": sum(len(table) for opened in self._server.endpoints.values() for table in opened.tables),
            "octets": budget.young + budget.old,
            "room": budget.octets,
            "given": uses.given,
            "made": uses.made,
            "asked": uses.asked,
            "evicted": budget.evicted,
            "outdated": budget.outdated,
        }

    def _talkers(self, most: int) -> dict[str, Any]:
        talkers = self._server.top_talkers
        indexes = [link.cluster.index for link in clusters_of(self._server.configuration)]
        clients, names, denied = talkers.clients.top(most), talkers.names.top(most), talkers.denied.top(most)
        waste = talkers.waste()
        return {
            "seconds": talkers.seconds,
            "total": talkers.queries_ever,
            "queries": waste.queries,
            "denials": denied.total,
            "wasted": waste.wasted,
            "wasteful": [
                {"namespace": namespace.decode("ascii", "backslashreplace"), "times": times}
                for namespace, times in talkers.wasteful.top(most).items
            ],
            "clients": [
                {"client": client, "times": times, "who": who(client, indexes)} for client, times in clients.items
            ],
            "refused": [
                {"client": client, "times": times, "who": who(client, indexes)}
                for client, times in talkers.refused.top(most).items
            ],
            "names": [{"name": name_text(name), "times": times} for name, times in names.items],
            "denied": [{"name": name_text(name), "times": times} for name, times in denied.items],
        }

    def _cluster(self, link: Any) -> dict[str, Any]:
        cluster = link.cluster
        stale = cluster.staleness()
        now = self._server.context.reactor.seconds()
        return {
            "zones": [zone.text for zone in link.config.zones],
            "synced": cluster.synced,
            "stale": "" if stale is None else stale[0],
            "why": "" if cluster.synced else cluster.why_not_ready(),
            "watches": [
                {
                    "resource": watch.resource,
                    "state": watch.state.value,
                    "synced": watch.synced,
                    "event_age": watch.event_age(now),
                    "sync_age": watch.sync_age(now),
                    "errors": sum(watch.errors.values()),
                    "problem": watch.problem,
                }
                for watch in cluster.watches()
            ],
        }

    def _upstreams(self, families: Mapping[str, Family]) -> Iterator[dict[str, Any]]:
        seen: set[str] = set()
        for builder in self._server.configuration.builders if self._server.configuration is not None else ():
            link = builder.find(AsksUpstreams)
            for forwarder in link.forwarders if link is not None else ():
                for upstream in forwarder.upstreams:
                    # Several stanzas may ask the same address: the counters are of all of them.
                    counts = {} if upstream.text in seen else _histogram(
                        families, "coredns_proxy_request_duration_seconds", to=upstream.text
                    )  # fmt: skip
                    seen.add(upstream.text)
                    yield {
                        "from": to_text(forwarder.stanza.origin),
                        "to": upstream.text,
                        "state": upstream.health.state.value,
                        "fails": upstream.health.fails,
                        "reason": upstream.reason,
                        "in_flight": upstream.in_flight,
                        "durations": counts,
                    }

    def _process(self, families: Mapping[str, Family]) -> dict[str, Any]:
        return {
            "saturation": self._server.saturation.share(),
            "cores": self._server.saturation.cores,
            "waited": waited(),
            "resident": resident(self._statm),
            "limit": memory_limit(),
            "lag": _histogram(families, "kdns_reactor_lag_seconds"),
        }


def _summed(families: Mapping[str, Family], name: str, label: str) -> dict[str, float] | None:
    """A counter by one of its labels; None when nothing is counted, because no block has ``prometheus``."""
    family = families.get(name)
    if family is None:
        return None
    place = family.labels.index(label)
    found: Counter[str] = Counter()
    for values, cell in family.cells.items():
        if not isinstance(cell, Histogram):
            found[values[place]] += int(cell.value)
    return dict(found)


def _total(families: Mapping[str, Family], name: str) -> float:
    family = families.get(name)
    if family is None:
        return 0
    cells = (cell for cell in family.cells.values() if not isinstance(cell, Histogram))
    return sum(cell.read() if isinstance(cell, Gauge) and cell.read is not None else cell.value for cell in cells)


def _histogram(families: Mapping[str, Family], name: str, **labels: str) -> dict[str, Any]:
    """The cells of a histogram together, those with these labels; empty when there is none."""
    family = families.get(name)
    if family is None:
        return {}
    counts = [0] * (len(family.bounds) + 1)
    total = 0.0
    for values, cell in family.cells.items():
        named = dict(zip(family.labels, values, strict=True))
        if isinstance(cell, Histogram) and labels.items() <= named.items():
            counts = [count + more for count, more in zip(counts, cell.counts, strict=True)]
            total += cell.sum
    return {"bounds": family.bounds, "counts": counts, "sum": total}


def _cache(families: Mapping[str, Family]) -> dict[str, float] | None:
    if "coredns_cache_requests_total" not in families:
        return None
    return {
        "requests": _total(families, "coredns_cache_requests_total"),
        "misses": _total(families, "coredns_cache_misses_total"),
        "stale": _total(families, "coredns_cache_served_stale_total"),
        "entries": _total(families, "coredns_cache_entries"),
    }
