# -*- test-case-name: tests.cluster.test_pacing -*-
"""
How often this process asks the API server: a rate limit with a bound on requests in flight, and the backoff after failures.

The requests of all watches of one source go through one :class:`Limiter`, first come, first served. The limiter keeps its one timer;
:class:`Backoff` only computes delays.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

from twisted.internet.defer import Deferred, succeed

from kdns.core.timing import Clock, Timer, stop_timer

QPS = 5.0
"""Requests a second when nothing (or 0) is configured."""

BURST = 10
"""Requests that may be sent at once after a quiet time, likewise."""


@dataclass(slots=True)
class TokenBucket:
    """
    Tokens that grow back at *rate* a second, up to *size*; each request takes one.

    *size* is at least 1. The bucket is full at first.
    """

    rate: float
    size: int
    _tokens: float = field(init=False)
    _at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._tokens = float(self.size)

    def wait(self, now: float) -> float:
        """Seconds until a token is available; 0 when one is."""
        if self._at is not None:
            self._tokens = min(float(self.size), self._tokens + (now - self._at) * self.rate)
        self._at = now
        # A rounding error must not make a timer of no length.
        return max(0.0, (1.0 - self._tokens) / self.rate) if self._tokens < 1.0 - 1e-9 else 0.0

    def take(self) -> None:
        """Take a token; only after :meth:`wait` returned 0."""
        self._tokens -= 1.0


class Permit:
    """The right to make one request. Release it when the response is complete (for a watch: when it has begun)."""

    __slots__ = ("_limiter", "waited")

    def __init__(self, limiter: Limiter, waited: float) -> None:
        self._limiter: Limiter | None = limiter
        self.waited = waited
        """Seconds that the caller had to wait for it."""

    def release(self) -> None:
        """Give the permit back; a second time does nothing."""
        limiter, self._limiter = self._limiter, None
        if limiter is not None:
            limiter._released()


class Limiter:
    """
    Hand out permits.

    :param qps: requests a second; 0 means the default.
    :param burst: requests at once after a quiet time; 0 means the default.
    :param most: requests in flight; 0 means any number.
    """

    def __init__(self, clock: Clock, qps: float = 0.0, burst: int = 0, most: int = 0) -> None:
        self._clock = clock
        self._bucket = TokenBucket(qps or QPS, burst or BURST)
        self._most = most
        self._waiting: deque[tuple[Deferred[Permit], float]] = deque()
        self._timer: Timer | None = None
        self.in_flight = 0
        """Permits that are out."""

    def acquire(self) -> Deferred[Permit]:
        """
        A permit, when it is the caller's turn.

        Cancelling gives the place in the queue up. There is at most one waiter for each watch and its check, so the queue needs no bound.
        """
        now = self._clock.seconds()
        if not self._waiting and self._wait(now) == 0:
            return succeed(self._permit(now, now))
        waiter: Deferred[Permit] = Deferred(self._give_up)
        self._waiting.append((waiter, now))
        self._serve()
        return waiter

    def _give_up(self, waiter: Deferred[Permit]) -> None:
        self._waiting = deque(pair for pair in self._waiting if pair[0] is not waiter)
        if not self._waiting:
            self._stop_timer()

    def _wait(self, now: float) -> float | None:
        """Seconds until a permit is available; None until another is released."""
        if self._most and self.in_flight >= self._most:
            return None
        return self._bucket.wait(now)

    def _permit(self, since: float, now: float) -> Permit:
        self._bucket.take()
        self.in_flight += 1
        return Permit(self, now - since)

    def _released(self) -> None:
        self.in_flight -= 1
        self._serve()

    def _serve(self) -> None:
        self._stop_timer()
        while self._waiting:
            now = self._clock.seconds()
            wait = self._wait(now)
            if wait is None:
                return
            if wait > 0:
                self._timer = self._clock.callLater(wait, self._serve)
                return
            waiter, since = self._waiting.popleft()
            waiter.callback(self._permit(since, now))

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        stop_timer(timer)


FIRST = 0.8
"""Seconds; this and the two below are what the clients of most controllers do, so that a server in trouble meets nothing unusual."""

LONGEST = 30.0
"""Seconds before jitter."""

FORGIVEN_AFTER = 120.0
"""Seconds without a failure after which the next one counts as the first again."""

LONGEST_WISH = 600.0
"""Seconds that a server may ask for with Retry-After; a slip of the pen there must not silence a watch for days."""


@dataclass(slots=True)
class Backoff:
    """Delays that double with each failure; jitter stretches each to at most twice its length, so that clients spread out."""

    chance: Random
    _next: float = field(default=FIRST, init=False)
    _failed_at: float | None = field(default=None, init=False)

    def delay(self, now: float, retry_after: float | None = None) -> float:
        """
        Something failed at *now*: the seconds to wait.

        :param retry_after: seconds that the server asked for; never undercut.
        """
        if self._failed_at is not None and now - self._failed_at >= FORGIVEN_AFTER:
            self._next = FIRST
        base = self._next
        self._next = min(base * 2, LONGEST)
        delay = base * (1.0 + self.chance.random())
        if retry_after is not None:
            wish = min(retry_after, LONGEST_WISH)
            # The jitter comes on top: everybody was told the same number.
            delay = max(delay, wish + base * self.chance.random())
        # The time spent waiting is no time without failure.
        self._failed_at = now + delay
        return delay
