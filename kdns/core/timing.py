# -*- test-case-name: tests.cluster.test_pacing -*-
"""Clocks and timers: the part of Twisted's reactor that code needs which only waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred


class Timer(Protocol):
    """A call planned for later."""

    def cancel(self) -> None:
        """Call it off; only while it is active."""

    def active(self) -> bool:
        """Whether it is still to come."""


class Clock(Protocol):
    """As much of IReactorTime as is used; ``task.Clock`` and every reactor have it."""

    def seconds(self) -> float:
        """Seconds of a clock that never goes back."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> Any:
        """Call after *delay* seconds; what is returned is a :class:`Timer`."""


def stop_timer(timer: Timer | None) -> None:
    """Call a timer off, if it is there and still to come."""
    if timer is not None and timer.active():
        timer.cancel()


def pause(clock: Clock, seconds: float) -> Deferred[None]:
    """Fires after *seconds*; cancelling stops the timer."""
    waiting: Deferred[None] = Deferred(lambda _: stop_timer(timer))
    timer: Timer = clock.callLater(seconds, waiting.callback, None)
    return waiting
