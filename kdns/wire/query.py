# -*- test-case-name: tests.wire.test_query -*-
"""
Read a query. Every transport calls :func:`read_query` before anything else looks at a message.

It returns a :class:`Query`, a finished error reply (FORMERR, NOTIMP, SERVFAIL), or None for silence. The listener decides later which
classes, EDNS versions and clients are served.
"""

from __future__ import annotations

from struct import Struct
from struct import error as _StructError
from typing import NamedTuple

import msgspec

from kdns.wire.constants import COOKIE, DO, FORMERR, NOTIFY, NOTIMP, OPCODE_MASK, OPT, QR, QUERY, SERVFAIL, SOA
from kdns.wire.names import MAX_NAME, MalformedName, skip_name
from kdns.wire.records import expand_rdata

HEADER = Struct("!HHHHHH")
"""Identifier, flags, and the counts of question, answer, authority and additional (RFC 1035 section 4.1.1)."""

RECORD_HEAD = Struct("!HHIH")
"""The fields behind a record's owner name: type, class, TTL, rdata length (RFC 1035 section 4.1.3)."""

_KEPT = 0x0200 | 0x0100 | 0x0080 | 0x0020 | 0x0010
"""Flags copied into the reply to an unreadable query: TC RD RA AD CD. AA and Z are cleared."""

_TWO_WORDS = Struct("!HH")


class Edns(NamedTuple):
    """The OPT record of a query (RFC 6891 section 6.1.2)."""

    size: int
    """The client's UDP payload size in bytes, exactly as it was sent; it may be below 512."""

    flags: int
    """DO and the Z bits."""

    version: int
    options: bytes
    """The rdata: code, length, data, one option after another."""

    added: bytes = b""
    """Those of *options* that a rule of the operator's set: they are meant for the next server, whatever becomes of the client's own."""

    @property
    def do(self) -> bool:
        """Whether the client wants DNSSEC records."""
        return bool(self.flags & DO)


class Query(msgspec.Struct, frozen=True, gc=False):
    """A well-formed query."""

    ident: int
    flags: int
    """The second word of the header as received: opcode and all bits."""

    spelled: bytes
    """The question's name in wire form, in the client's spelling."""

    qname: bytes
    """The same name in lower case."""

    qtype: int
    qclass: int
    edns: Edns | None


def read_query(message: bytes) -> Query | bytes | None:
    """
    Read a message from a client.

    :return: the query; a finished error reply; or None when nothing is to be sent: for messages under 12 bytes, and for replies, so that
        two servers never keep answering each other.
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
    # The question may hold plain labels only: a compression pointer could point nowhere but into the header or at itself.
    end = 12
    try:
        while length := message[end]:
            if length > 63:
                return HEADER.pack(ident, QR | flags & _KEPT | FORMERR, 0, 0, 0, 0)
            end += 1 + length
        end += 1
        if end - 12 > MAX_NAME:
            return HEADER.pack(ident, QR | flags & _KEPT | FORMERR, 0, 0, 0, 0)
        qtype, qclass = _TWO_WORDS.unpack_from(message, end)
    except (IndexError, _StructError):
        return HEADER.pack(ident, QR | flags & _KEPT | FORMERR, 0, 0, 0, 0)
    spelled = message[12:end]
    edns = None
    if answers or authorities or additionals:
        try:
            edns = _read_opt(message, end + 4, answers + authorities, additionals)
        except (MalformedName, _StructError, ValueError):
            return HEADER.pack(ident, QR | flags & _KEPT | FORMERR, 1, 0, 0, 0) + message[12 : end + 4]
    return Query(ident, flags, spelled, spelled.lower(), qtype, qclass, edns)


def _read_opt(message: bytes, offset: int, before: int, additionals: int) -> Edns | None:
    """
    Walk the records behind the question and return the OPT of the additional section.

    The message may end before all records that its counts promise, but not inside a record.

    :param before: records in front of the additional section.
    :raises ValueError: a record is cut short, or the OPT breaks its rules.
    """
    edns = None
    size = len(message)
    for index in range(before + additionals):
        if offset == size:
            break
        start = offset
        offset = skip_name(message, offset)
        rtype, rclass, ttl, length = RECORD_HEAD.unpack_from(message, offset)
        offset += 10
        end = offset + length
        if end > size:
            raise ValueError("record runs over the end of the message")
        if rtype == OPT and index >= before:
            if edns is not None:
                raise ValueError("two OPT records")  # RFC 6891 section 6.1.1
            if message[start]:
                raise ValueError("OPT record with an owner name")  # RFC 6891 section 6.1.2
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
        code, length = _TWO_WORDS.unpack_from(options, position)
        # RFC 7873 section 5.2.2: a client cookie of 8 bytes, alone or with a server cookie of 8 to 32.
        if code == COOKIE and length != 8 and not 16 <= length <= 40:
            raise ValueError("EDNS cookie of an impossible length")
        position += 4 + length
    if position != end:
        raise ValueError("EDNS option runs over the end of the OPT record")


def soa_of_query(message: bytes) -> bytes | None:
    """
    The rdata of the one SOA record in the authority section of a query, uncompressed; None when there is none or more than one.

    An IXFR says with it which version of the zone the client has (RFC 1995 section 3).
    """
    try:
        _, _, questions, answers, authorities, _ = HEADER.unpack_from(message)
        offset = 12
        for _ in range(questions):
            offset = skip_name(message, offset) + 4
        found = None
        for index in range(answers + authorities):
            offset = skip_name(message, offset)
            rtype, _, _, length = RECORD_HEAD.unpack_from(message, offset)
            offset += 10 + length
            if offset > len(message):
                return None
            if rtype == SOA and index >= answers:
                if found is not None:
                    return None
                found = expand_rdata(message, offset - length, offset, SOA)
    except (MalformedName, IndexError, _StructError):
        return None
    return found if found is not None and len(found) >= 22 else None


def options_of(rdata: bytes) -> list[tuple[int, bytes]]:
    """The options of an OPT's rdata as (code, data) pairs; a last one that is cut short is left out."""
    options = []
    position, end = 0, len(rdata)
    while position + 4 <= end:
        code, length = _TWO_WORDS.unpack_from(rdata, position)
        position += 4 + length
        if position > end:
            break
        options.append((code, rdata[position - length : position]))
    return options


def pack_options(options: list[tuple[int, bytes]] | tuple[tuple[int, bytes], ...]) -> bytes:
    """The rdata of an OPT with these (code, data) pairs."""
    return b"".join(_TWO_WORDS.pack(code, len(data)) + data for code, data in options)
