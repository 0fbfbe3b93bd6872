# -*- test-case-name: tests.plugins.k8s_external.test_resolver -*-
"""
What stands behind a name below an external zone: a core module of *k8s_external*.

As in *kubernetes*, every look-up notes the stamps of what it looked at, found or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kdns.cluster.index import ClusterIndex
from kdns.cluster.invalidation import address_key, external_address_key, external_key, service_key
from kdns.cluster.objects import Port, Service, ServiceKind
from kdns.core.stamps import StampRef
from kdns.plugins.kubernetes import Config
from kdns.plugins.kubernetes.lookup import Lookup, rows_named
from kdns.plugins.kubernetes.names import pod_address
from kdns.plugins.kubernetes.result import Group, Result
from kdns.wire.names import from_labels


@dataclass(slots=True)
class External:
    """What stands behind a name."""

    exists: bool = False
    found: Result = field(default_factory=Result)
    """The addresses, with their ports."""

    hostnames: tuple[bytes, ...] = ()
    """Names that a load balancer has in place of addresses, in wire form."""

    ports: list[int | None] = field(default_factory=list)
    """Ports that the host names have."""

    why: str = ""
    """What is missing, for the operator."""

    stamps: list[StampRef] = field(default_factory=list)

    @property
    def weight(self) -> int:
        """The weight of each SRV record: all (address, port) pairs share a hundred."""
        return max(1, 100 // max(1, self.found.pairs + len(self.hostnames) * len(self.ports)))


class ExternalLookup:
    """
    Look-ups in one index.

    :param config: of the *kubernetes* whose cluster it is: it says which namespaces are exposed.
    :param headless: whether headless services and names of endpoints are answered.
    """

    def __init__(self, index: ClusterIndex, config: Config, headless: bool) -> None:
        self._index = index
        self._headless = headless
        self._endpoints = config.source.endpoints
        self._lookup = Lookup(index, config)

    def find(self, labels: list[bytes]) -> External:
        """
        The name of these labels, which stand in front of the zone: ``NS``, ``SVC.NS``, ``E.SVC.NS`` or ``P.T.SVC.NS``.

        :param labels: in lower case, the leftmost first, at least one.
        """
        found = External()
        namespace = labels[-1]
        if not self._exposed(namespace, found):
            found.why = f"namespace {_shown(namespace)} is not there, or not exposed"
        elif len(labels) == 1:
            found.exists = True
        elif len(labels) > 4:
            found.why = "more labels than a port, a protocol, a service and a namespace"
        else:
            self._service(labels, found)
        return found

    def _exposed(self, namespace: bytes, found: External) -> bool:
        noted = Result()
        exposed = self._lookup.exposed(namespace, noted)
        found.stamps += noted.stamps
        return exposed

    def _service(self, labels: list[bytes], found: External) -> None:
        *front, name, namespace = labels
        found.stamps.append(self._index.stamps.note(external_key(namespace, name)))
        service = self._index.service(namespace, name)
        if service is None:
            found.why = f"there is no service {_shown(namespace)}/{_shown(name)}"
        elif service.external_addresses or service.ingress_hostnames:
            ports = _matching(service.ports, front)
            if ports is None:
                found.why = "the service has no such port"
                return
            place = _wire(name, namespace)
            found.exists = True
            if service.external_addresses:
                found.found.groups = [Group(service.external_addresses, ports, place)]
            found.hostnames, found.ports = service.ingress_hostnames, ports
        elif self._headless and (service.kind is ServiceKind.HEADLESS or len(front) == 1):
            self._ready(service, front, found)
        else:
            found.why = f"service {_shown(namespace)}/{_shown(name)} has no external address"

    def _ready(self, service: Service, front: list[bytes], found: External) -> None:
        """The ready endpoints of a service without external address, or the one that *front* names."""
        found.stamps.append(self._index.stamps.note(service_key(service.namespace, service.name)))
        slices = self._index.slices_of(service.namespace, service.name) if self._endpoints else ()
        place = _wire(service.name, service.namespace)
        for part in slices:
            ports = _matching(part.ports, front)
            rows = rows_named(part, front[0], pod_address(front[0])) if len(front) == 1 else None
            if ports and part.addresses and (rows is None or rows):
                found.found.groups.append(Group(part.addresses, ports, place, part, rows))
        found.exists = bool(found.found.groups)
        if not found.exists:
            found.why = "the service has no such ready endpoint"

    def reverse(self, address: bytes) -> tuple[list[bytes], list[StampRef]]:
        """The services with an external address, as labels in wire form without the zone."""
        found = External(stamps=[self._index.stamps.note(external_address_key(address))])
        services = [
            service
            for service in self._index.services_by_external_address(address)
            if self._exposed(service.namespace, found)
        ]
        return [_wire(service.name, service.namespace) for service in services], found.stamps

    def name_servers(self, own: Iterable[bytes]) -> tuple[list[bytes], list[StampRef]]:
        """
        The addresses at which the server itself is reached from outside.

        :param own: the server's own addresses, packed. Where it is no endpoint of a service, they are the answer.
        """
        stamps: list[StampRef] = []
        addresses: dict[bytes, None] = {}
        mine = tuple(own)
        is_endpoint = False
        for address in mine:
            stamps.append(self._index.stamps.note(address_key(address)))
            for part in self._index.slices_by_address(address) if self._endpoints else ():
                if part.service is None:
                    continue
                is_endpoint = True
                stamps.append(self._index.stamps.note(external_key(part.namespace, part.service)))
                service = self._index.service(part.namespace, part.service)
                if service is None:
                    continue
                outside = service.external_addresses
                if not outside and self._headless and service.kind is ServiceKind.HEADLESS:
                    outside = part.addresses
                addresses.update(dict.fromkeys(outside))
        return list(addresses) if is_endpoint else list(mine), stamps


def _matching(ports: tuple[Port, ...], front: list[bytes]) -> list[int | None] | None:
    """
    Numbers of the ports that *front* asks for: all, unless it is a port and a protocol, whose underscores may be left out.

    :return: ``[None]`` where none is asked for and there are none; None where the one asked for is not there.
    """
    if len(front) != 2:
        return [port.number or None for port in ports] or [None]
    name, protocol = (label.removeprefix(b"_") for label in front)
    numbers: list[int | None] = [
        port.number or None for port in ports if name in (b"", port.name) and protocol in (b"", port.protocol)
    ]
    return numbers or None


def _wire(*labels: bytes) -> bytes:
    return from_labels(labels)[:-1]


def _shown(label: bytes) -> str:
    return label.decode("ascii", "backslashreplace")
