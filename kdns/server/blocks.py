# -*- test-case-name: tests.server.test_blocks -*-
"""Which server block takes a query: a core module of the listener."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kdns.core.chain import Next, Plugin
from kdns.core.observe import Observer
from kdns.core.request import Request
from kdns.wire.constants import DS
from kdns.wire.names import ROOT, suffixes

Filter = Callable[[Request], bool]


@dataclass(slots=True)
class ServedBlock:
    """A server block as it answers."""

    ask: Next
    """Its chain."""

    empty: bool = False
    """Whether nothing in it can answer: queries are refused."""

    observers: tuple[Observer, ...] = ()
    filters: tuple[Filter, ...] = ()
    """All must let a request pass (``view``)."""

    view: str = ""
    any_class: bool = False
    collect: Callable[[Request], Request] | None = None
    """Adds metadata to a request before its filters run."""

    links: tuple[Plugin, ...] = ()
    """The plugins of the chain, the outermost first."""

    last: str = ""
    """Whom the failure names when the chain ends without an answer."""


@dataclass(slots=True)
class Zones:
    """The zones of one listener, each with its blocks in file order."""

    blocks: dict[bytes, list[ServedBlock]] = field(default_factory=dict)

    def add(self, zone: bytes, block: ServedBlock) -> None:
        """*block* answers for *zone*, lower case, behind the blocks that do so already."""
        self.blocks.setdefault(zone, []).append(block)

    def all_blocks(self) -> list[ServedBlock]:
        """Every block once."""
        found: dict[int, ServedBlock] = {}
        for blocks in self.blocks.values():
            for block in blocks:
                found[id(block)] = block
        return list(found.values())

    def choose(self, request: Request) -> tuple[bytes, ServedBlock, Request] | None:
        """
        The block for a request: the longest zone wins, and of several blocks for it the first whose filters let it pass.

        When none does, the search goes on with the parent names. A question for DS goes to the parent's side of a zone cut
        (RFC 4035 section 3.1.4.1): to the shortest zone that fits, the root only when nothing else does.

        :return: zone, block, and the request as the block's metadata sources left it; None when nobody takes it.
        """
        remembered = None
        # The root alone is what most Corefiles have.
        for zone in suffixes(request.qname) if len(self.blocks) > 1 or ROOT not in self.blocks else (ROOT,):
            blocks = self.blocks.get(zone)
            if blocks is None:
                continue
            if zone == ROOT and remembered is not None:
                break
            for block in blocks:
                asked = request if block.collect is None else block.collect(request)
                if not block.filters or all(passes(asked) for passes in block.filters):
                    break
            else:
                continue
            if block.empty:
                if zone == ROOT:
                    continue
                return None
            if request.qtype == DS:
                remembered = (zone, block, asked)
                continue
            return zone, block, asked
        return remembered
