"""A forwarder and its upstreams on one network in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.degraded import DegradedStates
from kdns.core.metrics import Registry
from kdns.core.request import Request, Transport
from kdns.plugins.forward import Forwarder, Stanza, Target
from kdns.testing.memory import MemoryReactor
from kdns.testing.records import parse_record
from kdns.testing.upstream import Entry, FakeUpstream, UpstreamServer
from kdns.wire.records import Record
from tests.support import a_request

ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
TCP = Transport.TCP


class Upstreams:
    """A memory reactor with three upstreams at 10.0.0.1 to 10.0.0.3, port 53, that say which of them they are."""

    def __init__(self, polling: Any = "epoll") -> None:
        self.reactor = MemoryReactor([*ADDRESSES, "127.0.0.1", "10.0.0.9", "::1"], polling=polling)
        self.fakes = [FakeUpstream() for _ in ADDRESSES]
        self.servers = [UpstreamServer(fake, self.reactor) for fake in self.fakes]
        self.registry = Registry()
        self.degraded = DegradedStates()
        self.forwarders: list[Forwarder] = []
        self.closing: list[Callable[[], object]] = []
        for number, (fake, server, address) in enumerate(zip(self.fakes, self.servers, ADDRESSES, strict=True), 1):
            fake.say("www.example.com", f"www.example.com. 300 IN A 192.0.2.{number}")
            server.start(address, 53)

    @property
    def first(self) -> FakeUpstream:
        """The one at 10.0.0.1."""
        return self.fakes[0]

    def forwarder(self, how_many: int = 1, **options: Any) -> Forwarder:
        """A started forwarder to the first so many upstreams."""
        to = options.pop("to", tuple(Target(address) for address in ADDRESSES[:how_many]))
        made = Forwarder(
            Stanza(to, **options), self.reactor, chance=Random(7), registry=self.registry, degraded=self.degraded
        )
        started = made.start()
        assert started is None, "only host names must be waited for"
        self.forwarders.append(made)
        return made

    def close(self) -> None:
        """Stop everything."""
        for forwarder in self.forwarders:
            forwarder.stop()
        for close in self.closing:
            close()
        self.reactor.settle()
        for server in self.servers:
            server.stop()
        self.reactor.advance(1.0)

    def metric(self, name: str, *labels: str) -> float:
        """The value of a counter; 0 where it has no such cell yet."""
        family = {family.name: family for family in self.registry.families()}[name]
        cell = family.cells.get(labels)
        return getattr(cell, "value", 0.0)

    def count(self, name: str, *labels: str) -> int:
        """How often something was observed by a histogram."""
        family = {family.name: family for family in self.registry.families()}[name]
        cell = family.cells.get(labels)
        return sum(getattr(cell, "counts", []))


class ForwardCase(SynchronousTestCase):
    """A test with upstreams; nothing may be left open at its end."""

    polling = "epoll"

    def setUp(self) -> None:
        self.net = Upstreams(self.polling)
        self.reactor = self.net.reactor

    def tearDown(self) -> None:
        self.net.close()
        self.assertEqual(self.reactor.leftovers(), [])

    def ask(self, forwarder: Forwarder, request: Request | str = "www.example.com", seconds: float = 0.0) -> Answer:
        """The answer to a request, after letting some time pass."""
        return self.successResultOf(self.asked(forwarder, request, seconds))

    def asked(
        self, forwarder: Forwarder, request: Request | str = "www.example.com", seconds: float = 0.0
    ) -> Deferred[Answer]:
        """What comes of a request, after letting some time pass."""
        waiting = forwarder.ask(a_request(request) if isinstance(request, str) else request)
        self.reactor.advance(seconds)
        return waiting

    def silence(self, *numbers: int) -> None:
        """The upstreams with these numbers, from 1, say nothing any more."""
        for number in numbers:
            self.net.fakes[number - 1].say_everywhere(Entry(silent=True))

    def revive(self, *numbers: int) -> None:
        """They speak again."""
        for number in numbers:
            self.net.fakes[number - 1].say_everywhere(None)


def records(answer: Answer) -> list[Record]:
    """The records of the answer section."""
    return list(answer.sections()[0])


def last_octet(answer: Answer) -> int:
    """Which upstream answered ``www.example.com``."""
    return records(answer)[0].rdata[-1]


__all__ = [
    "ADDRESSES",
    "TCP",
    "ForwardCase",
    "Upstreams",
    "last_octet",
    "parse_record",
    "records",
    "replace",
]
