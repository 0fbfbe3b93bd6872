# -*- test-case-name: tests.testing.test_upstream -*-
"""
Bytes of queries and replies, as the fake upstream resolver reads and writes them.

It does this by itself, not with kdns's own codec, so that a mistake there is not made twice and missed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from kdns.wire.constants import CD, DO, OPCODE_MASK, OPT, QR, RA, RD, TC
from kdns.wire.names import BadName, read_name
from kdns.wire.records import Record

HEADER = struct.Struct("!HHHHHH")
UDP_SIZE = 512
"""Bytes that a client without EDNS takes over UDP (RFC 1035 section 4.2.1)."""

TCP_SIZE = 65535
OWN_SIZE = 1232
"""The size in the OPT records of this resolver."""

_FIXED = struct.Struct("!HHIH")
_POINTER_TO_QUESTION = b"\xc0\x0c"


class ParsedQuery(NamedTuple):
    """A parsed query."""

    ident: int
    flags: int
    qname: bytes
    """As the asker spelled it."""

    qtype: int
    qclass: int
    size: int | None
    """The size in the query's OPT record; None: it has none."""

    dnssec_ok: bool


def parse_query(query: bytes) -> ParsedQuery | None:
    """Parse a query with one question; None for anything else."""
    try:
        ident, flags, questions, *others = HEADER.unpack_from(query)
        if questions != 1 or flags & QR:
            return None
        qname, offset = read_name(query, HEADER.size)
        qtype, qclass = struct.unpack_from("!HH", query, offset)
        size, dnssec_ok = _read_opt(query, offset + 4, sum(others))
    except (BadName, struct.error):
        return None
    return ParsedQuery(ident, flags, qname, qtype, qclass, size, dnssec_ok)


def _read_opt(query: bytes, offset: int, records: int) -> tuple[int | None, bool]:
    for _ in range(records):
        _, offset = read_name(query, offset)
        rtype, rclass, ttl, length = _FIXED.unpack_from(query, offset)
        offset += _FIXED.size + length
        if rtype == OPT:
            return rclass, bool(ttl & DO)
    return None, False


class Sections(NamedTuple):
    """The sections of a reply."""

    answer: Sequence[Record] = ()
    authority: Sequence[Record] = ()
    additional: Sequence[Record] = ()


class Reply(NamedTuple):
    """A reply before it is encoded; *flags* is the second word of the header without the rcode."""

    asked: ParsedQuery
    qname: bytes
    flags: int
    rcode: int
    sections: Sections
    opt: bool


def reply_flags(asked: ParsedQuery) -> int:
    """A reply's flags: opcode, RD and CD from the query, and recursion available."""
    return QR | RA | asked.flags & (OPCODE_MASK | RD | CD)


def write_reply(reply: Reply, limit: int) -> bytes:
    """
    Write a reply of at most *limit* bytes.

    Names are written out while that fits. If not, owners that are the question's name become pointers to it; if that is not enough, all
    records go and TC is set.
    """
    written = _write(reply, compress=False)
    if len(written) > limit:
        written = _write(reply, compress=True)
    if len(written) > limit:
        written = _write(reply._replace(flags=reply.flags | TC, sections=Sections()), compress=False)
    return written


def _write(reply: Reply, *, compress: bool) -> bytes:
    asked, sections = reply.asked, reply.sections
    opt = _opt(reply)
    counts = len(sections.answer), len(sections.authority), len(sections.additional) + bool(opt)
    parts = [
        HEADER.pack(asked.ident, reply.flags | reply.rcode & 0xF, 1, *counts),
        reply.qname,
        struct.pack("!HH", asked.qtype, asked.qclass),
    ]
    for record in (*sections.answer, *sections.authority, *sections.additional):
        owner = record.owner
        if owner.lower() == reply.qname.lower():
            owner = _POINTER_TO_QUESTION if compress else reply.qname
        parts += (owner, _FIXED.pack(record.rtype, record.rclass, record.ttl, len(record.rdata)), record.rdata)
    return b"".join((*parts, opt))


def _opt(reply: Reply) -> bytes:
    if not reply.opt or reply.asked.size is None:
        return b""
    flags = (reply.rcode >> 4) << 24 | (DO if reply.asked.dnssec_ok else 0)
    return b"\x00" + _FIXED.pack(OPT, OWN_SIZE, flags, 0)
