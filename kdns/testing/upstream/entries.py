# -*- test-case-name: tests.testing.test_upstream -*-
"""
What the fake upstream resolver says about one name, and how it misbehaves there: values, and their form in JSON.

A JSON file holds ``names``, a mapping from names to entries, and the SOA records that stand in negative answers. How an entry becomes
bytes is resolver.py's business.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kdns.testing.records import parse_record, parse_records
from kdns.wire.constants import AA, AD, CD, RA, RD, TC, rcode_number
from kdns.wire.names import from_text, spelled_from_text
from kdns.wire.records import Record


class Truncate(enum.Enum):
    """The part of a reply that is left when it is truncated on purpose."""

    NOTHING = "empty"
    HALF = "half"


class Action(enum.Enum):
    """What the server does with the bytes of a step."""

    SEND = "to the asker, from where it asked"
    SEND_FROM_ELSEWHERE = "to the asker, from another address; on a stream as SEND"
    ASK_BACK = "to the resolver that the server is told to loop to, and its reply to the asker"
    HANG_UP = "no bytes: the stream is closed; over UDP nothing happens"


@dataclass(frozen=True, slots=True)
class Entry:
    """
    What is said about a name.

    :ivar answer: sent are those of the type asked for, or to which a chain of CNAMEs leads from the question.
    :ivar authority: None: the SOA record, where there is no fitting answer and no rcode.
    :ivar rcode: None: NOERROR.
    :ivar always: send the whole answer, whatever is asked.
    :ivar set_flags: bits of the header's second word to set; *clear_flags* to clear, after that.
    :ivar opt: whether a query with an OPT record gets one back.
    :ivar counter: answer with the address 192.0.2.N, N the number of this query to this name, living for *ttl* seconds.
    :ivar question: stands in the reply instead of the question's name.
    :ivar delay: seconds before the reply.
    :ivar copies: how often the reply is sent.
    :ivar huge: fill the reply with records to at least so many bytes, and send it whatever the asker can take.
    :ivar garbage: send these bytes instead of a reply.
    :ivar raw: send these bytes behind the query's identifier instead of a reply.
    """

    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] | None = None
    additional: tuple[Record, ...] = ()
    rcode: int | None = None
    always: bool = False
    set_flags: int = 0
    clear_flags: int = 0
    opt: bool = True
    counter: bool = False
    ttl: int = 300
    question: bytes | None = None
    delay: float = 0.0
    truncate: Truncate | None = None
    silent: bool = False
    wrong_id: bool = False
    wrong_id_first: bool = False
    copies: int = 1
    huge: int = 0
    garbage: bytes | None = None
    raw: bytes | None = None
    action: Action = Action.SEND


@dataclass(frozen=True, slots=True)
class TcpManners:
    """
    How streams are treated, whatever is asked.

    :ivar mute: take connections and everything that is sent, and say nothing.
    :ivar hang_up_first: close each connection at once.
    :ivar hang_up_after: close a connection when so many queries have come in on it, the last one unanswered; 0: never.
    :ivar hold: keep replies until so many wait, then send the latest first; 0 or 1: send each when it is ready.
    :ivar piece: bytes written at a time, each in a turn of its own; 0: all at once.
    """

    mute: bool = False
    hang_up_first: bool = False
    hang_up_after: int = 0
    hold: int = 0
    piece: int = 0


_FLAGS = {"AA": AA, "TC": TC, "RD": RD, "RA": RA, "AD": AD, "CD": CD}


class _JsonEntry(msgspec.Struct, forbid_unknown_fields=True):
    answer: list[str] = []
    authority: list[str] | None = None
    additional: list[str] = []
    rcode: str | None = None
    always: bool = False
    flags: list[str] = []
    clear: list[str] = []
    opt: bool = True
    counter: bool = False
    ttl: int = 300
    question: str | None = None
    delay_ms: int = 0
    truncate: Truncate | None = None
    silent: bool = False
    wrong_id: bool = False
    wrong_id_first: bool = False

    def entry(self) -> Entry:
        """The same as a value."""
        rcode = None if self.rcode is None else rcode_number(self.rcode)
        if rcode is None and self.rcode is not None:
            raise ValueError(f"no rcode: {self.rcode}")
        return Entry(
            answer=parse_records(self.answer),
            authority=None if self.authority is None else parse_records(self.authority),
            additional=parse_records(self.additional),
            rcode=rcode,
            always=self.always,
            set_flags=_bits(self.flags),
            clear_flags=_bits(self.clear),
            opt=self.opt,
            counter=self.counter,
            ttl=self.ttl,
            question=None if self.question is None else spelled_from_text(self.question),
            delay=self.delay_ms / 1000,
            truncate=self.truncate,
            silent=self.silent,
            wrong_id=self.wrong_id,
            wrong_id_first=self.wrong_id_first,
        )


class _JsonFile(msgspec.Struct):
    names: dict[str, _JsonEntry]
    soa: str
    reverse_soa: str


def _bits(names: list[str]) -> int:
    return sum(_FLAGS[name] for name in set(names))


def entries_from_json(source: Path | bytes) -> tuple[dict[bytes, Entry], Record, Record]:
    """
    Read a file, or its bytes: entries by lower-case wire name, the SOA record, and the one of reverse names.

    :raises msgspec.ValidationError: a key or a value that is not known.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    document = msgspec.json.decode(data, type=_JsonFile)
    entries = {from_text(name): entry.entry() for name, entry in document.names.items()}
    return entries, parse_record(document.soa), parse_record(document.reverse_soa)
