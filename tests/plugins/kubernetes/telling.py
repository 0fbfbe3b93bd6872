# -*- test-case-name: tests.plugins.kubernetes -*-
"""Answers in the words of the reference: records as text in lower case, serials as ``SERIAL``."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import ip_address

from kdns.core.answer import Answer
from kdns.wire.constants import AA, AAAA, CNAME, NOERROR, NS, NXDOMAIN, PTR, REFUSED, SERVFAIL, SOA, SRV, TXT, A
from kdns.wire.message import scan
from kdns.wire.names import read_name, to_text
from kdns.wire.records import Record
from tests.plugins.kubernetes.reference import Said

RCODES = {NOERROR: "NOERROR", NXDOMAIN: "NXDOMAIN", SERVFAIL: "SERVFAIL", REFUSED: "REFUSED"}
TYPES = {
    A: "A",
    AAAA: "AAAA",
    CNAME: "CNAME",
    NS: "NS",
    PTR: "PTR",
    SOA: "SOA",
    SRV: "SRV",
    TXT: "TXT",
    15: "MX",
    65: "HTTPS",
}
NUMBERS = {name: number for number, name in TYPES.items()}


def told(answer: Answer) -> Said:
    """An answer of the plugin."""
    return Said(RCODES[answer.rcode], bool(answer.flags & AA), *map(texts, answer.sections()))


def told_reply(message: bytes) -> Said:
    """A reply from the wire; its own TTLs are what a cache may have counted down."""
    return told(
        Answer(int.from_bytes(message[2:4], "big") & 0xF, int.from_bytes(message[2:4], "big"), body=scan(message))
    )


def texts(records: Iterable[Record]) -> frozenset[str]:
    """Records as ``owner ttl TYPE rdata``."""
    return frozenset(
        f"{to_text(record.owner.lower())} {record.ttl} {TYPES[record.rtype]} {_rdata(record)}" for record in records
    )


def _rdata(record: Record) -> str:
    rdata = record.rdata
    if record.rtype in (A, AAAA):
        return str(ip_address(rdata))
    if record.rtype in (NS, PTR, CNAME):
        return to_text(rdata.lower())
    if record.rtype == SRV:
        priority, weight, port = struct.unpack("!HHH", rdata[:6])
        return f"{priority} {weight} {port} {to_text(rdata[6:].lower())}"
    if record.rtype == TXT:
        return '"' + rdata[1:].decode() + '"'
    assert record.rtype == SOA, record
    mname, after = read_name(rdata, 0)
    rname, after = read_name(rdata, after)
    numbers = struct.unpack("!IIIII", rdata[after:])
    shown = " ".join(map(str, numbers[1:]))
    return f"{to_text(mname.lower())} {to_text(rname.lower())} SERIAL {shown}"


def as_cached(said: Said) -> Said:
    """The same without what a cache changes: it counts TTLs down, and sets AA whoever the answer is from."""
    return Said(said.rcode, True, *(frozenset(map(_ageless, section)) for section in said[2:]))


def _ageless(text: str) -> str:
    owner, _, rest = text.split(" ", 2)
    return f"{owner} {rest}"
