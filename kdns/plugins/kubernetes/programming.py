# -*- test-case-name: tests.plugins.kubernetes.test_programming -*-
"""How long it took from a change in the cluster to its answer: the programming latency that Kubernetes defines."""

from __future__ import annotations

from collections.abc import Callable

from kdns.cluster.changes import Change, Delete, Keep, Upsert
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
    """
    Observes changes of slices that say when they were triggered, deletions too.

    What was triggered before the start is left out: it would measure how long kdns was not there. So is a deletion that the index holds
    back for its grace.
    """

    def __init__(self, registry: Registry, index: ClusterIndex, wall: Callable[[], float]) -> None:
        self._metric = programming_duration(registry)
        self._index = index
        self._wall = wall
        self._since = wall()

    def __call__(self, change: Change, changed: bool) -> None:
        """A change was entered."""
        if not changed or isinstance(change, Keep) or change.kind is not Kind.ENDPOINT_SLICE:
            return
        if change.triggered is None or change.triggered < self._since:
            return
        name = change.service if isinstance(change, Delete) else _service_of(change)
        service = self._index.service(change.namespace, name) if name is not None else None
        label = _KINDS.get(service.kind) if service is not None else None
        if label is not None:
            self._metric.histogram(label).observe(max(0.0, self._wall() - change.triggered))


def _service_of(change: Upsert) -> bytes | None:
    return change.item.service if isinstance(change.item, EndpointSlice) else None
