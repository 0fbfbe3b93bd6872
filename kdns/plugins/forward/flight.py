# -*- test-case-name: tests.plugins.forward.test_cores -*-
"""
One exchange for all who ask the same at the same time: a core module of *forward*.

Whoever asks first begins the exchange, whoever asks the same while it lasts waits for its result. Each has a Deferred of its own and may
cancel it; the exchange is cancelled when nobody waits for it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Flight(Generic[V]):
    __slots__ = ("exchange", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Deferred[V]] = []
        self.exchange: Deferred[None] | None = None


class InFlight(Generic[K, V]):
    """Exchanges under way by what they ask."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: object) -> bool:
        return key in self._flights

    def join(self, key: K, begin: Callable[[], Deferred[V]]) -> Deferred[V]:
        """
        The result of the exchange of *key*, begun with *begin* if none is under way.

        Cancelling it leaves the others waiting.
        """
        flight = self._flights.get(key)
        if flight is not None:
            return self._wait(key, flight)
        flight = self._flights[key] = _Flight()
        result = self._wait(key, flight)
        flight.exchange = begin().addCallbacks(self._landed, self._failed, (key, flight), {}, (key, flight), {})
        return result

    def cancel(self) -> None:
        """Cancel everything; who waits hears of it."""
        for flight in list(self._flights.values()):
            if flight.exchange is not None:
                flight.exchange.cancel()

    def _wait(self, key: K, flight: _Flight[V]) -> Deferred[V]:
        def leave(deferred: Deferred[V]) -> None:
            if deferred not in flight.waiting:
                return
            flight.waiting.remove(deferred)
            if not flight.waiting:
                self._end(key, flight)
                if flight.exchange is not None:
                    flight.exchange.cancel()

        waiter: Deferred[V] = Deferred(leave)
        flight.waiting.append(waiter)
        return waiter

    def _end(self, key: K, flight: _Flight[V]) -> list[Deferred[V]]:
        if self._flights.get(key) is flight:
            del self._flights[key]
        waiting, flight.waiting = flight.waiting, []
        return waiting

    def _landed(self, value: V, key: K, flight: _Flight[V]) -> None:
        for waiter in self._end(key, flight):
            if not waiter.called:  # one before it may have cancelled it
                waiter.callback(value)

    def _failed(self, failure: Failure, key: K, flight: _Flight[V]) -> None:
        # An exception each of its own: a traceback that several coroutines add to would grow without end.
        for waiter in self._end(key, flight):
            if not waiter.called:
                waiter.errback(Failure(failure.value))
