# -*- test-case-name: tests.core.test_answer -*-
"""
An answer: what a plugin says to a request, and how long it holds.

The records of an answer are its *body*: :class:`Sections` that kdns made, or :class:`~kdns.wire.message.Relayed`, an upstream's message
that is only patched. Both have the same face (:class:`Body`), and :meth:`Answer.mapped` changes the records of either. Plugins pass on
changed copies (:func:`msgspec.structs.replace`); an answer itself never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from enum import Enum
from typing import Any, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from kdns.core.tally import Charge
from kdns.core.validity import ONCE, Validity
from kdns.wire.constants import ANY, CNAME, DNAME, NOERROR, NS, NXDOMAIN, RRSIG, SOA
from kdns.wire.message import ANSWER, AUTHORITY
from kdns.wire.records import Record
from kdns.wire.render import uncompressed_size
from kdns.wire.rotation import Preferred

Records: TypeAlias = tuple[Record, ...]


class Body(Protocol):
    """The records of an answer, in three sections."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Records in the answer, authority and additional section."""

    def sections(self) -> tuple[Records, Records, Records]:
        """
        Answer, authority and additional section as records.

        :raises kdns.wire.names.MalformedName: an upstream's record that does not fit its type.
        """

    def types(self, section: int) -> list[int]:
        """Record types of a section (:data:`~kdns.wire.message.ANSWER` and so on), in its order."""

    @property
    def lowest_ttl(self) -> int | None:
        """The lowest TTL in seconds; None without records."""

    def with_ttl(self, ttl: int) -> Body:
        """The same records, each with *ttl* seconds."""

    def uncompressed_size(self, question: bytes) -> int:
        """Bytes of the whole message without name compression and without an OPT; *question* is its question section."""


class Sections(Struct, frozen=True, gc=False):
    """Records that kdns made."""

    answer: Records = ()
    authority: Records = ()
    additional: Records = ()

    @property
    def counts(self) -> tuple[int, int, int]:
        """See :class:`Body`."""
        return len(self.answer), len(self.authority), len(self.additional)

    def sections(self) -> tuple[Records, Records, Records]:
        """See :class:`Body`."""
        return self.answer, self.authority, self.additional

    def types(self, section: int) -> list[int]:
        """See :class:`Body`."""
        return [record.rtype for record in self.sections()[section]]

    @property
    def lowest_ttl(self) -> int | None:
        """See :class:`Body`."""
        lowest = None
        for section in (self.answer, self.authority, self.additional):
            for record in section:
                if lowest is None or record.ttl < lowest:
                    lowest = record.ttl
        return lowest

    def with_ttl(self, ttl: int) -> Sections:
        """See :class:`Body`."""
        return Sections(*(_with_ttl(section, ttl) for section in (self.answer, self.authority, self.additional)))

    def uncompressed_size(self, question: bytes) -> int:
        """See :class:`Body`."""
        return uncompressed_size(question, (self.answer, self.authority, self.additional))


def _with_ttl(records: Records, ttl: int) -> Records:
    for record in records:
        if record.ttl != ttl:
            return tuple([Record(owner, rtype, rclass, ttl, rdata) for owner, rtype, rclass, _, rdata in records])
    return records


NO_RECORDS = Sections()


class Kind(Enum):
    """What an answer is to a cache and to the log's classes (RFC 2308 sections 2.1 and 2.2)."""

    SUCCESS = "success"
    """Records of the type asked for."""

    DELEGATION = "delegation"
    """A referral: name servers, and neither an answer nor an SOA."""

    NODATA = "nodata"
    """The name exists, the type does not: NOERROR with an SOA."""

    NXDOMAIN = "nxdomain"
    """The name does not exist; with an SOA."""

    ERROR = "error"
    """Everything else."""


class Seal(Protocol):
    """Signs a finished message (*tsig*)."""

    size: int
    """Bytes that the signature adds."""

    def sign(self, message: bytes) -> bytes:
        """The message with its signature."""


