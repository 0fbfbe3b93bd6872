# -*- test-case-name: tests.tap.test_clock -*-
"""
Timers that do not stop when the wall clock steps back.

Twisted's reactors take the time from the wall clock. When it steps back by an hour, no timer fires for an hour: no failover, no deadline,
no end of the process.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from twisted.internet.base import DelayedCall, ReactorBase
from twisted.python import runtime


def use_monotonic_clock(reactor: Any) -> None:
    """
    Have *reactor* keep its time by the monotonic clock, and move the timers it has already to that clock.

    Call it before anything keeps what ``reactor.seconds()`` said. A reactor with a clock of its own, as one in memory, is left as it is.
    """
    if not isinstance(reactor, ReactorBase) or reactor.seconds is not runtime.seconds:
        return
    difference = monotonic() - reactor.seconds()
    reactor.seconds = monotonic
    for call in reactor.getDelayedCalls():
        assert isinstance(call, DelayedCall)
        call.time += difference
        call.seconds = monotonic
