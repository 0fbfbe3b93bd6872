# -*- test-case-name: tests.core.test_answer -*-
"""
An answer: what a plugin says, for how long and for whom it validity, and what the reply made of it looks like.

The body of an answer is either sections of records that kdns made, or an upstream's message that is only patched
(:class:`kdns.wire.message.Relayed`). Plugins pass changed copies on (:func:`msgspec.structs.replace`), never a changed answer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import Enum, IntEnum
from math import inf
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from kdns.core.stamps import StampRef
from kdns.core.tally import Charge
from kdns.wire.constants import ANY, CNAME, DNAME, NOERROR, NS, NXDOMAIN, RRSIG, SOA
from kdns.wire.message import ANSWER, AUTHORITY, Relayed
from kdns.wire.records import Record
from kdns.wire.render import uncompressed_size


class Scope(IntEnum):
    """For whom an answer validity; a lower value is narrower."""

    NOBODY = 0
    """Not even for the same client a second time: an error, or something counted."""

    CLIENT = 1
    """For this client only: what a plugin that says nothing means."""

    TRANSPORT = 2
    """For all who ask the same question over the same listener and transport."""

    EVERYBODY = 3
    """For all who ask the same question."""


class Validity(Struct, frozen=True, gc=False):
    """For whom, until when and on what an answer depends."""

    scope: Scope = Scope.CLIENT
    until: float = inf
    """Seconds of the server's clock."""

    stamps: tuple[StampRef, ...] = ()
    cached: Scope | None = None
    """
    For whom a cache may keep it by its TTL, where that is not what *scope* says; None means as *scope* says.

    An upstream is to be asked each time (NOBODY), and yet its TTL lets a cache keep what it said for all. *until* binds the finished
    reply, TTLs and all, and no cache; *stamps* bind both.
    """

    shows: float = inf
    """
    Until when the TTLs are what the answer says; from then on each is a second less for each second, up to *until*.

    It is for who gives a finished reply again, and counts them down in it.
    """

    @property
    def cacheable(self) -> Scope:
        """For whom a cache may keep the answer."""
        return self.scope if self.cached is None else self.cached

    def narrowed(
        self, scope: Scope = Scope.EVERYBODY, until: float = inf, stamps: tuple[StampRef, ...] = ()
    ) -> Validity:
        """What validity when this and something else must hold."""
        return Validity(
            self.scope if self.scope < scope else scope,
            self.until if self.until < until else until,
            self.stamps + stamps if stamps else self.stamps,
            self.cached if self.cached is None or self.cached < scope else scope,
            self.shows,
        )

    def both(self, other: Validity) -> Validity:
        """What validity when both must."""
        cached = None if self.cached is None and other.cached is None else min(self.cacheable, other.cacheable)
        until, shows = min(self.until, other.until), min(self.shows, other.shows)
        return Validity(min(self.scope, other.scope), until, self.stamps + other.stamps, cached, shows)


FOR_CLIENT = Validity()
FOR_NOBODY = Validity(Scope.NOBODY)
FOR_EVERYBODY = Validity(Scope.EVERYBODY)
FROM_UPSTREAM = Validity(Scope.NOBODY, cached=Scope.EVERYBODY)
"""An answer that somebody else gave: it is asked for anew each time, unless a cache keeps it."""


class Denial(Struct, frozen=True):
    """
    What else an NXDOMAIN is true of: all names of a zone that do not exist are told the same, but for the name itself.

    So a name that nobody asked for before can be answered without asking the plugins: look whether the denial covers it, and put the name
    into the reply that another one got.
    """

    zone: bytes
    """The zone that answered, in wire form and lower case."""

    covers: Callable[[bytes], bool]
    """
    Whether a name below the zone does not exist at this moment, as far as can be told in a microsecond.

    It is given the labels in front of the zone, in wire form and lower case, or octets that are no labels at all: it says no to those.
    """

    until: float
    """Seconds of the server's clock."""

    stamps: tuple[StampRef, ...] = ()
    """What the reply depends on beside the name, such as the serial that its SOA shows."""

    charges: tuple[Charge, ...] = ()
    """What to count for each name that is denied without asking the plugins."""


class Kind(Enum):
    """What an answer is to a cache and to the log's classes (RFC 2308 sections 2.1 and 2.2)."""

    SUCCESS = "success"
    """Records of the type asked for."""

    DELEGATION = "delegation"
    """A referral: name servers and neither answer nor SOA."""

    NODATA = "nodata"
    """The name exists, the type does not: NOERROR, with an SOA."""

    NXDOMAIN = "nxdomain"
    """The name does not exist, with an SOA."""

    ERROR = "error"
    """Everything else."""


