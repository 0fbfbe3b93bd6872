# -*- test-case-name: tests.zones.test_zone -*-
"""
A zone: one version of its data, and the builder that records are added to until it is whole.

A finished zone is not changed any more; a new version is another object. Where the records come from, a file or a transfer, is left to
those who call the builder. Which records belong to a zone is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kdns.wire.constants import DNAME, IN, NS, NSEC, NSEC3, NSEC3PARAM, RRSIG, SOA
from kdns.wire.names import is_subdomain
from kdns.wire.query import RECORD_HEAD
from kdns.wire.records import MAX_TTL, Record, WireRecord, wire_record
from kdns.zones.index import Index
from kdns.zones.keys import APEX, key_of, name_of
from kdns.zones.nodes import Datum, has_type, pack, rrset, unpack, wire_records

LARGE_NODE = 2048
"""Bytes of a node from which on its records are kept apart while a zone is built, so that adding one more does not copy all of them."""

SHA1_SIZE = 20
"""Bytes of a SHA-1 hash, the only one of NSEC3 (RFC 5155 section 11)."""

MAX_ITERATIONS = 150
"""Iterations of an NSEC3 hash at most: validators take zones with more for unsigned ones or refuse them (RFC 9276 section 3.2)."""


class BadZone(ValueError):
    """Some records are not a zone."""


@dataclass(frozen=True, slots=True)
class Nsec3:
    """How a zone hashes names (RFC 5155 section 4), and where its NSEC3 records are."""

    iterations: int
    salt: bytes
    index: Index
    """Nodes of NSEC3 records and their signatures; the key is the hash."""


@dataclass(slots=True)
class Zone:
    """One version of a zone."""

    origin: bytes
    """In wire form, lower case."""

    index: Index
    """Everything but NSEC3 records and their signatures."""

    soa: Record
    records: int
    """How many records it has."""

    spelled: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    """Owners that are shown with capital letters, by key and type."""

    has_cuts: bool = False
    """Whether there is a delegation or a DNAME: else the way down to a name need not be looked at."""

    has_nsec: bool = False
    nsec3: Nsec3 | None = None
    signed: bool = False
    """Whether there are signatures; else the DO bit makes no difference to an answer."""

    common: dict[tuple[int, bool], tuple[Record, ...]] = field(default_factory=dict)
    """Records that most answers have, made once: the apex's NS, and the SOA of negative answers, with signatures or without."""

    @property
    def serial(self) -> int:
        """The serial of its SOA."""
        return serial_of(self.soa.rdata)

    @property
    def negative_ttl(self) -> int:
        """Seconds that a negative answer may be kept (RFC 2308 section 5)."""
        return min(self.soa.ttl, timers_of(self.soa.rdata).minimum)

    def rrset(self, key: bytes, rtype: int) -> list[Datum]:
        """The records of a name and type."""
        node = self.index.get(key)
        return rrset(node, rtype) if node is not None else []

    def owner(self, key: bytes, rtype: int) -> bytes:
        """The owner to show for a name and type."""
        if self.spelled and (spelling := self.spelled.get((key, rtype))) is not None:
            return spelling
        return name_of(key, self.origin)

    def all_records(self) -> Iterator[Record]:
        """
        Every record: SOA, its signatures, the apex's NS and theirs, then the rest of the apex, then all names in canonical order.

        NSEC3 records come last.
        """
        yield from self._apex_records()
        for key, node in self.index.items():
            if key:
                name = name_of(key, self.origin)
                for rtype, ttl, rdata in unpack(node):
                    owner = self.spelled.get((key, rtype), name) if self.spelled else name
                    yield Record(owner, rtype, IN, ttl, rdata)
        if self.nsec3 is not None:
            for hashed, node in self.nsec3.index.items():
                name = hashed_owner(hashed, self.origin)
                for rtype, ttl, rdata in unpack(node):
                    yield Record(name, rtype, IN, ttl, rdata)

    def _apex_records(self) -> Iterator[Record]:
        apex = unpack(self.index.get(APEX) or b"")
        first = ((SOA, None), (RRSIG, SOA), (NS, None), (RRSIG, NS))

        def rank(datum: Datum) -> int:
            covered = int.from_bytes(datum.rdata[:2], "big") if datum.rtype == RRSIG else None
            return first.index((datum.rtype, covered)) if (datum.rtype, covered) in first else len(first)

        for rtype, ttl, rdata in sorted(apex, key=rank):
            yield Record(self.owner(APEX, rtype), rtype, IN, ttl, rdata)

    def wire_records(self) -> Iterator[WireRecord]:
        """As :meth:`all_records`, in the form that a message has them in: a third of the work."""
        spelled = self.spelled
        for record in self._apex_records():
            yield wire_record(record)
        for key, node in self.index.items():
            if key:
                name = name_of(key, self.origin)
                for wire in wire_records(node):
                    owner = name
                    if spelled:
                        owner = spelled.get((key, wire[0] << 8 | wire[1]), name)
                    yield owner, wire
        if self.nsec3 is not None:
            for hashed, node in self.nsec3.index.items():
                name = hashed_owner(hashed, self.origin)
                for wire in wire_records(node):
                    yield name, wire


