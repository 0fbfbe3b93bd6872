# -*- test-case-name: tests.plugins -*-
"""What tests of plugins share: requests as a listener would make them, a context on a test clock, and directives from a Corefile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import Reply
from kdns.core.request import Metadata, Request, Transport
from kdns.core.slices import SLICE_SECONDS
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import server_keys
from kdns.corefile.parser import Surroundings, parse
from kdns.plugin.registry import BUILT_IN
from kdns.plugin.seam import Block, BlockBuilder, Directive, Keeper, ServerContext
from kdns.testing.memory import MemoryReactor
from kdns.wire.constants import IN, RD, A
from kdns.wire.names import spelled_from_text
from kdns.wire.query import Edns


def lack(case: SynchronousTestCase, *names: str) -> None:
    """Let a test run on a kdns without some directives of CoreDNS."""
    whole = dict(BUILT_IN)

    def restore() -> None:
        BUILT_IN.clear()
        BUILT_IN.update(whole)

    case.addCleanup(restore)
    for name in names:
        del BUILT_IN[name]


class Datagrams(DatagramProtocol):
    """A client's socket that keeps what comes."""

    transport: Any  # Twisted's own annotations cannot be called

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """Keep it."""
        self.received.append(datagram)


class SlowReactor(MemoryReactor):
    """A reactor on whose clock each look takes *tick* seconds, for work that is cut into slices."""

    def __init__(self, tick: float = SLICE_SECONDS / 4) -> None:
        self._tick = 0.0
        super().__init__()
        self._tick = tick

    def seconds(self) -> float:
        """The time, which goes on with each look."""
        self._now += self._tick
        return self._now


class FakeServer:
    """A listener that answers lookups made inside with a function."""

    def __init__(self, label: str = "dns://:53", resolve: Callable[[Request], Reply] | None = None) -> None:
        self.label = label
        self._resolve = resolve

    def resolve(self, request: Request) -> Reply:
        """Answer with the function."""
        assert self._resolve is not None
        return self._resolve(request)


SERVER = FakeServer()


def a_request(
    qname: str,
    qtype: int = A,
    *,
    qclass: int = IN,
    flags: int = RD,
    edns: Edns | None = None,
    transport: Transport = Transport.UDP,
    client: str = "127.0.0.1",
    client_port: int = 40212,
    server: FakeServer = SERVER,
    metadata: Metadata | None = None,
    arrived: float = 0.0,
) -> Request:
    """A request for a name in presentation form; the letters keep their case in ``spelled``."""
    spelled = spelled_from_text(qname)
    return Request(
        spelled.lower(),
        spelled,
        qtype,
        qclass,
        4711,
        flags,
        edns,
        transport,
        client,
        client_port,
        "127.0.0.1",
        arrived,
        12 + len(spelled) + 4,
        server,
        metadata=metadata,
    )


def a_house(clock: Clock, **settings: Any) -> ServerContext:
    """A context whose clocks are the test's and whose chance is always the same."""
    return ServerContext(
        clock,
        clock=clock.seconds,
        wall=lambda: 1_700_000_000.0 + clock.seconds(),
        random=settings.pop("random", Random(1)),
        **settings,
    )


def blocks_of(corefile: str, names: tuple[str, ...]) -> list[tuple[Block, Mapping[str, Dispenser]]]:
    """The server blocks of a Corefile in which only the directives *names* are known, each with its words by directive."""
    found: list[tuple[Block, Mapping[str, Dispenser]]] = []
    for tree in parse(corefile, "Corefile", Surroundings(known=names)).blocks:
        block = Block(server_keys(tree), frozenset(tree.directives))
        found.append((block, {name: Dispenser(use) for name, use in tree.directives.items()}))
    return found


def parsed(directive: Directive, corefile: str) -> Any:
    """The config that *directive* makes of the first block of a Corefile."""
    block, words = blocks_of(corefile, (directive.name, "whoami"))[0]
    return directive.parse(words[directive.name], block)


def built(
    directive: Directive, corefile: str, context: ServerContext, kept: Keeper | None = None, **changes: Any
) -> BlockBuilder:
    """The builder of the first block of a Corefile after *directive* has contributed to it; *changes* are to the block."""
    block, words = blocks_of(corefile, (directive.name, "whoami"))[0]
    block = replace(block, **changes)
    builder = BlockBuilder(context, block, 0, kept=kept or Keeper())
    directive.build(directive.parse(words[directive.name], block), builder)
    return builder


def now(reply: Reply) -> Answer:
    """The answer that is there already."""
    assert isinstance(reply, Answer), reply
    return reply
