"""
What a cache hit costs, in microseconds of processor time: kdns's cache beside ``twisted.names.cache.CacheResolver``, in turn in one run.

Both are asked for names that they hold, in random order. kdns is measured as an answer (what the rest of the chain gets) and as a finished
reply; the yardstick as its three lists of records, and as a message encoded from them. Run it as ``python -m bench.cache_hit``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from statistics import median
from time import process_time
from typing import Any

from twisted.internet.task import Clock
from twisted.names import cache as names_cache
from twisted.names import dns

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, chain
from kdns.core.reply import render_reply
from kdns.core.request import Request, Server, Transport
from kdns.core.validity import FROM_UPSTREAM, NOTHING
from kdns.corefile.keys import Zone
from kdns.plugin.seam import Block, BlockBuilder, ServerContext
from kdns.plugins.cache.build import CacheDirective
from kdns.plugins.cache.config import CacheConfig, Limits
from kdns.wire.constants import IN, RA, RD, A
from kdns.wire.message import scan
from kdns.wire.names import from_text
from kdns.wire.records import Record
from kdns.wire.render import render

NAMES = 1000
ADDRESSES = 2
ROUNDS = 7
HITS = 20_000
TTL = 3600


class _Listener:
    label = "dns://:53"

    def resolve(self, request: Request) -> Answer:
        raise AssertionError("nothing is looked up inside")


class _Upstream(Link):
    varies = NOTHING
    name = "upstream"

    def answer(self, request: Request, next: Next) -> Answer:
        section = [Record(request.spelled, A, IN, TTL, bytes((192, 0, 2, n))) for n in range(ADDRESSES)]
        message = render(1, 0x8180, request.question, (section, (), ()), b"", 65535, 65535)
        return Answer(flags=RA, body=scan(message), validity=FROM_UPSTREAM)


def _request(text: str, server: Server) -> Request:
    name = from_text(text)
    return Request(name, name, A, IN, 1, RD, None, Transport.UDP, "10.0.0.1", 4000, "::", 0.0, 30, server)


def _kdns(texts: list[str], clock: Clock) -> tuple[Callable[[int], object], Callable[[int], object]]:
    context = ServerContext(clock, clock=clock.seconds)
    builder = BlockBuilder(context, Block((), frozenset()), 0)
    limits = Limits(9984, TTL, 5, 9984 * 2048)
    CacheDirective().build(CacheConfig((Zone(b"\x00", "."),), limits, limits), builder)
    ask = chain([*builder.links, _Upstream()])
    requests = [_request(text, _Listener()) for text in texts]
    for request in requests:
        ask(request)

    def reply(number: int) -> bytes:
        answer = ask(requests[number])
        assert isinstance(answer, Answer)
        return render_reply(requests[number], answer)

    return (lambda number: ask(requests[number])), reply


def _names(texts: list[str], clock: Clock) -> tuple[Callable[[int], object], Callable[[int], object]]:
    resolver = names_cache.CacheResolver(reactor=clock)
    queries = [dns.Query(text.encode(), dns.A, dns.IN) for text in texts]
    for query in queries:
        records = [_header(query.name.name, f"192.0.2.{n}") for n in range(ADDRESSES)]
        resolver.cacheResult(query, (records, [], []))

    def lists(number: int) -> object:
        return resolver.query(queries[number]).result

    def reply(number: int) -> bytes:
        query = queries[number]
        message = dns.Message(1, answer=1, recDes=1, recAv=1)
        message.queries = [query]
        message.answers, message.authority, message.additional = resolver.query(query).result
        encoded: bytes = message.toStr()
        return encoded

    return lists, reply


def _header(name: bytes, address: str) -> dns.RRHeader:
    record: Any = dns.Record_A(address, TTL)
    return dns.RRHeader(name, dns.A, dns.IN, TTL, record)


def _microseconds(call: Callable[[int], object], numbers: list[int]) -> float:
    begin = process_time()
    for number in numbers:
        call(number)
    return (process_time() - begin) / len(numbers) * 1e6


def main() -> int:
    """Measure, and print a table."""
    clock = Clock()
    texts = [f"name-{number}.example.com" for number in range(NAMES)]
    random = Random(1)
    calls = {
        name: call
        for prefix, pair in (("kdns", _kdns(texts, clock)), ("twisted.names", _names(texts, clock)))
        for name, call in zip((f"{prefix}: answer", f"{prefix}: whole reply"), pair, strict=True)
    }
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        numbers = random.choices(range(NAMES), k=HITS // ROUNDS)
        for name, call in calls.items():
            taken[name].append(_microseconds(call, numbers))
    for name, values in taken.items():
        print(
            f"{name:30} {median(values):8.2f} us (of {len(values)} rounds from {min(values):.2f} to {max(values):.2f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
