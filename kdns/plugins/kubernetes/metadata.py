# -*- test-case-name: tests.plugins.kubernetes.test_metadata -*-
"""What ``metadata`` tells of a query for the cluster, and of the pod that asks."""

from __future__ import annotations

from ipaddress import ip_address

from kdns.cluster.index import ClusterIndex
from kdns.core.request import Metadata, Request
from kdns.plugins.kubernetes.config import PODS_VERIFIED, Config, is_reverse
from kdns.plugins.kubernetes.names import Parsed, Shape, parse_name
from kdns.wire.names import longest_zone


class KubernetesMetadata:
    """Labels that begin with ``kubernetes/``."""

    def __init__(self, config: Config, index: ClusterIndex) -> None:
        self._config = config
        self._index = index
        self._zones = frozenset(zone.name for zone in config.zones)

    def collect(self, request: Request) -> bool:
        """Put the labels into the request's metadata; returns whether they tell which pod asks."""
        metadata = request.metadata
        if metadata is None:
            return False
        verified = self._config.pods == PODS_VERIFIED
        if verified:
            self._client(request, metadata)
        zone = longest_zone(request.qname, self._zones)
        if zone is not None and not is_reverse(zone) and request.qname != zone:
            self._name_asked(request, metadata, zone)
        return verified

    def _name_asked(self, request: Request, metadata: Metadata, zone: bytes) -> None:
        multicluster = zone in self._config.multicluster
        parsed = parse_name(request.qname[: -len(zone)], multicluster, self._config.source.zones)
        if parsed.shape in (Shape.SERVICE, Shape.POD, Shape.NAMESPACE, Shape.POD_NAMESPACE):
            self._name(parsed, metadata, multicluster)
        elif parsed.shape is Shape.INVALID:
            metadata["kubernetes/parse-error"] = "invalid query name"

    def _name(self, parsed: Parsed, metadata: Metadata, multicluster: bool) -> None:
        pod = parsed.shape in (Shape.POD, Shape.POD_NAMESPACE)
        metadata["kubernetes/kind"] = "pod" if pod else "svc"
        metadata["kubernetes/namespace"] = _text(parsed.namespace)
        metadata["kubernetes/service"] = _text(parsed.address if pod else parsed.service)
        metadata["kubernetes/endpoint"] = _text(parsed.endpoint)
        metadata["kubernetes/port-name"] = _text(parsed.port)
        metadata["kubernetes/protocol"] = _text(parsed.protocol)
        if multicluster:
            metadata["kubernetes/cluster"] = _text(parsed.cluster)
        if self._config.source.zones and parsed.topology is not None:
            metadata["kubernetes/zone"] = _text(parsed.topology.zone)

    def _client(self, request: Request, metadata: Metadata) -> None:
        try:
            address = ip_address(request.client).packed
        except ValueError:
            return
        for pod in self._index.pods_by_address(address):
            metadata["kubernetes/client-namespace"] = _text(pod.namespace)
            metadata["kubernetes/client-pod-name"] = _text(pod.name)
            for key, value in pod.labels:
                metadata[f"kubernetes/client-label/{key}"] = value
            return


def _text(label: bytes | None) -> str:
    return "" if label is None else label.decode("ascii", "backslashreplace")
