# -*- test-case-name: tests.zones.test_zone_signing -*-
"""
Sign a whole zone (RFC 4035 section 2): the records of the signed version, one after another, in canonical order but for the SOA.

NSEC proves what does not exist; NSEC3 is not made. It takes some 80 microseconds a record, and is done outside the server's process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kdns.wire.constants import DNAME, DNSKEY, DS, IN, NS, NSEC, NSEC3, NSEC3PARAM, RRSIG, SOA
from kdns.wire.records import Record
from kdns.zones.keys import APEX
from kdns.zones.nodes import Datum, unpack
from kdns.zones.signing import SHA1, SHA256, SigningKey, canonical_rrset, ds_rdata, nsec_rdata, rrsig_rdata
from kdns.zones.zone import Zone

CDS, CDNSKEY = 59, 60

REPLACED = frozenset((RRSIG, NSEC, NSEC3, NSEC3PARAM, DNSKEY, CDS, CDNSKEY))
"""Types that are made here; those of the unsigned zone are left out."""

AT_CUTS = frozenset((NS, DS))
"""Types that belong to the zone at the name of a delegation; all others there are glue."""


class Times(NamedTuple):
    """When a zone is signed, and for how long, in Unix seconds."""

    serial: int
    inception: int
    expiration: int


class _Name(NamedTuple):
    owner: bytes
    rrsets: dict[int, list[Record]]
    unsigned: frozenset[int] = frozenset()
    """Types without a signature."""


def sign_zone(zone: Zone, keys: Sequence[SigningKey], times: Times) -> Iterator[Record]:
    """
    The records of the signed zone, the SOA and its signatures first.

    :param keys: each signs everything.
    """
    nsec_ttl = zone.negative_ttl  # RFC 9077 section 3
    pending: _Name | None = None
    for name in _names(zone, keys, times):
        if isinstance(name, Record):
            yield name  # glue
            continue
        if pending is not None:
            yield from _signed(pending, name.owner, nsec_ttl, zone.origin, keys, times)
        pending = name
    assert pending is not None, "a zone has an apex"
    yield from _signed(pending, zone.origin, nsec_ttl, zone.origin, keys, times)


def _names(zone: Zone, keys: Sequence[SigningKey], times: Times) -> Iterator[_Name | Record]:
    """The names of the zone in canonical order, and the glue records between them."""
    hidden: bytes | None = None
    """The key of the last delegation or DNAME: what is below it is not of this zone."""

    for key, node in zone.index.items():
        data = [datum for datum in unpack(node) if datum.rtype not in REPLACED]
        if hidden is not None and key.startswith(hidden):
            yield from _records(zone, key, data)
            continue
        types = {datum.rtype for datum in data}
        cut = bool(key) and NS in types
        if cut or DNAME in types:
            hidden = key
        if cut:
            yield from _records(zone, key, [datum for datum in data if datum.rtype not in AT_CUTS])
            data = [datum for datum in data if datum.rtype in AT_CUTS]
        if key == APEX:
            data = _apex(zone, data, keys, times)
        if data:
            rrsets: dict[int, list[Record]] = {}
            for record in _records(zone, key, data):
                rrsets.setdefault(record.rtype, []).append(record)
            unsigned = frozenset((NS,)) if cut else frozenset()
            yield _Name(zone.owner(key, 0), {rtype: _one_ttl(rrset) for rtype, rrset in rrsets.items()}, unsigned)


def _records(zone: Zone, key: bytes, data: Iterable[Datum]) -> Iterator[Record]:
    for rtype, ttl, rdata in data:
        yield Record(zone.owner(key, rtype), rtype, IN, ttl, rdata)


def _one_ttl(rrset: list[Record]) -> list[Record]:
    """The records of an RRset with the lowest TTL of them (RFC 2181 section 5.2): a signature covers one."""
    ttl = min(record.ttl for record in rrset)
    return [record._replace(ttl=ttl) for record in rrset]


def _apex(zone: Zone, data: list[Datum], keys: Sequence[SigningKey], times: Times) -> list[Datum]:
    """The records of the apex, with the new serial, the keys, and what tells the parent about them (RFC 7344)."""
    soa = zone.soa
    rdata = soa.rdata[:-20] + (times.serial & 0xFFFFFFFF).to_bytes(4, "big") + soa.rdata[-16:]
    found = [Datum(SOA, soa.ttl, rdata), *(datum for datum in data if datum.rtype != SOA)]
    for key in keys:
        found += [Datum(DNSKEY, soa.ttl, key.rdata), Datum(CDNSKEY, soa.ttl, key.rdata)]
        found += [Datum(CDS, soa.ttl, ds_rdata(zone.origin, key.rdata, digest)) for digest in (SHA1, SHA256)]
    return found


def _signed(
    name: _Name, following: bytes, nsec_ttl: int, origin: bytes, keys: Sequence[SigningKey], times: Times
) -> Iterator[Record]:
    """The records of a name with their signatures, and its NSEC."""
    nsec = Record(name.owner, NSEC, IN, nsec_ttl, nsec_rdata(following, (*name.rrsets, RRSIG, NSEC)))
    for rtype, records in (*name.rrsets.items(), (NSEC, [nsec])):
        yield from records
        if rtype in name.unsigned:
            continue
        first, rrset = records[0], canonical_rrset(records)
        for key in keys:
            rdata = rrsig_rdata(key, origin, rrset, first.ttl, times.inception, times.expiration)
            yield Record(first.owner, RRSIG, IN, first.ttl, rdata)
