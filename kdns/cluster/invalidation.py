# -*- test-case-name: tests.cluster.test_invalidation -*-
"""
What a change of one object invalidates: the keys of the stamps to bump, and the serials to advance.

A key may be noted for objects that do not exist: that there is no such service changes when one appears.

The rules for serials are CoreDNS's (a change of labels, of a node name, of an external address or of the pod behind an endpoint does
not advance the zone's serial), with one addition: a changed cluster IP or type of a service advances it, since a secondary that
compares serials would keep the old address for ever otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from enum import Enum
from itertools import zip_longest
from typing import Any, NamedTuple

from kdns.cluster.objects import ClusterObject, EndpointSlice, Kind, Namespace, Pod, Service, ServiceImport, ServiceKind


class Serial(Enum):
    """The serials of the index; also the keys of their stamps, bumped when the number changes."""

    CLUSTER = "cluster"
    """Of the zones with this cluster's services."""
    MULTICLUSTER = "multicluster"
    """Of the zones with the services of several clusters."""
    EXTERNAL = "external"
    """Of the zones with external addresses of services."""


def namespace_key(namespace: bytes) -> Hashable:
    """Whether the namespace exists."""
    return ("namespace", namespace)


def service_key(namespace: bytes, name: bytes) -> Hashable:
    """The service, its ready endpoints and the ports of both, without its external addresses (:func:`external_key`)."""
    return ("service", namespace, name)


def external_key(namespace: bytes, name: bytes) -> Hashable:
    """The service with its external addresses, without its endpoints."""
    return ("external", namespace, name)


def import_key(namespace: bytes, name: bytes) -> Hashable:
    """The service import, and the ready endpoints and ports of the slices imported for it."""
    return ("import", namespace, name)


def address_key(address: bytes) -> Hashable:
    """The services with this cluster IP, and the endpoints with this address and their names."""
    return ("address", address)


def external_address_key(address: bytes) -> Hashable:
    """The services with this external address."""
    return ("external address", address)


def pod_key(address: bytes) -> Hashable:
    """The pods with this address."""
    return ("pod", address)


class Effects(NamedTuple):
    """Keys of stamps and serials; both empty when DNS cannot tell the difference."""

    keys: list[Hashable]
    serials: list[Serial]


_NO_SERVICE = Service(b"", b"", ServiceKind.CLUSTER_IP)
"""Stands for a service that does not exist."""


def _of_namespace(old: Namespace | None, new: Namespace | None) -> Effects:
    one = new or old
    assert one is not None
    return Effects([] if old and new else [namespace_key(one.name)], [])


def _of_service(old: Service | None, new: Service | None) -> Effects:
    one = new or old
    assert one is not None
    keys: list[Hashable] = []
    serials = []
    before, after = old or _NO_SERVICE, new or _NO_SERVICE
    came_or_went = old is None or new is None
    ports = before.ports != after.ports
    inside = (
        came_or_went
        or ports
        or before.kind != after.kind
        or before.addresses != after.addresses
        or before.external_name != after.external_name
    )
    outside = (
        before.external_addresses != after.external_addresses or before.ingress_hostnames != after.ingress_hostnames
    )
    if inside:
        keys.append(service_key(one.namespace, one.name))
        serials.append(Serial.CLUSTER)
    if inside or outside:
        keys.append(external_key(one.namespace, one.name))
    if outside or (ports and (after.external_addresses or after.ingress_hostnames)):
        serials.append(Serial.EXTERNAL)
    keys += map(address_key, _differing(before.addresses, after.addresses))
    keys += map(external_address_key, _differing(before.external_addresses, after.external_addresses))
    return Effects(keys, serials)


def _differing(before: Iterable[bytes], after: Iterable[bytes]) -> set[bytes]:
    return set(before) ^ set(after)


def _of_slice(old: EndpointSlice | None, new: EndpointSlice | None) -> Effects:
    here = _of_slice_of(old, new, _service, service_key, Serial.CLUSTER)
    there = _of_slice_of(old, new, _import, import_key, Serial.MULTICLUSTER)
    before = _names(old) if old and old.service is not None else set()
    after = _names(new) if new and new.service is not None else set()
    addresses = {row[0] for row in before ^ after}
    return Effects([*here.keys, *there.keys, *map(address_key, addresses)], here.serials + there.serials)


