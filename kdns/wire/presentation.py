# -*- test-case-name: tests.wire.test_presentation -*-
"""Records as text, in the form of master files (RFC 1035 section 5.1), as ``dig`` prints them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from kdns.wire.constants import (
    AA,
    AAAA,
    AD,
    CD,
    CNAME,
    DNAME,
    MX,
    NS,
    PTR,
    QR,
    RA,
    RD,
    SOA,
    SRV,
    TC,
    TXT,
    A,
    class_text,
    type_text,
)
from kdns.wire.names import MalformedName, read_name, to_text
from kdns.wire.records import Record

FLAGS = ((QR, "qr"), (AA, "aa"), (TC, "tc"), (RD, "rd"), (RA, "ra"), (AD, "ad"), (CD, "cd"))


class Line(NamedTuple):
    """A record in its five columns."""

    owner: str
    ttl: int
    rclass: str
    rtype: str
    rdata: str


def record_line(record: Record) -> Line:
    """The columns of a record."""
    rdata = rdata_text(record.rtype, record.rdata)
    return Line(to_text(record.owner), record.ttl, class_text(record.rclass), type_text(record.rtype), rdata)


def flag_texts(flags: int) -> list[str]:
    """The flags of a header that are set, in the order in which they are shown."""
    return [text for bit, text in FLAGS if flags & bit]


def rdata_text(rtype: int, rdata: bytes) -> str:
    """
    Rdata as text. Unknown types, and rdata that does not fit its type, are shown in the generic form of RFC 3597 section 5.

    :param rdata: uncompressed.
    """
    write = _WRITERS.get(rtype)
    if write is not None:
        try:
            return write(rdata)
        except (ValueError, IndexError, struct.error, MalformedName):
            pass
    digits = f" {rdata.hex().upper()}" if rdata else ""
    return f"\\# {len(rdata)}{digits}"


def _aaaa(rdata: bytes) -> str:
    address = IPv6Address(rdata)
    mapped = address.ipv4_mapped
    return str(address) if mapped is None else f"::ffff:{mapped}"  # RFC 5952 section 5


def _one_name(rdata: bytes, start: int = 0) -> str:
    name, end = read_name(rdata, start)
    if end != len(rdata):
        raise MalformedName("bytes behind a name")
    return to_text(name)


def _soa(rdata: bytes) -> str:
    mname, offset = read_name(rdata, 0)
    rname, offset = read_name(rdata, offset)
    numbers = struct.unpack("!IIIII", rdata[offset:])
    return " ".join((to_text(mname), to_text(rname), *map(str, numbers)))


def _mx(rdata: bytes) -> str:
    return f"{int.from_bytes(rdata[:2], 'big')} {_one_name(rdata, 2)}"


def _srv(rdata: bytes) -> str:
    priority, weight, port = struct.unpack_from("!HHH", rdata)
    return f"{priority} {weight} {port} {_one_name(rdata, 6)}"


def _strings(rdata: bytes) -> str:
    texts = []
    offset = 0
    while offset < len(rdata):
        end = offset + 1 + rdata[offset]
        if end > len(rdata):
            raise ValueError("a string runs over the end")
        texts.append(_quoted(rdata[offset + 1 : end]))
        offset = end
    if not texts:
        raise ValueError("no string")
    return " ".join(texts)


def _quoted(string: bytes) -> str:
    parts = []
    for byte in string:
        if byte in b'"\\':
            parts.append("\\" + chr(byte))
        elif 32 <= byte < 127:
            parts.append(chr(byte))
        else:
            parts.append(f"\\{byte:03d}")
    return '"' + "".join(parts) + '"'


_WRITERS: dict[int, Callable[[bytes], str]] = {
    A: lambda rdata: str(IPv4Address(rdata)),
    AAAA: _aaaa,
    NS: _one_name,
    CNAME: _one_name,
    PTR: _one_name,
    DNAME: _one_name,
    SOA: _soa,
    MX: _mx,
    SRV: _srv,
    TXT: _strings,
}