@dataclass(frozen=True, slots=True)
class Timers:
    """The numbers of an SOA record (RFC 1035 section 3.3.13), in seconds but for the serial."""

    serial: int
    refresh: int
    retry: int
    expire: int
    minimum: int


def timers_of(rdata: bytes) -> Timers:
    """The numbers in the rdata of an SOA record."""
    end = len(rdata)
    return Timers(*(int.from_bytes(rdata[at : at + 4], "big") for at in range(end - 20, end, 4)))


def serial_of(rdata: bytes) -> int:
    """The serial in the rdata of an SOA record."""
    return int.from_bytes(rdata[-20:-16], "big")


def is_newer(serial: int, than: int) -> bool:
    """Whether a serial is higher in the arithmetic of RFC 1982 section 3.2."""
    return serial != than and (serial - than) & 0xFFFFFFFF < 0x80000000


def grouped(data: Iterable[Datum]) -> list[Datum]:
    """Records with those of one type next to each other; types, and records of a type, stay in the order in which they came."""
    groups: dict[int, list[Datum]] = {}
    for datum in data:
        groups.setdefault(datum.rtype, []).append(datum)
    return [datum for group in groups.values() for datum in group]


_BASE32 = b"0123456789abcdefghijklmnopqrstuv"
_BASE32_VALUES = {digit: value for value, digit in enumerate(_BASE32)}


def hashed_owner(hashed: bytes, origin: bytes) -> bytes:
    """The owner of the NSEC3 record of a hash of 20 bytes (RFC 5155 section 3: base 32 with extended hex alphabet, RFC 4648 section 7)."""
    number = int.from_bytes(hashed, "big")
    digits = bytes([_BASE32[number >> shift & 31] for shift in range(155, -1, -5)])
    return b"\x20" + digits + origin


def hash_of_owner(owner: bytes, origin: bytes) -> bytes | None:
    """The hash that the lower-case owner of an NSEC3 record stands for; None when it is none directly below *origin*."""
    if len(owner) != 33 + len(origin) or owner[0] != 32:
        return None
    number = 0
    for digit in owner[1:33]:
        value = _BASE32_VALUES.get(digit)
        if value is None:
            return None
        number = number << 5 | value
    return number.to_bytes(20, "big")


_NOWHERE = Index()
"""Stands for the index of a builder that has no node at hand; it stays empty."""


