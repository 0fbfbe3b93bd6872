# -*- test-case-name: tests.plugins.test_family -*-
"""``family``: answer with addresses of one family, and say of the other that there are none."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from msgspec.structs import replace

from kdns.core.explaining import Note
from kdns.core.fast_path import Effect
from kdns.plugin import (
    NOTHING,
    Answer,
    Block,
    BlockBuilder,
    Body,
    Dispenser,
    Link,
    Next,
    Record,
    Reply,
    Request,
    from_text,
    records,
    then,
)
from kdns.wire.constants import AAAA, AD, CNAME, IN, A
from kdns.wire.message import ANSWER, Relayed
from kdns.wire.names import MalformedName
from kdns.wire.records import soa

OTHER = {"ipv4": AAAA, "ipv6": A}
"""Families, and the type of question that has no answer where one is chosen."""

MOST_LOOKED_AT = 64
"""Records of an answer that are looked at: aliases stand in front of thousands of addresses."""

HOUR = 3600
"""
Seconds in the SOA: no zone is transferred from here, and of its minimum and its TTL the lower counts (RFC 2308 section 5). The TTL is that
of the addresses, and goes down in caches.
"""

_NOBODY = from_text("nobody.invalid")


def without(answer: Answer, other: int) -> Answer:
    """
    An answer without the records of a type: aliases, and an SOA that says for how long there is nothing else (RFC 2308 section 2.2).

    Denials and failures are what they were: a name that does not exist does not exist in either family.
    """
    if answer.silent or answer.rcode or other not in answer.body.types(ANSWER):
        return answer
    try:
        found = list(islice(_answers(answer.body), MOST_LOOKED_AT))
    except MalformedName:
        return answer  # an upstream's record that cannot be read
    removed = [record for record in found if record.rtype == other]
    if not removed:
        return answer
    owner, ttl = removed[0].owner, min(record.ttl for record in removed)
    start = soa(owner, ttl, owner, _NOBODY, (1, HOUR, HOUR, HOUR, HOUR))
    aliases = [record for record in found if record.rtype == CNAME]
    return replace(answer, flags=answer.flags & ~AD, body=records(aliases, [start]))


def _answers(body: Body) -> Iterable[Record]:
    """The records of the answer section, one after the other; those of an upstream's message are read as they are asked for."""
    return body.records(ANSWER) if isinstance(body, Relayed) else body.sections()[ANSWER]


class FamilyLink(Link):
    """Strips answers to questions for the other family."""

    name = "family"
    varies = NOTHING

    def __init__(self, family: str) -> None:
        self._family = family
        self._other = OTHER[family]

    def answer(self, request: Request, next: Next) -> Reply:
        """Ask the plugins behind, so that names that do not exist stay so, and strip what they say."""
        if request.qtype != self._other or request.qclass != IN:
            return next(request)
        return then(next(request), without, self._other)

    def fast_effect(self, server: str, zone: bytes) -> Effect:
        """Only the type of the other family is looked at."""
        return Effect(not_types=frozenset((self._other,)))

    def explain_passed(self, request: Request, came: Answer) -> list[Note]:
        """Whether addresses are left out."""
        if request.qtype != self._other or without(came, self._other) is came:
            return []
        return [Note(f"addresses of the other family are left out: family {self._family}")]


class FamilyDirective:
    """See :class:`kdns.plugin.Directive`."""

    name, before = "family", "cache"

    def parse(self, tokens: Dispenser, block: Block) -> str:
        """``family ipv4|ipv6``, once."""
        family = ""
        for _ in tokens.invocations(once=True):
            (family,) = tokens.args(1)
            if family not in OTHER:
                raise tokens.error(f"family is ipv4 or ipv6, found '{family}'")
        return family

    def build(self, config: str, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(FamilyLink(config))


directive = FamilyDirective()
