# -*- test-case-name: tests.plugins.prometheus.test_page -*-
"""
The page: all metrics of the process as text, made a piece per turn of the reactor.

A cluster of many zones and upstreams has thousands of series. They are written a few milliseconds at a time, so that queries are answered
in between, and the finished page is given for a second to whoever else asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.plugin.http import HttpListener, Page, Response
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.prometheus.families import declare
from kdns.plugins.prometheus.process import ProcessMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SLICE = 0.002
"""Seconds of work per turn of the reactor."""

AT_ONCE = 50
"""Lines written between two looks at the clock; they take some 100 microseconds."""

FOLDED_AT_ONCE = 200
"""Tallies folded between two looks at the clock."""

FRESH = 1.0
"""Seconds that a finished page is given again."""


class MetricsPage(Resource):
    """The page of one context; all listeners show the same."""

    def __init__(self, context: ServerContext, process: ProcessMetrics) -> None:
        declare(context.registry)
        self._context = context
        self._process = process
        self._finished: tuple[float, Response] | None = None
        self._waiting: list[Deferred[Response]] = []
        self._call: Any = None

    def __call__(self) -> Response | Deferred[Response]:
        """The page: at once when it is short or was made just now, else when it is finished."""
        if self._finished is not None and self._context.clock() - self._finished[0] < FRESH:
            return self._finished[1]
        if self._call is None:
            response = self._go_on(self._pieces(), [])
            if response is not None:
                return response
        waiting: Deferred[Response] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def measure_runtime(self) -> None:
        """Show more of what the language does, from now until the process ends."""
        self._process.measure_runtime()

    def stop(self) -> None:
        """Leave a page that is being made unfinished."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(Failure(RuntimeError("the metrics page ended")))
        self._process.stop()

    def _pieces(self) -> Iterator[list[str]]:
        tallies = self._context.tallies
        while tallies.fold(FOLDED_AT_ONCE):
            yield []
        for lines in (self._context.registry.lines(), self._process.lines()):
            yield from _batches(lines)

    def _go_on(self, pieces: Iterator[list[str]], written: list[bytes]) -> Response | None:
        """Write until the time is up; the finished page, or None when it goes on in the next turn."""
        clock = self._context.clock
        end = clock() + SLICE
        for piece in pieces:
            written.append("".join(f"{line}\n" for line in piece).encode())
            if clock() >= end:
                self._call = self._context.reactor.callLater(0, self._continue, pieces, written)
                return None
        response = Response(b"".join(written), content_type=CONTENT_TYPE)
        self._finished = clock(), response
        return response

    def _continue(self, pieces: Iterator[list[str]], written: list[bytes]) -> None:
        self._call = None
        result: Response | Failure | None
        try:
            result = self._go_on(pieces, written)
        except Exception:
            result = Failure()
        if result is None:
            return
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if isinstance(result, Failure):
                each.errback(result)
            else:
                each.callback(result)


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) >= AT_ONCE:
            yield batch
            batch = []
    yield batch


class MetricsEndpoint(Resource):
    """Shows the page at one address."""

    def __init__(self, listener: HttpListener, page: MetricsPage, runtime: bool) -> None:
        self._listener = listener
        self._page = page
        self._runtime = runtime
        self._pages: dict[str, Page] = {"/metrics": page}

    def start(self) -> None:
        """Open the page."""
        self._listener.serve(self._pages)
        if self._runtime:
            self._page.measure_runtime()

    def stop(self) -> Deferred[None] | None:
        """Close it."""
        return self._listener.withdraw(self._pages)
