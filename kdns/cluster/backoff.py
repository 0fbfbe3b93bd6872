# -*- test-case-name: tests.cluster.test_backoff -*-
"""How long to wait after a failure before the API is asked again: a core module. Whoever waits keeps the timer."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

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
    """Delays that double with each failure, each stretched by up to its own length so that many clients do not come back together."""

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
