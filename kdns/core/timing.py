# -*- test-case-name: tests.cluster.test_limiter -*-
"""Timers and clocks as types: as much of Twisted's reactor as a part that only waits needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


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
