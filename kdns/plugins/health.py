# -*- test-case-name: tests.plugins.test_health -*-
"""
*health*: an HTTP page that says that the process lives, and the pause before it ends.

The page says OK as long as somebody can be heard. The plugin asks it every second itself, so that the time it takes shows when the process
is overloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, readBody

from kdns.core.metrics import Counter, Histogram, Registry
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import BadValue, ListenAddress, format_duration, parse_duration, parse_listen_address
from kdns.plugin.http import HttpListener, Page, Response, listener_for
from kdns.plugin.seam import Block, BlockBuilder, Resource

log = Logger(namespace="plugin/health")

DEFAULT_ADDRESS = ListenAddress("", 8080)

PERIOD = 1.0
"""Seconds between two questions to itself, and how long an answer may take without a warning."""

PATIENCE = 3.0
"""Seconds after which a question to itself has failed."""

BUCKETS = (0.00025, 0.0025, 0.025, 0.25, 2.5)
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Config:
    """``health [ADDRESS] { lameduck DURATION }``."""

    address: ListenAddress = DEFAULT_ADDRESS
    lameduck: float = 0.0
    """Seconds to go on answering when the process is to end."""


class HealthDirective:
    """The directive of the Corefile."""

    name = "health"

    def parse(self, tokens: Dispenser, block: Block) -> Config:
        """Read the directive; a later one in the same block replaces an earlier one."""
        address, lameduck = DEFAULT_ADDRESS, 0.0
        for _ in tokens.invocations():
            for text in tokens.args(0, 1):
                address = tokens.convert(parse_listen_address, text)
            for option in tokens.block():
                if option != "lameduck":
                    raise tokens.unknown_property("lameduck")
                word = tokens.word()
                try:
                    lameduck = parse_duration(word)
                except BadValue as error:
                    raise tokens.plain_error(f"unable to parse lameduck duration value: '{word}' : {error}") from None
        return Config(address, lameduck)

    def build(self, config: Config, builder: BlockBuilder) -> None:
        """Run the page; blocks with the same address share it."""
        context = builder.context
        metrics = HealthMetrics(context.registry)
        listener = listener_for(builder, self.name, config.address)
        builder.keep(
            ("health", config.address),
            config,
            lambda: HealthPage(context.reactor, context.clock, listener, config.lameduck, metrics),
        )


directive = HealthDirective()


class HealthMetrics:
    """What *health* counts."""

    def __init__(self, registry: Registry) -> None:
        self.duration: Histogram = registry.histogram(
            "coredns_health_request_duration_seconds",
            "Seconds that the health page took to answer its own process.",
            BUCKETS,
        ).histogram()
        self.failures: Counter = registry.counter(
            "coredns_health_request_failures_total", "Questions to the own health page that failed."
        ).counter()


class HealthPage(Resource):
    """The page ``/health``, the questions to it, and the pause at the end."""

    def __init__(
        self, reactor: Any, clock: Callable[[], float], listener: HttpListener, lameduck: float, metrics: HealthMetrics
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._listener = listener
        self._lameduck = lameduck
        self._metrics = metrics
        self._pages: dict[str, Page] = {"/health": self.page}
        self._agent = Agent(reactor, connectTimeout=PATIENCE)
        self._next: Any = None
        self._asking: Deferred[None] | None = None

    def page(self) -> Response:
        """``/health``."""
        return Response(b"OK")

    def start(self) -> None:
        """Open the page and begin to ask it."""
        self._listener.serve(self._pages)
        self._next = self._reactor.callLater(PERIOD, self._ask)

    def leave(self) -> Deferred[None] | None:
        """Stay a while: clients learn of the end only after it has begun."""
        self._stop_asking()
        if self._lameduck <= 0:
            return None
        log.info("Going into lameduck mode for {duration}", duration=format_duration(self._lameduck))
        over: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._reactor.callLater(self._lameduck, over.callback, None)
        return over

    def stop(self) -> Deferred[None] | None:
        """Close the page."""
        self._stop_asking()
        return self._listener.withdraw(self._pages)

    def _stop_asking(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    @property
    def url(self) -> str:
        """Where the page is, seen from here."""
        address = self._listener.address
        port = self._listener.port
        number = address.port if port is None else port.getHost().port
        # The name localhost might lead to an address where nobody listens.
        host = "127.0.0.1" if address.host in ("", "0.0.0.0", "localhost") else address.host
        return f"http://{ListenAddress(host, number)}/health"

    def _ask(self) -> None:
        self._next = None
        began = self._clock()
        url = self.url
        asking = Deferred.fromCoroutine(self._fetch(url))
        self._asking = asking.addTimeout(PATIENCE, self._reactor)
        self._asking.addBoth(self._answered, url, began)

    async def _fetch(self, url: str) -> None:
        response = await self._agent.request(b"GET", url.encode())
        await readBody(response)

    def _answered(self, result: Failure | None, url: str, began: float) -> None:
        if self._asking is None:
            return  # it was called off, and Agent has its own ways to say so
        self._asking = None
        took = self._clock() - began
        if isinstance(result, Failure):
            self._metrics.failures.inc()
            error = result.getErrorMessage() if took < PATIENCE else f"no answer within {format_duration(PATIENCE)}"
            log.warn('Local health request to "{url}" failed: {error}', url=url, error=error)
        elif took > PERIOD:
            log.warn('Local health request to "{url}" took more than 1s: {took}', url=url, took=format_duration(took))
        self._metrics.duration.observe(took)
        self._next = self._reactor.callLater(max(0.0, PERIOD - took), self._ask)
