# -*- test-case-name: tests.plugins.kubernetes.test_programming -*-
"""How long it took from a change in the cluster to its answer: the programming latency that Kubernetes defines."""

from __future__ import annotations

from collections.abc import Callable

from kdns.cluster.changes import Change, Keep, Upsert
from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import EndpointSlice, Kind, ServiceKind
from kdns.core.metrics import Family, Registry

BUCKETS = tuple(0.001 * 2**n for n in range(20))
"""Seconds."""

_KINDS = {ServiceKind.CLUSTER_IP: "cluster_ip", ServiceKind.HEADLESS: "headless_with_selector"}


def programming_duration(registry: Registry) -> Family:
    """The metric, on a registry."""
    return registry.histogram(
        "coredns_kubernetes_dns_programming_duration_seconds",
        "Seconds from the time a slice says its change was triggered to the time it was answered from.",
        BUCKETS,
        ["service_kind"],
    )


class ProgrammingLatency:
    """Observes changes of slices that say when they were triggered."""

    def __init__(self, registry: Registry, index: ClusterIndex, wall: Callable[[], float]) -> None:
        self._metric = programming_duration(registry)
        self._index = index
        self._wall = wall

    def __call__(self, change: Change, changed: bool) -> None:
        """A change was entered."""
        if isinstance(change, Keep) or change.kind is not Kind.ENDPOINT_SLICE or change.triggered is None:
            return
        if not isinstance(change, Upsert) or not isinstance(change.item, EndpointSlice) or change.item.service is None:
            return
        service = self._index.service(change.item.namespace, change.item.service)
        label = _KINDS.get(service.kind) if service is not None else None
        if label is not None:
            self._metric.histogram(label).observe(max(0.0, self._wall() - change.triggered))
