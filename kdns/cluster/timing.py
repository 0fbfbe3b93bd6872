# -*- test-case-name: tests.cluster.test_limiter -*-
"""Wait as the watch does."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from kdns.core.timing import Clock, Timer, stop_timer

__all__ = ["Clock", "Timer", "pause", "stop_timer"]


def pause(clock: Clock, seconds: float) -> Deferred[None]:
    """Fires after *seconds*; cancelling takes the timer along."""

    def stop(_: Deferred[None]) -> None:
        stop_timer(timer)

    waiting: Deferred[None] = Deferred(stop)
    timer: Timer = clock.callLater(seconds, waiting.callback, None)
    return waiting
