# -*- test-case-name: tests.plugins.trace.test_encoding -*-
"""
A sampled query and its spans: a core module of *trace*. Times are seconds of the server's clock until they are exported.

A span watches the request that its plugin passes on, so that what happens further in becomes its children.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from kdns.core.attempts import Attempt
from kdns.core.request import Request
from kdns.core.text import bracketed
from kdns.wire.constants import rcode_text, type_text
from kdns.wire.names import to_text

MOST_SPANS = 256
"""Spans of one query: what a look-up inside a look-up inside a look-up would add is left out."""

TAG = "coredns.io"
"""In front of the names of tags, as in CoreDNS."""


class Trace:
    """
    One sampled query.

    :param offset: what makes Unix time out of the clock's time.
    :param reactor_offset: what makes the clock's time out of the reactor's.
    """

    __slots__ = ("_clock", "_random", "_reactor_offset", "finished", "number", "offset", "spans")

    def __init__(self, clock: Callable[[], float], random: Random, offset: float, reactor_offset: float = 0.0) -> None:
        self._clock = clock
        self._random = random
        self._reactor_offset = reactor_offset
        self.offset = offset
        self.number = _identifier(random, 128)
        self.spans: list[Span] = []
        self.finished = False

    @property
    def text(self) -> str:
        """The identifier of the trace, as Zipkin shows it."""
        return f"{self.number & 2**64 - 1:016x}"

    def span(self, name: str, parent: Span | None, began: float | None = None) -> Span:
        """A span that has begun, at *began* or now."""
        span = Span(self, name, parent, _identifier(self._random, 64), self._clock() if began is None else began)
        if not self.finished and len(self.spans) < MOST_SPANS:
            self.spans.append(span)
        return span

    def now(self) -> float:
        return self._clock()

    def of_reactor(self, seconds: float) -> float:
        """A time of the reactor's clock in this one."""
        return seconds + self._reactor_offset


def _identifier(random: Random, bits: int) -> int:
    return random.getrandbits(bits) or 1  # 0 is no identifier


class Span:
    """A part of the work for a query; a :class:`kdns.core.attempts.Watcher`."""

    __slots__ = ("began", "ended", "error", "name", "number", "parent", "tags", "trace")

    def __init__(self, trace: Trace, name: str, parent: Span | None, number: int, began: float) -> None:
        self.trace = trace
        self.name = name
        self.parent = parent
        self.number = number
        self.began = began
        self.ended: float | None = None
        self.error = ""
        self.tags: dict[str, str] = {}

    def end(self, error: str = "", at: float | None = None) -> None:
        if self.ended is None:
            self.ended = self.trace.now() if at is None else at
            self.error = error

    def child(self, name: str, began: float | None = None) -> Span:
        return self.trace.span(name, self, began)

    def asked_upstream(self, attempt: Attempt) -> None:
        """See :class:`kdns.core.attempts.Watcher`."""
        trace = self.trace
        span = self.child("connect", trace.of_reactor(attempt.began))
        span.tags = {
            "peer.address": f"{bracketed(attempt.remote.host)}:{attempt.remote.port}",
            f"{TAG}/proto": attempt.transport,
        }
        span.end(attempt.failure, trace.of_reactor(attempt.ended))


def describe(span: Span, request: Request) -> None:
    """What the top span says of the query."""
    span.tags |= {
        f"{TAG}/name": to_text(request.qname),
        f"{TAG}/type": type_text(request.qtype),
        f"{TAG}/proto": request.transport.protocol,
        f"{TAG}/remote": request.client,
    }


def conclude(span: Span, rcode: int, failure: str = "") -> None:
    """What the top span says of the reply, which has gone now."""
    span.tags[f"{TAG}/rcode"] = rcode_text(rcode)
    span.end(failure)
