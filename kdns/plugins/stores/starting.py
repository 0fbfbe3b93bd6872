# -*- test-case-name: tests.plugins.stores.test_starting -*-
"""How long a start waits for a store."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from kdns.core.timing import Clock, Timer, stop_timer

START_PATIENCE = 5.0
"""Seconds. A store that is away must not keep the rest of the server from starting."""


class StartWait:
    """A start that waits until its store was read, cannot be read, or :data:`START_PATIENCE` has passed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: Deferred[None] | None = None
        self._timer: Timer | None = None

    @property
    def waits(self) -> bool:
        """Whether the start still waits."""
        return self._waiting is not None

    def begin(self) -> Deferred[None]:
        """What the start waits for."""
        waiting: Deferred[None] = Deferred(lambda _: self._forget())
        self._waiting = waiting
        self._timer = self._clock.callLater(START_PATIENCE, self._fire)
        return waiting

    def end(self) -> None:
        """
        The start may go on, in the next turn.

        The store calls this in the midst of its work. What follows may stop the store, which would cancel work that does not wait.
        """
        if self._waiting is not None:
            stop_timer(self._timer)
            self._timer = self._clock.callLater(0, self._fire)

    def stop(self) -> None:
        """The store stops: nobody waits any more."""
        self._fire()

    def _forget(self) -> None:
        stop_timer(self._timer)
        self._waiting = None

    def _fire(self) -> None:
        waiting = self._waiting
        self._forget()
        if waiting is not None:
            waiting.callback(None)
