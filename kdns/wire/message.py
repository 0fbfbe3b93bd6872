# -*- test-case-name: tests.wire.test_message -*-
"""
A reply from an upstream, kept in the bytes it came in.

:class:`Relayed` is a scanned message: it knows where the records stand. It is not decoded and encoded again; identifier, question, flags,
TTLs and OPT are patched in place. Records are read one by one, and only when the reply must be made smaller or a plugin asks for them.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kdns.wire.constants import AAAA, OPT, QR, RCODE_MASK, A
from kdns.wire.names import MalformedName, NameFacts, measure_name, read_name, skip_name
from kdns.wire.query import HEADER, RECORD_HEAD, options_of
from kdns.wire.records import MAX_TTL, MAY_HOLD_NAMES, Record, check_rdata, expand_rdata, expanded_size

_TTL = struct.Struct("!I")
_NO_NAMES = b"\xff" * 12

ANSWER, AUTHORITY, ADDITIONAL = 0, 1, 2

MOST_TAKEN_APART = 100
"""Records up to which a reply is taken apart where that is nicer but not needed: thousands take several milliseconds."""

MOST_CHANGED = 500
"""Records up to which a plugin that was configured for it puts a reply into another order, or maps its addresses: 2 milliseconds."""


CHECKED_AT_ONCE = 1000
"""Records that :meth:`Relayed.checking` looks at in a step, which takes a millisecond."""


class MalformedMessage(ValueError):
    """The bytes are not a whole DNS message."""


class Slot(Struct, frozen=True, gc=False):
    """Where one record stands in a message, as offsets."""

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
    """Records in answer, authority and additional, without the OPT."""

    question: tuple[bytes, int, int] | None
    """Name as the sender spelled it, type and class; None when it has no question."""

    body: int
    """Offset of the first record."""

    slots: tuple[Slot, ...]
    """The records without any OPT."""

    opt: Slot | None
    """The first OPT. A well-formed message has no other."""

    least_ttl: int | None
    """The lowest TTL in the message, the OPT left out, in whole seconds; None without records."""

    ttl: int | None = None
    """Whole seconds that every record gets in place of its own TTL."""

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

    @property
    def lowest_ttl(self) -> int | None:
        """The lowest TTL of the records as they will be sent; None without records."""
        return self.least_ttl if self.ttl is None or self.least_ttl is None else self.ttl

    def with_ttl(self, ttl: int) -> Relayed:
        """The same records, each with *ttl* seconds."""
        return replace(self, ttl=ttl)

    def types(self, section: int) -> list[int]:
        """Record types of a section, in its order."""
        return [slot.rtype for slot in self.slots if slot.section == section]

    def record(self, slot: Slot) -> Record:
        """
        One record, with the names inside it uncompressed.

        :raises MalformedName: its rdata does not fit its type.
        """
        return next(self._records((slot,)))

    def records(self, section: int) -> Iterator[Record]:
        """The records of a section, each made when it is asked for; see :meth:`record`."""
        first = sum(self.counts[:section])
        return self._records(self.slots[first : first + self.counts[section]])

    def sections(self) -> tuple[tuple[Record, ...], tuple[Record, ...], tuple[Record, ...]]:
        """Answer, authority and additional as records; see :meth:`record`."""
        return tuple(self.records(ANSWER)), tuple(self.records(AUTHORITY)), tuple(self.records(ADDITIONAL))

    def _records(self, slots: Iterable[Slot]) -> Iterator[Record]:
        message, ttl = self.message, self.ttl
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

    def patched(self, question: bytes) -> bytes | None:
        """
        The message behind its header, with another question section and :attr:`ttl`, and without the OPT.

        :param question: the question section in the client's spelling.
        :return: None when that cannot be done in place: the question has another length, or records follow the OPT, whose pointers would
            no longer fit.
        """
        if len(question) != self.body - 12 or (self.opt is not None and self.opt.end != len(self.message)):
            return None
        end = len(self.message) if self.opt is None else self.opt.start
        body = self.body
        ttl = self.ttl
        if ttl is None:
            return question + self.message[body:end]
        message = bytearray(self.message[:end])
        message[12:body] = question
        for slot in self.slots:
            _TTL.pack_into(message, slot.ttl_at, ttl)
        return bytes(message[12:])

    def address_sets(self) -> list[list[Slot]]:
        """
        The address sets with more than one record: A or AAAA records of one section and owner.

        :raises MalformedName: an owner cannot be read.
        """
        sets: dict[tuple[int, int, bytes], list[Slot]] = {}
        for slot in self.slots:
            if slot.rtype in (A, AAAA) and slot.end - slot.rdata == (4 if slot.rtype == A else 16):
                owner = self.message[slot.start : slot.ttl_at - 4]
                if owner[0] < 0xC0:  # not just a pointer: the same name may have several spellings
                    owner = read_name(self.message, slot.start)[0].lower()
                sets.setdefault((slot.section, slot.rtype, owner), []).append(slot)
        return [slots for slots in sets.values() if len(slots) > 1]

    def rearranged(self, changes: Iterable[tuple[Sequence[Slot], Sequence[Slot]]]) -> Relayed:
        """
        A copy in which records have exchanged their rdata.

        :param changes: pairs of equally many slots: where to write, and whose rdata. All rdata of a pair has the same length.
        """
        message = bytearray(self.message)
        for places, sources in changes:
            for place, source in zip(places, sources, strict=True):
                message[place.rdata : place.end] = self.message[source.rdata : source.end]
        return replace(self, message=bytes(message))

    def checking(self) -> Generator[None, None, None]:
        """As :meth:`check`, some records at a time."""
        for first in range(0, len(self.slots), CHECKED_AT_ONCE):
            self.check(first, first + CHECKED_AT_ONCE)
            yield

    def check(self, first: int = 0, end: int | None = None) -> None:
        """
        See whether every owner can be read, and the rdata of the types that kdns knows.

        :param first, end: the records to look at, by number; all by default.
        :raises MalformedMessage: one cannot.
        """
        # A name that points into the header would read differently in the reply to the client, so no name can be read there.
        message = _NO_NAMES + self.message[12:]
        asked = self.body > 12
        known: dict[int, NameFacts] = {}
        try:
            for slot in self.slots[first:end]:
                start = slot.start
                if not asked or message[start] != 0xC0 or message[start + 1] != 12:
                    measure_name(message, start, known)
                rtype, start, end = slot.rtype, slot.rdata, slot.end
                # A and AAAA are nearly all there is. Outside of class IN they may be anything.
                if rtype in (A, AAAA):
                    if (
                        end - start != (4 if rtype == A else 16)
                        and message[slot.ttl_at - 2 : slot.ttl_at] == b"\x00\x01"
                    ):
                        raise MalformedName(f"an address of {end - start} octets")
                else:
                    check_rdata(message, start, end, rtype, known)
        except (MalformedName, IndexError) as error:
            raise MalformedMessage(str(error)) from None

    def uncompressed_size(self, question: bytes = b"") -> int:
        """
        Bytes of the whole message without any name compression and without its OPT; *question* is the message's own.

        Of a message with many records, its bytes as they came: to log one of thousands must not take longer than to answer it.

        :raises MalformedName: some rdata does not fit its type.
        """
        message = self.message
        if len(self.slots) > MOST_TAKEN_APART:
            return len(message) - (0 if self.opt is None else self.opt.end - self.opt.start)
        size = self.body
        asked = len(self.question[0]) if self.question is not None else 0
        known: dict[int, NameFacts] = {}
        for slot in self.slots:
            start = slot.start
            if asked and message[start] == 0xC0 and message[start + 1] == 12:
                size += asked
            else:
                size += measure_name(message, start, known)[0]
            if slot.rtype in MAY_HOLD_NAMES:
                size += 10 + expanded_size(message, slot.rdata, slot.end, slot.rtype, known)
            else:
                size += 10 + slot.end - slot.rdata
        return size


def scan(message: bytes, known: tuple[bytes, int, int] | None = None) -> Relayed:
    """
    Find the records of a reply. Bytes behind the last record are dropped.

    :param known: name, type and class of the question, if the caller has compared them already.
    :raises MalformedMessage: it is a query, has more than one question, or its records run over the end.
    """
    if len(message) < 12:
        raise MalformedMessage(f"{len(message)} bytes are not a message")
    _, flags, questions, answers, authorities, additionals = HEADER.unpack_from(message)
    if not flags & QR:
        raise MalformedMessage("a query instead of a reply")
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
                # Nearly every owner is a pointer; its target does not matter here.
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
                    # The first one counts: a second OPT then follows it, and the message is not patched in place.
                    opt = slot
    except (MalformedName, struct.error, IndexError) as error:
        raise MalformedMessage(str(error)) from None
    if opt is not None:
        sections = [slot.section for slot in slots]
        counts = (sections.count(ANSWER), sections.count(AUTHORITY), sections.count(ADDITIONAL))
    if offset < size:
        message = message[:offset]
    return Relayed(message, flags, counts, question, body, tuple(slots), opt, least)
