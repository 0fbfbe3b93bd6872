"""An HTTP server whose answers a test makes, and a world of a reactor in memory for clients of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.seam import ServerContext
from kdns.plugins.stores.rest import RestClient
from kdns.testing.memory import MemoryReactor
from tests.apiserver.http import Exchange, HttpFactory
from tests.apiserver.rest import ApiRequest

EPOCH = 1_700_000_000.0

Made = tuple[int, bytes]
"""Status and body; a status of 0 is no answer at all."""

T = TypeVar("T")


class FakeHttp:
    """
    :param answer: what to answer to a request.
    :ivar requests: all that came.
    :ivar headers: of every answer.
    """

    def __init__(self, reactor: MemoryReactor, answer: Callable[[ApiRequest], Made]) -> None:
        self.requests: list[ApiRequest] = []
        self.headers: tuple[tuple[str, str], ...] = ()
        self._made = answer
        self._reactor = reactor
        self._factory = HttpFactory(reactor, self._answer)
        self._port: Any = None

    def start(self, port: int = 0) -> str:
        """Listen, and return the URL."""
        self._port = self._reactor.listenTCP(port, self._factory, interface="127.0.0.1")
        return f"http://127.0.0.1:{self._port.getHost().port}"

    def stop(self) -> Deferred[Any]:
        """Stop listening and cut all connections."""
        waiting: list[Deferred[Any]] = [connection.closed for connection in self._factory.connections]
        if self._port is not None:
            waiting.append(maybeDeferred(self._port.stopListening))
            self._port = None
        for connection in list(self._factory.connections):
            connection.abort()
        return DeferredList(waiting)

    def _answer(self, exchange: Exchange) -> None:
        self.requests.append(exchange.request)
        code, body = self._made(exchange.request)
        if code:
            exchange.head(code, "application/json", len(body), self.headers)
            exchange.write(body)
            exchange.finish()


class HttpCase(SynchronousTestCase):
    """A test with such a server; nothing may be left in the reactor at its end."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.reactor.advance(EPOCH)
        self.server = FakeHttp(self.reactor, self.answer)
        self.url = self.server.start()
        self.client = RestClient(self.reactor)
        self.environment: dict[str, str] = {}
        self.context = ServerContext(
            self.reactor,
            clock=self.reactor.seconds,
            wall=self.reactor.seconds,
            random=Random(1),
            kernel_sockets=False,
            environ=self.environment,
        )
        self.stopping: list[Any] = [self.client, self.server]

    def tearDown(self) -> None:
        for one in self.stopping:
            one.stop()
        self.reactor.advance(30)
        self.assertEqual(self.reactor.leftovers(), [])

    def answer(self, request: ApiRequest) -> Made:
        """What the server says."""
        return 404, b""

    def came(self, work: Coroutine[Any, Any, T], seconds: float = 20.0) -> T:
        """What a coroutine returns within some seconds; what it raises is raised."""
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        for _ in range(int(seconds * 10)):
            if results:
                break
            self.reactor.advance(0.1)
        self.assertTrue(results, "it does not end")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        found: T = results[0]
        return found

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        steps = max(1, int(seconds))
        for _ in range(steps):
            self.reactor.advance(seconds / steps)

    def wrong(self) -> list[str]:
        """What is degraded."""
        return [state.text for state in self.context.degraded]
