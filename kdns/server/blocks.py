# -*- test-case-name: tests.server.test_blocks -*-
"""Which server block takes a query: a core module of the listener."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kdns.core.chain import Link, Next
from kdns.core.metrics import Counter
from kdns.core.observe import Observer
from kdns.core.request import Request
from kdns.core.validity import Audience, audience_of
from kdns.plugin.proxied import ProxyPolicy
from kdns.plugin.seam import ConnectionLimits, Filter, StreamTimeouts
from kdns.wire.constants import DS
from kdns.wire.names import ROOT, suffixes


class Choice(NamedTuple):
    """The block that takes a request."""

    zone: bytes
    block: ServedBlock
    request: Request
    """As the block's metadata sources left it."""

    once: bool = False
    """Whether a filter must be called for every query: the reply is not replayed."""


@dataclass(slots=True)
class ServedBlock:
    """A server block with its chain."""

    ask: Next
    """Its chain."""

    empty: bool = False
    """Whether nothing in it can answer: queries are refused."""

    observers: tuple[Observer, ...] = ()
    filters: tuple[Filter, ...] = ()
    """All must let a request pass."""

    view: str = ""
    any_class: bool = False
    most_udp_size: int = 0
    """UDP payload size that clients are lowered to, in bytes; 0: no limit."""

    shed: Callable[[str], Counter] | None = None
    """Counts queries over UDP that are dropped under overload, by listener; None: they are refused."""

    collect: Callable[[Request], Request] | None = None
    """Adds metadata to a request before its filters run."""

    links: tuple[Link, ...] = ()
    """The plugins of the chain, the outermost first."""

    last: str = ""
    """The plugin that a failure names when the chain ends without an answer."""

    @property
    def repeats(self) -> bool:
        """Whether all observers support replay."""
        return all(observer.repeats for observer in self.observers)


@dataclass(slots=True)
class Zones:
    """The zones of one listener, each with its blocks in file order."""

    blocks: dict[bytes, list[ServedBlock]] = field(default_factory=dict)
    timeouts: StreamTimeouts = field(default_factory=StreamTimeouts)
    proxy: ProxyPolicy | None = None
    tls: Any = None
    """What makes connections secure, an IOpenSSLServerConnectionCreator; None where nothing does (``tls``)."""

    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    """What the clients of an encrypted listener may hold."""

    def add(self, zone: bytes, block: ServedBlock) -> None:
        """*block* answers for *zone*, lower case, after the blocks that already do."""
        self.blocks.setdefault(zone, []).append(block)

    def all_blocks(self) -> list[ServedBlock]:
        """Every block once."""
        found: dict[int, ServedBlock] = {}
        for blocks in self.blocks.values():
            for block in blocks:
                found[id(block)] = block
        return list(found.values())

    def audience(self) -> Audience | None:
        """The clients that must be told apart: everything that links and filters of all blocks vary by."""
        blocks = self.all_blocks()
        links = [link.varies for block in blocks for link in block.links]
        return audience_of(links + [one.varies for block in blocks for one in block.filters])

    def choose(self, request: Request) -> Choice | None:
        """
        The block for a request: the longest zone wins, and of several blocks for it the first whose filters let it pass.

        When none does, the search goes on with the parent names. A question for DS goes to the parent's side of a zone cut
        (RFC 4035 section 3.1.4.1): to the shortest zone that fits, the root only when nothing else does.

        :return: None when no block takes it.
        """
        remembered = None
        once = False
        # The root alone is what most Corefiles have.
        for zone in suffixes(request.qname) if len(self.blocks) > 1 or ROOT not in self.blocks else (ROOT,):
            blocks = self.blocks.get(zone)
            if blocks is None:
                continue
            if zone == ROOT and remembered is not None:
                break
            for block in blocks:
                asked = request if block.collect is None else block.collect(request)
                if not block.filters:
                    break
                once = once or any(one.varies.every_query for one in block.filters)
                if all(one.passes(asked) for one in block.filters):
                    break
            else:
                continue
            if block.empty:
                if zone == ROOT:
                    continue
                return None
            if request.qtype == DS:
                remembered = Choice(zone, block, asked, once)
                continue
            return Choice(zone, block, asked, once)
        return remembered
