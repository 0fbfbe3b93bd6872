# -*- test-case-name: tests.wire.test_message -*-
"""
A reply from elsewhere, kept as the octets it came in and only patched.

:class:`Relayed` is a scanned message: where its records stand, and what a resolver must know of them. It is never decoded and encoded
again; identifier, question, flags, TTLs and OPT are exchanged in place. Only a reply that must be made smaller is taken apart
(:meth:`Relayed.sections`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kdns.wire.constants import AAAA, OPT, QR, RCODE_MASK, A
from kdns.wire.names import MalformedName, read_name, skip_name
from kdns.wire.query import HEADER, RECORD_HEAD, options_of
from kdns.wire.records import MAX_TTL, MAY_HOLD_NAMES, Record, check_rdata, expand_rdata

_TTL = struct.Struct("!I")
_NO_NAMES = b"\xff" * 12

ANSWER, AUTHORITY, ADDITIONAL = 0, 1, 2


class MalformedMessage(ValueError):
    """Octets that are no whole DNS message."""


class Slot(Struct, frozen=True, gc=False):
    """Where one record stands in a message; offsets in octets."""

    section: int
    start: int
    rtype: int
    ttl_at: int
    rdata: int
    end: int


class Relayed(Struct, frozen=True, gc=False):
    """A scanned reply; make one with :func:`scan`."""

    message: bytes
    flags: int
    """The second word of its header."""

    counts: tuple[int, int, int]
    """Records in answer, authority and additional, the OPT left out."""

    question: tuple[bytes, int, int] | None
    """Name as the sender spelled it, type and class; None when it has no question."""

    body: int
    """Offset of the first record."""

    slots: tuple[Slot, ...]
    """The records without any OPT."""

    opt: Slot | None
    """The first OPT; there should be no other."""

    least_ttl: int | None
    """The lowest TTL of all records but the OPT, in whole seconds; None when there are none."""

    @property
    def rcode(self) -> int:
        """The response code with the upper bits that an OPT holds (RFC 6891 section 6.1.3)."""
        low = self.flags & RCODE_MASK
        return low if self.opt is None else low | self.message[self.opt.ttl_at] << 4

    @property
    def compressed(self) -> bool:
        """Whether the sender compressed the names: then compressing them once more gains nothing."""
        return bool(self.slots) and self.message[self.slots[0].start] >= 0xC0

    @property
    def options(self) -> list[tuple[int, bytes]] | None:
        """The EDNS options of the reply; None when it has no OPT."""
        return None if self.opt is None else options_of(self.message[self.opt.rdata : self.opt.end])

    def types(self, section: int) -> list[int]:
        """Record types of a section, in its order."""
        return [slot.rtype for slot in self.slots if slot.section == section]

    def record(self, slot: Slot, ttl: int | None = None) -> Record:
        """
        One record, with the names inside it uncompressed.

        :param ttl: the TTL to give it in place of its own.
        :raises MalformedName: its rdata does not fit its type.
        """
        return next(self._records((slot,), ttl))

    def records(self, section: int, ttl: int | None = None) -> Iterator[Record]:
        """The records of a section, each made when it is asked for; see :meth:`record`."""
        first = sum(self.counts[:section])
        return self._records(self.slots[first : first + self.counts[section]], ttl)

    def sections(self, ttl: int | None = None) -> tuple[list[Record], list[Record], list[Record]]:
        """Answer, authority and additional as records; see :meth:`record`."""
        return list(self.records(ANSWER, ttl)), list(self.records(AUTHORITY, ttl)), list(self.records(ADDITIONAL, ttl))

    def _records(self, slots: Iterable[Slot], ttl: int | None) -> Iterator[Record]:
        message = self.message
        # Owners are nearly always pointers, and mostly the same one.
        owners: dict[bytes, bytes] = {}
        for slot in slots:
            form = message[slot.start : slot.ttl_at - 4]
            owner = owners.get(form)
            if owner is None:
                owner, _ = read_name(message, slot.start)
                owners[form] = owner
            rtype, rclass, own_ttl, _ = RECORD_HEAD.unpack_from(message, slot.ttl_at - 4)
            if rtype in MAY_HOLD_NAMES:
                rdata = expand_rdata(message, slot.rdata, slot.end, rtype)
            else:
                rdata = message[slot.rdata : slot.end]
            if ttl is not None:
                own_ttl = ttl
            elif own_ttl > MAX_TTL:
                own_ttl = 0  # RFC 2181 section 8
            yield Record(owner, rtype, rclass, own_ttl, rdata)

    def patched(self, question: bytes, ttl: int | None) -> bytes | None:
        """
        Question and records with *question* in place of the sender's spelling, TTLs exchanged and the OPT left out.

        :param question: the question section to show: a name of the same length as the message's own, type and class.
        :param ttl: the TTL of all records; None keeps each its own.
        :return: None when that cannot be done in place: the question differs in length, or records stand behind the OPT that may point
            at what moves.
        """
        if len(question) != self.body - 12 or (self.opt is not None and self.opt.end != len(self.message)):
            return None
        end = len(self.message) if self.opt is None else self.opt.start
        body = self.body
        if ttl is None:
            return question + self.message[body:end]
        octets = bytearray(self.message[:end])
        octets[12:body] = question
        for slot in self.slots:
            _TTL.pack_into(octets, slot.ttl_at, ttl)
        return bytes(octets[12:])

    def address_sets(self) -> list[list[Slot]]:
        """
        The A and AAAA records that stand beside others of their section, owner and type; sets of one are left out.

        :raises MalformedName: an owner cannot be read.
        """
        sets: dict[tuple[int, int, bytes], list[Slot]] = {}
        for slot in self.slots:
            if slot.rtype in (A, AAAA) and slot.end - slot.rdata == (4 if slot.rtype == A else 16):
                owner = self.message[slot.start : slot.ttl_at - 4]
                if owner[0] < 0xC0:  # not just a pointer, so it may be spelled in several ways
                    owner = read_name(self.message, slot.start)[0].lower()
                sets.setdefault((slot.section, slot.rtype, owner), []).append(slot)
        return [slots for slots in sets.values() if len(slots) > 1]

    def rearranged(self, changes: Iterable[tuple[Sequence[Slot], Sequence[Slot]]]) -> Relayed:
        """
        A copy in which records have exchanged their rdata, where they stand.

        :param changes: pairs of equally many slots: where to write, and whose rdata; the rdata of all of a pair is equally long.
        """
        octets = bytearray(self.message)
        for places, sources in changes:
            for place, source in zip(places, sources, strict=True):
                octets[place.rdata : place.end] = self.message[source.rdata : source.end]
        return replace(self, message=bytes(octets))

    def check(self) -> None:
        """
        See whether every owner can be read, and the rdata of the types that kdns knows.

        :raises MalformedMessage: one cannot.
        """
        # A name that points into the header would read differently in the reply to the client, so no name can be read there.
        message = _NO_NAMES + self.message[12:]
        asked = self.body > 12
        try:
            for slot in self.slots:
                start = slot.start
                if not asked or message[start] != 0xC0 or message[start + 1] != 12:
                    read_name(message, start)
                rtype, start, end = slot.rtype, slot.rdata, slot.end
                # A and AAAA are nearly all there is. Outside of class IN they may be anything.
                if rtype in (A, AAAA):
                    if (
                        end - start != (4 if rtype == A else 16)
                        and message[slot.ttl_at - 2 : slot.ttl_at] == b"\x00\x01"
                    ):
                        raise MalformedName(f"an address of {end - start} octets")
                else:
                    check_rdata(message, start, end, rtype)
        except (MalformedName, IndexError) as error:
            raise MalformedMessage(str(error)) from None

    def uncompressed_size(self) -> int:
        """
        Octets of the whole message without any name compression and without its OPT.

        :raises MalformedName: some rdata does not fit its type.
        """
        message = self.message
        size = self.body
        asked = len(self.question[0]) if self.question is not None else 0
        for slot in self.slots:
            start = slot.start
            if asked and message[start] == 0xC0 and message[start + 1] == 12:
                size += asked
            else:
                size += len(read_name(message, start)[0])
            if slot.rtype in MAY_HOLD_NAMES:
                size += 10 + len(expand_rdata(message, slot.rdata, slot.end, slot.rtype))
            else:
                size += 10 + slot.end - slot.rdata
        return size


def scan(message: bytes, known: tuple[bytes, int, int] | None = None) -> Relayed:
    """
    Find the records of a reply. Octets behind the last record are cut off.

    :param known: name, type and class of its question, where the caller has seen that they stand there.

    :raises MalformedMessage: not a reply, more than one question, or records that run over the end.
    """
    if len(message) < 12:
        raise MalformedMessage(f"{len(message)} octets are no message")
    _, flags, questions, answers, authorities, additionals = HEADER.unpack_from(message)
    if not flags & QR:
        raise MalformedMessage("a query where a reply was awaited")
    if questions > 1:
        raise MalformedMessage(f"{questions} questions")
    try:
        question = known
        offset = 12
        if known is not None:
            offset += len(known[0]) + 4
        elif questions:
            name, offset = read_name(message, 12)
            qtype, qclass = message[offset] << 8 | message[offset + 1], message[offset + 2] << 8 | message[offset + 3]
            question = (name, qtype, qclass)
            offset += 4
        body = offset
        slots: list[Slot] = []
        opt = None
        least: int | None = None
        size = len(message)
        head = RECORD_HEAD.unpack_from
        counts = (answers, authorities, additionals)
        for section, count in enumerate(counts):
            for _ in range(count):
                start = offset
                # Nearly every owner is a pointer, and where it points to is of no interest here.
                offset = start + 2 if message[start] >= 0xC0 else skip_name(message, start)
                rtype, _, ttl, length = head(message, offset)
                slot = Slot(section, start, rtype, offset + 4, offset + 10, offset + 10 + length)
                offset = slot.end
                if offset > size:
                    raise MalformedMessage("record runs over the end")
                if rtype != OPT:
                    slots.append(slot)
                    if ttl > MAX_TTL:
                        ttl = 0
                    if least is None or ttl < least:
                        least = ttl
                elif opt is None:
                    # Of several the first counts, so that whatever follows it keeps the message from being patched in place.
                    opt = slot
    except (MalformedName, struct.error, IndexError) as error:
        raise MalformedMessage(str(error)) from None
    if opt is not None:
        sections = [slot.section for slot in slots]
        counts = (sections.count(ANSWER), sections.count(AUTHORITY), sections.count(ADDITIONAL))
    if offset < size:
        message = message[:offset]
    return Relayed(message, flags, counts, question, body, tuple(slots), opt, least)
