# -*- test-case-name: tests.cluster.test_invalidation -*-
"""
What a change of one object changes for DNS: the keys of the stamps to bump and the serials that move on.

The rules for the serials are those that operators know from CoreDNS (a change of labels, of a node name, of an external address or of the
pod behind an endpoint is none for the zone); kdns adds that a changed cluster IP or kind of a service moves the serial, since a secondary
that compares serials would keep the old address for ever otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from itertools import zip_longest
from typing import Any, NamedTuple

from kdns.cluster.keys import (
    Serial,
    address_key,
    external_address_key,
    external_key,
    import_key,
    namespace_key,
    pod_key,
    service_key,
)
from kdns.cluster.objects import ClusterObject, EndpointSlice, Kind, Namespace, Pod, Service, ServiceImport, ServiceKind


class Effects(NamedTuple):
    """Keys of stamps and serials; neither when DNS cannot tell the difference."""

    keys: list[Hashable]
    serials: list[Serial]


_NO_SERVICE = Service(b"", b"", ServiceKind.CLUSTER_IP)
"""Stands for the service before it came and after it went."""


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
    """The effects on the service that *owner* tells, before and after, which may be two or none; with it the cluster that names show."""
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
    """All of a slice that answers can show."""
    return (part.addresses, part.hostnames, part.pods, part.zones, part.ports)


def _counted(part: EndpointSlice) -> tuple[object, ...]:
    """What moves the serial: the pods behind the endpoints do not."""
    return (part.addresses, part.hostnames, part.zones, part.ports)


def _names(part: EndpointSlice) -> set[tuple[bytes, bytes | None, bytes | None, bytes | None]]:
    """Each address with what its name is made of."""
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


# Any: each function takes objects of its own kind only, which the table cannot say.
_OF: dict[Kind, Callable[[Any, Any], Effects]] = {
    Kind.NAMESPACE: _of_namespace,
    Kind.SERVICE: _of_service,
    Kind.ENDPOINT_SLICE: _of_slice,
    Kind.POD: _of_pod,
    Kind.SERVICE_IMPORT: _of_import,
}


def serials_of(new: ClusterObject) -> tuple[Serial, ...]:
    """The serials that an object moves on when it comes: those of :func:`effects`, without the keys, which cost four times as much."""
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
    """What changes for DNS when *old* becomes *new*, two values of one object of that kind; not both are None."""
    return _OF[kind](old, new)
