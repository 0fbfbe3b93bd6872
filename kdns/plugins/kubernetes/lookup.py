# -*- test-case-name: tests.plugins.kubernetes.test_lookup -*-
"""
What stands behind a name in the cluster: addresses with the names and ports that SRV records need, an alias, or nothing.

Every look-up notes the stamps of what it looked at, found or not, so that what is made from it dies with the change that concerns it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from kdns.cluster.index import ClusterIndex
from kdns.cluster.keys import address_key, import_key, namespace_key, pod_key, service_key
from kdns.cluster.objects import Endpoint, EndpointSlice, ImportKind, Port, ServiceKind
from kdns.core.stamps import StampRef
from kdns.plugins.kubernetes.config import PODS_DISABLED, PODS_VERIFIED, Config
from kdns.plugins.kubernetes.names import Parsed, Shape, address_label, pod_address, pod_labels
from kdns.wire.names import MAX_LABEL, MAX_NAME

_SVC, _POD = b"\x03svc", b"\x03pod"


class Item(NamedTuple):
    """One address of a name, for one port."""

    address: bytes
    """Packed."""

    target: bytes
    """Labels of the SRV target in wire form, without the zone and the final octet."""

    port: int | None
    """None when there is no port, and so no SRV record."""


@dataclass(slots=True)
class Found:
    """What stands behind a name."""

    exists: bool = False
    items: list[Item] = field(default_factory=list)
    alias: bytes | None = None
    """Target of an external name, in wire form."""

    stamps: list[StampRef] = field(default_factory=list)

    @property
    def addresses(self) -> list[bytes]:
        """The addresses, each once, in their order."""
        return list(dict.fromkeys(item.address for item in self.items))


class Lookup:
    """Look-ups in one index by the rules of one configuration."""

    def __init__(self, index: ClusterIndex, config: Config) -> None:
        self._index = index
        self._config = config

    def _note(self, found: Found, key: Hashable) -> None:
        found.stamps.append(self._index.stamps.note(key))

    def exposed(self, namespace: bytes, found: Found) -> bool:
        """Whether names of the namespace are answered."""
        allowed = self._config.namespaces
        if allowed is not None and namespace not in allowed:
            return False
        self._note(found, namespace_key(namespace))
        return self._index.has_namespace(namespace)

    def find(self, parsed: Parsed, multicluster: bool) -> Found:
        """What stands behind a parsed name of the shapes NAMESPACE, POD_NAMESPACE, SERVICE and POD."""
        found = Found()
        if parsed.shape in (Shape.POD, Shape.POD_NAMESPACE) and self._config.pods == PODS_DISABLED:
            return found
        if not self.exposed(parsed.namespace, found):
            return found
        if parsed.shape in (Shape.NAMESPACE, Shape.POD_NAMESPACE):
            found.exists = True
        elif parsed.shape is Shape.POD:
            self._pod(parsed, found)
        elif multicluster:
            self._service_import(parsed, found)
        else:
            self._service(parsed, found)
        return found

    def absent(self, front: bytes) -> bool:
        """
        Whether a name does not exist, as far as can be told by looking for its service alone; not so sure is not absent.

        :param front: what stands in front of a zone of one cluster, in wire form and lower case; it need not be labels.
        """
        labels: list[bytes] = []
        position, end = 0, len(front)
        while position < end:
            length = front[position]
            begin = position + 1
            position = begin + length
            if not length or length > MAX_LABEL or position > end:
                return False
            labels.append(front[begin:position])
        count = len(labels)
        if not count:
            return False
        kind = labels[-1]
        if kind == b"svc":
            if count == 1:
                return False
            namespace = labels[-2]
            index, allowed = self._index, self._config.namespaces
            if allowed is not None and namespace not in allowed:
                return True
            if not index.has_namespace(namespace):
                return True
            return count > 2 and index.service(namespace, labels[-3]) is None
        return kind not in (b"pod", b"dns", b"dns-version")

    def _pod(self, parsed: Parsed, found: Found) -> None:
        address = pod_address(parsed.address)
        if address is None:
            return
        if self._config.pods == PODS_VERIFIED:
            self._note(found, pod_key(address))
            # Only one spelling of an address is the name of a pod.
            if parsed.address not in pod_labels(address) or self._index.pod_at(parsed.namespace, address) is None:
                return
        found.exists = True
        target = _labels(parsed.address, parsed.namespace) + _POD
        found.items.append(Item(address, target, 0))

    def _service(self, parsed: Parsed, found: Found) -> None:
        index, namespace, name = self._index, parsed.namespace, parsed.service
        self._note(found, service_key(namespace, name))
        service = index.service(namespace, name)
        if service is None:
            return
        if service.kind is ServiceKind.EXTERNAL_NAME:
            if parsed.endpoint is None and parsed.port is None and parsed.topology is None:
                found.alias = service.external_name
                found.exists = service.external_name is not None
            return
        # Slices that are imported are read even with noendpoints, and may be labelled for a service of this cluster as well.
        slices = index.slices_of(namespace, name) if self._config.source.endpoints else ()
        ready = any(part.addresses for part in slices)
        if self._config.ignore_empty and service.kind is ServiceKind.CLUSTER_IP and not ready:
            return
        if parsed.topology is not None:
            if service.kind is ServiceKind.HEADLESS:
                self._topology(parsed, slices, found)
            return
        place = _labels(name, namespace) + _SVC
        if service.kind is ServiceKind.CLUSTER_IP and parsed.endpoint is None:
            self._cluster_ips(parsed, service.addresses, service.ports, place, found)
        else:
            self._endpoints(parsed, slices, place, found)

    def _cluster_ips(
        self, parsed: Parsed, addresses: Iterable[bytes], ports: tuple[Port, ...], place: bytes, found: Found
    ) -> None:
        matched = _matching(ports, parsed)
        if matched is None:
            return
        found.exists = True
        for address in addresses:
            found.items += [Item(address, place, port) for port in matched]

    def _endpoints(self, parsed: Parsed, slices: Iterable[EndpointSlice], place: bytes, found: Found) -> None:
        for part in slices:
            matched = _matching(part.ports, parsed)
            if matched is None:
                continue
            for endpoint in part.endpoints:
                label = endpoint_label(endpoint)
                if parsed.endpoint is not None and parsed.endpoint != label:
                    continue
                found.exists = True
                target = _label(label) + place
                found.items += [Item(endpoint.address, target, port) for port in matched]

    def _topology(self, parsed: Parsed, slices: Iterable[EndpointSlice], found: Found) -> None:
        assert parsed.topology is not None
        place = _labels(parsed.service, parsed.namespace) + _SVC
        near: list[Item] = []
        every: list[Item] = []
        for part in slices:
            matched = _matching(part.ports, parsed) or [None]
            for endpoint in part.endpoints:
                target = _label(endpoint_label(endpoint)) + place
                items = [Item(endpoint.address, target, port) for port in matched]
                every += items
                if endpoint.zone == parsed.topology.zone:
                    near += items
        # The name exists whether or not anything is near: what was asked for is a set that may be empty.
        found.exists = True
        found.items = near or (every if parsed.topology.prefer else [])

    def _service_import(self, parsed: Parsed, found: Found) -> None:
        index, namespace, name = self._index, parsed.namespace, parsed.service
        self._note(found, import_key(namespace, name))
        service = index.service_import(namespace, name)
        if service is None or (parsed.endpoint is not None and parsed.cluster is None):
            return
        slices = index.imported_slices_of(namespace, name)
        if self._config.ignore_empty and not any(part.addresses for part in slices):
            return
        place = _labels(name, namespace) + _SVC
        if service.kind is ImportKind.CLUSTER_SET_IP and parsed.endpoint is None:
            self._cluster_ips(parsed, service.addresses, service.ports, place, found)
            return
        for part in slices:
            cluster = part.cluster or b""
            if parsed.cluster is None or parsed.cluster == cluster:
                self._endpoints(parsed, (part,), (_label(cluster) if cluster else b"") + place, found)

    def reverse(self, address: bytes) -> tuple[Found, list[bytes]]:
        """
        The names that an address has, as labels in wire form without the zone.

        A cluster IP has one, that of its service; an endpoint has one for each service that selects it.
        """
        found = Found()
        self._note(found, address_key(address))
        names: dict[bytes, None] = {}
        for service in self._index.services_by_address(address):
            if self._allowed(service.namespace):
                names[_labels(service.name, service.namespace) + _SVC] = None
                break
        else:
            for part in self._slices_by_address(address):
                if part.service is None or not self._allowed(part.namespace):
                    continue
                place = _labels(part.service, part.namespace) + _SVC
                for endpoint in part.endpoints:
                    if endpoint.address == address:
                        names[_label(endpoint_label(endpoint)) + place] = None
        most = MAX_NAME - len(self._config.primary)
        fitting = [name for name in names if len(name) <= most]
        found.exists = bool(fitting)
        return found, fitting

    def _slices_by_address(self, address: bytes) -> tuple[EndpointSlice, ...]:
        return self._index.slices_by_address(address) if self._config.source.endpoints else ()

    def _allowed(self, namespace: bytes) -> bool:
        """For reverse names only ``namespaces`` counts, not whether the namespace is watched."""
        allowed = self._config.namespaces
        return allowed is None or namespace in allowed

    def name_servers(self, addresses: Iterable[bytes]) -> tuple[Found, list[Item]]:
        """
        The services that the server itself is an endpoint of, as name server names with their addresses.

        :param addresses: the server's own, packed.
        :return: items without ports; none when the server is no endpoint.
        """
        found = Found()
        items: dict[Item, None] = {}
        for own in addresses:
            self._note(found, address_key(own))
            for part in self._slices_by_address(own):
                if part.service is None:
                    continue
                self._note(found, service_key(part.namespace, part.service))
                service = self._index.service(part.namespace, part.service)
                if service is None:
                    continue
                place = _labels(service.name, service.namespace) + _SVC
                if service.kind is ServiceKind.HEADLESS:
                    for endpoint in part.endpoints:
                        items[Item(endpoint.address, _label(endpoint_label(endpoint)) + place, None)] = None
                else:
                    for address in service.addresses:
                        items[Item(address, place, None)] = None
        return found, list(items)


def endpoint_label(endpoint: Endpoint) -> bytes:
    """The one label that an endpoint is known by: its host name, its pod's name where that is kept, or its address."""
    return endpoint.hostname or endpoint.pod or address_label(endpoint.address)


def _matching(ports: tuple[Port, ...], parsed: Parsed) -> list[int | None] | None:
    """
    Numbers of the ports that are asked for: all when none is named.

    :return: ``[None]`` when none is named and there are none; None when the one that is named is not there.
    """
    if parsed.port is None:
        return [port.number or None for port in ports] or [None]
    # An empty port name or protocol stands for any.
    numbers: list[int | None] = [
        port.number or None
        for port in ports
        if parsed.port in (b"", port.name) and parsed.protocol in (b"", port.protocol)
    ]
    return numbers or None


def _label(label: bytes) -> bytes:
    return bytes((len(label),)) + label


def _labels(*labels: bytes) -> bytes:
    return b"".join(map(_label, labels))
