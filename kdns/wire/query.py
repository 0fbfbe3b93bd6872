# -*- test-case-name: tests.wire.test_query -*-
"""
Read a query: the one admission that every transport passes before anything else looks at the octets.

:func:`read_query` decides between a :class:`Query`, a finished reply (FORMERR, NOTIMP, SERVFAIL), and silence. Which class, EDNS version
and client are served is decided later, by the listener.
"""

from __future__ import annotations

from struct import Struct
from struct import error as _StructError
from typing import NamedTuple

import msgspec

from kdns.wire.constants import DO, FORMERR, NOTIFY, NOTIMP, OPCODE_MASK, OPT, QR, QUERY, SERVFAIL
from kdns.wire.names import MAX_NAME, MalformedName, skip_name

HEADER = Struct("!HHHHHH")
"""Identifier, flags, and the counts of question, answer, authority and additional (RFC 1035 section 4.1.1)."""

RECORD_HEAD = Struct("!HHIH")
"""What follows the owner name of a record: type, class, TTL, rdata length (RFC 1035 section 4.1.3)."""

_KEPT = 0x0200 | 0x0100 | 0x0080 | 0x0020 | 0x0010
"""Flags that a reply to an unreadable query keeps: TC RD RA AD CD; AA and Z are cleared."""

_QUESTION_TAIL = Struct("!HH")


class Edns(NamedTuple):
    """The OPT record of a query (RFC 6891 section 6.1.2)."""

    size: int
    """Octets of UDP payload that the client says it can take, as it wrote them."""

    flags: int
    """DO and the Z bits."""

    version: int
    options: bytes
    """The options as they stand in the rdata: code, length, data, one after another."""

    @property
    def do(self) -> bool:
        """Whether the client wants DNSSEC records."""
        return bool(self.flags & DO)


class Query(msgspec.Struct, frozen=True, gc=False):
    """A query that may be answered."""

    ident: int
    flags: int
    """The second word of the header as received: opcode and all bits."""

    spelled: bytes
    """The name asked for in wire form, as the client spelled it."""

    qname: bytes
    """The same in lower case."""

    qtype: int
    qclass: int
    edns: Edns | None


def read_query(message: bytes) -> Query | bytes | None:
    """
    Admit a message, or say at once what becomes of it.

    :return: the query; a finished reply for one that cannot be served; None where silence is the answer: under 12 octets, or a message
        that is itself a reply, so that two servers never talk to each other for ever.
    """
    if len(message) < 12:
        return None
    ident, flags, questions, answers, authorities, additionals = HEADER.unpack_from(message)
    if flags & QR:
        return None
    opcode = flags & OPCODE_MASK
    if opcode not in (QUERY << 11, NOTIFY << 11):
        return HEADER.pack(ident, QR | opcode | flags & _KEPT | NOTIMP, 0, 0, 0, 0)
    if questions != 1 or answers > 1 or authorities > 1 or additionals > 2:
        return HEADER.pack(ident, QR | flags & _KEPT | FORMERR, 0, 0, 0, 0)
    if len(message) == 12:
        return HEADER.pack(ident, QR | opcode | flags & _KEPT | SERVFAIL, 0, 0, 0, 0)
    # The question: plain labels only. A pointer could only point into the header or at itself.
    end = 12
    try:
        while length := message[end]:
            if length > 63:
                return HEADER.pack(ident, QR | flags & _KEPT | FORMERR, 0, 0, 0, 0)
            end += 1 + length
        end += 1
        if end - 12 > MAX_NAME:
            return HEADER.pack(ident, QR | flags & _KEPT | FORMERR, 0, 0, 0, 0)
        qtype, qclass = _QUESTION_TAIL.unpack_from(message, end)
    except (IndexError, ValueError, _StructError):
        return HEADER.pack(ident, QR | flags & _KEPT | FORMERR, 0, 0, 0, 0)
    spelled = message[12:end]
    edns = None
    if answers or authorities or additionals:
        try:
            edns = _read_records(message, end + 4, answers + authorities, additionals)
        except (MalformedName, _StructError, ValueError):
            return HEADER.pack(ident, QR | flags & _KEPT | FORMERR, 1, 0, 0, 0) + message[12 : end + 4]
    return Query(ident, flags, spelled, spelled.lower(), qtype, qclass, edns)


def _read_records(message: bytes, offset: int, before: int, additionals: int) -> Edns | None:
    """
    Walk the records behind the question and return the last OPT of the additional section.

    Records that a count promises but the message does not hold are let pass; a record that is cut short is not.
    """
    edns = None
    size = len(message)
    for index in range(before + additionals):
        if offset == size:
            break
        offset = skip_name(message, offset)
        rtype, rclass, ttl, length = RECORD_HEAD.unpack_from(message, offset)
        offset += 10
        end = offset + length
        if end > size:
            raise ValueError("record runs over the end of the message")
        if rtype == OPT and index >= before:
            options = message[offset:end]
            _check_options(options)
            edns = Edns(rclass, ttl & 0xFFFF, ttl >> 16 & 0xFF, options)
        offset = end
    return edns


def _check_options(options: bytes) -> None:
    position, end = 0, len(options)
    while position < end:
        if position + 4 > end:
            raise ValueError("EDNS option without a length")
        position += 4 + (options[position + 2] << 8 | options[position + 3])
    if position != end:
        raise ValueError("EDNS option runs over the end of the OPT record")


def options_of(rdata: bytes) -> list[tuple[int, bytes]]:
    """The options of an OPT's rdata as (code, data) pairs; a last one that is cut short is left out."""
    options = []
    position, end = 0, len(rdata)
    while position + 4 <= end:
        code = rdata[position] << 8 | rdata[position + 1]
        length = rdata[position + 2] << 8 | rdata[position + 3]
        position += 4 + length
        if position > end:
            break
        options.append((code, rdata[position - length : position]))
    return options


def pack_options(options: list[tuple[int, bytes]] | tuple[tuple[int, bytes], ...]) -> bytes:
    """Turn (code, data) pairs into an OPT's rdata."""
    return b"".join(_QUESTION_TAIL.pack(code, len(data)) + data for code, data in options)
