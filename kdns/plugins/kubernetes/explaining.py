# -*- test-case-name: tests.plugins.kubernetes.test_explaining -*-
"""
Why a name of the cluster has the answer it has, in words: what it was read as, which objects are behind it, and what is missing.

Nothing is answered from here. The words follow the same steps as :mod:`.lookup`, and a test holds them against it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from ipaddress import ip_address

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import (
    EndpointSlice,
    ImportKind,
    Kind,
    Port,
    Service,
    ServiceImport,
    ServiceKind,
)
from kdns.core.explaining import Note
from kdns.plugins.kubernetes.config import PODS_DISABLED, PODS_VERIFIED, Config, is_reverse
from kdns.plugins.kubernetes.lookup import endpoint_label
from kdns.plugins.kubernetes.names import Parsed, Shape, parse_name, pod_address, pod_labels
from kdns.wire.constants import AXFR, IXFR, PTR, SOA, TXT, type_text
from kdns.wire.names import address_of_reverse, labels_of, longest_zone, to_text

MOST_COMPARED = 100
"""Names that are compared letter by letter: a millisecond or two."""

MOST_SHOWN = 6
"""Addresses, labels or ports that a line shows."""


def explain(config: Config, index: ClusterIndex, qname: bytes, qtype: int) -> list[Note]:
    """What a question comes to; the name in lower-case wire form."""
    zones = frozenset(zone.name for zone in config.zones)
    zone = longest_zone(qname, zones)
    if zone is None:
        return [
            Note(f"{to_text(qname)} is in none of its zones: {', '.join(to_text(one.name) for one in config.zones)}")
        ]
    notes = _Notes(config, index)
    notes.say(f"zone {to_text(zone)}")
    if qtype in (AXFR, IXFR):
        notes.say("zone transfers are refused")
    elif qname == zone:
        notes.say("the zone itself")
    elif qtype == SOA:
        notes.say("a name below the zone has no SOA, whether it exists or not")
    elif is_reverse(qname):
        notes.reverse(qname, qtype)
    else:
        multicluster = zone in config.multicluster
        labels = labels_of(qname[: len(qname) - len(zone)] + b"\x00")
        notes.forward(parse_name(labels, multicluster, config.source.zones), multicluster, qtype)
    if config.falls_through(qname):
        notes.say("if nothing is found here the next plugin is asked (fallthrough)")
    return notes.notes


class _Notes:
    def __init__(self, config: Config, index: ClusterIndex) -> None:
        self.notes: list[Note] = []
        self._config = config
        self._index = index

    def say(self, text: str) -> None:
        self.notes.append(Note(text))

    def miss(self, text: str) -> None:
        self.notes.append(Note(text, missing=True))

    # Names of services and pods.

    def forward(self, parsed: Parsed, multicluster: bool, qtype: int) -> None:
        namespace = _text(parsed.namespace)
        match parsed.shape:
            case Shape.STRUCTURE:
                self.say("part of the tree above the namespaces: it exists and has no records")
            case Shape.NAME_SERVER:
                self.say("the name server of the zone, which is this server itself")
            case Shape.VERSION:
                self.say("the version of the DNS specification")
                if qtype != TXT:
                    self.miss(f"it is a TXT record, and {type_text(qtype)} was asked for")
            case Shape.NAMESPACE:
                self.say(f'read as: namespace "{namespace}"')
                self._namespace(parsed.namespace)
            case Shape.POD_NAMESPACE | Shape.POD:
                self._pod(parsed)
            case Shape.SERVICE:
                self.say(f"read as: {_read(parsed)}")
                if self._namespace(parsed.namespace):
                    if multicluster:
                        self._import(parsed)
                    else:
                        self._service(parsed)
            case _:
                self.miss(
                    "not a name that a cluster has: those are SERVICE.NAMESPACE.svc and ADDRESS.NAMESPACE.pod, below the zone"
                )

    def _namespace(self, namespace: bytes) -> bool:
        text = _text(namespace)
        allowed = self._config.namespaces
        if allowed is not None and namespace not in allowed:
            self.miss(f'namespace "{text}" is not among the namespaces of the Corefile ({_listed(sorted(allowed))})')
            return False
        if not self._index.has_namespace(namespace):
            near = _near(namespace, self._index.names(Kind.NAMESPACE, b""))
            self.miss(f'there is no namespace "{text}"{near}')
            return False
        self.say(f'namespace "{text}" exists')
        return True

    def _service(self, parsed: Parsed) -> None:
        service = self._index.service(parsed.namespace, parsed.service)
        if service is None:
            self._no_service(parsed.namespace, parsed.service)
            return
        version = _version(service.version)
        if service.kind is ServiceKind.EXTERNAL_NAME:
            self._external_name(service, parsed, version)
            return
        slices = self._index.slices_of(parsed.namespace, parsed.service) if self._config.source.endpoints else ()
        ready = sum(len(part.addresses) for part in slices)
        name = _text(service.name)
        if service.kind is ServiceKind.HEADLESS:
            self.say(f'service "{name}" exists: headless, so its ready endpoints are the answer{version}')
        else:
            self.say(f'service "{name}" exists: cluster IP {_addresses(service.addresses)}{version}')
        if self._config.ignore_empty and service.kind is ServiceKind.CLUSTER_IP and not ready:
            self.miss("it has no ready endpoint, and such services are left out (ignore empty_service)")
            return
        if service.kind is ServiceKind.CLUSTER_IP and parsed.endpoint is None and parsed.topology is None:
            self.say(
                f"ports {_ports(service.ports)}; ready endpoints behind it: {ready} (they play no part in this answer)"
            )
            self._port(parsed, service.ports)
            return
        if not self._config.source.endpoints:
            self.miss("endpoints are not watched (noendpoints)")
            return
        if parsed.topology is not None and service.kind is not ServiceKind.HEADLESS:
            self.miss("only headless services have zonal names")
            return
        self._endpoints(parsed, slices)

    def _no_service(self, namespace: bytes, name: bytes) -> None:
        here = self._index.names(Kind.SERVICE, namespace)
        elsewhere = self._index.homes(Kind.SERVICE, name)
        near = _near(name, here)
        text = f'there is no service "{_text(name)}" in namespace "{_text(namespace)}"{near}'
        if elsewhere:
            text += f"; there is one of that name in {_listed(elsewhere)}"
        elif not near:
            text += f"; it has {len(here)} services" if here else "; it has no services at all"
        self.miss(text)

    def _external_name(self, service: Service, parsed: Parsed, version: str) -> None:
        name = _text(service.name)
        if service.external_name is None:
            self.miss(f'service "{name}" is an ExternalName whose target is no domain name{version}')
        elif parsed.endpoint is not None or parsed.port is not None or parsed.topology is not None:
            self.miss(f'service "{name}" is an ExternalName: there are no names in front of it{version}')
        else:
            self.say(f'service "{name}" exists: ExternalName, an alias of {to_text(service.external_name)}{version}')

    def _port(self, parsed: Parsed, ports: Iterable[Port]) -> None:
        if parsed.port is None:
            return
        known = list(ports)
        wanted = f"_{_text(parsed.port)}._{_text(parsed.protocol)}"
        if any(parsed.port in (b"", port.name) and parsed.protocol in (b"", port.protocol) for port in known):
            return
        names = [f"_{_text(port.name)}._{_text(port.protocol)}" for port in known if port.name]
        there = f"those it has: {', '.join(names[:MOST_SHOWN])}" if names else "it has no named ports"
        self.miss(f"there is no port {wanted}; {there}")

    def _endpoints(self, parsed: Parsed, slices: Iterable[EndpointSlice]) -> None:
        slices = tuple(slices)
        tell = self.miss if parsed.topology is None else self.say  # a zonal name exists even where nothing is
        if not slices:
            tell("it has no EndpointSlice: nothing is selected by it, or the controller has not made one yet")
            return
        for part in slices[:MOST_SHOWN]:
            count = len(part.addresses)
            of = f": {_addresses(part.addresses)}" if count else ""
            self.say(f'slice "{_text(part.name)}", {count} ready{of}{_version(part.version)}')
        if len(slices) > MOST_SHOWN:
            self.say(f"and {len(slices) - MOST_SHOWN} slices more")
        endpoints = [endpoint for part in slices for endpoint in part.endpoints]
        if not endpoints:
            tell(
                "none of its endpoints is ready, and what is not ready has no address in DNS (unless publishNotReadyAddresses)"
            )
            return
        if parsed.port is not None:
            self._port(parsed, [port for part in slices for port in part.ports])
        if parsed.endpoint is not None:
            labels = list(dict.fromkeys(endpoint_label(endpoint) for endpoint in endpoints))
            if parsed.endpoint not in labels:
                self._no_endpoint(parsed, labels)
        elif parsed.topology is not None:
            self.say(f'of these, those in zone "{_text(parsed.topology.zone)}"')

    def _no_endpoint(self, parsed: Parsed, labels: list[bytes]) -> None:
        assert parsed.endpoint is not None
        label = _text(parsed.endpoint)
        text = f'there is no ready endpoint "{label}"; those that are ready: {_listed(labels)}'
        pod = self._index.pod(parsed.namespace, parsed.endpoint)
        if pod is not None:
            text += f'; there is a pod "{label}" at {_addresses(pod.addresses)}, so it is not ready, or the service does not select it'
        self.miss(text)

    def _import(self, parsed: Parsed) -> None:
        one: ServiceImport | None = self._index.service_import(parsed.namespace, parsed.service)
        name = _text(parsed.service)
        if one is None:
            self.miss(f'there is no ServiceImport "{name}" in namespace "{_text(parsed.namespace)}"')
            return
        version = _version(one.version)
        if one.kind is ImportKind.CLUSTER_SET_IP:
            self.say(f'ServiceImport "{name}" exists: {_addresses(one.addresses)}{version}')
            if parsed.endpoint is None:
                self._port(parsed, one.ports)
                return
        else:
            self.say(f'ServiceImport "{name}" exists: headless{version}')
        self._endpoints(parsed, self._index.imported_slices_of(parsed.namespace, parsed.service))

    def _pod(self, parsed: Parsed) -> None:
        namespace = _text(parsed.namespace)
        if parsed.shape is Shape.POD:
            self.say(f'read as: the pod with address "{_text(parsed.address)}" in namespace "{namespace}"')
        else:
            self.say(f'read as: the pods of namespace "{namespace}"')
        if self._config.pods == PODS_DISABLED:
            self.miss('names of pods are turned off in the Corefile ("pods disabled", which is the default)')
            return
        if not self._namespace(parsed.namespace) or parsed.shape is Shape.POD_NAMESPACE:
            return
        address = pod_address(parsed.address)
        if address is None:
            self.miss(f'"{_text(parsed.address)}" is no address with dashes, such as 10-244-1-17')
            return
        if self._config.pods != PODS_VERIFIED:
            self.say("the answer is the address itself, whether there is such a pod or not (pods insecure)")
            return
        text = _addresses((address,))
        pod = self._index.pod_at(parsed.namespace, address)
        if parsed.address not in pod_labels(address):
            self.miss(f'{text} is spelled "{_text(pod_labels(address)[0])}" in names of pods')
        elif pod is None:
            others = [_text(one.namespace) for one in self._index.pods_by_address(address)]
            where = f"; there is one in {', '.join(others)}" if others else ""
            self.miss(f'there is no pod with address {text} in namespace "{namespace}"{where}')
        else:
            self.say(f'pod "{_text(pod.name)}" has it{_version(pod.version)}')

    # Names of addresses.

    def reverse(self, qname: bytes, qtype: int) -> None:
        address = address_of_reverse(qname)
        if address is None:
            self.miss("not the name of a whole address")
            return
        text = _addresses((address,))
        self.say(f"read as: address {text}")
        if qtype != PTR:
            self.miss(f"names of addresses have PTR records, and {type_text(qtype)} was asked for")
            return
        allowed = self._config.namespaces
        hidden = 0
        for service in self._index.services_by_address(address):
            if allowed is not None and service.namespace not in allowed:
                hidden += 1
                continue
            self.say(
                f'cluster IP of service "{_text(service.name)}" in namespace "{_text(service.namespace)}"{_version(service.version)}'
            )
            return
        found = False
        for part in self._index.slices_by_address(address) if self._config.source.endpoints else ():
            if part.service is None:
                continue
            if allowed is not None and part.namespace not in allowed:
                hidden += 1
                continue
            found = True
            self.say(
                f'ready endpoint of service "{_text(part.service)}" in namespace "{_text(part.namespace)}",'
                f' slice "{_text(part.name)}"{_version(part.version)}'
            )
        if not found and hidden:
            self.miss(f"{text} belongs to a namespace that is not among the namespaces of the Corefile")
        elif not found:
            self.miss(f"{text} is no cluster IP, and no ready endpoint of a service")


def namespace_of(index: ClusterIndex, address: bytes) -> tuple[bytes, str] | None:
    """The namespace of the pod with an address, and how that is known; None when it is not."""
    for pod in index.pods_by_address(address):
        return pod.namespace, f'pod "{_text(pod.name)}"'
    for part in index.slices_by_address(address):
        for endpoint in part.endpoints:
            if endpoint.address == address:
                name = f'pod "{_text(endpoint.pod)}"' if endpoint.pod else "a pod"
                return part.namespace, f'{name}, an endpoint of service "{_text(part.service or b"")}"'
    return None


def _read(parsed: Parsed) -> str:
    text = f'service "{_text(parsed.service)}" in namespace "{_text(parsed.namespace)}"'
    if parsed.endpoint is not None:
        of = f' of cluster "{_text(parsed.cluster)}"' if parsed.cluster is not None else ""
        return f'endpoint "{_text(parsed.endpoint)}"{of} of {text}'
    if parsed.port is not None:
        return f'port "{_text(parsed.port)}" over {_text(parsed.protocol)} of {text}'
    if parsed.topology is not None:
        return f'endpoints in zone "{_text(parsed.topology.zone)}" of {text}'
    return text


def _text(label: bytes) -> str:
    return label.decode("ascii", "backslashreplace")


def _listed(labels: list[bytes]) -> str:
    shown = ", ".join(map(_text, labels[:MOST_SHOWN]))
    return shown if len(labels) <= MOST_SHOWN else f"{shown} and {len(labels) - MOST_SHOWN} more"


def _addresses(addresses: Iterable[bytes]) -> str:
    all_of_them = list(addresses)
    shown = ", ".join(str(ip_address(address)) for address in all_of_them[:MOST_SHOWN])
    return shown if len(all_of_them) <= MOST_SHOWN else f"{shown} and {len(all_of_them) - MOST_SHOWN} more"


def _ports(ports: Iterable[Port]) -> str:
    texts = [
        f"{_text(port.name) or 'unnamed'} {port.number}/{_text(port.protocol)}"
        for port in ports
        if isinstance(port, Port)
    ]
    return ", ".join(texts[:MOST_SHOWN]) or "none"


def _version(version: int | str) -> str:
    return f" (resource version {version})" if version else ""


def _near(name: bytes, known: Iterable[bytes]) -> str:
    """Words with the known names that are nearest; empty when none is near."""
    if not 0 < len(name) <= 63:
        return ""
    alike = [_text(one) for one in known if abs(len(one) - len(name)) <= 2 or name in one or one in name]
    near = difflib.get_close_matches(_text(name), alike[:MOST_COMPARED], n=3, cutoff=0.6)
    for one in alike[:MOST_COMPARED]:
        if _text(name) in one and one not in near and len(near) < 3:
            near.append(one)
    return f"; near are: {', '.join(near)}" if near else ""
