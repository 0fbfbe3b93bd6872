# -*- test-case-name: tests.plugins.prometheus.test_observer -*-
"""
The metrics of queries and replies, and the names, labels and buckets of all metrics that are shown from the start.

Dashboards and alerts use these names, so they do not change. A metric without labels is shown before anything is counted, whether or not
its plugin is in the Corefile: an alert on a missing metric never fires.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from typing import NamedTuple

from kdns import __version__
from kdns.core.metrics import SIZE_BUCKETS, TIME_BUCKETS, Counter, Family, Histogram, Registry
from kdns.core.observe import Exchange, Observer, Repeat
from kdns.core.tally import Charge
from kdns.plugin.replies import reply_size
from kdns.plugin.seam import Resource
from kdns.plugins.health import HealthMetrics
from kdns.wire.constants import (
    AAAA,
    ANY,
    AXFR,
    CNAME,
    DNSKEY,
    DS,
    HTTPS,
    IXFR,
    MX,
    NS,
    NSEC,
    NSEC3,
    PTR,
    RRSIG,
    SOA,
    SRV,
    SVCB,
    TXT,
    A,
    rcode_text,
    type_text,
)

LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds."""


def declare(registry: Registry) -> None:
    """Make every metric without labels, whichever plugin it belongs to, and the one with the version."""
    HealthMetrics(registry)
    registry.counter("coredns_panics_total", "Exceptions that no plugin handled.")
    registry.counter("coredns_forward_healthcheck_broken_total", "Queries for which no upstream was healthy.")
    registry.counter("coredns_forward_max_concurrent_rejects_total", "Queries refused because too many were waiting.")
    registry.gauge(
        "coredns_hosts_reload_timestamp_seconds",
        "When the hosts file was read last, in seconds since 1970.",
        greatest=True,
    )
    registry.counter("coredns_local_localhost_requests_total", "Queries for names below localhost.")
    registry.counter("coredns_reload_failed_total", "Configurations that could not be loaded.")
    registry.histogram(
        "kdns_reactor_lag_seconds", "How late timers fire: the time that a query waits for its turn.", LAG_BUCKETS
    )
    registry.counter(
        "kdns_log_dropped_lines_total", "Lines that were not written because the output took them too slowly."
    )
    registry.counter("kdns_log_lines_total", "Lines that were written.")
    build = registry.gauge(
        "coredns_build_info", "Always 1: version and language.", ["version", "revision", "goversion"], greatest=True
    )
    build.gauge(__version__, "", f"python{platform.python_version()}").set(1)


class DnsFamilies:
    def __init__(self, registry: Registry) -> None:
        self.requests: Family = registry.counter(
            "coredns_dns_requests_total", "Queries.", ["server", "zone", "view", "proto", "family", "type"]
        )
        self.duration: Family = registry.histogram(
            "coredns_dns_request_duration_seconds",
            "Seconds from the arrival of a query to its reply.",
            TIME_BUCKETS,
            ["server", "zone", "view"],
        )
        self.request_size: Family = registry.histogram(
            "coredns_dns_request_size_bytes",
            "Bytes of queries as received.",
            SIZE_BUCKETS,
            ["server", "zone", "view", "proto"],
        )
        self.response_size: Family = registry.histogram(
            "coredns_dns_response_size_bytes",
            "Bytes of replies, uncompressed and before truncation.",
            SIZE_BUCKETS,
            ["server", "zone", "view", "proto"],
        )
        self.do: Family = registry.counter(
            "coredns_dns_do_requests_total", "Queries with the DO bit.", ["server", "zone", "view"]
        )
        self.responses: Family = registry.counter(
            "coredns_dns_responses_total",
            "Replies by response code and by the plugin that made them.",
            ["server", "zone", "view", "rcode", "plugin"],
        )


def enabled_plugins(registry: Registry) -> Family:
    """The plugins in the chain of each server block."""
    return registry.gauge(
        "coredns_plugin_enabled",
        "Always 1: a plugin of a server block.",
        ["server", "zone", "view", "name"],
        greatest=True,
    )


NAMED_TYPES = frozenset(
    (A, AAAA, ANY, AXFR, CNAME, DNSKEY, DS, HTTPS, IXFR, MX, NS, NSEC, NSEC3, PTR, RRSIG, SOA, SRV, SVCB, TXT)
)
"""Types with a label. Clients can ask for 65,536 types, so the others share one."""


class _Cells(NamedTuple):
    """The counters and histograms of one exchange."""

    requests: Counter
    responses: Counter
    do: Counter | None
    request_size: Histogram
    response_size: Histogram
    duration: Histogram


OTHER = -1
"""All other types."""


class DnsMetrics(Resource, Observer):
    """
    The observer of all blocks with the directive. They share one, so that a query that no block took is counted once.

    It is a resource so that it is kept from one configuration to the next.
    """

    repeats = True

    def __init__(self, registry: Registry) -> None:
        self._families = DnsFamilies(registry)
        self._known: dict[tuple[object, ...], _Cells] = {}

    def alike(self, zone: bytes) -> bool:
        return True

    def finished(self, exchange: Exchange) -> None:
        cells = self._cells(exchange)
        cells.requests.value += 1
        cells.responses.value += 1
        if cells.do is not None:
            cells.do.value += 1
        # Histogram.observe(), inlined three times: this runs for every query that the answer table does not answer.
        size = exchange.request.size
        cells.request_size.counts[bisect_left(SIZE_BUCKETS, size)] += 1
        cells.request_size.sum += size
        size = reply_size(exchange)
        cells.response_size.counts[bisect_left(SIZE_BUCKETS, size)] += 1
        cells.response_size.sum += size
        seconds = exchange.seconds
        cells.duration.counts[bisect_left(TIME_BUCKETS, seconds)] += 1
        cells.duration.sum += seconds

    def repeat(self, exchange: Exchange) -> Repeat:
        """The same, charged for each repetition."""
        cells = self._cells(exchange)
        charges: tuple[Charge, ...] = (
            cells.requests,
            cells.responses,
            cells.request_size.again(exchange.request.size),
            cells.response_size.again(reply_size(exchange)),
        )
        if cells.do is not None:
            charges += (cells.do,)
        return Repeat(charges, (cells.duration,))

    def _cells(self, exchange: Exchange) -> _Cells:
        request, answer = exchange.request, exchange.answer
        qtype = request.qtype if request.qtype in NAMED_TYPES else OTHER
        label, zone, view, ipv6 = request.server.label, exchange.zone, exchange.view, ":" in request.client
        # One look-up instead of one in each family; there is an entry for each combination of label values.
        key = (label, zone, view, request.transport, ipv6, qtype, answer.rcode, answer.source, request.do)
        cells = self._known.get(key)
        if cells is None:
            cells = self._known[key] = self._cells_for(exchange, (label, zone, view), qtype)
        return cells

    def _cells_for(self, exchange: Exchange, where: tuple[str, str, str], qtype: int) -> _Cells:
        families = self._families
        request = exchange.request
        proto = request.transport.protocol
        return _Cells(
            families.requests.counter(
                *where, proto, "2" if request.ipv6 else "1", "other" if qtype == OTHER else type_text(qtype)
            ),
            families.responses.counter(*where, rcode_text(exchange.answer.rcode), exchange.answer.source),
            families.do.counter(*where) if request.do else None,
            families.request_size.histogram(*where, proto),
            families.response_size.histogram(*where, proto),
            families.duration.histogram(*where),
        )
