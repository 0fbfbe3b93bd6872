# -*- test-case-name: tests.plugins.acl.test_resolver -*-
"""``acl`` as a link of the chain: it lets a query pass, or answers it itself."""

from __future__ import annotations

from functools import lru_cache

from kdns.core.answer import NO_REPLY, Answer
from kdns.core.chain import Link, Next, Reply, then
from kdns.core.explaining import Note
from kdns.core.fast_path import Effect
from kdns.core.metrics import Counter
from kdns.core.request import Request
from kdns.core.validity import ALWAYS, MOST_CLIENTS, NOTHING, by_client
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.acl.config import parse
from kdns.plugins.acl.metrics import AclMetrics
from kdns.plugins.acl.policy import ALLOWED, AccessList, Action, Decision, Policy
from kdns.wire.constants import EDE_BLOCKED, EDE_FILTERED, NOERROR, REFUSED


class AclLink(Link):
    """All ``acl`` of a server block."""

    name = "acl"

    def __init__(self, lists: tuple[AccessList, ...], builder: BlockBuilder) -> None:
        self._policy = Policy(lists)
        self._builder = builder
        self._metrics = AclMetrics(builder.context.registry)
        self._group = lru_cache(MOST_CLIENTS)(self._policy.group)
        self.varies = by_client(self._group) if self._policy.by_client else NOTHING

    def answer(self, request: Request, next: Next) -> Reply:
        """See :class:`kdns.core.chain.Link`."""
        decision = self._decide(request)
        counter = self._metrics.of(decision, request.server.label, self._builder.view)
        counter.inc()
        match decision.action:
            case Action.ALLOW:
                return then(next(request), Answer.charged, counter)
            case Action.DROP:
                return NO_REPLY
            case Action.BLOCK:
                return self._made(REFUSED, EDE_BLOCKED, counter)
            case Action.FILTER:
                return self._made(NOERROR, EDE_FILTERED, counter)

    def _decide(self, request: Request) -> Decision:
        group = self._group(request.client) if self._policy.by_client else 0
        return self._policy.decide(request.qname, request.qtype, group)

    def _made(self, rcode: int, ede: int, counter: Counter) -> Answer:
        # With options of its own, if only none, the reply repeats none of the client's.
        return Answer(rcode, options=(), ede=((ede, ""),), validity=ALWAYS, source=self.name, charges=(counter,))

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Count the queries that are allowed; the others are answered here."""
        counter = (self._metrics.of(ALLOWED, server, self._builder.view),)
        return Effect(counter, counter, counter, admits=self._admits)

    def _admits(self, qname: bytes, qtype: int, client: str) -> bool:
        group = self._group(client) if self._policy.by_client else 0
        return self._policy.decide(qname, qtype, group).action is Action.ALLOW

    def explain(self, request: Request) -> list[Note]:
        """Which rule decides."""
        decision = self._decide(request)
        if decision.rule is None:
            return [Note(f"no rule fits {request.client}: the query is allowed")]
        text = f"{decision.rule.place}: {decision.action.value} fits {request.client} in {decision.zone}"
        return [Note(text, missing=decision.action is not Action.ALLOW)]


class AclDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "acl"

    def parse(self, tokens: Dispenser, block: Block) -> tuple[AccessList, ...]:
        """See :func:`kdns.plugins.acl.config.parse`."""
        return parse(tokens, block)

    def build(self, config: tuple[AccessList, ...], builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(AclLink(config, builder))


directive = AclDirective()
