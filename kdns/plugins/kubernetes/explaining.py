# -*- test-case-name: tests.plugins.kubernetes.test_explaining -*-
"""
Why a name of the cluster has the answer it has, in words: what it was read as, which objects are behind it, and what is missing.

The look-up itself records its steps (:class:`~kdns.plugins.kubernetes.result.Fact`); they are put into words here, with what may help to
find the fault: names that are near, other places where there is such a name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import EndpointSlice, ImportKind, Kind, Port, Service, ServiceImport, ServiceKind
from kdns.core.explaining import Note
from kdns.plugins.kubernetes.config import Config, is_reverse
from kdns.plugins.kubernetes.lookup import Lookup
from kdns.plugins.kubernetes.names import Parsed, Shape, parse_name, pod_labels
from kdns.plugins.kubernetes.result import Fact, Reason, endpoint_label
from kdns.wire.constants import AXFR, IXFR, PTR, SOA, TXT, type_text
from kdns.wire.names import address_of_reverse, longest_zone, to_text

MOST_COMPARED = 100
"""Names that are compared letter by letter: a millisecond or two."""

MOST_SHOWN = 6
"""Addresses, labels or ports that a line shows."""


def explain(config: Config, lookup: Lookup, index: ClusterIndex, qname: bytes, qtype: int) -> list[Note]:
    """Explain the look-up of a question; the name in lower-case wire form."""
    zone = longest_zone(qname, frozenset(zone.name for zone in config.zones))
    if zone is None:
        zones = ", ".join(to_text(one.name) for one in config.zones)
        return [Note(f"{to_text(qname)} is in none of its zones: {zones}")]
    notes = [Note(f"zone {to_text(zone)}")]
    if qtype in (AXFR, IXFR):
        notes.append(Note("zone transfers are refused"))
    elif qname == zone:
        notes.append(Note("the zone itself"))
    elif qtype == SOA:
        notes.append(Note("a name below the zone has no SOA, whether it exists or not"))
    elif is_reverse(qname):
        notes += _reverse(lookup, qname, qtype)
    else:
        multicluster = zone in config.multicluster
        parsed = parse_name(qname[: -len(zone)], multicluster, config.source.zones)
        notes += _forward(_Words(config, index, parsed), lookup, multicluster, qtype)
    if config.falls_through(qname):
        notes.append(Note("if nothing is found here the next plugin is asked (fallthrough)"))
    return notes


def _forward(words: _Words, lookup: Lookup, multicluster: bool, qtype: int) -> list[Note]:
    parsed = words.parsed
    match parsed.shape:
        case Shape.STRUCTURE:
            return [Note("part of the tree above the namespaces: it exists and has no records")]
        case Shape.NAME_SERVER:
            return [Note("the name server of the zone, which is this server itself")]
        case Shape.VERSION:
            notes = [Note("the version of the DNS specification")]
            if qtype != TXT:
                notes.append(_missing(f"it is a TXT record, and {type_text(qtype)} was asked for"))
            return notes
        case Shape.SERVICE | Shape.POD | Shape.NAMESPACE | Shape.POD_NAMESPACE:
            reasons: list[Reason] = []
            lookup.find(parsed, multicluster, reasons)
            return [Note(f"read as: {_read(parsed)}"), *(note for reason in reasons for note in words.of(reason))]
        case _:
            forms = "those are SERVICE.NAMESPACE.svc and ADDRESS.NAMESPACE.pod, below the zone"
            return [_missing(f"not a name that a cluster has: {forms}")]


def _reverse(lookup: Lookup, qname: bytes, qtype: int) -> list[Note]:
    address = address_of_reverse(qname)
    if address is None:
        return [_missing("not the name of a whole address")]
    notes = [Note(f"read as: address {_addresses((address,))}")]
    if qtype != PTR:
        return [*notes, _missing(f"names of addresses have PTR records, and {type_text(qtype)} was asked for")]
    reasons: list[Reason] = []
    lookup.reverse(address, reasons)
    return notes + [_of_address(*reason) for reason in reasons]


def _of_address(fact: Fact, value: object) -> Note:
    if isinstance(value, Service):
        return Note(f"cluster IP of {_service(value.name, value.namespace)}{_version(value.version)}")
    if isinstance(value, EndpointSlice):
        of = _service(value.service or b"", value.namespace)
        return Note(f'ready endpoint of {of}, slice "{_text(value.name)}"{_version(value.version)}')
    assert isinstance(value, bytes)
    if fact is Fact.ADDRESS_LEFT_OUT:
        where = "belongs to a namespace that is not among the namespaces of the Corefile"
        return _missing(f"{_addresses((value,))} {where}")
    return _missing(f"{_addresses((value,))} is no cluster IP, and no ready endpoint of a service")


def _missing(text: str) -> Note:
    return Note(text, missing=True)


class _Words:
    """Puts the steps of one look-up into words."""

    def __init__(self, config: Config, index: ClusterIndex, parsed: Parsed) -> None:
        self.parsed = parsed
        self._config = config
        self._index = index

    def of(self, reason: Reason) -> list[Note]:
        parsed = self.parsed
        match reason:
            case (Fact.NAMESPACE_LEFT_OUT,):
                allowed = _listed(sorted(self._config.namespaces or ()))
                where = f"is not among the namespaces of the Corefile ({allowed})"
                return [_missing(f'namespace "{_text(parsed.namespace)}" {where}')]
            case (Fact.NO_NAMESPACE,):
                near = _near(parsed.namespace, self._index.names(Kind.NAMESPACE, b""))
                return [_missing(f'there is no namespace "{_text(parsed.namespace)}"{near}')]
            case (Fact.NAMESPACE,):
                return [Note(f'namespace "{_text(parsed.namespace)}" exists')]
            case (Fact.PODS_DISABLED,):
                return [
                    _missing('names of pods are turned off in the Corefile ("pods disabled", which is the default)')
                ]
            case (Fact.NO_ADDRESS,):
                return [_missing(f'"{_text(parsed.address)}" is no address with dashes, such as 10-244-1-17')]
            case (Fact.POD_UNVERIFIED,):
                return [Note("the answer is the address itself, whether there is such a pod or not (pods insecure)")]
            case (Fact.POD_SPELLED_OTHERWISE, address):
                spelled = _text(pod_labels(address)[0])
                return [_missing(f'{_addresses((address,))} is spelled "{spelled}" in names of pods')]
            case (Fact.NO_POD, address):
                return [self._no_pod(address)]
            case (Fact.POD, pod):
                return [Note(f'pod "{_text(pod.name)}" has it{_version(pod.version)}')]
            case (Fact.NO_SERVICE,):
                return [self._no_service()]
            case (Fact.SERVICE, service):
                return self._service(service)
            case (Fact.ALIAS, service):
                alias = f"ExternalName, an alias of {to_text(service.external_name)}"
                return [Note(f'service "{_text(service.name)}" exists: {alias}{_version(service.version)}')]
            case (Fact.NO_ALIAS, service):
                why = "is an ExternalName whose target is no domain name"
                return [_missing(f'service "{_text(service.name)}" {why}{_version(service.version)}')]
            case (Fact.IN_FRONT_OF_ALIAS, service):
                why = "is an ExternalName: there are no names in front of it"
                return [_missing(f'service "{_text(service.name)}" {why}{_version(service.version)}')]
            case (Fact.NO_READY_ENDPOINT,):
                return [_missing("it has no ready endpoint, and such services are left out (ignore empty_service)")]
            case (Fact.ONLY_HEADLESS_ZONAL,):
                return [_missing("only headless services have zonal names")]
            case (Fact.NO_PORT, ports):
                return [self._no_port(ports)]
            case (Fact.ENDPOINTS_NOT_WATCHED,):
                return [_missing("endpoints are not watched (noendpoints)")]
            case (Fact.SLICES, slices):
                return self._slices(slices)
            case (Fact.NO_ENDPOINT, slices):
                return self._no_endpoint(slices)
            case (Fact.TOPOLOGY,):
                assert parsed.topology is not None
                return [Note(f'of these, those in zone "{_text(parsed.topology.zone)}"')]
            case (Fact.NO_IMPORT,):
                where = f'in namespace "{_text(parsed.namespace)}"'
                return [_missing(f'there is no ServiceImport "{_text(parsed.service)}" {where}')]
            case (Fact.IMPORT, service):
                return [self._import(service)]
            case (Fact.CLUSTER_MISSING,):
                return [_missing("an endpoint of several clusters is named with its cluster: ENDPOINT.CLUSTER.SERVICE")]
            case _:
                raise AssertionError(f"no words for {reason[0]}")

    def _no_pod(self, address: bytes) -> Note:
        others = [_text(one.namespace) for one in self._index.pods_by_address(address)]
        where = f"; there is one in {', '.join(others)}" if others else ""
        namespace = _text(self.parsed.namespace)
        return _missing(f'there is no pod with address {_addresses((address,))} in namespace "{namespace}"{where}')

    def _no_service(self) -> Note:
        namespace, name = self.parsed.namespace, self.parsed.service
        here = self._index.names(Kind.SERVICE, namespace)
        elsewhere = self._index.homes(Kind.SERVICE, name)
        near = _near(name, here)
        text = f"there is no {_service(name, namespace)}{near}"
        if elsewhere:
            text += f"; there is one of that name in {_listed(elsewhere)}"
        elif not near:
            text += f"; it has {len(here)} services" if here else "; it has no services at all"
        return _missing(text)

    def _service(self, service: Service) -> list[Note]:
        exists = f'service "{_text(service.name)}" exists'
        if service.kind is ServiceKind.HEADLESS:
            answer = "headless, so its ready endpoints are the answer"
            return [Note(f"{exists}: {answer}{_version(service.version)}")]
        notes = [Note(f"{exists}: cluster IP {_addresses(service.addresses)}{_version(service.version)}")]
        if self.parsed.endpoint is None and self.parsed.topology is None:
            slices = self._index.slices_of(service.namespace, service.name) if self._config.source.endpoints else ()
            ready = sum(len(part.addresses) for part in slices)
            behind = f"ready endpoints behind it: {ready} (they play no part in this answer)"
            notes.append(Note(f"ports {_ports(service.ports)}; {behind}"))
        return notes

    def _no_port(self, ports: Iterable[Port]) -> Note:
        wanted = f"_{_text(self.parsed.port or b'')}._{_text(self.parsed.protocol)}"
        names = [f"_{_text(port.name)}._{_text(port.protocol)}" for port in dict.fromkeys(ports) if port.name]
        there = f"those it has: {', '.join(names[:MOST_SHOWN])}" if names else "it has no named ports"
        return _missing(f"there is no port {wanted}; {there}")

    def _slices(self, slices: Sequence[EndpointSlice]) -> list[Note]:
        notes = []
        for part in slices[:MOST_SHOWN]:
            count = len(part.addresses)
            of = f": {_addresses(part.addresses)}" if count else ""
            notes.append(Note(f'slice "{_text(part.name)}", {count} ready{of}{_version(part.version)}'))
        if len(slices) > MOST_SHOWN:
            notes.append(Note(f"and {len(slices) - MOST_SHOWN} slices more"))
        return notes

    def _no_endpoint(self, slices: Sequence[EndpointSlice]) -> list[Note]:
        if not slices:
            text = "it has no EndpointSlice: nothing is selected by it, or the controller has not made one yet"
            return [_missing(text)]
        labels = dict.fromkeys(endpoint_label(part, row) for part in slices for row in range(len(part.addresses)))
        if not labels:
            why = "what is not ready has no address in DNS (unless publishNotReadyAddresses)"
            return [_missing(f"none of its endpoints is ready, and {why}")]
        label = self.parsed.endpoint or b""
        text = f'there is no ready endpoint "{_text(label)}"; those that are ready: {_listed(list(labels))}'
        pod = self._index.pod(self.parsed.namespace, label)
        if pod is not None:
            where = f'"{_text(label)}" at {_addresses(pod.addresses)}'
            text += f"; there is a pod {where}, so it is not ready, or the service does not select it"
        return [_missing(text)]

    def _import(self, service: ServiceImport) -> Note:
        what = "headless" if service.kind is ImportKind.HEADLESS else _addresses(service.addresses)
        return Note(f'ServiceImport "{_text(service.name)}" exists: {what}{_version(service.version)}')


def namespace_of(index: ClusterIndex, address: bytes) -> tuple[bytes, str] | None:
    """The namespace of the pod with an address, and how it is known; None when unknown."""
    for pod in index.pods_by_address(address):
        return pod.namespace, f'pod "{_text(pod.name)}"'
    for part in index.slices_by_address(address):
        known = part.pods[part.addresses.index(address)] if part.pods else None
        name = f'pod "{_text(known)}"' if known else "a pod"
        return part.namespace, f'{name}, an endpoint of service "{_text(part.service or b"")}"'
    return None


def _service(name: bytes, namespace: bytes) -> str:
    return f'service "{_text(name)}" in namespace "{_text(namespace)}"'


def _read(parsed: Parsed) -> str:
    namespace = f'namespace "{_text(parsed.namespace)}"'
    if parsed.shape is Shape.POD:
        return f'the pod with address "{_text(parsed.address)}" in {namespace}'
    if parsed.shape is Shape.POD_NAMESPACE:
        return f"the pods of {namespace}"
    if parsed.shape is Shape.NAMESPACE:
        return namespace
    text = _service(parsed.service, parsed.namespace)
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
    texts = [f"{_text(port.name) or 'unnamed'} {port.number}/{_text(port.protocol)}" for port in ports]
    return ", ".join(texts[:MOST_SHOWN]) or "none"


def _version(version: int | str) -> str:
    return f" (resource version {version})" if version else ""


def _near(name: bytes, known: Iterable[bytes]) -> str:
    """Words with the nearest known names; empty when none is near."""
    if not 0 < len(name) <= 63:
        return ""
    alike = [_text(one) for one in known if abs(len(one) - len(name)) <= 2 or name in one or one in name]
    near = difflib.get_close_matches(_text(name), alike[:MOST_COMPARED], n=3, cutoff=0.6)
    for one in alike[:MOST_COMPARED]:
        if _text(name) in one and one not in near and len(near) < 3:
            near.append(one)
    return f"; near are: {', '.join(near)}" if near else ""
