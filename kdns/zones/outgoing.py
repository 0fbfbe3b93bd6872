# -*- test-case-name: tests.zones.test_transfers -*-
"""
Outgoing transfers: the messages of AXFR (RFC 5936) and IXFR (RFC 1995).

A transfer is an iterator of records that :func:`messages` packs; nothing is put together before the client takes it. Owners are
written with a pointer to the question, which is the zone's name, where they are in the zone: that is nearly all that compression can gain
here, and it costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kdns.wire.constants import AA
from kdns.wire.query import HEADER
from kdns.wire.records import WireRecord, wire_record
from kdns.zones.history import Delta, History
from kdns.zones.zone import Zone, is_newer

MESSAGE = 24_000
"""
Bytes of records in a message, counted without compression.

CoreDNS has 63,000. A message of many small records would then take 5 ms to make, and other clients would wait for it.
"""

_POINTER = b"\xc0\x0c"
"""The name of the question (RFC 1035 section 4.1.4): it is behind the header of 12 bytes."""


class Reply(NamedTuple):
    """What all messages of a transfer have in common."""

    ident: int
    flags: int
    """Without AA."""

    question: bytes
    """The question section in wire form; its name is the zone's."""

    opt: bytes
    """The OPT record in wire form, or nothing."""


def full(zone: Zone) -> Iterator[WireRecord]:
    """The records of an AXFR: all, between two SOA records."""
    yield from zone.wire_records()
    yield wire_record(zone.soa)


def incremental(zone: Zone, deltas: Iterable[Delta]) -> Iterator[WireRecord]:
    """The records of an IXFR with differences (RFC 1995 section 4)."""
    yield wire_record(zone.soa)
    for delta in deltas:
        for record in (delta.old, *delta.removed, delta.new, *delta.added):
            yield wire_record(record)
    yield wire_record(zone.soa)


def answer_ixfr(zone: Zone, history: History | None, serial: int) -> tuple[str, Iterator[WireRecord]]:
    """
    The records for a client that has a version: nothing new, differences, or everything.

    :return: which of these as a word for the log, and the records.
    """
    if serial == zone.serial:
        return "noop", iter((wire_record(zone.soa),))
    if history is not None and not is_newer(serial, zone.serial):
        deltas = history.since(serial, zone.serial)
        if deltas is not None:
            return "incremental", incremental(zone, deltas)
    return "full", full(zone)


def messages(reply: Reply, origin: bytes, records: Iterable[WireRecord]) -> Iterator[bytes]:
    """
    Pack records into messages, one at a time.

    :param origin: the zone's name in lower case.
    """
    head = len(origin)
    pointed = reply.question[:-4] == origin  # a client that mixes letters would see them in all names
    parts: list[bytes] = []
    size = count = 0
    for owner, wire in records:
        this = len(owner) + len(wire)
        if count and size + this > MESSAGE:
            yield _message(reply, count, parts)
            parts = []
            size = count = 0
        size += this
        count += 1
        if pointed and owner[-head:] == origin:
            parts += (owner[:-head], _POINTER, wire)
        else:
            parts += (owner, wire)
    if count:
        yield _message(reply, count, parts)


def _message(reply: Reply, count: int, parts: list[bytes]) -> bytes:
    header = HEADER.pack(reply.ident, reply.flags | AA, 1, count, 0, 1 if reply.opt else 0)
    return b"".join((header, reply.question, *parts, reply.opt))
