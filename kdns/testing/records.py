# -*- test-case-name: tests.testing.test_records -*-
"""
Resource records from presentation text, as zone files write them (RFC 1035 section 5.1), as far as tests need them.

Types without a form of their own here are written as RFC 3597 section 5 has it: ``\\# 4 c0000201``.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable, Sequence

from kdns.wire.constants import AAAA, CAA, CNAME, HINFO, IN, MX, NS, PTR, SOA, SRV, TXT, A, class_number, type_number
from kdns.wire.names import spelled_from_text
from kdns.wire.records import Record

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|((?:[^\s"\\]|\\.)+)', re.DOTALL)
_ESCAPE = re.compile(rb"\\(\d\d\d|.)", re.DOTALL)


class BadRecord(ValueError):
    """A text is not a record."""


def parse_record(text: str) -> Record:
    """
    Turn ``owner ttl [class] type rdata...`` into a record; names are absolute and keep their spelling.

    :raises BadRecord: something is missing, too much or not understood.
    """
    try:
        owner, ttl, *words = [quoted or plain for quoted, plain in _WORD.findall(text)]
        rclass = class_number(words[0]) if type_number(words[0]) is None else None
        rtype = type_number(words[0] if rclass is None else words[1])
        fields = words[1 if rclass is None else 2 :]
        if rtype is None or not fields:
            raise BadRecord(f"no type, or nothing behind it: {text!r}")
        return Record(
            spelled_from_text(owner), rtype, IN if rclass is None else rclass, int(ttl), _rdata(rtype, fields)
        )
    except (ValueError, IndexError, KeyError, struct.error) as problem:
        raise BadRecord(f"{text!r}: {problem}") from problem


def parse_records(texts: Sequence[str]) -> tuple[Record, ...]:
    return tuple(parse_record(text) for text in texts)


def _rdata(rtype: int, fields: Sequence[str]) -> bytes:
    if fields[0] == r"\#":
        data = bytes.fromhex("".join(fields[2:]))
        if len(data) != int(fields[1]):
            raise BadRecord(f"{len(data)} bytes, said to be {fields[1]}")
        return data
    count, form = _FORMS[rtype]
    if count not in (0, len(fields)):
        raise BadRecord(f"{len(fields)} fields of rdata, expected {count}")
    return form(*fields)


def _packed(text: str) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        escape = match[1]
        return bytes((int(escape),)) if len(escape) == 3 else escape

    return _ESCAPE.sub(one, text.encode())


def _string(text: str) -> bytes:
    data = _packed(text)
    return bytes((len(data),)) + data


def _strings(*texts: str) -> bytes:
    return b"".join(map(_string, texts))


def _soa(mname: str, rname: str, serial: str, refresh: str, retry: str, expire: str, minimum: str) -> bytes:
    numbers = struct.pack("!IIIII", int(serial), int(refresh), int(retry), int(expire), int(minimum))
    return spelled_from_text(mname) + spelled_from_text(rname) + numbers


def _mx(preference: str, exchange: str) -> bytes:
    return struct.pack("!H", int(preference)) + spelled_from_text(exchange)


def _srv(priority: str, weight: str, port: str, target: str) -> bytes:
    return struct.pack("!HHH", int(priority), int(weight), int(port)) + spelled_from_text(target)


def _caa(flags: str, tag: str, value: str) -> bytes:
    return struct.pack("!B", int(flags)) + _string(tag) + _packed(value)


def _a(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def _aaaa(address: str) -> bytes:
    return ipaddress.IPv6Address(address).packed


_FORMS: dict[int, tuple[int, Callable[..., bytes]]] = {
    A: (1, _a),
    AAAA: (1, _aaaa),
    CNAME: (1, spelled_from_text),
    NS: (1, spelled_from_text),
    PTR: (1, spelled_from_text),
    SOA: (7, _soa),
    MX: (2, _mx),
    SRV: (4, _srv),
    TXT: (0, _strings),
    CAA: (3, _caa),
    HINFO: (2, _strings),
}
"""Number of rdata fields of a type (0: any), and the function that encodes them."""
