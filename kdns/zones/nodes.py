# -*- test-case-name: tests.zones.test_nodes -*-
"""
Nodes: all records of one name as one bytes object.

Each record stands in it as in a message behind its owner: type, class, TTL, length, rdata (RFC 1035 section 3.2.1); records of one type
are next to each other, types in the order in which they came. A name with one address takes 48 bytes of memory this way, where a list of
records takes several hundred, and a transfer sends what is there as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kdns.wire.constants import IN, RRSIG
from kdns.wire.query import RECORD_HEAD


class Datum(NamedTuple):
    """A record without its owner."""

    rtype: int
    ttl: int
    rdata: bytes


def pack(data: Iterable[Datum]) -> bytes:
    """The node that holds these records."""
    head = RECORD_HEAD.pack
    return b"".join([head(rtype, IN, ttl, len(rdata)) + rdata for rtype, ttl, rdata in data])


def unpack(node: bytes) -> list[Datum]:
    """The records of a node."""
    found = []
    at, end = 0, len(node)
    head = RECORD_HEAD.unpack_from
    while at < end:
        rtype, _, ttl, size = head(node, at)
        at += 10 + size
        found.append(Datum(rtype, ttl, node[at - size : at]))
    return found


def wire_records(node: bytes) -> Iterator[bytes]:
    """The records of a node, each in wire form from its type on."""
    at, end = 0, len(node)
    while at < end:
        start = at
        at += 10 + (node[at + 8] << 8 | node[at + 9])
        yield node[start:at]


def rrset(node: bytes, rtype: int) -> list[Datum]:
    """The records of one type."""
    found = []
    at, end = 0, len(node)
    head = RECORD_HEAD.unpack_from
    while at < end:
        this, _, ttl, size = head(node, at)
        at += 10 + size
        if this == rtype:
            found.append(Datum(this, ttl, node[at - size : at]))
        elif found:
            break
    return found


def has_type(node: bytes, rtype: int) -> bool:
    """Whether there is a record of this type."""
    wanted = rtype.to_bytes(2, "big")
    at, end = 0, len(node)
    while at < end:
        if node[at : at + 2] == wanted:
            return True
        at += 10 + (node[at + 8] << 8 | node[at + 9])
    return False


def signatures(node: bytes, rtype: int) -> list[Datum]:
    """The RRSIG records that cover one type (RFC 4034 section 3.1: their rdata begin with it)."""
    covered = rtype.to_bytes(2, "big")
    return [datum for datum in rrset(node, RRSIG) if datum.rdata[:2] == covered]
