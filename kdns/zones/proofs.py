# -*- test-case-name: tests.zones.test_proofs -*-
"""
Proofs: the NSEC or NSEC3 records that go with an answer from a signed zone when the client wants DNSSEC records.

Which proof an answer needs is decided by ``lookup``; this module finds the records. A zone that is not signed has none, and one whose
records are incomplete gives what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1

from kdns.wire.constants import IN, NS, NSEC
from kdns.wire.records import Record
from kdns.zones.keys import ancestors, name_of, parent_key, wildcard_key
from kdns.zones.nodes import Datum, has_type, rrset, signatures, unpack
from kdns.zones.zone import Zone, hashed_owner

STEPS_BACK = 64
"""Names without NSEC to pass over at most; in a zone that is signed as a whole they are below a cut, which is jumped to."""


class Proofs:
    """Collect the proofs for one answer, each record once."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._seen: set[bytes] = set()
        self.records: list[Record] = []

    def nodata(self, key: bytes) -> None:
        """The name exists, and has no record of the type asked for (RFC 4035 section 3.1.3.1, RFC 5155 section 7.2.3)."""
        if self._zone.nsec3 is None:
            self._nsec_for(key)
        elif not self._match(key):
            # An empty non-terminal or a delegation without DS that opt-out left unhashed (RFC 5155 section 7.2.4).
            encloser, closer = self._provable_encloser(key)
            self._match(encloser)
            self._cover(closer)

    def nxdomain(self, key: bytes, encloser: bytes) -> None:
        """Neither the name nor a wildcard for it exists (RFC 4035 section 3.1.3.2, RFC 5155 section 7.2.2)."""
        self._no_closer_match(key, encloser)
        if self._zone.nsec3 is None:
            self._nsec_for(wildcard_key(encloser))
        else:
            self._match(encloser)
            self._cover(wildcard_key(encloser))

    def wildcard(self, key: bytes, encloser: bytes) -> None:
        """The answer comes from the wildcard below *encloser* (RFC 4035 section 3.1.3.3, RFC 5155 section 7.2.6)."""
        self._no_closer_match(key, encloser)

    def wildcard_nodata(self, key: bytes, encloser: bytes) -> None:
        """The wildcard has no record of the type (RFC 4035 section 3.1.3.4, RFC 5155 section 7.2.5)."""
        self.nodata(wildcard_key(encloser))
        self._no_closer_match(key, encloser)
        if self._zone.nsec3 is not None:
            self._match(encloser)

    def unsigned_delegation(self, cut: bytes) -> None:
        """The delegation has no DS (RFC 4035 section 3.1.4, RFC 5155 section 7.2.7)."""
        self.nodata(cut)

    def _no_closer_match(self, key: bytes, encloser: bytes) -> None:
        if self._zone.nsec3 is None:
            self._nsec_for(key)
        else:
            self._cover(_next_closer(key, encloser))

    # NSEC

    def _nsec_for(self, key: bytes) -> None:
        """The NSEC record of the name itself, or of the last name before it that has one."""
        zone = self._zone
        if not zone.has_nsec:
            return
        found = zone.index.floor(key)
        for _ in range(STEPS_BACK):
            if found is None:
                return
            at, node = found
            if has_type(node, NSEC):
                self._take(at, name_of(at, zone.origin), rrset(node, NSEC) + signatures(node, NSEC))
                return
            cut = _cut_above(zone, at)
            found = zone.index.floor(cut) if cut is not None else zone.index.lower(at)

    # NSEC3

    def _match(self, key: bytes) -> bool:
        """The NSEC3 record of the name, if there is one."""
        zone = self._zone
        assert zone.nsec3 is not None
        hashed = nsec3_hash(name_of(key, zone.origin), zone.nsec3.salt, zone.nsec3.iterations)
        node = zone.nsec3.index.get(hashed)
        if node is None:
            return False
        self._take(hashed, hashed_owner(hashed, zone.origin), unpack(node))
        return True

    def _cover(self, key: bytes) -> None:
        """The NSEC3 record whose span the name's hash is in; the last record spans to the first."""
        zone = self._zone
        assert zone.nsec3 is not None
        hashed = nsec3_hash(name_of(key, zone.origin), zone.nsec3.salt, zone.nsec3.iterations)
        found = zone.nsec3.index.floor(hashed) or zone.nsec3.index.last()
        if found is not None:
            self._take(found[0], hashed_owner(found[0], zone.origin), unpack(found[1]))

    def _provable_encloser(self, key: bytes) -> tuple[bytes, bytes]:
        """The deepest name above that has an NSEC3 record, and the name one label longer."""
        zone = self._zone
        assert zone.nsec3 is not None
        closer = key
        while key:
            closer, key = key, parent_key(key)
            hashed = nsec3_hash(name_of(key, zone.origin), zone.nsec3.salt, zone.nsec3.iterations)
            if zone.nsec3.index.get(hashed) is not None:
                break
        return key, closer

    def _take(self, key: bytes, owner: bytes, data: Sequence[Datum]) -> None:
        if key in self._seen:
            return
        self._seen.add(key)
        self.records += [Record(owner, rtype, IN, ttl, rdata) for rtype, ttl, rdata in data]


def nsec3_hash(name: bytes, salt: bytes, iterations: int) -> bytes:
    """The hash of a lower-case name in wire form (RFC 5155 section 5)."""
    digest = sha1(name + salt, usedforsecurity=False).digest()
    for _ in range(iterations):
        digest = sha1(digest + salt, usedforsecurity=False).digest()
    return digest


def _next_closer(key: bytes, encloser: bytes) -> bytes:
    """The name one label longer than *encloser*, on the way to the name *key*."""
    return key[: key.find(b"\x00", len(encloser)) + 1]


def _cut_above(zone: Zone, key: bytes) -> bytes | None:
    """The delegation that a name is below."""
    if zone.has_cuts:
        for above in ancestors(key):
            if above == key:
                break
            node = zone.index.get(above)
            if node is not None and has_type(node, NS):
                return above
    return None
