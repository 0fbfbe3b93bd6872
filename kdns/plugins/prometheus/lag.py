# -*- test-case-name: tests.plugins.prometheus.test_lag -*-
"""The lag of the reactor: a timer measures how long a query waits for its turn, and warns when that is long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from kdns.core.metrics import Registry
from kdns.core.timing import Clock
from kdns.plugin.seam import Resource
from kdns.plugins.prometheus.families import LAG_BUCKETS

log = Logger(namespace="plugin/prometheus")

PERIOD = 0.25
"""Seconds between two measurements: often enough to notice a long block, rare enough to cost nothing."""

LONG = 0.05
"""Seconds of lag that cause a warning: ten times what one turn may take."""

QUIET = 60.0
"""Seconds between two warnings."""


class ReactorLag(Resource):
    """Measures while any block has the directive."""

    def __init__(self, reactor: Clock, clock: Callable[[], float], registry: Registry) -> None:
        self._reactor = reactor
        self._clock = clock
        self._lag = registry.histogram(
            "kdns_reactor_lag_seconds", "How late timers fire: the time that a query waits for its turn.", LAG_BUCKETS
        ).histogram()
        self._call: Any = None
        self._due = 0.0
        self._worst = 0.0
        self._long = 0
        self._quiet_until = float("-inf")

    def start(self) -> None:
        """Begin."""
        self._due = self._clock() + PERIOD
        self._call = self._reactor.callLater(PERIOD, self._measure)

    def stop(self) -> None:
        """End."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _measure(self) -> None:
        now = self._clock()
        lag = max(0.0, now - self._due)
        self._lag.observe(lag)
        if lag > LONG:
            self._long += 1
            self._worst = max(self._worst, lag)
        if self._long and now >= self._quiet_until:
            log.warn(
                "The reactor was busy for more than {limit} ms {times} times, at worst for {worst} ms",
                limit=round(LONG * 1000),
                times=self._long,
                worst=round(self._worst * 1000),
            )
            self._long, self._worst, self._quiet_until = 0, 0.0, now + QUIET
        self.start()
