# -*- test-case-name: tests.plugins.test_minimal -*-
"""``minimal``: leave out the authority and additional sections where nobody needs them."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from kdns.core.explaining import Note
from kdns.plugin import (
    NOTHING,
    Answer,
    Block,
    BlockBuilder,
    Dispenser,
    Kind,
    Link,
    Next,
    Reply,
    Request,
    Sections,
    then,
)
from kdns.wire.constants import AXFR, IXFR
from kdns.wire.message import ADDITIONAL, AUTHORITY
from kdns.wire.names import MalformedName


@dataclass(frozen=True, slots=True)
class MinimalConfig:
    """There is nothing to set."""


def minimal(answer: Answer, qtype: int) -> Answer:
    """
    A positive answer with its answer section alone; any other answer as it is.

    Denials need their SOA, and referrals their name servers. The OPT stays: it speaks of the message, not of the name.
    """
    counts = answer.body.counts
    if not (counts[AUTHORITY] or counts[ADDITIONAL]) or answer.kind(qtype) is not Kind.SUCCESS:
        return answer
    try:
        return replace(answer, body=Sections(answer.answer))
    except MalformedName:
        return answer  # an upstream's record that cannot be read


class MinimalLink(Link):
    """Strips what comes from the plugins behind it."""

    name = "minimal"
    varies = NOTHING

    def answer(self, request: Request, next: Next) -> Reply:
        """Pass on, and strip the answer; transfers are left alone."""
        if request.qtype in (AXFR, IXFR):
            return next(request)
        return then(next(request), minimal, request.qtype)

    def explain_passed(self, request: Request, came: Answer) -> list[Note]:
        """What is left out."""
        _, authorities, additionals = came.body.counts
        if minimal(came, request.qtype) is came:
            return []
        return [Note(f"{authorities} authority and {additionals} additional records are left out")]


class MinimalDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "minimal"

    def parse(self, tokens: Dispenser, block: Block) -> MinimalConfig:
        """``minimal``, without arguments; it may be repeated."""
        for _ in tokens.invocations():
            tokens.end_of_line()
        return MinimalConfig()

    def build(self, config: MinimalConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(MinimalLink())


directive = MinimalDirective()
