# -*- test-case-name: tests.server -*-
"""What tests of the server share: programmed plugins, an observer that counts, and a listener around them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import dns.message
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply, chain
from kdns.core.metrics import Counter, Histogram
from kdns.core.observe import Exchange, Observer, Repeat
from kdns.core.request import Request, Transport
from kdns.core.validity import ALWAYS, NOTHING
from kdns.plugin.seam import ServerContext
from kdns.server.blocks import ServedBlock, Zones
from kdns.server.listener import Listener
from kdns.testing.memory import MemoryReactor
from kdns.wire.constants import AA
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa

ADDRESS = bytes((10, 96, 0, 1))


class Programmed(Link):
    """A plugin that answers with a function, and remembers what it was asked."""

    name = "programmed"
    varies = NOTHING

    def __init__(self, say: Callable[[Request], Any]) -> None:
        self.say = say
        self.asked: list[Request] = []

    def answer(self, request: Request, next: Next) -> Any:
        """Answer with the function."""
        self.asked.append(request)
        return self.say(request)


def address(request: Request) -> Answer:
    """One address for any name, for everybody."""
    record = a_or_aaaa(request.spelled, 30, ADDRESS)
    return Answer(flags=AA, body=Sections(answer=(record,)), validity=ALWAYS)


class Slow:
    """A function for :class:`Programmed` whose answers wait until the test gives them."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Request, Deferred[Answer]]] = []
        self.cancelled: list[Request] = []

    def __call__(self, request: Request) -> Reply:
        """Wait."""
        waiting: Deferred[Answer] = Deferred(lambda _: self.cancelled.append(request))
        self.waiting.append((request, waiting))
        return waiting

    def give(self, number: int = 0, answer: Answer | None = None) -> None:
        """Answer the query that waits at this place."""
        request, waiting = self.waiting.pop(number)
        waiting.callback(answer or address(request))


class Counting(Observer):
    """An observer that counts as ``prometheus`` does, and is told of each repetition as ``log`` is."""

    repeats = True

    def __init__(self, *, each: bool = False) -> None:
        self.exchanges: list[Exchange] = []
        self.replay: list[tuple[str, int, int]] = []
        self.count = Counter()
        self.durations = Histogram((1.0,))
        self._each = each

    def finished(self, exchange: Exchange) -> None:
        """Count it."""
        self.exchanges.append(exchange)
        self.count.inc()
        self.durations.observe(exchange.seconds)

    def repeat(self, exchange: Exchange) -> Repeat:
        """Count each repetition the same."""

        def each(client: str, port: int, ident: int, seconds: float, reply: bytes = b"", /) -> None:
            self.replay.append((client, port, ident))

        return Repeat((self.count,), (self.durations,), each if self._each else None)


def a_house(reactor: Any) -> ServerContext:
    """A context on a reactor in memory."""
    return ServerContext(reactor, clock=reactor.seconds, wall=reactor.seconds, random=Random(1), kernel_sockets=False)


def a_block(say: Callable[[Request], Any] = address, *observers: Any, **settings: Any) -> ServedBlock:
    """A block with one programmed plugin."""
    return ServedBlock(chain([Programmed(say)]), observers=tuple(observers), **settings)


def zones_of(**blocks: ServedBlock) -> Zones:
    """Zones by name, where ``_`` stands for a dot and ``root`` for the root."""
    zones = Zones()
    for name, block in blocks.items():
        zones.add(from_text("." if name == "root" else name.replace("_", ".")), block)
    return zones


class Asker:
    """A client of one listener in memory, without sockets."""

    def __init__(self, zones: Zones, **settings: Any) -> None:
        self.reactor = MemoryReactor()
        self.context = a_house(self.reactor)
        self.listener = Listener(self.context, "dns://:53", zones, **settings)

    def ask(self, message: bytes | dns.message.Message, **settings: Any) -> list[bytes]:
        """Send a message; what comes back, now or later, is in the list."""
        octets = message if isinstance(message, bytes) else message.to_wire()
        replies: list[bytes] = []
        about: dict[str, Any] = {
            "transport": Transport.UDP,
            "client": "127.0.0.1",
            "port": 4321,
            "local": "::",
        } | settings
        self.listener.receive(
            octets,
            about["transport"],
            about["client"],
            about["port"],
            about["local"],
            replies.append,
            about.get("table"),
            octets[2:],
        )
        return replies

    def read(self, message: bytes | dns.message.Message, **settings: Any) -> dns.message.Message:
        """Send a message, and read the one reply that came at once."""
        (reply,) = self.ask(message, **settings)
        return dns.message.from_wire(reply)

    def value(self, name: str, *labels: str) -> float:
        """What a counter of the context says."""
        for family in self.context.registry.families():
            if family.name == name:
                return family.counter(*labels).value
        raise KeyError(name)


def another(request: Request, qname: str) -> Request:
    """A request for another name."""
    name = from_text(qname)
    return replace(request, qname=name, spelled=name)
