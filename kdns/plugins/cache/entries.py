# -*- test-case-name: tests.plugins.cache.test_entries -*-
"""
An entry of the cache: what it weighs, and whether it may still be served. A core module of *cache*.

What is stored, and for how long, is decided in :mod:`kdns.plugins.cache.policy`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from kdns.core.answer import Answer
from kdns.core.request import Request
from kdns.core.stamps import stand
from kdns.core.validity import Validity
from kdns.wire.constants import CD, DO, NOERROR, NXDOMAIN
from kdns.wire.message import Relayed

ENTRY_OCTETS = 1100
"""What an entry weighs without its records: key, entry, answer, its place in the store (measured with tracemalloc)."""

RELAYED_RECORD_OCTETS = 230
"""What the place of one record in a relayed message weighs."""

RECORD_OCTETS = 250
"""What a record weighs without the octets of owner and rdata."""

STAMP_OCTETS = 200
"""What a stamp weighs that an entry depends on; more entries may share it."""

Key: TypeAlias = tuple[Hashable, ...]


def key_of(request: Request) -> Key:
    """What an entry is found by: name, type, class, DO and CD."""
    edns = request.edns
    do = edns is not None and edns.flags & DO != 0
    return (request.qname, request.qtype, request.qclass, do, request.flags & CD)


class Entry(Struct, gc=False):
    """An answer in the cache."""

    answer: Answer
    """Without options and charges; its records' own TTLs do not count any more."""

    stored: float
    """When, in seconds of the server's clock."""

    ttl: int
    """Whole seconds for which it was stored."""

    denial: bool
    """Which of the two budgets it counts against."""

    wildcard: str | None = None
    """Metadata ``zone/wildcard`` that came with it."""

    hits: int = 0
    """For prefetching: hits without too long a gap."""

    last_hit: float = 0.0
    refreshing: bool = False
    retry_at: float = 0.0
    """No refresh before this."""

    asked: bool = False
    """Somebody asked for it since the store last looked for room."""

    size: int = 0
    """Octets of memory that it takes, about."""

    def __post_init__(self) -> None:
        self.size = weight(self.answer)

    @property
    def failure(self) -> bool:
        """Whether it says that the upstream could not, which is never served beyond its time."""
        return self.answer.rcode not in (NOERROR, NXDOMAIN)

    def left(self, now: float) -> int:
        """Whole seconds until it expires; zero and less once it has."""
        return self.ttl - int(now - self.stored)

    def servable(self, now: float, most_age: int) -> bool:
        """
        Whether it may be served at *now*, fresh or up to *most_age* seconds stale.

        What depends on data that changed since is never served, however young it is.
        """
        left = self.left(now)
        if left <= 0 and (self.failure or -left >= most_age):
            return False
        stamps = self.answer.validity.stamps
        return not stamps or stand(stamps)

    def hit(self, now: float, gap: float) -> None:
        """Count a hit; the count begins anew after *gap* seconds without one."""
        self.hits = self.hits + 1 if now - self.last_hit <= gap else 1
        self.last_hit = now


def stripped(answer: Answer) -> Answer:
    """What of an answer is kept: its records. An OPT belongs to one exchange (RFC 6891 section 6.2.1), and so do its options."""
    body = answer.body
    if answer.options is None and answer.rd is None and not (answer.ede or answer.charges):
        return answer  # nothing to take off; of its validity only the stamps are read from now on
    if isinstance(body, Relayed) and body.opt is not None and body.opt.end == len(body.message):
        body = replace(body, message=body.message[: body.opt.start], opt=None)
    return Answer(
        answer.rcode, answer.flags, body, validity=Validity(stamps=answer.validity.stamps), source=answer.source
    )


def weight(answer: Answer) -> int:
    """Octets of memory that an entry with *answer* takes, about."""
    body = answer.body
    size = ENTRY_OCTETS
    if answer.validity.stamps:
        size += STAMP_OCTETS * len(answer.validity.stamps)
    if isinstance(body, Relayed):
        return size + len(body.message) + RELAYED_RECORD_OCTETS * len(body.slots)
    for section in body.sections():
        for record in section:
            size += RECORD_OCTETS + len(record.owner) + len(record.rdata)
    return size
