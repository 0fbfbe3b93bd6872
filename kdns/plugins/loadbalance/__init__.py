# -*- test-case-name: tests.plugins.loadbalance -*-
"""``loadbalance``: give the addresses of an answer in another order each time."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply, then
from kdns.core.fast_path import Effect
from kdns.core.request import Request
from kdns.core.validity import NOTHING, by_data
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.loadbalance.config import LoadbalanceConfig, parse
from kdns.plugins.loadbalance.orders import balanced, in_order
from kdns.plugins.loadbalance.service import WeightFile
from kdns.plugins.loadbalance.weights import Weights, chosen_first, concerns
from kdns.wire.constants import AAAA, AXFR, IXFR, NOERROR, SRV, A
from kdns.wire.message import MOST_CHANGED
from kdns.wire.names import MalformedName


class LoadbalanceLink(Link):
    """
    Changes the order of what comes from behind it.

    :param weights: the weight file of ``weighted``.
    """

    name = "loadbalance"

    def __init__(self, config: LoadbalanceConfig, random: Random, weights: WeightFile | None) -> None:
        self._prefer = config.prefer
        self._random = Random(random.getrandbits(64))  # a shuffle needs no secrecy, and the system's randomness is slow
        self._weights = weights
        self.varies = NOTHING if weights is None else by_data(weights.stamp)

    def answer(self, request: Request, next: Next) -> Reply:
        """See :class:`kdns.core.chain.Link`."""
        if request.qtype in (AXFR, IXFR):
            return next(request)
        return then(next(request), self._ordered, request.qtype)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Show addresses in a random order; what is drawn by weight is drawn here."""
        return Effect(rotate=self._prefer) if self._weights is None else None

    def _ordered(self, answer: Answer, qtype: int) -> Answer:
        if answer.rcode != NOERROR or answer.silent:
            return answer
        if self._weights is None:
            return balanced(answer, self._random, self._prefer)
        return self._weighted(answer, self._weights.weights) if qtype in (A, AAAA, SRV) else answer

    def _weighted(self, answer: Answer, weights: Weights) -> Answer:
        """Draw by weight, for each query. Names without weights, or with very many records, are shuffled as ``round_robin`` does it."""
        if sum(answer.body.counts) > MOST_CHANGED:
            return balanced(answer, self._random, self._prefer)
        try:
            answers, authority, additional = answer.body.sections()
        except MalformedName:
            return answer  # a record that cannot be read is passed on as it came
        if not concerns(answers, weights) and not concerns(additional, weights):
            return balanced(answer, self._random, self._prefer)
        drawn = [chosen_first(in_order(section), weights, self._random) for section in (answers, additional)]
        body = Sections(drawn[0], authority, drawn[1])
        return replace(answer, body=body, rotate=None, validity=answer.validity.not_repeated())


class LoadbalanceDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "loadbalance"

    def parse(self, tokens: Dispenser, block: Block) -> LoadbalanceConfig:
        """See :func:`kdns.plugins.loadbalance.config.parse`."""
        return parse(tokens, block)

    def build(self, config: LoadbalanceConfig, builder: BlockBuilder) -> None:
        """Add the link, and the weight file if there is one."""
        weights = None
        if config.weights:
            context = builder.context
            key = ("loadbalance", config.weights)
            weights = builder.keep(key, config.reload, lambda: WeightFile(config.weights, config.reload, context))
        builder.link(LoadbalanceLink(config, builder.context.random, weights))


directive = LoadbalanceDirective()
