# -*- test-case-name: tests.wire.test_render -*-
"""
Turn sections of records into a message that fits the client.

A message that fits is sent without name compression: that is one join of bytes that are there already. One that does not fit is compressed;
if it is still too large it ends in front of the first record that does not fit, with TC set. Both passes stop as soon as they know that
no more fits, so that a large answer costs no more than a large message. An OPT is never dropped: its size is set aside first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kdns.wire.constants import TC
from kdns.wire.query import HEADER, RECORD_HEAD
from kdns.wire.records import LAYOUTS, Layout, Record

MAX_POINTER = 0x3FFF
"""The highest offset that a compression pointer can name (RFC 1035 section 4.1.4)."""

MANY = 500
"""Records above which sizes are added up first: this takes a sixth of the time that it takes to write records that do not fit."""


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

    :param flags: the second word of the header; TC is added when records are left out.
    :param question: the question section in wire form, or empty.
    :param sections: answer, authority, additional.
    :param opt: the OPT record in wire form, or empty; it comes last.
    :param limit: the largest message that the client takes, in bytes.
    :param plain_limit: the largest message in which names are left uncompressed, in bytes.
    """
    if sum(map(len, sections)) > MANY and uncompressed_size(question, sections) + len(opt) > min(limit, plain_limit):
        return render_compressed(ident, flags, question, sections, opt, limit)
    parts: list[bytes] = []
    room = (limit if limit < plain_limit else plain_limit) - 12 - len(question) - len(opt)
    pack = RECORD_HEAD.pack
    for section in sections:
        for owner, rtype, rclass, ttl, rdata in section:
            length = len(rdata)
            room -= len(owner) + 10 + length
            if room < 0:
                return render_compressed(ident, flags, question, sections, opt, limit)
            parts += (owner, pack(rtype, rclass, ttl, length), rdata)
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


def render_compressed(
    ident: int,
    flags: int,
    question: bytes,
    sections: Iterable[Iterable[Record]],
    opt: bytes,
    limit: int,
) -> bytes:
    """
    Make a message with compressed names; the parameters are those of :func:`render`.

    No record behind the first that does not fit is asked of *sections*.
    """
    names = _Names()
    compress, pointers = names.compress, names.pointers
    pack = RECORD_HEAD.pack
    parts: list[bytes] = [b"", question]
    size = 12 + len(question)
    end = limit - len(opt)
    counts = [0, 0, 0]
    # Records of one owner mostly follow one another: its compressed form is looked up once.
    last, last_form = b"", b""
    if question:
        last = question[:-4]
        compress(last, 12)
        last_form = pointers.get(last, last)
    for index, section in enumerate(sections):
        for owner, rtype, rclass, ttl, rdata in section:
            if owner is last or owner == last:
                form = last_form
            else:
                form = compress(owner, size)
                last, last_form = owner, pointers.get(owner, form)
            start = size + len(form) + 10
            if rtype in LAYOUTS:
                rdata = names.compress_rdata(rdata, LAYOUTS[rtype], start)
            length = len(rdata)
            if start + length > end:
                flags |= TC
                break
            parts += (form, pack(rtype, rclass, ttl, length), rdata)
            size = start + length
            counts[index] += 1
        else:
            continue
        break
    parts[0] = HEADER.pack(ident, flags, 1 if question else 0, counts[0], counts[1], counts[2] + (1 if opt else 0))
    parts.append(opt)
    return b"".join(parts)


class _Names:
    """The names of one message, and the compression pointers to them."""

    def __init__(self) -> None:
        self.pointers: dict[bytes, bytes] = {}
        """
        By the name that stands at the pointer's target. Where a name is in here its parents are, too: they stand in it.

        A name beyond MAX_POINTER is left out. So is no name that was meant for a record that did not fit: it is the last one.
        """

    def compress(self, name: bytes, offset: int) -> bytes:
        """The form in which to write *name* at *offset*; from now on others may point there."""
        pointers = self.pointers
        position = 0
        while length := name[position]:
            rest = name[position:]
            pointer = pointers.get(rest)
            if pointer is not None:
                return name[:position] + pointer
            if offset + position <= MAX_POINTER:
                pointers[rest] = (0xC000 | offset + position).to_bytes(2, "big")
            position += 1 + length
        return name

    def compress_rdata(self, rdata: bytes, layout: Layout, offset: int) -> bytes:
        """The form in which to write *rdata* at *offset*."""
        if not layout.compressible and offset > MAX_POINTER:
            return rdata  # nothing to gain, for this record or a later one
        position = layout.before
        parts = [rdata[:position]]
        size = position
        for _ in range(layout.names):
            start = position
            while length := rdata[position]:
                position += 1 + length
            position += 1
            name = rdata[start:position]
            form = self.compress(name, offset + size)
            if not layout.compressible:
                form = name  # RFC 3597 section 4; later names may point at it all the same
            parts.append(form)
            size += len(form)
        parts.append(rdata[position:])
        return b"".join(parts)


def uncompressed_size(question: bytes, sections: Iterable[Iterable[Record]]) -> int:
    """Bytes of a message without compression and without an OPT."""
    return 12 + len(question) + sum(len(r.owner) + 10 + len(r.rdata) for section in sections for r in section)
