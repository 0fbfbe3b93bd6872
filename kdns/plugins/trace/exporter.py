# -*- test-case-name: tests.plugins.trace.test_tracing -*-
"""
Send spans to a collector in batches, one at a time. Queries never wait for it: spans that have no room are dropped and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.web.client import readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from kdns import __version__
from kdns.cluster.connections import Connections
from kdns.cluster.credentials import Server, Trust
from kdns.core.degraded import Fault
from kdns.core.timing import Timer, stop_timer
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.trace.config import ZIPKIN, ExportConfig
from kdns.plugins.trace.encoding import otlp, zipkin
from kdns.plugins.trace.spans import Span

PATIENCE = 5.0
"""Seconds in which a collector must take a batch."""

MOST_ENCODED = 200
"""Spans that are made JSON of in one turn of the reactor, in about a millisecond."""

log = Logger(namespace="plugin/trace")


class CollectorFailed(Exception):
    """The collector did not take a batch."""


class Exporter(Resource):
    """
    Spans on their way to one collector.

    :param address: of this server, if it is bound to one.
    """

    def __init__(self, config: ExportConfig, address: tuple[str, int] | None, context: ServerContext) -> None:
        parts = urlsplit(config.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self._config = config
        self._address = address
        self._context = context
        self._server = Server(parts.scheme, parts.hostname or "", port)
        self._connections: Connections | None = None
        self._waiting: deque[Span] = deque()
        self._timer: Timer | None = None
        self._sending: Deferred[None] | None = None
        self._degraded = context.degraded.condition(Fault.TRACE, f"collector {config.url}")
        registry = context.registry
        self._sent = registry.counter(
            "kdns_trace_sent_spans_total", "Spans that a collector took.", ["endpoint"]
        ).counter(config.url)
        self._dropped = registry.counter(
            "kdns_trace_dropped_spans_total", "Spans that no collector took in time.", ["endpoint"]
        ).counter(config.url)

    def put(self, spans: Iterable[Span]) -> None:
        """Have spans sent."""
        waiting = self._waiting
        waiting.extend(spans)
        while len(waiting) > self._config.backlog:
            waiting.popleft()
            self._dropped.value += 1
        if self._sending is not None:
            return
        if len(waiting) >= self._config.batch:
            self._send()
        elif self._timer is None and waiting:
            self._timer = self._context.reactor.callLater(self._config.interval, self._send)

    def _send(self) -> None:
        stop_timer(self._timer)
        self._timer = None
        if self._sending is None and self._waiting:
            most = min(self._config.batch, MOST_ENCODED)
            batch = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._sending = Deferred.fromCoroutine(self._deliver(batch))
            self._sending.addBoth(self._delivered)

    async def _deliver(self, batch: list[Span]) -> None:
        reactor = self._context.reactor
        try:
            posting = Deferred.fromCoroutine(self._post(batch))
            await posting.addTimeout(PATIENCE, reactor)
        except CancelledError:
            self._dropped.value += len(batch)
        except Exception as error:  # whatever it is, it must not end in a traceback each second
            self._dropped.value += len(batch)
            text = str(error) or type(error).__name__
            if self._degraded.begin(f"takes no spans: {text}", self._context.wall()):
                log.warn("{url} takes no spans: {error}", url=self._config.url, error=text)
        else:
            self._sent.value += len(batch)
            self._degraded.end(self._context.wall(), log)

    async def _post(self, batch: list[Span]) -> None:
        if self._connections is None:
            self._connections = Connections(self._context.reactor, self._server, Trust())
        encode = zipkin if self._config.kind == ZIPKIN else otlp
        body = encode(batch, self._config.service, self._address)
        headers = Headers({"Content-Type": ["application/json"], "User-Agent": [f"kdns/{__version__}"]})
        response = await self._connections.lists.request(b"POST", self._config.url.encode(), headers, _Body(body))
        await readBody(response)
        if not 200 <= response.code < 300:
            raise CollectorFailed(f"status {response.code}")

    def _delivered(self, _: object) -> None:
        self._sending = None
        self.put(())

    def stop(self) -> Deferred[None] | None:
        """Spans that wait are lost."""
        stop_timer(self._timer)
        self._timer = None
        self._degraded.forget()
        self._dropped.value += len(self._waiting)
        self._waiting.clear()
        if self._sending is not None:
            self._sending.cancel()
        return None if self._connections is None else self._connections.stop()


@implementer(IBodyProducer)
class _Body:
    """The body of a request, written in one step; Twisted's own producers would use the global reactor."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._content)
        return succeed(None)

    def stopProducing(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...