class Answer(Struct, frozen=True):
    """What a plugin says to a request."""

    rcode: int = NOERROR
    flags: int = 0
    """AA, TC, RA, AD and Z bits for the header; RD and CD are the client's."""

    body: Body = NO_RECORDS
    options: tuple[tuple[int, bytes], ...] | None = None
    """EDNS options of the reply as (code, data); None means that the answer has no OPT of its own."""

    ede: tuple[tuple[int, str], ...] = ()
    """Extended DNS Errors for clients that sent an OPT, as (info code, extra text) (RFC 8914)."""

    validity: Validity = ONCE
    source: str = ""
    """The plugin that made it."""

    charges: tuple[Charge, ...] = ()
    """What to count each time the reply is repeated without asking the plugins."""

    rotate: Preferred | None = None
    """Not None: a repeated reply shows its address records in another order each time; the value says which ones come first."""

    repeat_flags: int | None = None
    """Flags of the reply when it is repeated, as *flags*; None means the same. A cache sets AA from the second time on."""

    silent: bool = False
    """No reply is sent at all."""

    messages: Iterator[bytes] | None = None
    """
    A reply of several messages for a client on a stream, in place of everything above: whole messages, each made when the client takes it.
    """

    rd: bool | None = None
    """RD of the reply; None: the client's."""

    seal: Seal | None = None
    """Signs the reply to this one query after everything else is done to it. An answer with a seal is :data:`ONCE`."""

    def __await__(self) -> Generator[Any, Any, Answer]:
        """An answer that is there need not be waited for: ``await next(request)`` takes this and a Deferred."""
        return self
        yield  # never reached; it makes this a generator, as the protocol requires

    @property
    def answer(self) -> Records:
        """Records of the answer section; see :meth:`Body.sections`."""
        return self.body.sections()[0]

    @property
    def authority(self) -> Records:
        """Records of the authority section; see :meth:`Body.sections`."""
        return self.body.sections()[1]

    @property
    def additional(self) -> Records:
        """Records of the additional section; see :meth:`Body.sections`."""
        return self.body.sections()[2]

    def sections(self) -> tuple[Records, Records, Records]:
        """Answer, authority and additional section; see :meth:`Body.sections`."""
        return self.body.sections()

    def mapped(self, change: Callable[[Record], Record | None]) -> Answer:
        """
        A copy with each record replaced by what *change* makes of it; None leaves the record out.

        :raises kdns.wire.names.MalformedName: an upstream's record that does not fit its type.
        """
        parts = []
        for section in self.sections():
            changed = [change(record) for record in section]
            parts.append(tuple([record for record in changed if record is not None]))
        return replace(self, body=Sections(*parts))

    def with_ttl(self, ttl: int) -> Answer:
        """A copy in which each record has *ttl* seconds."""
        return replace(self, body=self.body.with_ttl(ttl))

    def with_validity(self, validity: Validity) -> Answer:
        """A copy that holds as long as *validity* says."""
        return replace(self, validity=validity)

    def charged(self, *charges: Charge) -> Answer:
        """A copy whose repetitions count *charges* too."""
        return replace(self, charges=self.charges + charges)

    def once(self) -> Answer:
        """A copy for this query alone."""
        return replace(self, validity=ONCE, rotate=None)

    def answer_count(self) -> int:
        """Records in the answer section."""
        return self.body.counts[ANSWER]

    def kind(self, qtype: int) -> Kind:
        """What it is as an answer to a question of *qtype*."""
        answers = self.body.types(ANSWER)
        if self.rcode == NXDOMAIN:
            return Kind.NXDOMAIN if not answers and SOA in self.body.types(AUTHORITY) else Kind.ERROR
        if self.rcode != NOERROR:
            return Kind.ERROR
        if qtype in answers or (qtype == ANY and answers):
            return Kind.SUCCESS
        authorities = self.body.types(AUTHORITY)
        if SOA in authorities:
            return Kind.NODATA
        if not answers and NS in authorities:
            return Kind.DELEGATION
        return Kind.SUCCESS

    def reaches(self, qtype: int) -> bool:
        """Whether the answer section is more than aliases, signed or not, that do not come to *qtype*."""
        types = self.body.types(ANSWER)
        return qtype in types or (qtype == ANY and bool(types)) or any(t not in (CNAME, DNAME, RRSIG) for t in types)


Reply: TypeAlias = Answer | Deferred[Answer]
"""An answer, or a Deferred that fires with one or fails."""


def records(
    answer: Sequence[Record] = (), authority: Sequence[Record] = (), additional: Sequence[Record] = ()
) -> Sections:
    """The body of an answer from records that kdns made."""
    return Sections(tuple(answer), tuple(authority), tuple(additional))


NO_REPLY = Answer(silent=True)
"""Say nothing at all."""

__all__ = ["NO_RECORDS", "NO_REPLY", "Answer", "Body", "Kind", "Records", "Reply", "Seal", "Sections", "records"]
