# -*- test-case-name: tests.server.test_fast_path -*-
"""
The fast path: the shortest way from the bytes of a query to the bytes of its reply, put together when the configuration is built.

For most queries the links of a chain do little that depends on the query: a cache counts and limits the TTL, loadbalance chooses the first
address, one link answers. So a link may say beforehand, as data, what it does to a query (:class:`Effect`), or hand out a function that
makes the records (:class:`Source`). Where all links in front of a source do so, the server answers without asking any of them
(:mod:`kdns.server.fast_path`). Both ways give the same bytes; whatever a source is not sure of goes the general way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import inf
from typing import NamedTuple, Protocol, TypeAlias

from msgspec import Struct

from kdns.core.stamps import StampRef
from kdns.core.tally import Charge
from kdns.wire.message import Relayed
from kdns.wire.query import Edns
from kdns.wire.rotation import Preferred

Limit: TypeAlias = Callable[[int], int]
"""From the TTL of records to the one that is sent."""


class Effect(Struct, frozen=True):
    """What a link does to a query that goes the fast path, and to its answer."""

    first: tuple[Charge, ...] = ()
    """What to count for a reply that is made."""

    again_success: tuple[Charge, ...] = ()
    """What to count each time a reply with records is repeated."""

    again_denial: tuple[Charge, ...] = ()
    """The same for NODATA and NXDOMAIN."""

    success_ttl: Limit | None = None
    """The TTL of all records; None leaves each its own."""

    denial_ttl: Limit | None = None
    keeps: bool = False
    """Whether the finished reply ends with the TTL; else it holds as long as the source says."""

    counts_down: bool = False
    """Whether the TTLs of a repeated reply go down."""

    rotate: Preferred | None = None
    """See :attr:`kdns.core.answer.Answer.rotate`."""

    not_types: frozenset[int] = frozenset()
    """Types of question that the link itself answers, or does something else to: they go the general way."""

    plain_only: bool = False
    """Whether queries with the DO bit go the general way."""

    admits: Callable[[bytes, int, str], bool] | None = None
    """
    Whether a query for a name and type passes, by a client of this address; others go the general way. A link that varies by client must
    say so here: the address stands for all clients of its group.
    """

    ask_flags: int = 0
    """Header bits that the link sets in a query that goes upstream."""

    keep: Keep | None = None
    """Keeps an upstream's reply; None keeps none."""


NO_EFFECT = Effect()


class Kept(Struct, frozen=True, gc=False):
    """What a cache made of an upstream's reply."""

    ttl: int
    """Seconds for which it is kept: what all its records show."""

    denial: bool


class Keep(Protocol):
    """A cache for replies of upstreams."""

    def has(self, qname: bytes, qtype: int, flags: int) -> bool:
        """Whether it may have an answer: then it must be asked. *flags* are those of the query's header; class IN, no DO."""

    def __call__(self, qname: bytes, qtype: int, flags: int, reply: Relayed) -> Kept | None:
        """Keep a reply, which may be of any kind; None when it is of a kind that is not simply kept."""


class UpstreamReply(Struct, frozen=True, gc=False):
    """A reply of an upstream that can be read."""

    body: Relayed
    rcode: int
    flags: int
    """AA, RA, AD and Z bits."""


class Waiter(Protocol):
    """Waits for a reply of an upstream. One of these is called, once."""

    def came(self, reply: UpstreamReply) -> None:
        """The reply."""

    def failed(self) -> None:
        """There is none, or one that needs more than to be passed on: go the general way."""


class Upstreams(Protocol):
    """Asks upstreams for names of one zone."""

    def ask(self, question: bytes, flags: int, opt: bytes, waiter: Waiter) -> bool:
        """
        Ask in this turn, together with others.

        :param question: the question section: a name in lower case, type and class.
        :param flags: header bits for the upstream.
        :param opt: the client's OPT as it goes upstream; see :meth:`opt`.
        :return: False when it goes the general way: nothing was done.
        """

    def opt(self, edns: Edns | None) -> bytes:
        """The OPT that a client's query has upstream."""


Made = tuple[int, tuple[int, int, int], bytes, tuple[StampRef, ...], float, int, Hashable]
"""What a source makes of a question; the fields are the arguments of :func:`made`. Making a tuple takes a tenth of the time of a class."""


def made(
    rcode: int,
    counts: tuple[int, int, int],
    body: bytes,
    stamps: tuple[StampRef, ...] = (),
    until: float = inf,
    rotates: int = 0,
    key: Hashable = None,
) -> Made:
    """
    What a source makes of a question.

    :param counts: records in answer, authority and additional section.
    :param body: the records, uncompressed, as :func:`kdns.wire.render.render` would write them.
    :param until: when the answer stops holding, in seconds of the server's clock.
    :param rotates: bytes of one record where the answer section is a set of addresses that may be in any order; else 0.
    :param key: what the answer depends on, too; :meth:`Source.note` makes a stamp of it when the reply is kept. Nearly no name that does
        not exist is asked twice.
    """
    return rcode, counts, body, stamps, until, rotates, key


class Source(Protocol):
    """Makes the records for names of one zone."""

    @property
    def success_ttl(self) -> int | None:
        """TTL of its records, before any limit; None where an answer's ``until`` says it."""

    @property
    def denial_ttl(self) -> int | None:
        """TTL of its NODATA and NXDOMAIN, likewise."""

    def answer(self, qname: bytes, qtype: int, now: float) -> Made | None:
        """
        Answer a question of class IN, with the AA bit.

        :param qname: ends with the zone, in lower case; what stands in front of it may be any bytes.
        :return: None when the chain must be asked.
        """

    def note(self, key: Hashable) -> StampRef:
        """The stamp of a key of an answer."""


class SourceMaker(Protocol):
    """
    Makes a source for one zone once it is known which TTLs the links in front allow; None where there can be none.

    *keeps* says whether one of them is a cache: then all records of an answer have one TTL.
    """

    def __call__(self, success_ttl: Limit, denial_ttl: Limit, keeps: bool) -> Source | None: ...


class Alias(NamedTuple):
    """Names of a zone that are asked for in another zone behind a link."""

    zone: bytes
    """The other zone, wire form, lower case."""

    renamed: Callable[[Source], Source]
    """A source for the names as clients ask for them, from the other zone's."""


__all__ = [
    "NO_EFFECT",
    "Alias",
    "Effect",
    "Keep",
    "Kept",
    "Limit",
    "Made",
    "Source",
    "SourceMaker",
    "UpstreamReply",
    "Upstreams",
    "Waiter",
    "made",
]
