# -*- test-case-name: tests.plugins.loadbalance -*-
"""``loadbalance``: give the addresses of an answer in another order each time."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from kdns.core.answer import Answer, Scope
from kdns.core.chain import Next, Reply, then
from kdns.core.request import Request
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder, ServerContext
from kdns.plugins.loadbalance.config import LoadbalanceConfig, parse
from kdns.plugins.loadbalance.orders import balanced
from kdns.plugins.loadbalance.service import WeightFile
from kdns.plugins.loadbalance.weights import chosen_first, concerns
from kdns.wire.constants import AAAA, AXFR, IXFR, NOERROR, SRV, A
from kdns.wire.names import MalformedName


class LoadbalancePlugin:
    """
    A link of the chain that changes the order of what comes from behind it.

    :param weights: the weight file of ``weighted``.
    """

    name = "loadbalance"

    def __init__(self, config: LoadbalanceConfig, context: ServerContext, weights: WeightFile | None) -> None:
        self._prefer = config.prefer
        self._context = context
        self._weights = weights
        self._clock: Callable[[], float] = context.clock

    def answer(self, request: Request, next: Next) -> Reply:
        """See :class:`kdns.core.chain.Plugin`."""
        if request.qtype in (AXFR, IXFR):
            return next(request)
        return then(next(request), lambda answer: self._ordered(request, answer))

    def alike_below(self, zone: bytes) -> bool:
        """What has no records has no order."""
        return True

    def _ordered(self, request: Request, answer: Answer) -> Answer:
        if answer.rcode != NOERROR or answer.silent:
            return answer
        if self._weights is None or request.qtype not in (A, AAAA, SRV):
            return balanced(answer, self._context.random, self._prefer, self._clock())
        return self._weighted(answer, self._weights)

    def _weighted(self, answer: Answer, file: WeightFile) -> Answer:
        """
        Draw by weight; each query draws anew, so such an answer holds for nobody else.

        Names without weights are shuffled as ``round_robin`` does it, until the file changes.
        """
        weights, random = file.weights, self._context.random
        try:
            answers, authority, additional = answer.sections()
        except MalformedName:
            return answer  # what cannot be taken apart is passed on as it came
        if not concerns(answers, weights) and not concerns(additional, weights):
            held = answer.held(answer.validity.narrowed(stamps=(file.stamp.ref(),)))
            return balanced(held, random, self._prefer, self._clock())
        drawn = replace(
            answer,
            relayed=None,
            answer=answers,
            authority=authority,
            additional=additional,
            ttl=None,
            validity=answer.validity.narrowed(Scope.NOBODY),
        )
        shuffled = balanced(drawn, random, self._prefer, self._clock())
        return replace(
            shuffled,
            answer=chosen_first(shuffled.answer, weights, random),
            additional=chosen_first(shuffled.additional, weights, random),
        )


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
            weights = builder.keep(
                key, config.reload, lambda: WeightFile(config.weights, config.reload, context.reactor)
            )
        builder.link(LoadbalancePlugin(config, builder.context, weights))


directive = LoadbalanceDirective()