class Answer(Struct, frozen=True):
    """What a plugin says to a request."""

    rcode: int = NOERROR
    flags: int = 0
    """AA, TC, RA, AD and Z bits for the header; RD and CD are the client's."""

    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    relayed: Relayed | None = None
    """An upstream's message in place of the three sections."""

    ttl: int | None = None
    """Whole seconds that every record gets in place of its own TTL."""

    options: tuple[tuple[int, bytes], ...] | None = None
    """EDNS options of the reply as (code, data); None means that the reply has no OPT of its own."""

    ede: tuple[tuple[int, str], ...] = ()
    """Extended DNS Errors to add for clients that sent an OPT, as (info code, extra text) (RFC 8914)."""

    validity: Validity = FOR_CLIENT
    source: str = ""
    """The plugin that made it."""

    charges: tuple[Charge, ...] = ()
    """What to count when the same answer is given again without asking the plugins."""

    turns: tuple[Answer, ...] = ()
    """Other forms of the same answer, such as other orders of its records, that take turns with it when it is given again."""

    silent: bool = False
    """No reply is to be sent at all."""

    denial: Denial | None = None
    """Of an NXDOMAIN: for which other names it validity as well."""

    def __await__(self) -> Generator[Any, Any, Answer]:
        """An answer that is there need not be waited for: ``await next(request)`` serves this and a Deferred."""
        return self
        yield  # an unreached yield makes this a generator, as the protocol wants

    def sections(self) -> tuple[tuple[Record, ...], tuple[Record, ...], tuple[Record, ...]]:
        """
        Answer, authority and additional as records, with the TTLs they shall have.

        :raises kdns.wire.names.MalformedName: a relayed record's rdata does not fit its type.
        """
        if self.relayed is not None:
            answer, authority, additional = self.relayed.sections(self.ttl)
            return tuple(answer), tuple(authority), tuple(additional)
        if self.ttl is None:
            return self.answer, self.authority, self.additional
        return (
            with_ttl(self.answer, self.ttl),
            with_ttl(self.authority, self.ttl),
            with_ttl(self.additional, self.ttl),
        )

    def answer_count(self) -> int:
        """Records in the answer section."""
        return len(self.answer) if self.relayed is None else self.relayed.counts[ANSWER]

    def answer_types(self) -> list[int]:
        """Record types of the answer section, in its order."""
        if self.relayed is not None:
            return self.relayed.types(ANSWER)
        return [record.rtype for record in self.answer]

    def authority_types(self) -> list[int]:
        """Record types of the authority section, in its order."""
        if self.relayed is not None:
            return self.relayed.types(AUTHORITY)
        return [record.rtype for record in self.authority]

    def lowest_ttl(self) -> int | None:
        """The lowest TTL of all records; None when there are none."""
        if self.ttl is not None:
            return self.ttl
        if self.relayed is not None:
            return self.relayed.least_ttl
        ttls = [record.ttl for section in (self.answer, self.authority, self.additional) for record in section]
        return min(ttls, default=None)

    def kind(self, qtype: int) -> Kind:
        """What it is as an answer to a question of *qtype*."""
        answers = self.answer_types()
        if self.rcode == NXDOMAIN:
            return Kind.NXDOMAIN if not answers and SOA in self.authority_types() else Kind.ERROR
        if self.rcode != NOERROR:
            return Kind.ERROR
        if qtype in answers or (qtype == ANY and answers):
            return Kind.SUCCESS
        authorities = self.authority_types()
        if SOA in authorities:
            return Kind.NODATA
        if not answers and NS in authorities:
            return Kind.DELEGATION
        return Kind.SUCCESS

    def reaches(self, qtype: int) -> bool:
        """Whether the answer section is more than aliases, signed or not, that do not come to *qtype*."""
        types = self.answer_types()
        return qtype in types or (qtype == ANY and bool(types)) or any(t not in (CNAME, DNAME, RRSIG) for t in types)

    def uncompressed_size(self, question: bytes) -> int:
        """Octets of the reply without compression and without an OPT, before anything is left out."""
        if self.relayed is not None:
            return self.relayed.uncompressed_size()
        return uncompressed_size(question, (self.answer, self.authority, self.additional))

    def held(self, validity: Validity) -> Answer:
        """A copy that validity as long as *validity* says."""
        return replace(self, validity=validity)


Reply: TypeAlias = Answer | Deferred[Answer]
"""An answer, or a Deferred that fires with one or fails."""


def with_ttl(records: tuple[Record, ...], ttl: int) -> tuple[Record, ...]:
    """Copies of records with another TTL."""
    return tuple(record._replace(ttl=ttl) for record in records)


NO_REPLY = Answer(silent=True, validity=FOR_NOBODY)
"""Say nothing at all."""

__all__ = [
    "FOR_CLIENT",
    "FOR_EVERYBODY",
    "FOR_NOBODY",
    "FROM_UPSTREAM",
    "NO_REPLY",
    "Answer",
    "Denial",
    "Kind",
    "Reply",
    "Scope",
    "Validity",
    "with_ttl",
]
