# -*- test-case-name: tests.plugins.dnssec.test_denial -*-
"""
NSEC records that deny one name and type alone ("black lies"): a core module of *dnssec*.

A signer that works while answers are given does not know the neighbours of a name, and must not tell them. So every denial says: the name
exists, without the type that was asked for. Nothing is between it and the next possible name. NXDOMAIN becomes NOERROR.

A resolver may keep such an NSEC and deny other types of the name with it (RFC 8198). The list must therefore hold every type that the name
might have. It must not hold NS (the record would be that of a delegation, RFC 6840 section 4.4) or CNAME (section 4.3) where there is none.
"""

from __future__ import annotations

from functools import lru_cache

from kdns.wire.constants import (
    AAAA,
    CAA,
    DNSKEY,
    HINFO,
    HTTPS,
    IN,
    MX,
    NAPTR,
    NS,
    NSEC,
    PTR,
    RRSIG,
    SOA,
    SRV,
    SVCB,
    TXT,
    A,
)
from kdns.wire.names import MAX_LABEL, MAX_NAME
from kdns.wire.records import Record
from kdns.zones.signing import nsec_rdata

LOC, CERT, SSHFP, TLSA, HIP, OPENPGPKEY, SPF = 29, 37, 44, 52, 55, 61, 99
RP, AFSDB, KX, APL, DHCID, SMIMEA, EUI48, EUI64, URI = 17, 18, 36, 42, 49, 53, 108, 109, 256
CDS, CDNSKEY, CSYNC, ZONEMD = 59, 60, 62, 63

COREDNS_TYPES = frozenset((A, HINFO, TXT, AAAA, LOC, SRV, CERT, SSHFP, RRSIG, NSEC, TLSA, HIP, OPENPGPKEY, SPF))
"""The types that CoreDNS lists."""

TYPES = COREDNS_TYPES | {
    MX, PTR, NAPTR, SVCB, HTTPS, CAA, RP, AFSDB, KX, APL, DHCID, SMIMEA, EUI48, EUI64, URI
}  # fmt: skip
"""The types that a name may have: those of CoreDNS, and the others that hosts and services have."""

APEX_TYPES = TYPES | {NS, SOA, DNSKEY, CDS, CDNSKEY, CSYNC, ZONEMD}


def deny(owner: bytes, qtype: int, ttl: int, *, apex: bool = False, cut: bool = False) -> Record | None:
    """
    The NSEC that denies a type at a name.

    :param owner: wire form, as the client spelled it.
    :param apex: whether it is the name of a signed zone.
    :param cut: whether it is a delegation; only DS is denied there.
    :return: None where no longer name is possible that could be the next one.
    """
    if len(owner) + 2 > MAX_NAME:
        return None
    denied = qtype if qtype in APEX_TYPES and qtype != NSEC else 0
    return Record(owner, NSEC, IN, ttl, b"\x01\x00" + owner + _bitmaps(denied, apex, cut))


@lru_cache(maxsize=256)  # as many as there are types to deny
def _bitmaps(denied: int, apex: bool, cut: bool) -> bytes:
    """The types of a name without the one that is denied, as an NSEC record has them; 0 denies none of the list."""
    types = (APEX_TYPES if apex else TYPES) | ({NS} if cut else frozenset())
    return nsec_rdata(b"", types - {denied})


def deny_ds(owner: bytes, ttl: int) -> Record | None:
    """
    The NSEC that says of a delegation in a referral that it is not signed.

    The next name is behind all names below the delegation, which belong to its own zone.
    """
    if len(owner) + 1 > MAX_NAME or not 0 < owner[0] < MAX_LABEL:
        return None
    length = owner[0]
    following = bytes((length + 1,)) + owner[1 : 1 + length] + b"\x00" + owner[1 + length :]
    return Record(owner, NSEC, IN, ttl, nsec_rdata(following, COREDNS_TYPES | {NS}))
