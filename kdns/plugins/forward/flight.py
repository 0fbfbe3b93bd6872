# -*- test-case-name: tests.plugins.forward.test_cores -*-
"""
One exchange for all who ask the same at the same time: a core module of *forward*.

Whoever asks first begins the exchange, whoever asks the same while it lasts waits for its result. Each has a Deferred of its own and may
cancel it; the exchange is dropped when nobody waits for it any more. Who makes flights says how they are begun and dropped.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.answer import Answer
from kdns.core.request import Request
from kdns.plugins.forward.asking import Asking

F = TypeVar("F", bound="Flight")


class Flights(dict[Hashable, F]):
    """Exchanges under way by what they ask."""

    waiting = 0
    """How many wait for them."""

    def cancel(self) -> None:
        """End them all; who waits hears that it was cancelled."""
        for flight in list(self.values()):
            for waiter in list(flight.waiting):
                waiter.cancel()


class Flight(Asking):
    """One exchange; it is under way from when it is made until it lands, fails, or nobody waits any more."""

    __slots__ = ("_flights", "_key", "waiting")

    def __init__(self, request: Request, key: Hashable, flights: Flights[Any]) -> None:
        super().__init__(request)
        self._key = key
        self._flights = flights
        self.waiting: list[Deferred[Answer]] = []
        flights[key] = self

    def join(self) -> Deferred[Answer]:
        """The result, for one more who waits; cancelling it leaves the others waiting."""
        waiter: Deferred[Answer] = Deferred(self._leave)
        self.waiting.append(waiter)
        self._flights.waiting += 1
        return waiter

    def drop(self) -> None:
        """Nobody waits any more: free what is held."""
        raise NotImplementedError

    def _leave(self, waiter: Deferred[Answer]) -> None:
        if waiter not in self.waiting:
            return
        self.waiting.remove(waiter)
        self._flights.waiting -= 1
        if not self.waiting:
            self._end()
            self.drop()

    def _end(self) -> list[Deferred[Answer]]:
        flights = self._flights
        if flights.get(self._key) is self:
            del flights[self._key]
        waiting, self.waiting = self.waiting, []
        flights.waiting -= len(waiting)
        return waiting

    def land(self, value: Answer) -> None:
        """The result is there."""
        waiting = self._end()
        if len(waiting) == 1:
            waiting[0].callback(value)
            return
        for waiter in waiting:
            if not waiter.called:  # one before it may have cancelled it
                waiter.callback(value)

    def crash(self, failure: Failure) -> None:
        """There is no result."""
        # An exception each of its own: a traceback that several coroutines add to would grow without end.
        for waiter in self._end():
            if not waiter.called:
                waiter.errback(Failure(failure.value))
