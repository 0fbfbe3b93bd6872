# -*- test-case-name: tests.plugins.dns64.test_resolver -*-
"""``dns64`` as a link of the chain: where a name has no IPv6 address, its IPv4 addresses are asked for and mapped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from kdns.core.answer import Answer, Body, records
from kdns.core.chain import Link, Next, Reply, then
from kdns.core.explaining import Note
from kdns.core.fast_path import Effect
from kdns.core.metrics import Counter
from kdns.core.request import Request
from kdns.core.validity import NOTHING, Validity, by_client
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.dns64.config import Dns64Config, parse
from kdns.plugins.dns64.prefix import Prefix
from kdns.wire.constants import AAAA, IN, NXDOMAIN, SOA, TC, A
from kdns.wire.message import ANSWER, MOST_CHANGED, Relayed
from kdns.wire.names import MalformedName
from kdns.wire.records import Record, a_or_aaaa

TTL_WITHOUT_SOA = 600
"""Seconds that a mapped address lives at most when the empty reply has no SOA (RFC 6147 section 5.1.7)."""


def is_ipv6(client: str) -> bool:
    """Whether a client asks over IPv6; one that is mapped has been turned into IPv4 already."""
    return ":" in client


class Dns64Link(Link):
    """The link of one ``dns64``."""

    name = "dns64"

    def __init__(self, config: Dns64Config, builder: BlockBuilder) -> None:
        self._config = config
        self._prefix = Prefix(config.prefix)
        self._translated = builder.context.registry.counter(
            "coredns_dns64_requests_translated_total", "Replies with addresses that were mapped.", ["server"]
        )
        self.varies = NOTHING if config.allow_ipv4 else by_client(is_ipv6)

    def answer(self, request: Request, next: Next) -> Reply:
        """See :class:`kdns.core.chain.Link`."""
        if self._why_not(request):
            return next(request)
        return then(next(request), self._completed, request)

    def alike_below(self, zone: bytes) -> bool:
        """NXDOMAIN passes as it is, whatever the name."""
        return True

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Only AAAA is looked at."""
        return Effect(not_types=frozenset((AAAA,)))

    def _why_not(self, request: Request) -> str:
        """Why a query is left alone; empty when it is not."""
        if request.qtype != AAAA or request.qclass != IN:
            return "only AAAA queries of class IN are mapped"
        if not self._config.allow_ipv4 and not is_ipv6(request.client):
            return "the client asks over IPv4, and there is no allow_ipv4"
        # RFC 6147 section 5.5: a client that validates itself could not use what is made up here.
        return "the client validates DNSSEC itself" if request.do and request.cd else ""

    def _completed(self, answer: Answer, request: Request) -> Reply:
        """The answer with mapped addresses, if it needs some."""
        if answer.silent or answer.rcode == NXDOMAIN:
            return answer
        if AAAA in answer.body.types(ANSWER) and not self._config.translate_all:
            return answer
        return then(request.server.resolve(request.about(request.spelled, A)), self._mapped, answer, request)

    def _mapped(self, found: Answer, came: Answer, request: Request) -> Answer:
        """
        The IPv4 addresses that were *found*, mapped.

        :param came: the reply to the query itself; it stands when there are none.
        """
        if found.silent or A not in found.body.types(ANSWER):
            return came
        try:
            sections = _sections(found.body)
            most = min((record.ttl for record in came.authority if record.rtype == SOA), default=TTL_WITHOUT_SOA)
        except MalformedName:
            return came

        def mapped(record: Record) -> Record:
            if record.rtype != A:
                return record
            return a_or_aaaa(record.owner, min(record.ttl, most), self._prefix.embed(record.rdata))

        counter: Counter = self._translated.counter(request.server.label)
        counter.inc()
        # The lookup inside is logged and counted each time, so nobody gets the same reply again without it.
        validity = Validity(
            stamps=came.validity.stamps + found.validity.stamps,
            cache=came.validity.cacheable and found.validity.cacheable,
        )
        body = records([mapped(record) for record in sections[0]], *sections[1:])
        return Answer(found.rcode, found.flags & TC, body=body, validity=validity, source=self.name)

    def explain(self, request: Request) -> list[Note]:
        """Whether the query may be mapped."""
        why_not = self._why_not(request)
        if why_not:
            return [Note(f"left alone: {why_not}")]
        return [Note(f"without an IPv6 address, those of IPv4 are mapped into {self._config.prefix}")]


def _sections(body: Body) -> tuple[Sequence[Record], ...]:
    """What is mapped, and what goes along. Of thousands of addresses the first are enough, and all would take 20 milliseconds."""
    if isinstance(body, Relayed) and len(body.slots) > MOST_CHANGED:
        return tuple(islice(body.records(ANSWER), MOST_CHANGED)), (), ()
    return body.sections()


class Dns64Directive:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "dns64"

    def parse(self, tokens: Dispenser, block: Block) -> Dns64Config:
        """See :func:`kdns.plugins.dns64.config.parse`."""
        return parse(tokens, block)

    def build(self, config: Dns64Config, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(Dns64Link(config, builder))


directive = Dns64Directive()
