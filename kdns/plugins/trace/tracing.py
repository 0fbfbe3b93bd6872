# -*- test-case-name: tests.plugins.trace.test_tracing -*-
"""
Which queries are sampled, and what of them becomes spans.

The link of *trace* stands in front of all others that it traces. For a sampled query it asks the same links through a second chain, in
which each is wrapped (:class:`TracedLink`); other queries go the usual way. A reply that is repeated from the answer table passes no link,
so the observer makes its spans.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.answer import Answer
from kdns.core.attempts import Watcher
from kdns.core.chain import Link, Next, Reply, chain
from kdns.core.explaining import Note
from kdns.core.observe import Exchange, Observer, Repeat
from kdns.core.request import Request
from kdns.core.validity import NOTHING
from kdns.plugin.seam import ServerContext
from kdns.plugins.trace.spans import TAG, Span, Trace, conclude, describe

TRACE_ID = "trace/traceid"
"""The label of metadata that holds the identifier of a sampled query's trace."""

MOST_OPEN = 10_000
"""Sampled queries that may wait for their answers; a listener has fewer that wait."""

Export = Callable[[list[Span]], None]


class Sampler:
    """
    Chooses every so manyth query of a server block.

    :param every: 0 chooses none.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._left = every

    def draw(self) -> bool:
        left = self._left - 1
        if left:
            self._left = left
            return False
        self._left = self.every
        return True


class Tracing:
    """What link and observer of one server block share."""

    def __init__(self, every: int, export: Export, context: ServerContext) -> None:
        self.sampler = Sampler(every)
        self.export = export
        self._open: dict[Hashable, Span] = {}
        """The top spans of sampled queries that are not answered yet."""

        self._context = context

    def begin(self, request: Request, seconds: float | None = None) -> Span:
        """The top span of a query that came *seconds* ago; when the request says, without."""
        context = self._context
        now = context.clock()
        trace = Trace(context.clock, context.random, context.wall() - now, now - context.reactor.seconds())
        span = trace.span("servedns", None, request.arrived if seconds is None else now - seconds)
        describe(span, request)
        return span

    def hold(self, request: Request, span: Span) -> None:
        """Keep a span until the query is answered."""
        if len(self._open) >= MOST_OPEN:
            del self._open[next(iter(self._open))]
        self._open[_query_of(request)] = span

    def take(self, request: Request) -> Span | None:
        """The span of a query that has been answered."""
        return self._open.pop(_query_of(request), None) if self._open else None

    def end(self, span: Span) -> None:
        """The reply has gone."""
        span.trace.finished = True
        self.export(span.trace.spans)


def _query_of(request: Request) -> Hashable:
    """What tells queries apart, whatever plugins changed of the request."""
    return request.client, request.client_port, request.ident, request.arrived


def _outcome(answer: Answer) -> str:
    return "no reply" if answer.silent else ""


class TracedLink(Link):
    """A link in a sampled query's chain: its span lasts until it has answered."""

    def __init__(self, link: Link) -> None:
        self.name = link.name
        self.varies = link.varies
        self._answer = link.answer

    def answer(self, request: Request, next: Next) -> Reply:
        parent, others = _span_of(request)
        if parent is None:
            reply: Any = self._answer(request, next)
            return reply if isinstance(reply, (Deferred, Answer)) else Deferred.fromCoroutine(reply)
        span = parent.child(self.name)
        try:
            reply = self._answer(replace(request, watchers=(span, *others)), next)
        except Exception as error:
            span.end(str(error) or type(error).__name__)
            raise
        if isinstance(reply, Answer):
            span.end(_outcome(reply))
            return reply
        if not isinstance(reply, Deferred):
            reply = Deferred.fromCoroutine(reply)
        waiting: Deferred[Answer] = reply
        return waiting.addBoth(_ended, span)


def _ended(outcome: Answer | Failure, span: Span) -> Answer | Failure:
    span.end(_outcome(outcome) if isinstance(outcome, Answer) else outcome.getErrorMessage())
    return outcome


def _span_of(request: Request) -> tuple[Span | None, tuple[Watcher, ...]]:
    """The innermost span of a request, and its other watchers."""
    for index, watcher in enumerate(request.watchers):
        if isinstance(watcher, Span):
            return watcher, request.watchers[:index] + request.watchers[index + 1 :]
    return None, request.watchers


class TraceLink(Link):
    name = "trace"
    varies = NOTHING

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._traced: Next | None = None

    def placed(self, behind: Sequence[Link]) -> None:
        self._traced = chain([TracedLink(link) for link in behind])

    def answer(self, request: Request, next: Next) -> Reply:
        traced, tracing = self._traced, self._tracing
        assert traced is not None, "the block was completed"
        if not request.message:
            # A look-up that a plugin makes for a query is sampled if that is.
            return next(request) if _span_of(request)[0] is None else traced(request)
        if not tracing.sampler.draw():
            return next(request)
        span = tracing.begin(request)
        span.child("admission", span.began).end()
        tracing.hold(request, span)
        if request.metadata is not None:
            request.metadata[TRACE_ID] = span.trace.text
        return traced(replace(request, watchers=(span, *request.watchers)))

    def explain(self, request: Request) -> list[Note]:
        return [Note(f"one query in {self._tracing.sampler.every} is traced")]


class TraceObserver(Observer):
    repeats = True

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def finished(self, exchange: Exchange) -> None:
        if not exchange.request.message:
            return  # a look-up inside another query
        span = self._tracing.take(exchange.request)
        if span is not None:
            conclude(span, exchange.answer.rcode, "" if exchange.failure is None else exchange.failure.text)
            self._tracing.end(span)

    def repeat(self, exchange: Exchange) -> Repeat:
        tracing, request, rcode = self._tracing, exchange.request, exchange.answer.rcode

        def each(client: str, port: int, ident: int, seconds: float, reply: bytes = b"", /) -> None:
            if tracing.sampler.draw():
                span = tracing.begin(request, seconds)
                span.tags[f"{TAG}/remote"] = client
                span.child("table", span.began).end()
                conclude(span, rcode)
                tracing.end(span)

        return Repeat(each=each)
