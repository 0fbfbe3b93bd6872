# -*- test-case-name: tests.cluster.test_index -*-
"""
The objects of the cluster: look-ups, and the stamps and serials that a change moves. No DNS in here.

When :meth:`ClusterIndex.apply` returns, the change is visible and the stamps of everything it affects are bumped. Other stamps stay, so
cached answers made from other objects stay valid. Look-ups do not depend on the order in which objects came.

One change is delayed. When a slice is replaced, it may be deleted before its successor arrives: the controller promises no order, and a
watch may deliver a burst in several turns. For that moment the service would have no endpoints, and a headless one would be NXDOMAIN.
So if a deletion would remove the *last ready endpoints* of an existing service, the slice is held for a grace of half a second.
It is deleted when a slice with ready endpoints arrives for that service, when the service is deleted, or when the grace ends. The price: a
service whose last slice is really deleted is answered half a second longer. Everything else is immediate. A grace of 0 turns this off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

from kdns.cluster.invalidation import Serial, effects, serials_of
from kdns.cluster.objects import (
    Address,
    Change,
    ClusterObject,
    Delete,
    EndpointSlice,
    Keep,
    Kind,
    Namespace,
    Pod,
    Service,
    ServiceImport,
    Upsert,
    weight,
)
from kdns.cluster.relist import DriftCheck, Relist
from kdns.cluster.tables import ByName, Named, Shared
from kdns.core.stamps import StampBook

GRACE = 0.5
"""Seconds. A replacement comes within some tens of milliseconds of the deletion; half a second covers a busy API server as well."""

T = TypeVar("T", bound=Named)


class ClusterIndex:
    """
    The objects of a cluster, by everything that DNS looks them up by.

    :param stamps: bumped by changes. Look-ups do not note stamps; code that makes an answer does, by the keys of invalidation.py.
    :param grace: seconds that the last ready endpoints of a service outlive their slice, see above.
    """

    def __init__(self, stamps: StampBook | None = None, grace: float = GRACE) -> None:
        self.stamps = StampBook() if stamps is None else stamps
        self.grace = grace
        self.changes = 0
        """How many changes of objects were entered, whether DNS can see them or not; a slice that is held, or no longer, counts."""
        self._serials = dict.fromkeys(Serial, 0)
        self._weight = 0
        self._namespaces: ByName[Namespace] = ByName()
        self._services: ByName[Service] = ByName()
        self._slices: ByName[EndpointSlice] = ByName()
        self._pods: ByName[Pod] = ByName()
        self._imports: ByName[ServiceImport] = ByName()
        # Any: a table of one kind is not a table of all kinds, and each only gets objects of its kind.
        self._tables: dict[Kind, ByName[Any]] = {
            Kind.NAMESPACE: self._namespaces,
            Kind.SERVICE: self._services,
            Kind.ENDPOINT_SLICE: self._slices,
            Kind.POD: self._pods,
            Kind.SERVICE_IMPORT: self._imports,
        }
        self._service_addresses: Shared[Service] = Shared()
        self._external_addresses: Shared[Service] = Shared()
        self._endpoint_addresses: Shared[EndpointSlice] = Shared()
        self._pod_addresses: Shared[Pod] = Shared()
        # Slices by service, one table for each namespace.
        self._of_service: dict[bytes, Shared[EndpointSlice]] = {}
        self._of_import: dict[bytes, Shared[EndpointSlice]] = {}
        # Until when a deleted slice is held, by namespace and name.
        self._held: dict[tuple[bytes, bytes], float] = {}
        self._relists: dict[Kind, Relist] = {}

    # Look-ups.

    def has_namespace(self, namespace: bytes) -> bool:
        return self._namespaces.get(b"", namespace) is not None

    def service(self, namespace: bytes, name: bytes) -> Service | None:
        return self._services.get(namespace, name)

    def slices_of(self, namespace: bytes, service: bytes) -> tuple[EndpointSlice, ...]:
        """The slices of a service, which need not exist, by name."""
        table = self._of_service.get(namespace)
        return () if table is None else table.get(service)

    def service_import(self, namespace: bytes, name: bytes) -> ServiceImport | None:
        return self._imports.get(namespace, name)

    def imported_slices_of(self, namespace: bytes, service: bytes) -> tuple[EndpointSlice, ...]:
        """The slices imported for a multicluster service, by name."""
        table = self._of_import.get(namespace)
        return () if table is None else table.get(service)

    def services_by_address(self, address: bytes) -> tuple[Service, ...]:
        """The services with that cluster IP, by namespace and name; briefly more than one."""
        return self._service_addresses.get(address)

    def services_by_external_address(self, address: bytes) -> tuple[Service, ...]:
        """The services with that external address, by namespace and name."""
        return self._external_addresses.get(address)

    def slices_by_address(self, address: bytes) -> tuple[EndpointSlice, ...]:
        """The slices of this cluster with that ready address, whether or not the service is known, by namespace and name."""
        return self._endpoint_addresses.get(address)

    def pods_by_address(self, address: bytes) -> tuple[Pod, ...]:
        """The pods with that address, by namespace and name; pods on the host network share their node's address."""
        return self._pod_addresses.get(address)

    def pod_at(self, namespace: bytes, address: bytes) -> Pod | None:
        """The first pod of a namespace with that address."""
        for pod in self._pod_addresses.get(address):
            if pod.namespace == namespace:
                return pod
        return None

    def pod(self, namespace: bytes, name: bytes) -> Pod | None:
        return self._pods.get(namespace, name)

    def names(self, kind: Kind, namespace: bytes) -> list[bytes]:
        """The names of all objects of a kind in a namespace, unordered; namespaces are in namespace ``b""``."""
        return self._tables[kind].names(namespace)

    def homes(self, kind: Kind, name: bytes) -> list[bytes]:
        """The namespaces that have an object of that kind and name, sorted."""
        return self._tables[kind].homes(name)

    def services(self) -> list[Service]:
        """All services by name, then namespace: the order of a zone transfer."""
        return sorted(self._services, key=lambda service: (service.name, service.namespace))

    def serial(self, which: Serial = Serial.CLUSTER) -> int:
        """Unix time of the last change that matters to that sort of zone; 0 before any."""
        return self._serials[which]

    # Changes.

    def apply(self, change: Change, now: float) -> bool:
        """
        Enter a change.

        :param now: Unix seconds, for the serials and the grace.
        :return: whether DNS can see a change; False when a deletion is held.
        """
        changed = self._enter(change, now)
        relist = self._relists.get(change.kind)
        if relist is not None:
            if relist.closed:
                del self._relists[change.kind]
            else:
                relist.noticed(change)
        return changed

    def _enter(self, change: Change, now: float) -> bool:
        kind = change.kind
        if isinstance(change, Upsert):
            return self._put(kind, change.item, now)
        place = (change.namespace, change.name)
        if isinstance(change, Keep):
            if kind is Kind.ENDPOINT_SLICE:
                self._hold_no_more(place)
            return False
        if kind is Kind.ENDPOINT_SLICE:
            return self._delete_slice(change, now)
        old = self._tables[kind].pop(*place)
        if old is None:
            return False
        return self._turn(kind, old, None, now)

    def next_deadline(self) -> float | None:
        """When :meth:`expire` is due."""
        return min(self._held.values(), default=None)

    def expire(self, now: float) -> bool:
        """Delete the slices whose grace is over; whether DNS can see a change."""
        changed = False
        # A deadline further away than the grace means that the clock was set back.
        due = [place for place, until in self._held.items() if until <= now or until > now + self.grace]
        for place in due:
            if place in self._held:
                changed |= self._release(*place, now)
        return changed

    def relist(self, kind: Kind, apply: Callable[[Change, float], object] | None = None) -> Relist:
        """
        Begin a new list of a kind; a list in progress for it is abandoned.

        :param apply: called instead of :meth:`apply`, which it must call.
        """
        before = self._relists.get(kind)
        if before is not None:
            before.abort()
        relist = self._relists[kind] = Relist(kind, self._tables[kind], apply or self.apply)
        return relist

    def drift(self, kind: Kind) -> DriftCheck:
        return DriftCheck(self._tables[kind])

    # Figures and copies.

    def counts(self) -> dict[Kind, int]:
        counts = {kind: len(table) for kind, table in self._tables.items()}
        counts[Kind.ENDPOINT_SLICE] -= len(self._held)
        return counts

    def approximate_bytes(self) -> int:
        """Estimated memory of the objects."""
        return self._weight

    def walk(self, kind: Kind) -> Iterator[ClusterObject]:
        """Every object of a kind, unordered; changes may come during the walk. Held slices are left out."""
        held = self._held
        for item in self._tables[kind].walk():
            if not held or kind is not Kind.ENDPOINT_SLICE or (item.namespace, item.name) not in held:
                yield item

    def dump(self) -> dict[Kind, list[ClusterObject]]:
        """All objects by namespace and name, to compare two indices."""
        return {kind: sorted(self.walk(kind), key=lambda item: (item.namespace, item.name)) for kind in Kind}

    def same_as(self, other: ClusterIndex) -> bool:
        """Whether both hold the same objects at the same versions."""
        return self.dump() == other.dump()

    # The tables behind the look-ups.

    def _put(self, kind: Kind, item: ClusterObject, now: float) -> bool:
        # A slice that comes back under its own name never went.
        if self._held and kind is Kind.ENDPOINT_SLICE:
            self._hold_no_more((item.namespace, item.name))
        table = self._tables[kind]
        old = table.get(item.namespace, item.name)
        if old == item:
            return False
        table.put(item)
        return self._turn(kind, old, item, now)

    def _turn(self, kind: Kind, old: ClusterObject | None, new: ClusterObject | None, now: float) -> bool:
        """*old* became *new* in its table: update everything else."""
        self.changes += 1
        self._weight += (weight(new) if new else 0) - (weight(old) if old else 0)
        if kind is Kind.ENDPOINT_SLICE:
            self._move_slice(cast("EndpointSlice | None", old), cast("EndpointSlice | None", new))
        elif kind is Kind.POD:
            _move(self._pod_addresses, cast("Pod | None", old), cast("Pod | None", new), _addresses)
        elif kind is Kind.SERVICE:
            before, after = cast("Service | None", old), cast("Service | None", new)
            _move(self._service_addresses, before, after, _addresses)
            _move(self._external_addresses, before, after, _external_addresses)
        serials: Iterable[Serial]
        if old is None and new is not None and not len(self.stamps):
            # First sync: an object came and there are no stamps, so no answer can be wrong.
            serials, changed = serials_of(new), True
        else:
            keys, serials = effects(kind, old, new)
            for key in keys:
                self.stamps.bump(key)
            changed = bool(keys or serials)
        for which in serials:
            self._advance(which, now)
        one = new or old
        if self._held and one is not None:
            changed |= self._release_for(one, now)
        return changed

    def _advance(self, which: Serial, now: float) -> None:
        serial = int(now) & 0xFFFFFFFF
        before = self._serials[which]
        if serial < before:
            # The clock was put back. A serial must not be (RFC 1982), and it must show the change.
            serial = before + 1 & 0xFFFFFFFF
        if serial != before:
            self._serials[which] = serial
            self.stamps.bump(which)

    def _move_slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        _move(self._endpoint_addresses, old, new, _endpoint_addresses)
        one = new or old
        assert one is not None
        for tables, owner in ((self._of_service, _service_of), (self._of_import, _import_of)):
            table = tables.get(one.namespace)
            if table is None:
                if not (new and owner(new)):
                    continue
                table = tables[one.namespace] = Shared()
            _move(table, old, new, owner)
            if not table:
                del tables[one.namespace]

    # Slices that are held.

    def _delete_slice(self, change: Delete, now: float) -> bool:
        place = (change.namespace, change.name)
        old = self._slices.get(*place)
        if old is None or place in self._held:
            return False
        if self.grace > 0 and self._leaves_a_gap(old):
            self._held[place] = now + self.grace
            self.changes += 1
            return False
        return self._release(*place, now)

    def _hold_no_more(self, place: tuple[bytes, bytes]) -> None:
        if self._held.pop(place, None) is not None:
            self.changes += 1

    def _release(self, namespace: bytes, name: bytes, now: float) -> bool:
        self._held.pop((namespace, name), None)
        old = self._slices.pop(namespace, name)
        return old is not None and self._turn(Kind.ENDPOINT_SLICE, old, None, now)

    def _leaves_a_gap(self, part: EndpointSlice) -> bool:
        """Whether an existing service would have no ready endpoint without this slice."""
        if not part.addresses:
            return False
        place = (part.namespace, part.service or b"")
        if self.service(*place) is not None and not self._others(part, self.slices_of(*place)):
            return True
        place = (part.namespace, part.imported or b"")
        return self.service_import(*place) is not None and not self._others(part, self.imported_slices_of(*place))

    def _others(self, part: EndpointSlice, slices: Iterable[EndpointSlice]) -> bool:
        """Whether another of the slices has ready endpoints and is not held."""
        return any(
            other.addresses and other.name != part.name and (other.namespace, other.name) not in self._held
            for other in slices
        )

    def _release_for(self, one: ClusterObject, now: float) -> bool:
        """After *one* came, changed or went: delete the held slices that no longer need holding."""
        slices: tuple[EndpointSlice, ...] = ()
        if isinstance(one, EndpointSlice):
            slices = self.slices_of(one.namespace, one.service or b"")
            slices += self.imported_slices_of(one.namespace, one.imported or b"")
        elif isinstance(one, Service):
            slices = self.slices_of(one.namespace, one.name)
        elif isinstance(one, ServiceImport):
            slices = self.imported_slices_of(one.namespace, one.name)
        changed = False
        for part in slices:
            place = (part.namespace, part.name)
            if place in self._held and not self._leaves_a_gap(part):
                changed |= self._release(*place, now)
        return changed


def _addresses(item: Service | Pod) -> tuple[Address, ...]:
    return item.addresses


def _external_addresses(service: Service) -> tuple[Address, ...]:
    return service.external_addresses


def _endpoint_addresses(part: EndpointSlice) -> tuple[Address, ...]:
    # Those that are only imported have no reverse names.
    return () if part.service is None else part.addresses


def _service_of(part: EndpointSlice) -> tuple[bytes, ...]:
    return () if part.service is None else (part.service,)


def _import_of(part: EndpointSlice) -> tuple[bytes, ...]:
    return () if part.imported is None else (part.imported,)


def _move(table: Shared[T], old: T | None, new: T | None, keys_of: Callable[[T], tuple[bytes, ...]]) -> None:
    """Update a table by shared keys from *old* to *new*."""
    after = () if new is None else keys_of(new)
    if old is None and new is not None and len(after) == 1:
        table.add(after[0], new)
        return
    before: set[bytes] = set()
    if old is not None:
        before.update(keys_of(old))
        for key in before.difference(after):
            table.remove(key, old)
    if new is not None:
        for key in after:
            if key in before:
                table.replace(key, new)
            else:
                # Only once, should an object have it twice.
                before.add(key)
                table.add(key, new)
