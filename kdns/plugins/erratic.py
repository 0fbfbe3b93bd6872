# -*- test-case-name: tests.plugins.test_erratic -*-
"""``erratic``: a server that misbehaves on purpose, to test clients with."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from kdns.core.explaining import Note
from kdns.core.timing import Clock
from kdns.corefile.values import BadValue, parse_duration, parse_int, quote
from kdns.plugin import (
    EVERY_QUERY,
    NO_REPLY,
    Answer,
    Block,
    BlockBuilder,
    Dispenser,
    Link,
    Next,
    RcodeOnly,
    Reply,
    Request,
    from_text,
    records,
)
from kdns.plugin.capabilities import GivesSearchPaths, KnowsSearchPaths
from kdns.wire.constants import AA, AAAA, AXFR, SERVFAIL, TC, A
from kdns.wire.names import MAX_NAME
from kdns.wire.records import Record, a_or_aaaa, ns, soa

DROP, TRUNCATE, DELAY = 2, 2, 2
"""One query in so many, for options without a number."""

DELAY_SECONDS = 0.1

_IPV4 = b"\xc0\x00\x02\x35"
_IPV6 = bytes.fromhex("20010db8000000000000000000000053")
_LARGE = 30
"""Copies of the A record with ``large``."""

MOST = 2**31 - 1


SEARCH_PATH = (from_text("a.example.org"), from_text("b.example.org"))


@dataclass(frozen=True, slots=True)
class ErraticConfig:
    """``erratic { drop [N]; truncate [N]; delay [N [DURATION]]; large }``: one query in N, 0 for none."""

    drop: int = DROP
    truncate: int = 0
    delay: int = 0
    seconds: float = DELAY_SECONDS
    large: bool = False


class ErraticLink(Link, KnowsSearchPaths):
    """The last link of a chain: it answers everything, or not."""

    name = "erratic"
    varies = EVERY_QUERY

    def __init__(self, config: ErraticConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._queries = 0

    def path_group(self, client: str) -> Hashable:
        """All clients have one path."""
        return None

    def search_path(self, request: Request) -> tuple[bytes, ...]:
        """The path that *autopath* walks for tests."""
        return SEARCH_PATH

    def answer(self, request: Request, next: Next) -> Reply:
        """Address, transfer or SERVFAIL; dropped, truncated or late as the count of queries says, from 0."""
        config = self._config
        number = self._queries
        self._queries += 1
        if config.drop and number % config.drop == 0:
            return NO_REPLY
        # CoreDNS has no remainder here but a bitwise "and": with 2 these are the queries 0, 1, 4, 5, 8, 9 ...
        truncate = bool(config.truncate) and number & config.truncate == 0
        answer = self._answer(request, truncate)
        if config.delay and number % config.delay == 0:
            late: Deferred[Answer] = deferLater(self._clock, config.seconds, self._said, answer)  # type: ignore[arg-type]  # a Clock is enough
            return late
        return self._said(answer)

    def _said(self, answer: Answer | None) -> Answer:
        if answer is None:
            raise RcodeOnly("erratic has no record of this type", SERVFAIL)
        return answer

    def _answer(self, request: Request, truncate: bool) -> Answer | None:
        owner = request.spelled
        if request.qtype == A:
            found = [a_or_aaaa(owner, 0, _IPV4)] * (_LARGE if self._config.large else 1)
        elif request.qtype == AAAA:
            found = [a_or_aaaa(owner, 0, _IPV6)]
        elif request.qtype == AXFR and len(owner) + 2 <= MAX_NAME:
            found = _zone(owner)[: 5 if truncate else 6]
            truncate = False
        else:
            return None
        return Answer(flags=AA | TC if truncate else AA, body=records(found), source=self.name)

    def ready(self) -> bool:
        """While the third and fourth query were the last: readiness comes and goes, for tests of that."""
        return 3 <= self._queries < 5

    def explain(self, request: Request) -> list[Note]:
        """That nothing here means anything."""
        return [Note("test replies, some of them dropped, truncated or late on purpose")]


def _zone(apex: bytes) -> list[Record]:
    """A transfer: the records between two equal SOAs."""
    first, second = b"\x01a" + apex, b"\x01b" + apex
    numbers = (2018050825, 7200, 3600, 1209600, 3600)
    start = soa(apex, 0, from_text("sns.dns.icann.org"), from_text("noc.dns.icann.org"), numbers)
    return [
        start,
        ns(apex, 0, second),
        ns(apex, 0, first),
        a_or_aaaa(first, 0, bytes.fromhex("20010bd8000000000000000000000053")),
        a_or_aaaa(second, 0, bytes.fromhex("20010500000000000000000000000054")),
        start,
    ]


class ErraticDirective(GivesSearchPaths):
    """See :class:`kdns.plugin.Directive`."""

    name = "erratic"

    def parse(self, tokens: Dispenser, block: Block) -> ErraticConfig:
        """Options in any order; ``truncate`` or ``delay`` without ``drop`` drop nothing."""
        drop: int | None = None
        truncate = delay = 0
        seconds, large = DELAY_SECONDS, False
        for _ in tokens.invocations():
            tokens.remaining_args()
            for option in tokens.block():
                match option:
                    case "drop":
                        drop = _amount(tokens, tokens.args(0, 1), DROP)
                    case "truncate":
                        truncate = _amount(tokens, tokens.args(0, 1), TRUNCATE)
                    case "delay":
                        words = tokens.args(0, 2)
                        delay, seconds = _amount(tokens, words[:1], DELAY), DELAY_SECONDS
                        for word in words[1:]:
                            seconds = tokens.convert(parse_duration, word)
                    case "large":
                        large = True
                    case _:
                        raise tokens.unknown_property("drop", "truncate", "delay", "large")
        if drop is None:
            drop = 0 if truncate or delay else DROP
        return ErraticConfig(drop, truncate, delay, seconds, large)

    def build(self, config: ErraticConfig, builder: BlockBuilder) -> None:
        """Add the link, and its readiness."""
        link = ErraticLink(config, builder.context.reactor)
        builder.link(link)
        why: Callable[[], str] = lambda: "it is ready after its third and fourth query only"  # noqa: E731  # a sentence
        builder.ready_when(self.name, link.ready, why)


def _amount(tokens: Dispenser, words: list[str], default: int) -> int:
    for word in words:
        try:
            number = parse_int(word)
        except BadValue as error:
            raise tokens.plain_error(str(error).replace("strconv.Atoi", "strconv.ParseInt")) from None
        if not -MOST - 1 <= number <= MOST:
            raise tokens.plain_error(f"strconv.ParseInt: parsing {quote(word)}: value out of range")
        if number < 0:
            raise tokens.plain_error(f"illegal amount value given {quote(word)}")
        return number
    return default


directive = ErraticDirective()
