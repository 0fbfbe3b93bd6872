# -*- test-case-name: tests.zones.test_signing -*-
"""
DNSSEC signatures (RFC 4034): the canonical form of an RRset, RRSIG, NSEC and DS records.

Values in, values out: keys are read and stored elsewhere, and so is the decision what is signed. Signing takes from some 40 microseconds
(ECDSA) to milliseconds (RSA), so it is never done in the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import new as new_hash
from struct import Struct
from typing import Any, NamedTuple

from kdns.wire.constants import NAPTR
from kdns.wire.names import label_count
from kdns.wire.query import RECORD_HEAD
from kdns.wire.records import LAYOUTS, Record

SEP = 0x0001
"""Secure Entry Point: the flag of a DNSKEY that the parent's DS names (RFC 4034 section 2.1.1)."""

SHA1, SHA256 = 1, 2
"""Digest types of DS records."""

DIGESTS = {SHA1: "sha1", SHA256: "sha256"}

_RRSIG = Struct("!HBBIIIH")
_DS = Struct("!HBB")


@dataclass(frozen=True)
class SigningKey:
    """A DNSKEY record with its private key."""

    owner: bytes
    """Lower-case wire form."""

    ttl: int
    rdata: bytes
    private: Any = field(compare=False, repr=False)
    """A :class:`dns.dnssecalgs.base.GenericPrivateKey`."""

    @property
    def sep(self) -> bool:
        """Whether it is a key-signing key, or one that signs everything."""
        return bool(self.rdata[1] & SEP)

    @property
    def algorithm(self) -> int:
        return self.rdata[3]

    @property
    def tag(self) -> int:
        return key_tag(self.rdata)


class Rrset(NamedTuple):
    """An RRset in canonical form (RFC 4034 section 6): what a signature covers, but for its TTL."""

    owner: bytes
    """Lower-case wire form."""

    rtype: int
    rclass: int
    rdatas: tuple[bytes, ...]
    """Sorted, without repetitions, with names in lower case."""


def key_tag(rdata: bytes) -> int:
    """The key tag of a DNSKEY's rdata (RFC 4034 appendix B)."""
    total = sum(rdata[0::2]) * 256 + sum(rdata[1::2])
    return total + (total >> 16 & 0xFFFF) & 0xFFFF


def ds_rdata(owner: bytes, dnskey: bytes, digest: int = SHA256) -> bytes:
    """The rdata of the DS record that names a key (RFC 4034 section 5.1)."""
    hashed = new_hash(DIGESTS[digest], owner.lower() + dnskey).digest()
    return _DS.pack(key_tag(dnskey), dnskey[3], digest) + hashed


def canonical_rdata(rtype: int, rdata: bytes) -> bytes:
    """Rdata with the names of old types in lower case (RFC 4034 section 6.2, RFC 6840 section 5.1)."""
    layout = LAYOUTS.get(rtype)
    if layout is not None:
        start, end = layout.before, len(rdata) - layout.behind
        return rdata[:start] + rdata[start:end].lower() + rdata[end:]
    if rtype == NAPTR:
        start = 4
        for _ in range(3):  # three character strings stand in front of the name
            start += 1 + (rdata[start] if start < len(rdata) else 0)
        return rdata[:start] + rdata[start:].lower()
    return rdata


def canonical_rrset(records: Collection[Record]) -> Rrset:
    """The RRset of some records of one owner, type and class; at least one."""
    first = next(iter(records))
    rtype = first.rtype
    if len(records) == 1:
        return Rrset(first.owner.lower(), rtype, first.rclass, (canonical_rdata(rtype, first.rdata),))
    rdatas = sorted({canonical_rdata(rtype, record.rdata) for record in records})
    return Rrset(first.owner.lower(), rtype, first.rclass, tuple(rdatas))


def signed_labels(owner: bytes) -> int:
    """The labels field of an RRSIG: those of the owner, without the root and a leading asterisk (RFC 4034 section 3.1.3)."""
    return label_count(owner) - owner.startswith(b"\x01*")


def rrsig_rdata(key: SigningKey, signer: bytes, rrset: Rrset, ttl: int, inception: int, expiration: int) -> bytes:
    """
    Sign an RRset: the rdata of its RRSIG record.

    :param signer: the zone whose key it is, lower-case wire form.
    :param ttl: the original TTL.
    :param inception: Unix seconds, as is *expiration*.
    """
    head = (
        _RRSIG.pack(
            rrset.rtype,
            key.algorithm,
            signed_labels(rrset.owner),
            ttl,
            expiration & 0xFFFFFFFF,
            inception & 0xFFFFFFFF,
            key.tag,
        )
        + signer
    )
    parts = [head]
    for rdata in rrset.rdatas:
        parts += (rrset.owner, RECORD_HEAD.pack(rrset.rtype, rrset.rclass, ttl, len(rdata)), rdata)
    return head + bytes(key.private.sign(b"".join(parts)))


def nsec_rdata(following: bytes, types: Iterable[int]) -> bytes:
    """The rdata of an NSEC record (RFC 4034 section 4.1): the next name, and the types that exist."""
    windows: dict[int, bytearray] = {}
    for rtype in types:
        bitmap = windows.setdefault(rtype >> 8, bytearray(32))
        bitmap[rtype >> 3 & 31] |= 0x80 >> (rtype & 7)
    parts = [following]
    for number in sorted(windows):
        bitmap = windows[number].rstrip(b"\x00")
        parts.append(bytes((number, len(bitmap))) + bitmap)
    return b"".join(parts)
