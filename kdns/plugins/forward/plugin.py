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
from kdns.core.validity import NOTHING
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import SetupError
from kdns.plugin.capabilities import AsksUpstreams
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.forward.config import parse
from kdns.plugins.forward.explaining import of_nobody, of_stanza
from kdns.plugins.forward.forwarder import Forwarder
from kdns.plugins.forward.sources import Sources
from kdns.plugins.forward.stanza import Stanza
from kdns.plugins.forward.targets import Elsewhere


class Forward(Link, AsksUpstreams):
    """
    The stanzas of one block; the first that takes a name forwards it, and what no stanza takes goes to the next plugin.

    :param forwarders: one for each stanza, in file order. Who makes them starts and stops them.
    """

    name = "forward"
    varies = NOTHING

    def __init__(self, forwarders: list[Forwarder]) -> None:
        self.forwarders = forwarders
        self._only: Forwarder | None = None
        """The one that takes every name, where there is but that one."""

        if len(forwarders) == 1 and forwarders[0].stanza.takes_all:
            self._only = forwarders[0]

    def answer(self, request: Request, next: Next) -> Reply:
        """Forward, or pass on."""
        if self._only is not None:
            return self._only.ask(request)
        taker = self._following(-1, request)
        return next(request) if taker is None else self._ask(taker, request)

    def _following(self, index: int, request: Request) -> int | None:
        """The first stanza behind *index* that takes the request's name."""
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
        after = following

        def perhaps_next(answer: Answer) -> Any:
            return self._ask(after, request) if forwarder.goes_on(answer) else answer

        return waiting.addCallback(perhaps_next)

    # What an operator is told; see kdns.core.explaining.

    def explain(self, request: Request) -> list[Note]:
        """Whom it would ask, and how they are."""
        taker = self._following(-1, request)
        return of_nobody(self.forwarders, request.qname) if taker is None else of_stanza(self.forwarders[taker])

    def asks_others(self, request: Request) -> bool:
        """Whether a stanza takes the name."""
        return self._following(-1, request) is not None


class ForwardDirective:
    """``forward FROM TO...``, any number of times in a block."""

    name = "forward"

    def parse(self, tokens: Dispenser, block: Block) -> tuple[Stanza, ...]:
        """See :func:`kdns.plugins.forward.config.parse`."""
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
                forwarders.append(_forwarder(stanza, index, builder))
            except OSError as error:
                text = f"open {error.filename}: {(error.strerror or str(error)).lower()}"
                raise SetupError(text, plugin="forward", located=False) from error
            except ValueError as error:
                raise SetupError(str(error), plugin="forward", located=False) from error
        builder.link(Forward(forwarders))


def _forwarder(stanza: Stanza, index: int, builder: BlockBuilder) -> Forwarder:
    context = builder.context

    def make() -> Forwarder:
        return Forwarder(stanza, context.reactor, chance=context.random, registry=context.registry)

    if any(isinstance(to, Elsewhere) for to in stanza.to) and Sources(stanza.to, stanza.root).hosts:
        return builder.run(make())  # host names are looked up anew with each configuration
    key = ("forward", builder.block.keys, builder.view, index)
    return builder.keep(key, (stanza, _digests(stanza)), make)


def _digests(stanza: Stanza) -> tuple[str, ...]:
    """What stands in the certificate files now: a renewed one makes a new forwarder at the next reload."""
    found = []
    for path in stanza.tls.paths:
        found.append(sha256(read_config_file(path)).hexdigest())
    return tuple(found)


directive = ForwardDirective()