def _service(part: EndpointSlice) -> tuple[bytes | None, bytes | None]:
    return (part.service, None)


def _import(part: EndpointSlice) -> tuple[bytes | None, bytes | None]:
    return (part.imported, part.cluster)


def _of_slice_of(
    old: EndpointSlice | None,
    new: EndpointSlice | None,
    owner: Callable[[EndpointSlice], tuple[bytes | None, bytes | None]],
    key: Callable[[bytes, bytes], Hashable],
    serial: Serial,
) -> Effects:
    """The effects on the service named by *owner* (with the cluster that names show), before and after: two, one or none."""
    before, old_cluster = owner(old) if old else (None, None)
    after, new_cluster = owner(new) if new else (None, None)
    if old and new and before == after:
        moved = old_cluster != new_cluster
        if before is None or (not moved and _shown(old) == _shown(new)):
            return Effects([], [])
        serials = [serial] if moved or _counted(old) != _counted(new) else []
        return Effects([key(new.namespace, before)] if old.addresses or new.addresses else [], serials)
    keys = []
    # A slice without ready endpoints adds nothing to its service; that there is one more counts for the serial only.
    if old and before is not None and old.addresses:
        keys.append(key(old.namespace, before))
    if new and after is not None and new.addresses:
        keys.append(key(new.namespace, after))
    return Effects(keys, [serial] if before is not None or after is not None else [])


def _shown(part: EndpointSlice) -> tuple[object, ...]:
    """Everything of a slice that answers can show."""
    return (part.addresses, part.hostnames, part.pods, part.zones, part.ports)


def _counted(part: EndpointSlice) -> tuple[object, ...]:
    """Everything of a slice that advances the serial; the pods do not."""
    return (part.addresses, part.hostnames, part.zones, part.ports)


def _names(part: EndpointSlice) -> set[tuple[bytes, bytes | None, bytes | None, bytes | None]]:
    """Each address with the parts of its name."""
    rows = zip_longest(part.addresses, part.hostnames, part.pods)
    return {(address, hostname, pod, part.service) for address, hostname, pod in rows}


def _of_pod(old: Pod | None, new: Pod | None) -> Effects:
    before = old.addresses if old else ()
    after = new.addresses if new else ()
    if old and new and old.labels != new.labels:
        addresses = {*before, *after}
    else:
        addresses = _differing(before, after)
    return Effects([*map(pod_key, addresses)], [Serial.CLUSTER] if before != after else [])


def _of_import(old: ServiceImport | None, new: ServiceImport | None) -> Effects:
    one = new or old
    assert one is not None
    if old and new and (old.kind, old.addresses, old.ports) == (new.kind, new.addresses, new.ports):
        return Effects([], [])
    return Effects([import_key(one.namespace, one.name)], [Serial.MULTICLUSTER])


# Any: the type of the table cannot say that each function takes objects of its own kind.
_OF: dict[Kind, Callable[[Any, Any], Effects]] = {
    Kind.NAMESPACE: _of_namespace,
    Kind.SERVICE: _of_service,
    Kind.ENDPOINT_SLICE: _of_slice,
    Kind.POD: _of_pod,
    Kind.SERVICE_IMPORT: _of_import,
}


def serials_of(new: ClusterObject) -> tuple[Serial, ...]:
    """The serials that a new object advances: those of :func:`effects` without the keys, which cost four times as much."""
    if isinstance(new, Service):
        return _BOTH if new.external_addresses or new.ingress_hostnames else _CLUSTER
    if isinstance(new, EndpointSlice):
        here = _CLUSTER if new.service is not None else ()
        return here if new.imported is None else (*here, Serial.MULTICLUSTER)
    if isinstance(new, ServiceImport):
        return (Serial.MULTICLUSTER,)
    return _CLUSTER if isinstance(new, Pod) else ()


_CLUSTER, _BOTH = (Serial.CLUSTER,), (Serial.CLUSTER, Serial.EXTERNAL)


def effects(kind: Kind, old: ClusterObject | None, new: ClusterObject | None) -> Effects:
    """What *old* becoming *new* invalidates: two values of one object of that kind, at most one of them None."""
    return _OF[kind](old, new)
