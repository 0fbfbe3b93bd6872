# -*- test-case-name: tests.plugins.forward.test_plugin -*-
"""The ``forward`` link of a chain, and how it gets there from a Corefile."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply
from kdns.core.config_files import read_config_file
from kdns.core.explaining import Note
from kdns.core.request import Request
from kdns.core.text import reason_of
from kdns.core.validity import NOTHING
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import SetupError
from kdns.plugin.capabilities import AsksUpstreams
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.forward.config import Stanza, parse
from kdns.plugins.forward.fast import FastUpstreams
from kdns.plugins.forward.forwarder import Forwarder
from kdns.plugins.forward.metrics import ForwardMetrics
from kdns.plugins.forward.policy import Health
from kdns.plugins.forward.sources import Sources
from kdns.plugins.forward.targets import NamedTarget
from kdns.wire.names import is_subdomain, to_text

_HEALTH = {
    Health.HEALTHY: "healthy",
    Health.SUSPECT: "did not answer lately, is being checked",
    Health.DOWN: "down: checks fail",
    Health.WITHDRAWN: "taken out of use",
}


class Forward(Link, AsksUpstreams):
    """
    The stanzas of one block. The first that takes a name forwards it; names that none takes go to the next plugin.

    :param forwarders: one for each stanza, in file order; the caller starts and stops them.
    """

    name = "forward"
    varies = NOTHING

    def __init__(self, forwarders: list[Forwarder]) -> None:
        self.forwarders = forwarders
        self._only: Forwarder | None = None
        """The only forwarder, if it takes every name."""

        if len(forwarders) == 1 and forwarders[0].stanza.takes_all:
            self._only = forwarders[0]

    def answer(self, request: Request, next: Next) -> Reply:
        if self._only is not None:
            return self._only.ask(request)
        taker = self._following(-1, request)
        return next(request) if taker is None else self._ask(taker, request)

    def _following(self, index: int, request: Request) -> int | None:
        """The first stanza after *index* that takes the request's name."""
        for number in range(index + 1, len(self.forwarders)):
            if self.forwarders[number].stanza.takes(request.qname):
                return number
        return None

    def _ask(self, number: int, request: Request) -> Reply:
        forwarder = self.forwarders[number]
        waiting: Reply = forwarder.ask(request)
        stanza = forwarder.stanza
        if isinstance(waiting, Answer) or not (stanza.next_rcodes or stanza.next_on_nodata):
            return waiting
        following = self._following(number, request)
        if following is None:
            return waiting

        def perhaps_next(answer: Answer, following: int) -> Any:
            return self._ask(following, request) if forwarder.asks_next(answer) else answer

        return waiting.addCallback(perhaps_next, following)

    def fast_upstreams(self) -> FastUpstreams | None:
        """The only stanza, if it takes all names and its replies are passed on as they are."""
        only = self._only
        if only is None or only.stanza.force_tcp:
            return None
        return only.fast

    # For operators; see kdns.core.explaining.

    def explain(self, request: Request) -> list[Note]:
        """The upstreams and their health."""
        taker = self._following(-1, request)
        if taker is None:
            return [self._not_taken(forwarder.stanza, request.qname) for forwarder in self.forwarders]
        forwarder = self.forwarders[taker]
        stanza = forwarder.stanza
        notes = [Note(f"{self.name} {to_text(stanza.origin)} takes the name; policy {stanza.policy.value}, in turn:")]
        for upstream in forwarder.upstreams:
            words = _HEALTH[upstream.health.state]
            if upstream.health.fails:
                words += f", {upstream.health.fails} checks failed"
            if upstream.reason:
                words += f": {upstream.reason}"
            notes.append(Note(f"  {upstream.text}: {words}"))
        if not any(upstream.health.usable for upstream in forwarder.upstreams):
            notes.append(Note("no upstream is healthy: one is asked all the same", missing=True))
        return notes

    def _not_taken(self, stanza: Stanza, qname: bytes) -> Note:
        excepted = [zone for zone in stanza.excepted if is_subdomain(qname, zone)]
        why = f"except {to_text(excepted[0])}" if excepted else "the name is not in it"
        return Note(f"{self.name} {to_text(stanza.origin)} does not take the name: {why}")

    def asks_others(self, request: Request) -> bool:
        """Whether a stanza takes the name."""
        return self._following(-1, request) is not None


class ForwardDirective:
    """``forward FROM TO...``, any number of times in a block."""

    name = "forward"

    def parse(self, tokens: Dispenser, block: Block) -> tuple[Stanza, ...]:
        return parse(tokens, block)

    def build(self, config: tuple[Stanza, ...], builder: BlockBuilder) -> None:
        """
        Add the link. Forwarders of stanzas that did not change are carried over with all they know.

        :raises CorefileError: a file cannot be read or names no server.
        """
        builder.any_class = True
        forwarders = []
        for index, stanza in enumerate(config):
            try:
                forwarders.append(kept_forwarder("forward", stanza, builder, index))
            except OSError as error:
                text = f"open {error.filename}: {reason_of(error)}"
                raise SetupError(text, plugin="forward", located=False) from error
            except ValueError as error:
                raise SetupError(str(error), plugin="forward", located=False) from error
        builder.link(Forward(forwarders))


def kept_forwarder(
    name: str, stanza: Stanza, builder: BlockBuilder, index: int = 0, metrics: ForwardMetrics | None = None
) -> Forwarder:
    """
    The forwarder of a plugin's stanza: the one that runs already, if nothing about it changed.

    :param index: the stanza's place among those of the plugin in the block.
    :raises OSError: a certificate cannot be read.
    :raises ValueError: there is no upstream, or a file holds no certificate.
    """
    context = builder.context

    def make() -> Forwarder:
        return Forwarder(
            stanza,
            context.reactor,
            chance=context.random,
            registry=context.registry,
            metrics=metrics,
            degraded=context.degraded,
            wall=context.wall,
            turns=context.turns,
        )

    if any(isinstance(to, NamedTarget) for to in stanza.to) and Sources(stanza.to, stanza.root).hosts:
        return builder.run(make())  # host names are looked up again with each configuration
    key = (name, builder.block.keys, builder.view, index)
    return builder.keep(key, (stanza, _digests(stanza)), make)


def _digests(stanza: Stanza) -> tuple[str, ...]:
    """Digests of the certificate files: a renewed certificate makes a new forwarder at the next reload."""
    found = []
    for path in stanza.tls.paths:
        found.append(sha256(read_config_file(path)).hexdigest())
    return tuple(found)


directive = ForwardDirective()
