# -*- test-case-name: tests.plugins.test_lastgood -*-
"""
``lastgood``: do not believe at once that names are gone that an upstream answered within a day.

A resolver that lost its zone data, or its way to them, says NXDOMAIN with the same confidence as one that knows. For names of listed zones
the last good answer is remembered. A denial of such a name is not passed on for a minute: the good answer is, with a short TTL. A denial
that lasts longer is believed, because names do go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from kdns.core.explaining import Note
from kdns.core.fast_path import Effect
from kdns.core.metrics import Counter
from kdns.corefile.keys import zones_of
from kdns.plugin import (
    FROM_UPSTREAM,
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
    Resource,
    Sections,
    longest_zone,
    then,
)
from kdns.wire.constants import AD, AXFR, CD, EDE_STALE_ANSWER, EDE_STALE_NXDOMAIN, IN, IXFR, NXDOMAIN
from kdns.wire.names import MalformedName

DAY = 86_400.0
"""Seconds for which a good answer is remembered."""

DISTRUST = 60.0
"""Seconds in which a denial is not believed: resolvers restart in this time, and whoever deletes a name waits longer for caches."""

TTL = 5
"""Seconds that an answer in the place of a denial shows."""

MOST = 10_000
"""Answers that are remembered; one takes about 1 KiB."""

MOST_RECORDS = 32
"""Records of an answer that is remembered."""

Key = tuple[bytes, int, bool]


@dataclass(slots=True)
class Good:
    """What is remembered of a question."""

    answer: Answer
    at: float
    """When it was answered last, in seconds of the server's clock."""

    denied_at: float | None = None
    """When it was denied for the first time since."""


class GoodAnswers(Resource):
    """The last good answers, the oldest first; a reload keeps them."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.known: dict[Key, Good] = {}

    def learn(self, key: Key, answer: Answer, now: float) -> None:
        """A good answer came."""
        self.known.pop(key, None)
        if sum(answer.body.counts) > MOST_RECORDS:
            return
        try:
            body = Sections(*answer.sections())
        except MalformedName:
            return  # an upstream's record that cannot be read
        self.known[key] = Good(replace(answer, body=body, flags=answer.flags & ~AD, charges=()), now)
        if len(self.known) > self.most:
            del self.known[next(iter(self.known))]

    def instead(self, key: Key, now: float) -> Good | None:
        """What to say in the place of a denial; None when the denial is to be believed."""
        good = self.known.get(key)
        if good is None:
            return None
        if good.denied_at is None:
            good.denied_at = now
        if now - good.at >= DAY or now - good.denied_at >= DISTRUST:
            del self.known[key]
            return None
        return good


class LastgoodLink(Link):
    """Remembers good answers for names in some zones, and gives them in the place of sudden denials."""

    name = "lastgood"
    varies = NOTHING

    def __init__(
        self, zones: frozenset[bytes], answers: GoodAnswers, clock: Callable[[], float], counter: Counter
    ) -> None:
        self._zones = zones
        self._answers = answers
        self._clock = clock
        self._counter = counter

    def answer(self, request: Request, next: Next) -> Reply:
        """Pass on, and judge what comes back."""
        if not self._concerns(request):
            return next(request)
        return then(next(request), self._judged, request)

    def _concerns(self, request: Request) -> bool:
        transfer = request.qtype in (AXFR, IXFR) or request.qclass != IN or request.flags & CD
        return not transfer and longest_zone(request.qname, self._zones) is not None

    def _judged(self, answer: Answer, request: Request) -> Answer:
        key = (request.qname, request.qtype, request.do)
        now = self._clock()
        if not answer.rcode and request.qtype in answer.body.types(0):
            self._answers.learn(key, answer, now)
            return answer
        if not is_denial(answer, request.qtype):
            return answer
        good = self._answers.instead(key, now)
        if good is None:
            return answer
        self._counter.inc()
        ede = EDE_STALE_NXDOMAIN if answer.rcode == NXDOMAIN else EDE_STALE_ANSWER
        text = f"the upstream denies since {now - (good.denied_at or now):.0f} s what it answered before"
        said = replace(good.answer, validity=FROM_UPSTREAM, source=self.name, ede=((ede, text),))
        return said.with_ttl(TTL)

    def fast_effect(self, server: str, zone: bytes) -> Effect:
        """Names in the zones go the general way, where their answers are seen."""
        return Effect(admits=lambda qname, qtype, client: longest_zone(qname, self._zones) is None)

    def explain_passed(self, request: Request, came: Answer) -> list[Note]:
        """What is remembered of the name, and whether it stands in the place of a denial."""
        good = self._answers.known.get((request.qname, request.qtype, request.do))
        if good is None or not self._concerns(request):
            return []
        now = self._clock()
        if good.denied_at is None:
            return [Note(f"a good answer was remembered {now - good.at:.0f} s ago")]
        left = max(0.0, DISTRUST - (now - good.denied_at))
        return [
            Note(
                f"the upstream's denial is not believed for {left:.0f} s more: the last good answer is given",
                missing=True,
            )
        ]


def is_denial(answer: Answer, qtype: int) -> bool:
    """Whether an answer says that a name, or its records of a type, do not exist; with an SOA or without one."""
    if answer.silent:
        return False
    if answer.rcode == NXDOMAIN:
        return True
    empty = not any(answer.body.counts)
    return not answer.rcode and (empty or answer.kind(qtype) is Kind.NODATA)


class LastgoodDirective:
    """See :class:`kdns.plugin.Directive`."""

    name, before = "lastgood", "loop"

    def parse(self, tokens: Dispenser, block: Block) -> frozenset[bytes]:
        """``lastgood ZONES...``; several add up."""
        zones: set[bytes] = set()
        for _ in tokens.invocations():
            for word in tokens.args(1, None):
                zones.update(zone.name for zone in tokens.convert(zones_of, word))
        return frozenset(zones)

    def build(self, config: frozenset[bytes], builder: BlockBuilder) -> None:
        """Add the link."""
        counter = builder.context.registry.counter(
            "kdns_lastgood_answers_total", "Good answers of before, given in the place of an upstream's sudden denial."
        ).counter()
        answers = builder.keep(("lastgood", builder.block.keys), config, GoodAnswers)
        builder.link(LastgoodLink(config, answers, builder.context.clock, counter))


directive = LastgoodDirective()
