# -*- test-case-name: tests.plugins.forward.test_plugin -*-
"""What *forward* counts. Names and labels are those that dashboards for CoreDNS know; what kdns adds begins with ``kdns_``."""

from __future__ import annotations

from kdns.core.metrics import TIME_BUCKETS, Counter, Histogram, Registry
from kdns.wire.constants import rcode_text


class ForwardMetrics:
    proxy = "forward"
    """The value of the label ``proxy_name``."""

    def __init__(self, registry: Registry) -> None:
        self.broken = registry.counter(
            "coredns_forward_healthcheck_broken_total", "Queries that found all upstreams of their stanza down."
        ).counter()
        self.rejected = registry.counter(
            "coredns_forward_max_concurrent_rejects_total",
            "Queries refused because max_concurrent queries were in flight.",
        ).counter()
        self.coalesced = registry.counter(
            "kdns_forward_coalesced_total", "Queries that shared the exchange of an identical one in flight."
        ).counter()
        self.durations = registry.histogram(
            "coredns_proxy_request_duration_seconds",
            "Time that an upstream took to reply.",
            TIME_BUCKETS,
            ("proxy_name", "to", "rcode"),
        )
        self.check_failures = registry.counter(
            "coredns_proxy_healthcheck_failures_total", "Health checks that failed.", ("proxy_name", "to")
        )
        self.hits = registry.counter(
            "coredns_proxy_conn_cache_hits_total",
            "Queries that found a connection to the upstream.",
            ("proxy_name", "to", "proto"),
        )
        self.misses = registry.counter(
            "coredns_proxy_conn_cache_misses_total",
            "Queries for which a socket or connection was made.",
            ("proxy_name", "to", "proto"),
        )
        self.ignored = registry.counter(
            "kdns_forward_replies_ignored_total",
            "Messages from an upstream that were no usable reply, by reason.",
            ("to", "reason"),
        )

    def of(self, upstream: str) -> UpstreamMetrics:
        """The cells of one upstream, by its address."""
        return UpstreamMetrics(self, upstream)


class UpstreamMetrics:
    """The cells of one upstream; those with labels appear with their first value."""

    def __init__(self, families: ForwardMetrics, upstream: str) -> None:
        self._families = families
        self._upstream = upstream
        self._durations: dict[int, Histogram] = {}

    def replied(self, rcode: int, seconds: float) -> None:
        """The upstream replied with *rcode* after *seconds*."""
        cell = self._durations.get(rcode)
        if cell is None:
            text = rcode_text(rcode).removeprefix("RCODE")
            cell = self._durations[rcode] = self._families.durations.histogram(
                self._families.proxy, self._upstream, text
            )
        cell.observe(seconds)

    def connection(self, protocol: str, hit: bool) -> Counter:
        """
        Count a query that needed a connection.

        :param hit: whether there was one.
        :return: the counter, for callers that count further queries themselves.
        """
        family = self._families.hits if hit else self._families.misses
        counter = family.counter(self._families.proxy, self._upstream, protocol)
        counter.inc()
        return counter

    def check_failed(self) -> None:
        """A health check failed."""
        self._families.check_failures.counter(self._families.proxy, self._upstream).inc()

    def ignored(self, reason: str) -> None:
        """A message came that was no usable reply."""
        self._families.ignored.counter(self._upstream, reason).inc()


NOT_COUNTED = ForwardMetrics(Registry()).of("")
"""For kdns's own queries, which are not counted."""
