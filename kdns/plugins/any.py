# -*- test-case-name: tests.plugins.test_any -*-
"""``any``: answer ANY queries with one small record instead of everything that is there (RFC 8482)."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.core.explaining import Note
from kdns.core.fast_path import Effect
from kdns.plugin import ALWAYS, NOTHING, Answer, Block, BlockBuilder, Dispenser, Link, Next, Reply, Request, records
from kdns.wire.constants import ANY, HINFO, IN
from kdns.wire.records import Record

TTL = 8482
"""Seconds, as in CoreDNS: the number of the RFC."""

_HINFO = b"\x0dANY obsoleted\x0cSee RFC 8482"


@dataclass(frozen=True, slots=True)
class AnyConfig:
    """There is nothing to set."""


class AnyLink(Link):
    """Answers ANY for every name and class, and passes everything else on."""

    name = "any"
    varies = NOTHING

    def answer(self, request: Request, next: Next) -> Reply:
        """A HINFO record, as RFC 8482 section 4.2 has it."""
        if request.qtype != ANY:
            return next(request)
        record = Record(request.spelled, HINFO, IN, TTL, _HINFO)
        return Answer(body=records([record]), validity=ALWAYS, source=self.name)

    def fast_effect(self, server: str, zone: bytes) -> Effect:
        """ANY is answered here, and nothing else."""
        return Effect(not_types=frozenset((ANY,)))

    def explain(self, request: Request) -> list[Note]:
        """Why the records of the name are not shown."""
        return [Note("ANY gets one HINFO record, whatever the name has")] if request.qtype == ANY else []


class AnyDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "any"

    def parse(self, tokens: Dispenser, block: Block) -> AnyConfig:
        """``any``, without arguments; it may be repeated."""
        for _ in tokens.invocations():
            tokens.end_of_line()
        return AnyConfig()

    def build(self, config: AnyConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(AnyLink())


directive = AnyDirective()
