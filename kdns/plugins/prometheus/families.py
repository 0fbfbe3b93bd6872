# -*- test-case-name: tests.plugins.prometheus.test_families -*-
"""
Names, labels and buckets: the metrics of *prometheus* itself, and those of other plugins that are shown from the start.

Dashboards and alerts use these names, so they do not change. A metric without labels is shown before anything is counted, whether or not
its plugin is in the Corefile: an alert on a missing metric never fires.
"""

from __future__ import annotations

import platform

from kdns import __version__
from kdns.core.metrics import SIZE_BUCKETS, TIME_BUCKETS, Family, Registry
from kdns.plugins.health import HealthMetrics

LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds."""


def declare(registry: Registry) -> None:
    """Make every metric without labels, whichever plugin it belongs to, and the one with the version."""
    HealthMetrics(registry)
    registry.counter("coredns_panics_total", "Exceptions that no plugin handled.")
    registry.counter("coredns_forward_healthcheck_broken_total", "Queries for which no upstream was healthy.")
    registry.counter("coredns_forward_max_concurrent_rejects_total", "Queries refused because too many were waiting.")
    registry.gauge(
        "coredns_hosts_reload_timestamp_seconds", "When the hosts file was read last, in seconds since 1970."
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
        "coredns_build_info", "Always 1: version and language.", ["version", "revision", "goversion"]
    )
    build.gauge(__version__, "", f"python{platform.python_version()}").set(1)


class DnsFamilies:
    """The metrics of queries and replies."""

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
        "coredns_plugin_enabled", "Always 1: a plugin of a server block.", ["server", "zone", "view", "name"]
    )