class ZoneBuilder:
    """Take records of a zone in any order, and make it."""

    def __init__(self, origin: bytes) -> None:
        """:param origin: the zone's name in lower-case wire form."""
        self.origin = origin
        self.foreign = 0
        """Records outside the zone, which were left out."""

        self.foreign_soa: bytes | None = None
        """The owner of an SOA record that is not at the zone's name."""

        self.extra_soas = 0
        """SOA records that another one took the place of."""

        self._index = Index()
        self._hashes = Index()
        self._large: dict[tuple[int, bytes], dict[Datum, None]] = {}
        """Nodes with many records, by which index they are of and their key."""

        self._spelled: dict[tuple[bytes, int], bytes] = {}
        self._has_cuts = self._has_nsec = self._signed = False
        self._count = 0
        self._soa: Record | None = None
        self._parameters: bytes | None = None
        self._seen_parameters = b"\x01\x00\x00\x00\x00"
        self._into, self._key, self._node = _NOWHERE, b"", b""
        """The node that records are being added to, not yet in its index."""

        self._last = 0
        """The type of the last record of that node, or 0."""

        self._group: dict[Datum, None] | None = None
        """The records of that node when there are many."""

    def add(self, owner: bytes, rtype: int, ttl: int, rdata: bytes, spelled: bytes | None = None) -> bool:
        """
        Add a record; an equal one that is there already stays one.

        :param owner: in lower-case wire form.
        :param ttl: whole seconds; with the top bit set it counts as 0 (RFC 2181 section 8).
        :param spelled: the owner to show where that has capital letters.
        :return: False when it does not belong to the zone and was left out.
        :raises BadZone: NSEC3 parameters that kdns does not answer with.
        """
        if not is_subdomain(owner, self.origin):
            self.foreign += 1
            if rtype == SOA:
                self.foreign_soa = owner
            return False
        if ttl > MAX_TTL:
            ttl = 0
        key = key_of(owner, self.origin)
        datum = Datum(rtype, ttl, rdata)
        if rtype == RRSIG:
            self._signed = True
        if rtype == SOA:
            if key:
                self.foreign += 1
                self.foreign_soa = owner
                return False
            if self._soa is not None:
                # CoreDNS takes the last SOA of a file; so a file that is served today is served here, too.
                self.extra_soas += 1
                self.remove(owner, Datum(SOA, self._soa.ttl, self._soa.rdata))
            self._soa = Record(self.origin, SOA, IN, ttl, rdata)
        elif rtype == NSEC3:
            return self._add_nsec3(owner, datum)
        elif rtype == RRSIG and rdata[:2] == b"\x00\x32":
            return self._store(self._hashes, hash_of_owner(owner, self.origin) or key, datum)
        elif rtype == DNAME or (rtype == NS and key):
            self._has_cuts = True
        elif rtype == NSEC:
            self._has_nsec = True
        elif rtype == NSEC3PARAM and not key:
            self._parameters = rdata
        if spelled is not None and spelled != owner:
            self._spelled[key, rtype] = spelled
        return self._store(self._index, key, datum)

    def _add_nsec3(self, owner: bytes, datum: Datum) -> bool:
        hashed = hash_of_owner(owner, self.origin)
        if hashed is None:
            raise BadZone("owner of an NSEC3 record is no hash")
        if datum.rdata[0] != 1:
            raise BadZone(f"NSEC3 hash algorithm {datum.rdata[0]} is not SHA-1")
        if int.from_bytes(datum.rdata[2:4], "big") > MAX_ITERATIONS:
            raise BadZone(f"NSEC3 with more than {MAX_ITERATIONS} iterations")
        if datum.rdata[5 + datum.rdata[4]] != SHA1_SIZE:
            raise BadZone(f"next hash of an NSEC3 record is not {SHA1_SIZE} bytes long")
        self._seen_parameters = datum.rdata
        return self._store(self._hashes, hashed, datum)

    def _store(self, index: Index, key: bytes, datum: Datum) -> bool:
        # Records of a name mostly follow one another, so the node at hand is put into the index when another name comes.
        if key != self._key or index is not self._into:
            self._flush()
            self._into, self._key = index, key
            self._node = index.get(key) or b""
            self._group = self._large.get((id(index), key)) if self._large else None
        if self._group is not None:
            if datum not in self._group:
                self._group[datum] = None
                self._count += 1
            return True
        rtype, ttl, rdata = datum
        wire = RECORD_HEAD.pack(rtype, IN, ttl, len(rdata)) + rdata
        node = self._node
        if not node:
            self._node = wire
        elif len(node) > LARGE_NODE:
            self._group = self._large[id(index), key] = dict.fromkeys(unpack(node))
            return self._store(index, key, datum)
        elif wire in node and datum in unpack(node):
            return True
        elif self._last == rtype or not has_type(node, rtype):
            self._node = node + wire
        else:
            self._node = pack(grouped([*unpack(node), datum]))
        self._last = rtype
        self._count += 1
        return True

    def _flush(self) -> None:
        if self._node:
            self._into.put(self._key, self._node)
        self._last = 0

    def start_from(self, zone: Zone) -> Iterator[None]:
        """Begin with a copy of a version; each step is short."""
        yield from self._index.copy_from(zone.index)
        if zone.nsec3 is not None:
            yield from self._hashes.copy_from(zone.nsec3.index)
        self._spelled = dict(zone.spelled)
        self._has_cuts, self._has_nsec, self._signed = zone.has_cuts, zone.has_nsec, zone.signed
        self._count = zone.records
        self._soa = zone.soa
        parameters = zone.rrset(APEX, NSEC3PARAM)
        self._parameters = parameters[0].rdata if parameters else None

    def remove(self, owner: bytes, datum: Datum) -> bool:
        """
        Take a record away, whatever its TTL.

        :return: False when it is not there.
        """
        if not is_subdomain(owner, self.origin):
            return True
        self._flush()
        self._into, self._node, self._group = _NOWHERE, b"", None
        index, key = self._place(owner, datum)
        large = self._large.pop((id(index), key), None)
        data = grouped(large) if large is not None else unpack(index.get(key) or b"")
        left = [there for there in data if (there.rtype, there.rdata) != (datum.rtype, datum.rdata)]
        if len(left) == len(data):
            return False
        self._count -= len(data) - len(left)
        if left:
            index.put(key, pack(left))
        else:
            index.remove(key)
        if datum.rtype == NSEC3PARAM and not key:
            self._parameters = None
        return True

    def replace_soa(self, soa: Record) -> None:
        """Set the SOA of the next version."""
        old = self._soa
        assert old is not None
        self.remove(self.origin, Datum(SOA, old.ttl, old.rdata))
        self._soa = None
        self.add(self.origin, SOA, soa.ttl, soa.rdata)

    def _place(self, owner: bytes, datum: Datum) -> tuple[Index, bytes]:
        """The index and key that a record is under."""
        key = key_of(owner, self.origin)
        if datum.rtype == NSEC3 or (datum.rtype == RRSIG and datum.rdata[:2] == b"\x00\x32"):
            return self._hashes, hash_of_owner(owner, self.origin) or key
        return self._index, key

    def finish(self) -> Iterator[None]:
        """
        Put large nodes in order; to be advanced to its end before :attr:`zone` is read.

        :raises BadZone: no SOA, or the NSEC3 records have no parameters.
        """
        if self._soa is None:
            raise BadZone("no SOA record")
        self._flush()
        for index in (self._index, self._hashes):
            for which in [which for which in self._large if which[0] == id(index)]:
                index.put(which[1], pack(grouped(self._large.pop(which))))
                yield
        nsec3 = None
        if len(self._hashes):
            # A zone without NSEC3PARAM says the same in each NSEC3 record: algorithm, flags, iterations, salt.
            parameters = self._parameters or self._seen_parameters
            if parameters[0] != 1:
                raise BadZone(f"NSEC3PARAM hash algorithm {parameters[0]} is not SHA-1")
            iterations = int.from_bytes(parameters[2:4], "big")
            if iterations > MAX_ITERATIONS:
                raise BadZone(f"NSEC3PARAM with more than {MAX_ITERATIONS} iterations")
            nsec3 = Nsec3(iterations, parameters[5 : 5 + parameters[4]], self._hashes)
        self._zone = Zone(
            self.origin,
            self._index,
            self._soa,
            self._count,
            self._spelled,
            self._has_cuts,
            self._has_nsec,
            nsec3,
            self._signed,
        )

    @property
    def zone(self) -> Zone:
        """The finished zone."""
        return self._zone

    @property
    def has_soa(self) -> bool:
        """Whether the zone's SOA was added."""
        return self._soa is not None


__all__ = [
    "BadZone",
    "Nsec3",
    "Timers",
    "Zone",
    "ZoneBuilder",
    "hash_of_owner",
    "hashed_owner",
    "is_newer",
    "serial_of",
    "timers_of",
]
