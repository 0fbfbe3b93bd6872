# -*- test-case-name: tests.wire.test_records -*-
"""
Resource records as values, and the names inside their rdata.

Rdata is always uncompressed wire form, so that rendering is joining bytes. The names inside it matter in two places: an upstream may have
compressed them (:func:`expand_rdata`), and a reply that must be made smaller may compress them, but only in the types of RFC 1035 (RFC 3597
section 4).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple, TypeAlias

from kdns.wire.constants import AAAA, CNAME, HINFO, IN, NAPTR, NS, NSEC, PTR, RRSIG, SOA, SRV, TXT, A
from kdns.wire.names import MalformedName, NameFacts, measure_name, read_name

_HEAD = Struct("!HHIH")
_SRV = Struct("!HHH")
_SOA = Struct("!IIIII")

MAX_TTL = 0x7FFFFFFF
"""A TTL with the top bit set counts as zero (RFC 2181 section 8)."""


class Record(NamedTuple):
    """One resource record (RFC 1035 section 3.2.1)."""

    owner: bytes
    """In wire form, spelled as it is sent."""

    rtype: int
    rclass: int
    ttl: int
    """Whole seconds."""

    rdata: bytes
    """Uncompressed wire form."""


WireRecord: TypeAlias = tuple[bytes, bytes]
"""A record as a message has it: the owner, and everything behind it; uncompressed."""


def wire_record(record: Record) -> WireRecord:
    """A record in the form that a message has it in."""
    owner, rtype, rclass, ttl, rdata = record
    return owner, _HEAD.pack(rtype, rclass, ttl, len(rdata)) + rdata


class Layout(NamedTuple):
    """Where domain names stand in the rdata of a type."""

    before: int
    """Bytes in front of the first name."""

    names: int
    """How many names follow one another."""

    compressible: bool
    """Whether a sender may compress them (RFC 3597 section 4: only types of RFC 1035)."""

    behind: int = 0
    """Bytes behind the last name."""


LAYOUTS = {
    NS: Layout(0, 1, True),
    3: Layout(0, 1, True),  # MD
    4: Layout(0, 1, True),  # MF
    CNAME: Layout(0, 1, True),
    SOA: Layout(0, 2, True, 20),
    7: Layout(0, 1, True),  # MB
    8: Layout(0, 1, True),  # MG
    9: Layout(0, 1, True),  # MR
    PTR: Layout(0, 1, True),
    14: Layout(0, 2, True),  # MINFO
    15: Layout(2, 1, True),  # MX
    17: Layout(0, 2, False),  # RP
    18: Layout(2, 1, False),  # AFSDB
    21: Layout(2, 1, False),  # RT
    26: Layout(2, 2, False),  # PX
    SRV: Layout(6, 1, False),
    36: Layout(2, 1, False),  # KX
    39: Layout(0, 1, False),  # DNAME
}


MAY_HOLD_NAMES = frozenset((*LAYOUTS, NAPTR))
"""Types whose rdata :func:`expand_rdata` may change."""

STRINGS = frozenset((HINFO, TXT, 99))  # 99 is SPF
"""Types whose rdata is character strings and nothing else."""

FIRST_NAMES = {RRSIG: 18, NSEC: 0, 64: 2, 65: 2}  # 64 is SVCB, 65 HTTPS
"""Types with an uncompressed name and more behind it: how many bytes stand in front of the name."""


def expand_rdata(message: bytes, start: int, end: int, rtype: int) -> bytes:
    """
    The rdata between two offsets of a message, with the names inside it uncompressed.

    Types that are not known to hold names are taken as they stand (RFC 3597 section 3).

    :raises MalformedName: the rdata does not fit its type.
    """
    layout = LAYOUTS.get(rtype)
    if layout is None:
        if rtype != NAPTR:
            return message[start:end]
        layout = Layout(_naptr_strings(message, start, end) - start, 1, False)
    offset = start + layout.before
    parts = [message[start:offset]]
    for _ in range(layout.names):
        name, offset = read_name(message, offset)
        parts.append(name)
    if offset + layout.behind != end:
        raise MalformedName(f"{end - offset} octets behind the names of a record of type {rtype}")
    parts.append(message[offset:end])
    return b"".join(parts)


def expanded_size(message: bytes, start: int, end: int, rtype: int, known: dict[int, NameFacts]) -> int:
    """
    Bytes of what :func:`expand_rdata` returns, for a type of :data:`MAY_HOLD_NAMES`.

    :param known: see :func:`kdns.wire.names.measure_name`.
    :raises MalformedName: the rdata does not fit its type.
    """
    layout = LAYOUTS.get(rtype)
    if layout is None:
        layout = Layout(_naptr_strings(message, start, end) - start, 1, False)
    offset = start + layout.before
    size = layout.before + layout.behind
    for _ in range(layout.names):
        name, offset = measure_name(message, offset, known)
        size += name
    if offset + layout.behind != end:
        raise MalformedName(f"{end - offset} octets behind the names of a record of type {rtype}")
    return size


def check_rdata(message: bytes, start: int, end: int, rtype: int, known: dict[int, NameFacts]) -> None:
    """
    See whether the rdata between two offsets of a message fits its type. Types that are not known here fit anything.

    :param known: see :func:`kdns.wire.names.measure_name`.
    :raises MalformedName: it does not.
    """
    if rtype in MAY_HOLD_NAMES:
        expanded_size(message, start, end, rtype, known)
    elif rtype in STRINGS:
        offset = start
        while offset < end:
            offset += 1 + message[offset]
        if offset != end or start == end:
            raise MalformedName("character strings do not fill their record")
    elif rtype in FIRST_NAMES:
        _, offset = measure_name(message, start + FIRST_NAMES[rtype], known)
        if offset > end:
            raise MalformedName("a name runs over the end of its record")


def _naptr_strings(message: bytes, start: int, end: int) -> int:
    """Offset of the name in a NAPTR's rdata: behind order, preference and three character strings (RFC 3403 section 4.1)."""
    offset = start + 4
    for _ in range(3):
        if offset >= end:
            raise MalformedName("NAPTR record cut short")
        offset += 1 + message[offset]
    return offset


