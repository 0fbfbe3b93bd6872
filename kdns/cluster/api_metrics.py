# -*- test-case-name: tests.cluster.test_api -*-
"""Metrics of the requests to the API server, by the names that dashboards know."""

from __future__ import annotations

from kdns.core.metrics import Registry

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds."""


class RequestMetrics:
    """What is counted of each request; every one is a GET."""

    def __init__(self, registry: Registry) -> None:
        self._durations = registry.histogram(
            "coredns_kubernetes_rest_client_request_duration_seconds",
            "Seconds until the API server answered, by verb and host; for a watch until it began.",
            BUCKETS,
            ("verb", "host"),
        )
        self._waits = registry.histogram(
            "coredns_kubernetes_rest_client_rate_limiter_duration_seconds",
            "Seconds that a request waited for apiserver_qps, apiserver_burst and apiserver_max_inflight, by verb and host.",
            BUCKETS,
            ("verb", "host"),
        )
        self._requests = registry.counter(
            "coredns_kubernetes_rest_client_requests_total",
            "Requests to the API server, by status code, method and host.",
            ("code", "method", "host"),
        )

    def waited(self, host: str, seconds: float) -> None:
        """A request was let go after so many seconds."""
        self._waits.histogram("GET", host).observe(seconds)

    def answered(self, host: str, code: int, seconds: float) -> None:
        """A request was answered; code 0: it was not."""
        self._requests.counter(str(code) if code else "<error>", "GET", host).inc()
        self._durations.histogram("GET", host).observe(seconds)
