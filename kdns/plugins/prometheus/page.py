# -*- test-case-name: tests.plugins.prometheus.test_page -*-
"""
The metrics page: all metrics of the process as text.

A server of many zones and upstreams has thousands of series. They are rendered in slices, so that queries are answered in between. A
rendered page is sent to all who ask within a second.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from kdns.core.metrics import Registry
from kdns.core.slices import in_slices
from kdns.plugin.http import HttpListener, Page, Response
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.prometheus.observer import declare
from kdns.plugins.prometheus.process import ProcessMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

AT_ONCE = 50
"""Lines rendered between two looks at the clock: some 100 microseconds."""

FRESH = 1.0
"""Seconds for which a rendered page is sent again."""


class MetricsPage(Resource):
    """The page of one context; all listeners show the same."""

    at_parent = True

    def __init__(self, context: ServerContext, process: ProcessMetrics, by_worker: bool = False) -> None:
        declare(context.registry)
        self._by_worker = by_worker
        self._context = context
        self._process = process
        self._finished: tuple[float, Response] | None = None
        self._waiting: list[Deferred[Response]] = []
        self._rendering: Deferred[Any] | None = None

    def __call__(self) -> Response | Deferred[Response]:
        """The page; a short one is there at once."""
        if self._finished is not None and self._context.clock() - self._finished[0] < FRESH:
            return self._finished[1]
        waiting: Deferred[Response] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if self._rendering is None:
            combined, reactor = self._context.combined, self._context.reactor
            if combined is None:
                self._rendering = in_slices(reactor, self._render(self._context.registry))
            else:
                self._rendering = combined(self._by_worker)
                self._rendering.addCallback(lambda registry: in_slices(reactor, self._render(registry)))
            self._rendering.addCallbacks(self._rendered, self._failed)
        return waiting

    def measure_runtime(self) -> None:
        """Show more runtime metrics, from now until the process ends."""
        self._process.measure_runtime()

    def stop(self) -> None:
        """Cancel the page that is being rendered."""
        if self._rendering is not None:
            self._rendering.cancel()
        self._process.stop()

    def _render(self, registry: Registry) -> Generator[None, None, Response]:
        yield from self._context.tallies.folding()
        written: list[bytes] = []
        for lines in (registry.lines(), self._process_lines(registry)):
            while batch := list(islice(lines, AT_ONCE)):
                written.append("".join(f"{line}\n" for line in batch).encode())
                yield
        return Response(b"".join(written), content_type=CONTENT_TYPE)

    def _process_lines(self, registry: Registry) -> Iterator[str]:
        """The metrics of this process, but for those that workers have, too."""
        known = {family.name for family in registry.families()}
        for line in self._process.lines():
            name = line.split(" ")[2] if line.startswith("#") else line.partition(" ")[0].partition("{")[0]
            if name not in known:
                yield line

    def _rendered(self, response: Response) -> None:
        self._finished = self._context.clock(), response
        for each in self._asked():
            each.callback(response)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            failure = Failure(RuntimeError("the metrics page ended"))
        for each in self._asked():
            each.errback(failure)

    def _asked(self) -> list[Deferred[Response]]:
        self._rendering = None
        waiting, self._waiting = self._waiting, []
        return waiting


class MetricsEndpoint(Resource):
    """Shows the page at one address."""

    at_parent = True

    def __init__(self, listener: HttpListener, page: MetricsPage, by_worker: MetricsPage | None, runtime: bool) -> None:
        self._listener = listener
        self._page = page
        self._runtime = runtime
        self._pages: dict[str, Page] = {"/metrics": page}
        if by_worker is not None:
            self._pages["/metrics?worker=1"] = by_worker

    def start(self) -> None:
        self._listener.serve(self._pages)
        if self._runtime:
            self._page.measure_runtime()

    def stop(self) -> Deferred[None] | None:
        return self._listener.withdraw(self._pages)
