# -*- test-case-name: tests.plugins.kubernetes.test_transfer -*-
"""
A zone of the cluster as a list of records, for *transfer*.

The list is made while it is sent. A change of the cluster on the way may be in it or not, but it moves the serial, so a secondary that has
the list with the serial of its beginning asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kdns.cluster.index import ClusterIndex
from kdns.cluster.invalidation import Serial
from kdns.cluster.objects import Kind, Service, ServiceKind
from kdns.plugins.kubernetes.config import Config, is_reverse
from kdns.plugins.kubernetes.lookup import Lookup
from kdns.plugins.kubernetes.result import endpoint_label, wire_label
from kdns.plugins.kubernetes.zone import Zone
from kdns.wire.names import MAX_NAME, from_labels, is_subdomain, reverse_name
from kdns.wire.records import Record, WireRecord, a_or_aaaa, cname, srv, wire_record


class ClusterTransfer:
    """One zone of a cluster; a :class:`kdns.plugin.capabilities.TransferZone`."""

    def __init__(
        self,
        origin: bytes,
        config: Config,
        index: ClusterIndex,
        lookup: Lookup,
        own_addresses: Callable[[], Sequence[bytes]],
        ready: Callable[[], bool],
    ) -> None:
        self.origin = origin
        self._config = config
        self._index = index
        self._lookup = lookup
        self._own_addresses = own_addresses
        self._ready = ready

    def transfer(self, serial: int | None) -> tuple[str, Iterator[WireRecord]] | None:
        if not self._ready():
            return None
        zone = Zone(self.origin, self._config.ttl, self._index.serial(Serial.CLUSTER))
        if serial == zone.serial:
            return "noop", iter((wire_record(zone.soa_record()),))
        return "full", map(wire_record, self._records(zone))

    def _records(self, zone: Zone) -> Iterator[Record]:
        own = self._own_addresses()
        _, pairs = self._lookup.name_servers(own)
        servers, glue = zone.name_servers(self.origin, pairs, own)
        yield zone.soa_record()
        yield from servers
        if is_reverse(self.origin):
            yield from self._pointers(zone)
        else:
            for record in glue:
                yield record._replace(ttl=0)
            for service in self._index.services():
                if self._exposed(service.namespace):
                    # What several slices have in common is one record.
                    yield from dict.fromkeys(self._of_service(service, zone))
        yield zone.soa_record()

    def _exposed(self, namespace: bytes) -> bool:
        allowed = self._config.namespaces
        return (allowed is None or namespace in allowed) and self._index.has_namespace(namespace)

    def _of_service(self, service: Service, zone: Zone) -> Iterator[Record]:
        place = from_labels([service.name, service.namespace, b"svc"])[:-1] + self.origin
        if len(place) > MAX_NAME:
            return
        if service.kind is ServiceKind.EXTERNAL_NAME:
            if service.external_name is not None:
                yield cname(place, zone.ttl, service.external_name)
        elif service.kind is ServiceKind.CLUSTER_IP:
            for address in service.addresses:
                yield a_or_aaaa(place, zone.ttl, address)
            for port in service.ports:
                yield srv(place, zone.ttl, 0, 100, port.number, place)
            for port in service.ports:
                if port.name and (owner := _port_owner(port.name, port.protocol, place)):
                    yield srv(owner, zone.ttl, 0, 100, port.number, place)
        else:
            yield from self._of_headless(service, place, zone)

    def _of_headless(self, service: Service, place: bytes, zone: Zone) -> Iterator[Record]:
        slices = self._index.slices_of(service.namespace, service.name) if self._config.source.endpoints else ()
        for part in slices:
            weight = max(1, 100 // max(1, len(part.addresses)))
            for row, address in enumerate(part.addresses):
                yield a_or_aaaa(place, zone.ttl, address)
                target = wire_label(endpoint_label(part, row)) + place
                if len(target) > MAX_NAME:
                    continue
                yield a_or_aaaa(target, zone.ttl, address)
                for port in part.ports:
                    if port.name and port.number and (owner := _port_owner(port.name, port.protocol, place)):
                        yield srv(owner, zone.ttl, 0, weight, port.number, target)

    def _pointers(self, zone: Zone) -> Iterator[Record]:
        """The PTR records of a reverse zone."""
        addresses: dict[bytes, None] = {}
        for service in self._index.services():
            addresses |= dict.fromkeys(service.addresses)
        if self._config.source.endpoints:
            for part in self._index.walk(Kind.ENDPOINT_SLICE):
                addresses |= dict.fromkeys(part.addresses)  # type: ignore[union-attr]  # of that kind all are slices
        for address in addresses:
            owner = reverse_name(address)
            if is_subdomain(owner, self.origin):
                _, names = self._lookup.reverse(address)
                yield from zone.pointers(owner, names, self._config.primary)


def _port_owner(name: bytes, protocol: bytes, place: bytes) -> bytes | None:
    """The owner of the SRV records of a named port; None when it is too long for a name."""
    owner = b"%c_%s%c_%s" % (len(name) + 1, name, len(protocol) + 1, protocol) + place
    return owner if len(owner) <= MAX_NAME else None
