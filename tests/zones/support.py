# -*- test-case-name: tests.zones -*-
"""Zones made from text, and their records as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from os.path import normpath
from typing import BinaryIO

import dns.rdata
import dns.rdataclass
import dns.rdatatype

from kdns.wire.constants import type_text
from kdns.wire.names import from_text, to_text
from kdns.wire.records import Record
from kdns.zones.master import MasterReader
from kdns.zones.zone import Zone, ZoneBuilder

HEAD = """\
$TTL 300
@ SOA ns admin 5 7200 1800 86400 60
@ NS ns
ns A 192.0.2.53
"""
"""What the zones of most tests begin with."""


def zone_of(text: str, origin: str = "example.org", files: Mapping[str, str] | None = None) -> Zone:
    """The zone of a master file."""
    builder = ZoneBuilder(from_text(origin))
    there = {**(files or {}), "db": text}

    def opened(path: str) -> BinaryIO:
        try:
            return BytesIO(there[normpath(path)].encode("utf-8", "surrogateescape"))
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    for _ in MasterReader(opened, "db", builder.origin, builder.add).read():
        pass
    for _ in builder.finish():
        pass
    return builder.zone


def text_of(record: Record) -> str:
    """A record as a line: owner, TTL, type, rdata."""
    rdata = dns.rdata.from_wire(
        dns.rdataclass.IN, dns.rdatatype.RdataType.make(record.rtype), record.rdata, 0, len(record.rdata)
    )
    return f"{to_text(record.owner)} {record.ttl} {type_text(record.rtype)} {rdata.to_text()}"


def texts(records: Iterable[Record]) -> list[str]:
    """Records as lines, sorted."""
    return sorted(text_of(record) for record in records)
