# -*- test-case-name: tests.plugins.kubernetes.test_lookup -*-
"""
What a name of the cluster stands for: addresses with the names and ports that SRV records need, an alias, or nothing.

Every look-up notes the stamps of what it looked at, found or not, so that what is made from it dies with the change that concerns it.
Asked for reasons, it records each step as a :class:`~kdns.plugins.kubernetes.result.Fact`; explaining.py puts them into words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kdns.cluster.index import ClusterIndex
from kdns.cluster.invalidation import address_key, import_key, namespace_key, pod_key, service_key
from kdns.cluster.objects import EndpointSlice, ImportKind, Port, ServiceImport, ServiceKind
from kdns.plugins.kubernetes.config import PODS_DISABLED, PODS_VERIFIED, Config
from kdns.plugins.kubernetes.names import Parsed, Shape, pod_address, pod_labels
from kdns.plugins.kubernetes.result import Fact, Group, Pair, Reason, Result, endpoint_label, pairs_of, wire_label
from kdns.wire.names import MAX_NAME

_SVC, _POD = b"\x03svc", b"\x03pod"


class Lookup:
    """Look-ups in one index by the rules of one configuration."""

    def __init__(self, index: ClusterIndex, config: Config) -> None:
        self._index = index
        self._note = index.stamps.note
        self._allowed = config.namespaces
        self._pods = config.pods
        self._ignore_empty = config.ignore_empty
        self._endpoints_watched = config.source.endpoints
        self._longest_pointer = MAX_NAME - len(config.primary)

    def find(self, parsed: Parsed, multicluster: bool, reasons: list[Reason] | None = None) -> Result:
        """
        What a parsed name of the shapes NAMESPACE, POD_NAMESPACE, SERVICE and POD stands for.

        :param reasons: takes each step of the look-up.
        """
        found = Result(reasons)
        shape, namespace = parsed.shape, parsed.namespace
        pod = shape is Shape.POD or shape is Shape.POD_NAMESPACE
        if pod and self._pods == PODS_DISABLED:
            found.because(Fact.PODS_DISABLED)
            return found
        if not self.exposed(namespace, found):
            return found
        if shape is Shape.SERVICE:
            if multicluster:
                self._import(parsed, found)
            else:
                self._service(parsed, found)
        elif shape is Shape.POD:
            self._pod(parsed, found)
        else:
            found.exists = True
        return found

    def exposed(self, namespace: bytes, found: Result) -> bool:
        """Whether names of the namespace are answered."""
        if self._allowed is not None and namespace not in self._allowed:
            found.because(Fact.NAMESPACE_LEFT_OUT)
            return False
        found.stamps.append(self._note(namespace_key(namespace)))
        exists = self._index.has_namespace(namespace)
        if found.reasons is not None:
            found.because(Fact.NAMESPACE if exists else Fact.NO_NAMESPACE)
        return exists

    # Pods.

    def _pod(self, parsed: Parsed, found: Result) -> None:
        address = pod_address(parsed.address)
        if address is None:
            found.because(Fact.NO_ADDRESS)
            return
        if self._pods == PODS_VERIFIED:
            found.stamps.append(self._note(pod_key(address)))
            # Only one spelling of an address is the name of a pod.
            if parsed.address not in pod_labels(address):
                found.because(Fact.POD_SPELLED_OTHERWISE, address)
                return
            pod = self._index.pod_at(parsed.namespace, address)
            if pod is None:
                found.because(Fact.NO_POD, address)
                return
            found.because(Fact.POD, pod)
        else:
            found.because(Fact.POD_UNVERIFIED)
        found.exists = True
        found.groups.append(Group((address,), (0,), _labels(parsed.address, parsed.namespace) + _POD))

    # Services.

    def _service(self, parsed: Parsed, found: Result) -> None:
        index, namespace, name = self._index, parsed.namespace, parsed.service
        found.stamps.append(self._note(service_key(namespace, name)))
        service = index.service(namespace, name)
        if service is None:
            found.because(Fact.NO_SERVICE)
            return
        kind = service.kind
        if kind is ServiceKind.EXTERNAL_NAME:
            if service.external_name is None:
                found.because(Fact.NO_ALIAS, service)
            elif parsed.bare:
                found.because(Fact.ALIAS, service)
                found.alias, found.exists = service.external_name, True
            else:
                found.because(Fact.IN_FRONT_OF_ALIAS, service)
            return
        if found.reasons is not None:
            found.because(Fact.SERVICE, service)
        place = _labels(name, namespace) + _SVC
        if kind is ServiceKind.CLUSTER_IP:
            if self._ignore_empty and not any(part.addresses for part in self._slices(namespace, name)):
                found.because(Fact.NO_READY_ENDPOINT)
                return
            if parsed.topology is not None:
                found.because(Fact.ONLY_HEADLESS_ZONAL)
                return
            if parsed.endpoint is None:
                self._own_addresses(parsed, service.addresses, service.ports, place, found)
                return
        if not self._endpoints_watched:
            # Slices that are imported are read even with noendpoints, and may be labelled for a service of this cluster as well.
            found.because(Fact.ENDPOINTS_NOT_WATCHED)
            return
        slices = self._slices(namespace, name)
        found.because(Fact.SLICES, slices)
        if parsed.topology is not None:
            self._topology(parsed, slices, place, found)
            return
        self._endpoints(parsed, slices, place, found)
        if not found.exists:
            self._not_found(parsed, slices, found)

    def _slices(self, namespace: bytes, name: bytes) -> tuple[EndpointSlice, ...]:
        return self._index.slices_of(namespace, name) if self._endpoints_watched else ()

    def _own_addresses(
        self, parsed: Parsed, addresses: tuple[bytes, ...], ports: tuple[Port, ...], place: bytes, found: Result
    ) -> None:
        matched = _matching(ports, parsed)
        if matched is None:
            found.because(Fact.NO_PORT, ports)
            return
        found.exists = True
        if addresses:
            found.groups.append(Group(addresses, matched, place))

    def _endpoints(self, parsed: Parsed, slices: Iterable[EndpointSlice], place: bytes, found: Result) -> None:
        """The ready endpoints of slices, or the named one."""
        label = parsed.endpoint
        # An endpoint may be known by its address, which is looked for: making the labels of thousands of endpoints takes milliseconds.
        address = None if label is None else pod_address(label)
        for part in slices:
            matched = _matching(part.ports, parsed)
            if matched is None or not part.addresses:
                continue
            if label is None:
                found.exists = True
                found.groups.append(Group(part.addresses, matched, place, part))
                continue
            rows = rows_named(part, label, address)
            if rows:
                found.exists = True
                found.groups.append(Group(part.addresses, matched, place, part, rows))

    def _not_found(self, parsed: Parsed, slices: Sequence[EndpointSlice], found: Result) -> None:
        if found.reasons is not None:
            ports = [port for part in slices if part.addresses for port in part.ports]
            if ports and _matching(ports, parsed) is None:
                found.because(Fact.NO_PORT, ports)
            else:
                found.because(Fact.NO_ENDPOINT, slices)

    def _topology(self, parsed: Parsed, slices: Iterable[EndpointSlice], place: bytes, found: Result) -> None:
        """The ready endpoints in one zone of the cluster's topology."""
        topology = parsed.topology
        assert topology is not None
        found.because(Fact.TOPOLOGY)
        near: list[Group] = []
        every: list[Group] = []
        for part in slices:
            if not part.addresses:
                continue
            matched = _matching(part.ports, parsed) or [None]
            every.append(Group(part.addresses, matched, place, part))
            rows = [row for row, zone in enumerate(part.zones) if zone == topology.zone]
            if rows:
                near.append(Group(part.addresses, matched, place, part, rows))
        # The name exists whether or not anything is near: what was asked for is a set that may be empty.
        found.exists = True
        found.groups = near or (every if topology.prefer else [])

    # Services of several clusters.

    def _import(self, parsed: Parsed, found: Result) -> None:
        index, namespace, name = self._index, parsed.namespace, parsed.service
        found.stamps.append(self._note(import_key(namespace, name)))
        service: ServiceImport | None = index.service_import(namespace, name)
        if service is None:
            found.because(Fact.NO_IMPORT)
            return
        found.because(Fact.IMPORT, service)
        if parsed.endpoint is not None and parsed.cluster is None:
            found.because(Fact.CLUSTER_MISSING)
            return
        slices = index.imported_slices_of(namespace, name)
        if self._ignore_empty and not any(part.addresses for part in slices):
            found.because(Fact.NO_READY_ENDPOINT)
            return
        place = _labels(name, namespace) + _SVC
        if service.kind is ImportKind.CLUSTER_SET_IP and parsed.endpoint is None:
            self._own_addresses(parsed, service.addresses, service.ports, place, found)
            return
        found.because(Fact.SLICES, slices)
        for part in slices:
            cluster = part.cluster or b""
            if parsed.cluster is None or parsed.cluster == cluster:
                self._endpoints(parsed, (part,), (wire_label(cluster) if cluster else b"") + place, found)
        if not found.exists:
            self._not_found(parsed, slices, found)

    # Names of addresses.

    def reverse(self, address: bytes, reasons: list[Reason] | None = None) -> tuple[Result, list[bytes]]:
        """
        The names that an address has, as labels in wire form without the zone.

        A cluster IP has one, that of its Service; an endpoint has one for each Service that selects it.
        """
        found = Result(reasons)
        found.stamps.append(self._note(address_key(address)))
        names: dict[bytes, None] = {}
        left_out = False
        for service in self._index.services_by_address(address):
            # For reverse names only "namespaces" counts, not whether the namespace is watched.
            if self._allowed is None or service.namespace in self._allowed:
                found.because(Fact.CLUSTER_IP_OF, service)
                names[_labels(service.name, service.namespace) + _SVC] = None
                break
            left_out = True
        else:
            for part in self._slices_by_address(address):
                if part.service is None:
                    continue
                if self._allowed is not None and part.namespace not in self._allowed:
                    left_out = True
                    continue
                found.because(Fact.ENDPOINT_OF, part)
                place = _labels(part.service, part.namespace) + _SVC
                for row, other in enumerate(part.addresses):
                    if other == address:
                        names[wire_label(endpoint_label(part, row)) + place] = None
        fitting = [name for name in names if len(name) <= self._longest_pointer]
        found.exists = bool(fitting)
        if not fitting:
            found.because(Fact.ADDRESS_LEFT_OUT if left_out else Fact.NOTHING_AT, address)
        return found, fitting

    def _slices_by_address(self, address: bytes) -> tuple[EndpointSlice, ...]:
        return self._index.slices_by_address(address) if self._endpoints_watched else ()

    def name_servers(self, addresses: Iterable[bytes]) -> tuple[Result, list[Pair]]:
        """
        The Services that the server itself is an endpoint of, as name server names with their addresses.

        :param addresses: the server's own, packed.
        :return: pairs without ports; none when the server is no endpoint.
        """
        found = Result()
        pairs: dict[Pair, None] = {}
        for own in addresses:
            found.stamps.append(self._note(address_key(own)))
            for part in self._slices_by_address(own):
                if part.service is None:
                    continue
                found.stamps.append(self._note(service_key(part.namespace, part.service)))
                service = self._index.service(part.namespace, part.service)
                if service is None:
                    continue
                place = _labels(service.name, service.namespace) + _SVC
                if service.kind is ServiceKind.HEADLESS:
                    group = Group(part.addresses, (None,), place, part)
                else:
                    group = Group(service.addresses, (None,), place)
                pairs.update(dict.fromkeys(pairs_of(group, group.rows)))
        return found, list(pairs)


