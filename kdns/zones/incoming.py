# -*- test-case-name: tests.zones.test_transfers -*-
"""
Incoming transfers: from the messages of a primary to a zone (RFC 5936, RFC 1995).

    START -> FIRST (an SOA) -> FULL (another record)   -> DONE (the SOA again)
                            -> DELETING (the old SOA) <-> ADDING -> DONE
                            -> DONE (nothing new)

No socket and no timer is in here. Bytes of a primary raise nothing but :class:`TransferFailed`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from enum import Enum, auto
from struct import error as StructError

from kdns.wire.constants import (
    AAAA,
    AXFR,
    HTTPS,
    IN,
    IXFR,
    NSEC3,
    NSEC3PARAM,
    OPCODE_MASK,
    QR,
    RRSIG,
    SOA,
    SVCB,
    A,
    type_text,
)
from kdns.wire.names import MAX_LABEL, MalformedName, read_name, skip_name, to_text
from kdns.wire.query import HEADER, RECORD_HEAD
from kdns.wire.records import LAYOUTS, Record, expand_rdata
from kdns.zones.history import Delta
from kdns.zones.nodes import Datum
from kdns.zones.zone import BadZone, Zone, ZoneBuilder, is_newer, serial_of

MAX_RECORDS = 10_000_000
"""Records of a transfer at most: over a gigabyte."""

STEP = 64
"""Records to read before the caller may do something else."""


class TransferFailed(Exception):
    """What a primary sent is no transfer of the zone."""


class State(Enum):
    """How far a transfer is."""

    START = auto()
    """Nothing came."""

    FIRST = auto()
    """The SOA of the version that is being sent came."""

    FULL = auto()
    """All records come."""

    DELETING = auto()
    """Records that are no more come."""

    ADDING = auto()
    """New records come."""

    DONE = auto()
    """The zone is whole."""


def transfer_query(ident: int, origin: bytes, soa: Record | None = None) -> bytes:
    """A query for a whole zone, or for what changed since the version with this SOA."""
    if soa is None:
        return HEADER.pack(ident, 0, 1, 0, 0, 0) + origin + AXFR.to_bytes(2, "big") + b"\x00\x01"
    question = origin + IXFR.to_bytes(2, "big") + b"\x00\x01"
    record = origin + RECORD_HEAD.pack(SOA, IN, soa.ttl, len(soa.rdata)) + soa.rdata
    return HEADER.pack(ident, 0, 1, 0, 1, 0) + question + record


def soa_query(ident: int, origin: bytes) -> bytes:
    """A query for the SOA of a zone."""
    return HEADER.pack(ident, 0, 1, 0, 0, 0) + origin + SOA.to_bytes(2, "big") + b"\x00\x01"


def soa_of_reply(message: bytes, ident: int, origin: bytes) -> Record:
    """
    The SOA in the answer section of a reply.

    :raises TransferFailed: there is none, or the reply is to something else.
    """
    for record in _records(message, ident, origin, False):
        if record is not None and record.rtype == SOA and record.owner.lower() == origin:
            return record
    raise TransferFailed("no SOA")


class IncomingTransfer:
    """Take the messages of one transfer."""

    def __init__(self, origin: bytes, ident: int, current: Zone | None = None) -> None:
        """
        :param ident: the identifier of the query.
        :param current: the version that the query named, for IXFR.
        """
        self.state = State.START
        self.records = 0
        self._origin = origin
        self._ident = ident
        self._current = current
        self._builder = ZoneBuilder(origin)
        self._soa: Record | None = None
        self._old: Record | None = None
        self._new: Record | None = None
        self._removed: list[Record] = []
        self._added: list[Record] = []
        self._deltas: list[Delta] = []
        self.zone: Zone | None = None
        """The new version; None when there is nothing new. There when :meth:`finish` has ended."""

    @property
    def deltas(self) -> list[Delta] | None:
        """The differences, when the primary sent these; None when it sent the whole zone."""
        return self._deltas or None

    @property
    def up_to_date(self) -> bool:
        """Whether the primary has nothing newer."""
        return self.state is State.DONE and self._soa is not None and not self._deltas and not self._builder.has_soa

    def feed(self, message: bytes) -> Generator[None, None, None]:
        """
        Take one message; each step is short.

        :raises TransferFailed: it does not belong to the transfer, or is none.
        """
        if self.state is State.DONE:
            raise TransferFailed("a message behind the end")
        count = 0
        for record in _records(message, self._ident, self._origin, self.state is not State.START):
            count += 1
            if not count % STEP:
                yield
            if record is not None:
                self._take(record)
        if not count and self.state is State.START:
            raise TransferFailed("no SOA")
        if self.state is State.FIRST and self._current is not None:
            # RFC 1995 section 4: one SOA and nothing else means that there is nothing new, which only the end of the message shows.
            assert self._soa is not None
            if not is_newer(serial_of(self._soa.rdata), self._current.serial):
                self.state = State.DONE

    def _take(self, record: Record) -> None:
        self.records += 1
        if self.records > MAX_RECORDS:
            raise TransferFailed(f"more than {MAX_RECORDS} records")
        if record.rtype == SOA and record.owner.lower() != self._origin:
            raise TransferFailed(f"SOA of {to_text(record.owner)}")
        match self.state:
            case State.START:
                if record.rtype != SOA:
                    raise TransferFailed("no SOA")
                self._soa = record
                self.state = State.FIRST
            case State.FIRST:
                if record.rtype == SOA and self._current is not None and self._is(record, self._current.serial):
                    self._old = record
                    self.state = State.DELETING
                elif record.rtype == SOA:
                    self._finish_full(record)
                else:
                    self.state = State.FULL
                    self._add_soa()
                    self._add(record)
            case State.FULL:
                if record.rtype == SOA:
                    self._finish_full(record)
                else:
                    self._add(record)
            case State.DELETING:
                if record.rtype == SOA:
                    self._new = record
                    self.state = State.ADDING
                else:
                    self._removed.append(record)
            case State.ADDING:
                if record.rtype == SOA:
                    self._next_delta(record)
                else:
                    self._added.append(record)
            case State.DONE:
                raise TransferFailed("records behind the end")

    @staticmethod
    def _is(record: Record, serial: int) -> bool:
        return serial_of(record.rdata) == serial

    def _add_soa(self) -> None:
        assert self._soa is not None
        self._add(self._soa)

    def _finish_full(self, record: Record) -> None:
        assert self._soa is not None
        if record.rdata != self._soa.rdata:
            raise TransferFailed("the closing SOA is another one")
        if not self._builder.has_soa:
            self._add_soa()
        self.state = State.DONE

    def _add(self, record: Record) -> None:
        try:
            self._builder.add(record.owner.lower(), record.rtype, record.ttl, record.rdata, record.owner)
        except BadZone as error:
            raise TransferFailed(str(error)) from error

    def _next_delta(self, record: Record) -> None:
        assert self._soa is not None and self._old is not None and self._new is not None
        self._deltas.append(Delta(self._old, self._new, tuple(self._removed), tuple(self._added)))
        self._removed, self._added = [], []
        if record.rdata == self._soa.rdata and self._new.rdata == self._soa.rdata:
            self.state = State.DONE
        elif record.rdata == self._new.rdata:
            self._old = record
            self.state = State.DELETING
        else:
            raise TransferFailed("differences that do not follow one another")

    def finish(self) -> Generator[None, None, None]:
        """
        Make the zone of a transfer that is done; each step is short.

        :raises TransferFailed: the records are no zone, or the differences do not fit the version there is.
        """
        if self.state is not State.DONE:
            raise TransferFailed("the transfer ended early")
        try:
            if self._deltas:
                assert self._current is not None
                builder = ZoneBuilder(self._origin)
                yield from builder.start_from(self._current)
                for delta in self._deltas:
                    yield from _apply(builder, delta)
            elif self._builder.has_soa:
                builder = self._builder
            else:
                return
            yield from builder.finish()
        except BadZone as error:
            raise TransferFailed(str(error)) from error
        self.zone = builder.zone


def _apply(builder: ZoneBuilder, delta: Delta) -> Iterator[None]:
    for count, record in enumerate(delta.removed):
        if not builder.remove(record.owner.lower(), Datum(record.rtype, record.ttl, record.rdata)):
            raise TransferFailed(f"no such record to remove: {to_text(record.owner)} {type_text(record.rtype)}")
        if not count % STEP:
            yield
    builder.replace_soa(delta.new)
    for count, record in enumerate(delta.added):
        builder.add(record.owner.lower(), record.rtype, record.ttl, record.rdata, record.owner)
        if not count % STEP:
            yield


def _records(message: bytes, ident: int, origin: bytes, later: bool) -> Iterator[Record | None]:
    """
    The records of the answer section of a reply.

    :param later: whether it is not the first message, which may go without a question (RFC 5936 section 2.2.1).
    """
    if len(message) < 12:
        raise TransferFailed("message cut short")
    got, flags, questions, answers, _, _ = HEADER.unpack_from(message)
    if got != ident or not flags & QR or flags & OPCODE_MASK:
        raise TransferFailed("a message that is no reply to the query")
    if flags & 0x000F:
        raise TransferFailed(f"bad xfr rcode: {flags & 0x000F}")
    at = 12
    try:
        for _ in range(questions):
            name, at = read_name(message, at)
            at += 4
            if name.lower() != origin:
                raise TransferFailed(f"reply to a question about {to_text(name)}")
        if questions > 1 or (not questions and not later and not answers):
            raise TransferFailed("no question")
        for _ in range(answers):
            owner, at = read_name(message, at)
            rtype, rclass, ttl, size = RECORD_HEAD.unpack_from(message, at)
            at += 10
            end = at + size
            if end > len(message):
                raise TransferFailed("message cut short")
            rdata = expand_rdata(message, at, end, rtype)
            at = end
            if not _fits(rtype, rdata):
                raise TransferFailed(f"malformed {type_text(rtype)} record of {to_text(owner)}")
            yield Record(owner, rtype, rclass, ttl, rdata) if rclass == IN else None
    except (MalformedName, IndexError) as error:
        raise TransferFailed(f"malformed message: {error}") from error
    except StructError as error:
        raise TransferFailed("message cut short") from error


def _fits(rtype: int, rdata: bytes) -> bool:
    """Whether uncompressed rdata have the shape of their type, for all types that are looked into when names are answered."""
    if rtype in _SIZES:
        return len(rdata) == _SIZES[rtype]
    try:
        layout = LAYOUTS.get(rtype)
        if layout is not None:
            at = layout.before
            for _ in range(layout.names):
                at = skip_name(rdata, at)
            return len(rdata) - at == (20 if rtype == SOA else 0)
        if rtype in (SVCB, HTTPS):
            at = 2
            while length := rdata[at]:
                if length > MAX_LABEL:  # RFC 9460 section 2.2: the target is not compressed
                    return False
                at += 1 + length
        elif rtype == NSEC3:
            hash_length = rdata[5 + rdata[4]]
            return hash_length == 20 and len(rdata) >= 26 + rdata[4]
        elif rtype == NSEC3PARAM:
            return len(rdata) == 5 + rdata[4]
        elif rtype == RRSIG:
            return len(rdata) > 18
    except (MalformedName, IndexError):
        return False
    return True


_SIZES = {A: 4, AAAA: 16}