def a_or_aaaa(owner: bytes, ttl: int, address: bytes) -> Record:
    """The address record of a packed address of 4 or 16 bytes."""
    return Record(owner, A if len(address) == 4 else AAAA, IN, ttl, address)


def cname(owner: bytes, ttl: int, target: bytes) -> Record:
    """A CNAME record."""
    return Record(owner, CNAME, IN, ttl, target)


def ptr(owner: bytes, ttl: int, target: bytes) -> Record:
    """A PTR record."""
    return Record(owner, PTR, IN, ttl, target)


def ns(owner: bytes, ttl: int, target: bytes) -> Record:
    """An NS record."""
    return Record(owner, NS, IN, ttl, target)


def srv(owner: bytes, ttl: int, priority: int, weight: int, port: int, target: bytes) -> Record:
    """An SRV record (RFC 2782)."""
    return Record(owner, SRV, IN, ttl, _SRV.pack(priority, weight, port) + target)


def txt(owner: bytes, ttl: int, *strings: bytes) -> Record:
    """A TXT record of character strings of at most 255 bytes each."""
    return Record(owner, TXT, IN, ttl, b"".join(bytes((len(string),)) + string for string in strings))


def soa(owner: bytes, ttl: int, mname: bytes, rname: bytes, numbers: tuple[int, int, int, int, int]) -> Record:
    """An SOA record; *numbers* are serial, refresh, retry, expire and minimum (RFC 1035 section 3.3.13)."""
    return Record(owner, SOA, IN, ttl, mname + rname + _SOA.pack(*numbers))