def rows_named(part: EndpointSlice, label: bytes, address: bytes | None) -> list[int]:
    """
    The rows of a slice whose endpoint is known by a label.

    :param address: the address that the label spells, if it does.
    """
    rows = [row for row, name in enumerate(part.hostnames) if name == label]
    rows += [row for row, name in enumerate(part.pods) if name == label and row not in rows]
    if address is not None:
        rows += [row for row, other in enumerate(part.addresses) if other == address and row not in rows]
    # An endpoint with a host name is not known by its pod or address, and only the canonical spelling of an address counts.
    return [row for row in sorted(rows) if endpoint_label(part, row) == label]


def _matching(ports: Sequence[Port], parsed: Parsed) -> Sequence[int | None] | None:
    """
    Numbers of the ports that are asked for: all when none is named.

    :return: ``[None]`` when none is named and there are none; None when the one that is named is not there.
    """
    wanted = parsed.port
    if wanted is None:
        return [port.number or None for port in ports] or [None]
    # An empty port name or protocol matches any.
    numbers: list[int | None] = [
        port.number or None
        for port in ports
        if (not wanted or wanted == port.name) and (not parsed.protocol or parsed.protocol == port.protocol)
    ]
    return numbers or None


def _labels(first: bytes, second: bytes) -> bytes:
    return b"%c%b%c%b" % (len(first), first, len(second), second)
