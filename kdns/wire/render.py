# -*- test-case-name: tests.wire.test_render -*-
"""
Turn sections of records into a message that fits the client.

What fits is sent without name compression, which is joining octets; what does not is compressed, and if it still does not fit it ends
before the first record that is too much, with TC set. An OPT is never dropped: its size is set aside first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kdns.wire.constants import TC
from kdns.wire.query import HEADER, RECORD_HEAD
from kdns.wire.records import LAYOUTS, Layout, Record

MAX_POINTER = 0x3FFF
"""The highest offset that a compression pointer can name (RFC 1035 section 4.1.4)."""


class Overflow(Exception):
    """A record does not fit any more."""


def render(
    ident: int,
    flags: int,
    question: bytes,
    sections: Sequence[Sequence[Record]],
    opt: bytes,
    limit: int,
    plain_limit: int,
) -> bytes:
    """
    Make a message.

    :param flags: the second word of the header; TC is added when records had to be left out.
    :param question: the question section in wire form, or nothing.
    :param sections: answer, authority, additional.
    :param opt: the OPT record in wire form, or nothing; it comes last.
    :param limit: octets that the client takes.
    :param plain_limit: octets up to which names are left uncompressed.
    """
    parts: list[bytes] = []
    size = 12 + len(question) + len(opt)
    pack = RECORD_HEAD.pack
    for section in sections:
        for owner, rtype, rclass, ttl, rdata in section:
            parts += (owner, pack(rtype, rclass, ttl, len(rdata)), rdata)
            size += len(owner) + 10 + len(rdata)
    if size > limit or size > plain_limit:
        return _render_small(ident, flags, question, sections, opt, limit)
    answer, authority, additional = sections
    header = HEADER.pack(
        ident,
        flags,
        1 if question else 0,
        len(answer),
        len(authority),
        len(additional) + (1 if opt else 0),
    )
    return b"".join((header, question, *parts, opt))


def _render_small(
    ident: int,
    flags: int,
    question: bytes,
    sections: Sequence[Sequence[Record]],
    opt: bytes,
    limit: int,
) -> bytes:
    writer = _Writer(question, limit - len(opt))
    counts = [0, 0, 0]
    try:
        for index, section in enumerate(sections):
            for record in section:
                writer.add(record)
                counts[index] += 1
    except Overflow:
        flags |= TC
    header = HEADER.pack(ident, flags, 1 if question else 0, counts[0], counts[1], counts[2] + (1 if opt else 0))
    return header + writer.octets[12:] + opt


class _Writer:
    """Write records one after another, compressing names, until one does not fit."""

    def __init__(self, question: bytes, limit: int) -> None:
        self.octets = bytearray(12)
        self._limit = limit
        self._seen: dict[bytes, int] = {}
        if question:
            self._name(question[:-4])
            self.octets += question[-4:]

    def add(self, record: Record) -> None:
        """
        Write one record.

        :raises Overflow: it does not fit; nothing of it is left behind.
        """
        before = len(self.octets)
        self._name(record.owner)
        head = len(self.octets)
        self.octets += RECORD_HEAD.pack(record.rtype, record.rclass, record.ttl, 0)
        layout = LAYOUTS.get(record.rtype)
        if layout is None:
            self.octets += record.rdata
        else:
            self._rdata(record.rdata, layout)
        if len(self.octets) > self._limit:
            del self.octets[before:]
            raise Overflow
        length = len(self.octets) - head - 10
        self.octets[head + 8 : head + 10] = length.to_bytes(2, "big")

    def _rdata(self, rdata: bytes, layout: Layout) -> None:
        self.octets += rdata[: layout.before]
        position = layout.before
        for _ in range(layout.names):
            start = position
            while length := rdata[position]:
                position += 1 + length
            position += 1
            self._name(rdata[start:position], layout.compressible)
        self.octets += rdata[position:]

    def _name(self, name: bytes, compress: bool = True) -> None:
        """Write a name; one that may not be compressed itself still serves those after it."""
        position = 0
        while length := name[position]:
            rest = name[position:]
            pointer = self._seen.get(rest)
            if pointer is None:
                # A record that is taken back leaves offsets behind that nothing after it will use: writing ends there.
                if len(self.octets) <= MAX_POINTER:
                    self._seen[rest] = len(self.octets)
            elif compress:
                self.octets += (0xC000 | pointer).to_bytes(2, "big")
                return
            self.octets += name[position : position + 1 + length]
            position += 1 + length
        self.octets.append(0)


def uncompressed_size(question: bytes, sections: Iterable[Iterable[Record]]) -> int:
    """Octets of a message without compression and without an OPT."""
    return 12 + len(question) + sum(len(r.owner) + 10 + len(r.rdata) for section in sections for r in section)
