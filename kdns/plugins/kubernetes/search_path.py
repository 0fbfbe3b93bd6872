# -*- test-case-name: tests.plugins.kubernetes.test_search_path -*-
"""
The search path of a pod, told by the address that it asks from.

An address may be given to another pod at any time. So a path is told only while the watch of pods works, and only if all pods with the
address are in one namespace: pods on the network of a node share its address, and of a pod that ends and the next one with its address both
are there for a moment.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from kdns.cluster.invalidation import pod_key
from kdns.core.request import Request
from kdns.core.stamps import StampRef
from kdns.plugins.kubernetes.config import PODS_VERIFIED, Config, is_reverse
from kdns.wire.names import from_labels, longest_zone

if TYPE_CHECKING:
    from kdns.plugins.kubernetes.plugin import Cluster

_SVC = b"\x03svc"


class PodNamespace:
    """
    The namespace of the pods with an address; equal ones are of one group of clients.

    It holds the stamp of the address: as long as somebody remembers the group, a change of these pods is noticed.
    """

    __slots__ = ("_noted", "namespace")

    def __init__(self, namespace: bytes | None, noted: StampRef | None) -> None:
        self.namespace = namespace
        self._noted = noted

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PodNamespace) and self.namespace == other.namespace

    def __hash__(self) -> int:
        return hash(self.namespace)


class PodSearchPaths:
    """The search paths of the pods of one *kubernetes*."""

    def __init__(self, config: Config, cluster: Cluster) -> None:
        self._config = config
        self._cluster = cluster
        self._zones = frozenset(zone.name for zone in config.zones)

    def group(self, client: str) -> PodNamespace:
        """The namespace that the pod with this address is in."""
        if self._config.pods != PODS_VERIFIED:
            return PodNamespace(None, None)
        index, address = self._cluster.index, ip_address(client).packed
        noted = index.stamps.note(pod_key(address))
        namespaces = {pod.namespace for pod in index.pods_by_address(address)}
        return PodNamespace(namespaces.pop() if len(namespaces) == 1 else None, noted)

    def path(self, request: Request) -> tuple[bytes, ...]:
        """The client's search path in the zone of the requested name; empty where it is not certain."""
        cluster = self._cluster
        zone = longest_zone(request.qname, self._zones)
        if zone is None or is_reverse(zone) or zone in self._config.multicluster:
            return ()
        if not cluster.synced or cluster.staleness() is not None or not cluster.pods_are_current():
            return ()
        namespace = self.group(request.client).namespace
        if namespace is None:
            return ()
        services = _SVC + zone
        return (from_labels([namespace])[:-1] + services, services, zone)
