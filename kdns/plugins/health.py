# -*- test-case-name: tests.plugins.test_health -*-
"""
*health*: an HTTP page for liveness probes, and the delay before the process ends.

The plugin requests its own page every second. The time that takes shows when the process is overloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.metrics import Counter, Histogram, Registry
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import BadValue, ListenAddress, format_duration, parse_duration, parse_listen_address
from kdns.plugin.http import HttpListener, Page, Response, listener_for
from kdns.plugin.seam import Block, BlockBuilder, Resource

log = Logger(namespace="plugin/health")

DEFAULT_ADDRESS = ListenAddress("", 8080)

PERIOD = 1.0
"""Seconds between two self-checks, and how long one may take without a warning."""

PATIENCE = 3.0
"""Seconds after which a self-check has failed."""

BUCKETS = (0.00025, 0.0025, 0.025, 0.25, 2.5)
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Config:
    """``health [ADDRESS] { lameduck DURATION }``."""

    address: ListenAddress = DEFAULT_ADDRESS
    lameduck: float = 0.0
    """Seconds to go on answering before the process ends."""


class HealthDirective:
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
    """The metrics of *health*."""

    def __init__(self, registry: Registry) -> None:
        self.duration: Histogram = registry.histogram(
            "coredns_health_request_duration_seconds",
            "Seconds that the health page took to answer its own process.",
            BUCKETS,
        ).histogram()
        self.failures: Counter = registry.counter(
            "coredns_health_request_failures_total", "Self-checks of the health page that failed."
        ).counter()


class HealthPage(Resource):
    """The page ``/health``, its self-checks, and the delay at shutdown."""

    at_parent = True

    def __init__(
        self, reactor: Any, clock: Callable[[], float], listener: HttpListener, lameduck: float, metrics: HealthMetrics
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._listener = listener
        self._lameduck = lameduck
        self._metrics = metrics
        self._pages: dict[str, Page] = {"/health": self.page}
        self._next: Any = None
        self._checking: Deferred[None] | None = None

    def page(self) -> Response:
        return Response(b"OK")

    def start(self) -> None:
        self._listener.serve(self._pages)
        self._next = self._reactor.callLater(PERIOD, self._check)

    def leave(self) -> Deferred[None] | None:
        """Delay the shutdown: clients notice it only after it has begun."""
        self._stop_checking()
        if self._lameduck <= 0:
            return None
        log.info("Going into lameduck mode for {duration}", duration=format_duration(self._lameduck))
        over: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._reactor.callLater(self._lameduck, over.callback, None)
        return over

    def stop(self) -> Deferred[None] | None:
        self._stop_checking()
        return self._listener.withdraw(self._pages)

    def _stop_checking(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        checking, self._checking = self._checking, None
        if checking is not None:
            checking.cancel()

    @property
    def own_address(self) -> ListenAddress:
        """The address at which this process reaches the page."""
        address = self._listener.address
        port = self._listener.port
        number = address.port if port is None else port.getHost().port
        # The name localhost might resolve to an address that the page does not listen on.
        host = "127.0.0.1" if address.host in ("", "0.0.0.0", "localhost") else address.host
        return ListenAddress(host, number)

    def _check(self) -> None:
        self._next = None
        began = self._clock()
        address = self.own_address
        request = _SelfCheck()
        self._reactor.connectTCP(address.host, address.port, request, PATIENCE)
        self._checking = request.answered.addTimeout(PATIENCE, self._reactor)
        self._checking.addBoth(self._answered, f"http://{address}/health", began)

    def _answered(self, result: Failure | None, url: str, began: float) -> None:
        if self._checking is None:
            return  # it was cancelled
        self._checking = None
        took = self._clock() - began
        if isinstance(result, Failure):
            self._metrics.failures.inc()
            error = result.getErrorMessage() if took < PATIENCE else f"no answer within {format_duration(PATIENCE)}"
            log.warn('Local health request to "{url}" failed: {error}', url=url, error=error)
        elif took > PERIOD:
            log.warn('Local health request to "{url}" took more than 1s: {took}', url=url, took=format_duration(took))
        self._metrics.duration.observe(took)
        self._next = self._reactor.callLater(max(0.0, PERIOD - took), self._check)


class _SelfCheck(ClientFactory[Protocol]):
    """One request for the page. It does not log, unlike Agent and endpoints, whose factories log two lines each time."""

    noisy = False

    def __init__(self) -> None:
        self.answered: Deferred[None] = Deferred(lambda _: self._connector.disconnect())
        self._connector: Any = None

    def startedConnecting(self, connector: Any) -> None:
        """Keep the connector, to cancel it."""
        self._connector = connector

    def buildProtocol(self, addr: object) -> Protocol:
        """The connection's protocol."""
        return _Request(self)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.ended(reason)

    def ended(self, reason: Failure | None) -> None:
        """The response came, or *reason* prevented it."""
        if not self.answered.called:
            self.answered.callback(None) if reason is None else self.answered.errback(reason)


class _Request(Protocol):
    transport: Any  # Twisted's own annotations cannot be called

    def __init__(self, check: _SelfCheck) -> None:
        self._check = check
        self._received = b""

    def connectionMade(self) -> None:
        """Send the request. The server closes after its response (HTTP/1.0)."""
        self.transport.write(b"GET /health HTTP/1.0\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        """Keep the response."""
        self._received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The response is complete or lost."""
        complete = reason.check(ConnectionDone) and b" 200 " in self._received[:13]
        self._check.ended(None if complete else reason)
