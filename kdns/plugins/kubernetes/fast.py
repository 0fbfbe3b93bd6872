# -*- test-case-name: tests.plugins.kubernetes.test_fast -*-
"""
Answers straight from the index to bytes: the *kubernetes* part of the fast path (:mod:`kdns.core.fast_path`).

Most queries are for A and AAAA of services and of names that do not exist, and for SRV of a named port: these are answered without a
:class:`~kdns.plugins.kubernetes.lookup.Lookup`. Endpoints by name, pods and addresses cost one. External names, the zone's own names and
services with many endpoints are left to the link.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import inf
from random import Random
from struct import Struct

from kdns.cluster.index import ClusterIndex
from kdns.cluster.invalidation import Serial, namespace_key, service_key
from kdns.cluster.objects import EndpointSlice, Port, Service, ServiceKind
from kdns.core.fast_path import Limit, Made, made
from kdns.core.stamps import Stamp, StampRef
from kdns.plugins.kubernetes.config import Config
from kdns.plugins.kubernetes.lookup import Lookup
from kdns.plugins.kubernetes.names import Shape, parse_name
from kdns.plugins.kubernetes.result import ReplyBudget, Result, endpoint_label
from kdns.plugins.kubernetes.zone import Zone
from kdns.wire.constants import AAAA, IN, NOERROR, NXDOMAIN, PTR, SOA, SRV, A
from kdns.wire.names import MAX_LABEL, MAX_NAME, address_of_reverse
from kdns.wire.query import RECORD_HEAD

MOST_ENDPOINTS = 32
"""Addresses of one answer; larger ones are rare, may not fit the client, and go the general way."""

MOST_NAMESPACES = 10_000
"""Namespaces that are kept at hand with their stamps; then they start over."""

NEITHER = frozenset((b"svc", b"pod", b"dns", b"dns-version"))
"""Last labels in front of the zone below which names may exist."""

_SRV = Struct("!HHH")

_EVERYTHING = ReplyBudget(1 << 16)
_NO_CHANCE = Random(0)
"""Never asked: so few endpoints are not drawn from."""

ONE, NONE_BUT_SOA = (1, 0, 0), (0, 1, 0)


class ServiceNames:
    """
    A :class:`~kdns.core.fast_path.Source` for one zone of a cluster.

    :param known: whether the index is complete and up to date; the link says more where it is not.
    :param denies: whether a name that does not exist is NXDOMAIN, whatever stands behind the link.
    """

    def __init__(
        self,
        index: ClusterIndex,
        config: Config,
        zone: bytes,
        known: Callable[[], bool],
        denies: bool,
        lookup: Lookup,
        success_ttl: Limit,
        denial_ttl: Limit,
    ) -> None:
        self._index = index
        self._lookup = lookup
        self._config = config
        self._zone = zone
        self._known = known
        self._denies = denies
        ttl = success_ttl(config.ttl)
        self._a_head = RECORD_HEAD.pack(A, IN, ttl, 4)
        self._aaaa_head = RECORD_HEAD.pack(AAAA, IN, ttl, 16)
        self._ttl = ttl
        self._denial_ttl = denial_ttl
        self._negative = float(max(1, config.ttl))
        self._serial = -1
        self._soa = b""
        self._below: dict[bytes, tuple[bytes, Stamp]] = {}
        """Namespaces by the end of the names below them, each with its stamp."""

        self.success_ttl = config.ttl
        self.denial_ttl = Zone(zone, config.ttl, 0).soa_record().ttl

    def answer(self, qname: bytes, qtype: int, now: float) -> Made | None:
        """See :meth:`kdns.core.fast_path.Source.answer`."""
        first = qname[0]
        below = self._below.get(qname[first + 1 :])
        # One label in front of NAMESPACE.svc.ZONE, as nearly all names are.
        if below is None or not 0 < first <= MAX_LABEL or qtype == SOA:
            return self._walked(qname, qtype, now)
        namespace, stamp = below
        index = self._index
        if not self._known():
            return None
        exposed = (stamp, stamp.version)
        if not index.has_namespace(namespace):
            return self._nxdomain((exposed,), now)
        name = qname[1 : first + 1]
        service = index.service(namespace, name)
        key = service_key(namespace, name)
        if service is None:
            return self._nxdomain((exposed,), now, key)
        return self._service(qname, qtype, service, (exposed, index.stamps.note(key)), now)

    def note(self, key: Hashable) -> StampRef:
        """See :meth:`kdns.core.fast_path.Source.note`."""
        return self._index.stamps.note(key)

    def _walked(self, qname: bytes, qtype: int, now: float) -> Made | None:
        """The same for any name, label by label."""
        labels: list[bytes] = []
        position, end = 0, len(qname) - len(self._zone)
        while position < end:
            length = qname[position]
            begin = position + 1
            position = begin + length
            if not length or length > MAX_LABEL or position > end:
                return None
            labels.append(qname[begin:position])
        count = len(labels)
        if not count or qtype == SOA or not self._known():
            return None
        if labels[-1] != b"svc":
            if labels[-1] == b"pod" and count > 2:
                return self._looked_up(qname, qtype, now)
            return None if labels[-1] in NEITHER else self._nxdomain((), now)
        if count < 2:
            return None
        namespace = labels[-2]
        index = self._index
        allowed = self._config.namespaces
        if allowed is not None and namespace not in allowed:
            return self._nxdomain((), now)
        exposed = index.stamps.note(namespace_key(namespace))
        if not index.has_namespace(namespace):
            return self._nxdomain((exposed,), now)
        if count == 2:
            return None
        if count == 3:
            if len(self._below) >= MOST_NAMESPACES:
                self._below.clear()
            self._below[qname[qname[0] + 1 :]] = (namespace, exposed[0])
        name = labels[-3]
        stamps = (exposed, index.stamps.note(service_key(namespace, name)))
        service = index.service(namespace, name)
        if service is None:
            return self._nxdomain(stamps, now)
        if count == 3:
            return self._service(qname, qtype, service, stamps, now)
        if count == 5 and qtype == SRV and labels[0][:1] == b"_" and labels[1][:1] == b"_":
            found = self._port(qname, labels[0][1:], labels[1][1:], service, stamps)
            if found is not None:
                return found
        return self._looked_up(qname, qtype, now)

    def _looked_up(self, qname: bytes, qtype: int, now: float) -> Made | None:
        """The result of the general look-up: labels in front of services, and pods."""
        parsed = parse_name(qname[: -len(self._zone)], False, self._config.source.zones)
        if parsed.shape is not Shape.SERVICE and parsed.shape is not Shape.POD:
            return self._nxdomain((), now) if parsed.shape is Shape.INVALID else None
        found = self._lookup.find(parsed, False)
        stamps = tuple(found.stamps)
        if not found.exists:
            return self._nxdomain(stamps, now)
        if found.alias is not None or found.pairs > MOST_ENDPOINTS:
            return None
        if qtype == SRV:
            return self._services(qname, found, stamps) if found.groups else self._nodata(stamps, now)
        if qtype != A and qtype != AAAA:
            return self._nodata(stamps, now)
        size, head = (4, self._a_head) if qtype == A else (16, self._aaaa_head)
        addresses, _ = found.addresses(size, MOST_ENDPOINTS, _NO_CHANCE)
        if not addresses:
            return self._nodata(stamps, now)
        owner = qname + head
        body = owner + owner.join(addresses)
        many = len(addresses)
        return made(NOERROR, (many, 0, 0), body, stamps, rotates=len(owner) + size if many > 1 else 0)

    def _services(self, qname: bytes, found: Result, stamps: tuple[StampRef, ...]) -> Made | None:
        """SRV records with the addresses of their targets."""
        zone = self._zone
        targets, addresses, _ = found.services(len(zone), _EVERYTHING, _NO_CHANCE)
        if not targets:
            return None
        pack, ttl, weight = RECORD_HEAD.pack, self._ttl, found.weight
        parts: list[bytes] = []
        for target, number in targets:
            parts += (
                qname,
                pack(SRV, IN, ttl, 6 + len(target) + len(zone)),
                _SRV.pack(0, weight, number),
                target,
                zone,
            )
        for target, address in addresses:
            parts += (target, zone, self._a_head if len(address) == 4 else self._aaaa_head, address)
        return made(NOERROR, (len(targets), 0, len(addresses)), b"".join(parts), stamps)

    def _service(
        self, qname: bytes, qtype: int, service: Service, stamps: tuple[StampRef, ...], now: float
    ) -> Made | None:
        if service.kind is ServiceKind.EXTERNAL_NAME:
            return None
        if self._config.ignore_empty or qtype == SRV:
            return self._looked_up(qname, qtype, now)
        if qtype != A and qtype != AAAA:
            if service.kind is ServiceKind.HEADLESS and not self._has_endpoints(service):
                return None
            return self._nodata(stamps, now)
        if service.kind is ServiceKind.CLUSTER_IP:
            addresses = service.addresses
        else:
            found: dict[bytes, None] = {}
            for part in self._slices(service):
                for address in part.addresses:
                    found[address] = None
            if not found or len(found) > MOST_ENDPOINTS:
                return None
            addresses = tuple(found)
        size, head = (4, self._a_head) if qtype == A else (16, self._aaaa_head)
        if len(addresses) == 1:
            if len(addresses[0]) != size:
                return self._nodata(stamps, now)
            return (NOERROR, ONE, qname + head + addresses[0], stamps, inf, 0, None)
        owner = qname + head
        records = [owner + address for address in addresses if len(address) == size]
        if not records:
            return self._nodata(stamps, now)
        many = len(records)
        return made(NOERROR, (many, 0, 0), b"".join(records), stamps, rotates=len(records[0]) if many > 1 else 0)

    def _slices(self, service: Service) -> tuple[EndpointSlice, ...]:
        if not self._config.source.endpoints:
            return ()
        return self._index.slices_of(service.namespace, service.name)

    def _has_endpoints(self, service: Service) -> bool:
        return any(part.addresses for part in self._slices(service))

    def _port(
        self, qname: bytes, port: bytes, protocol: bytes, service: Service, stamps: tuple[StampRef, ...]
    ) -> Made | None:
        """SRV records of a named port with the addresses of their targets."""
        if not port or not protocol or self._config.ignore_empty:
            return None
        place = b"".join(
            (bytes((len(service.name),)), service.name, bytes((len(service.namespace),)), service.namespace)
        )
        place += b"\x03svc" + self._zone
        targets: dict[tuple[bytes, int], None] = {}
        glue: dict[tuple[bytes, bytes], None] = {}
        items = 0
        if service.kind is ServiceKind.CLUSTER_IP:
            numbers = _numbers(service.ports, port, protocol)
            for address in service.addresses:
                for number in numbers:
                    items += 1
                    targets[place, number] = None
                    glue[place, address] = None
        elif service.kind is ServiceKind.HEADLESS:
            for part in self._slices(service):
                numbers = _numbers(part.ports, port, protocol)
                if not numbers:
                    continue
                for row, address in enumerate(part.addresses):
                    label = endpoint_label(part, row)
                    target = bytes((len(label),)) + label + place
                    for number in numbers:
                        items += 1
                        targets[target, number] = None
                    glue[target, address] = None
        if not targets or items > MOST_ENDPOINTS:
            return None
        weight = max(1, 100 // items)
        pack, ttl = RECORD_HEAD.pack, self._ttl
        parts: list[bytes] = []
        for target, number in targets:
            if len(target) > MAX_NAME:
                return None
            parts += (qname, pack(SRV, IN, ttl, 6 + len(target)), _SRV.pack(0, weight, number), target)
        for target, address in glue:
            parts += (target, self._a_head if len(address) == 4 else self._aaaa_head, address)
        return made(NOERROR, (len(targets), 0, len(glue)), b"".join(parts), stamps)

    def _nodata(self, stamps: tuple[StampRef, ...], now: float) -> Made:
        return (NOERROR, NONE_BUT_SOA, self._soa_now(), stamps, now + self._negative, 0, None)

    def _nxdomain(self, stamps: tuple[StampRef, ...], now: float, key: Hashable = None) -> Made | None:
        if not self._denies:
            return None
        return (NXDOMAIN, NONE_BUT_SOA, self._soa_now(), stamps, now + self._negative, 0, key)

    def _soa_now(self) -> bytes:
        """The SOA record with the current serial."""
        serial = self._index.serial(Serial.CLUSTER)
        if serial != self._serial:
            record = Zone(self._zone, self._config.ttl, serial).soa_record()
            ttl = self._denial_ttl(record.ttl)
            head = RECORD_HEAD.pack(SOA, IN, ttl, len(record.rdata))
            self._soa = record.owner + head + record.rdata
            self._serial = serial
        return self._soa


class ReverseNames:
    """
    A :class:`~kdns.core.fast_path.Source` for one reverse zone: PTR of addresses that have a name.

    :param known: whether the index is complete and up to date.
    """

    def __init__(
        self, config: Config, lookup: Lookup, known: Callable[[], bool], success_ttl: Limit, denial_ttl: Limit
    ) -> None:
        self._lookup = lookup
        self._known = known
        self._primary = config.primary
        self._ttl = success_ttl(config.ttl)
        self.success_ttl = self.denial_ttl = config.ttl

    def answer(self, qname: bytes, qtype: int, now: float) -> Made | None:
        """See :meth:`kdns.core.fast_path.Source.answer`."""
        if qtype != PTR or not self._known():
            return None
        address = address_of_reverse(qname)
        if address is None:
            return None
        found, names = self._lookup.reverse(address)
        if not names:
            return None
        primary = self._primary
        parts: list[bytes] = []
        for name in names:
            parts += (qname, RECORD_HEAD.pack(PTR, IN, self._ttl, len(name) + len(primary)), name, primary)
        return made(NOERROR, (len(names), 0, 0), b"".join(parts), tuple(found.stamps))

    def note(self, key: Hashable) -> StampRef:
        raise AssertionError("its answers have no keys")


def _numbers(ports: tuple[Port, ...], name: bytes, protocol: bytes) -> list[int]:
    """Numbers of the ports with this name and protocol."""
    return [port.number for port in ports if port.name == name and port.protocol == protocol and port.number]


__all__ = ["ReverseNames", "ServiceNames"]
