# -*- test-case-name: tests.zones.test_refresh -*-
"""
When a secondary asks its primaries (RFC 1034 section 4.3.5), and when its data are too old to be served.

    EMPTY ──transferred──> FRESH ──failed──> RETRYING ──expire passes──> EXPIRED
                            ^  ^────transferred, unchanged────┴─────────────┘

In every state the next attempt is due at :attr:`Refresh.due`. EMPTY tries again soon and for ever, because nothing can be served; the
others keep the intervals of the SOA.
"""

from __future__ import annotations

from enum import Enum
from random import Random

from kdns.zones.zone import Timers

FIRST_RETRY, LAST_RETRY = 0.25, 10.0
"""Seconds between attempts before there are data: doubled from the first up to the last."""

LOWEST = 1
"""Seconds that an interval has at least, whatever the SOA says."""

REFRESH_JITTER, RETRY_JITTER = 5.0, 2.0
"""Seconds that are added at most, so that not all zones ask at once."""


class State(Enum):
    """What a secondary knows."""

    EMPTY = "empty"
    """There was no transfer yet."""

    FRESH = "fresh"
    """The last attempt went well."""

    RETRYING = "retrying"
    """The last attempt failed; the data are served."""

    EXPIRED = "expired"
    """No attempt went well for as long as the SOA allows: the data are not served."""


class Refresh:
    """The timers of one zone."""

    def __init__(self, random: Random, now: float) -> None:
        self.state = State.EMPTY
        self.due = now
        """When to ask, in seconds of the caller's clock."""

        self._random = random
        self._pause = FIRST_RETRY
        self._timers: Timers | None = None
        self._expires = 0.0

    def transferred(self, timers: Timers, now: float) -> None:
        """A new version came."""
        self._timers = timers
        self._went_well(now)

    def unchanged(self, now: float) -> None:
        """A primary says that there is nothing new, which ends expiry as a transfer would."""
        if self._timers is None:
            self.failed(now)
        else:
            self._went_well(now)

    def failed(self, now: float) -> float:
        """
        No primary had an answer.

        :return: seconds until the next attempt, without jitter.
        """
        timers = self._timers
        if timers is None:
            pause = self._pause
            self._pause = min(self._pause * 2, LAST_RETRY)
            self.due = now + pause
            return pause
        if self.state is State.FRESH:
            self.state = State.RETRYING
        self.expire(now)
        pause = max(timers.retry, LOWEST)
        self.due = now + pause + self._random.uniform(0, RETRY_JITTER)
        return pause

    def notified(self, now: float) -> None:
        """A primary says that there may be something new."""
        self.due = now

    def expire(self, now: float) -> bool:
        """
        Look whether the data became too old.

        :return: whether that is so since this call.
        """
        if self.state is State.RETRYING and now >= self._expires:
            self.state = State.EXPIRED
            return True
        return False

    def next_deadline(self) -> float:
        """When something is to be done: ask, or expire."""
        return min(self.due, self._expires) if self.state is State.RETRYING else self.due

    def _went_well(self, now: float) -> None:
        assert self._timers is not None
        self.state = State.FRESH
        self._pause = FIRST_RETRY
        self._expires = now + self._timers.expire
        self.due = now + max(self._timers.refresh, LOWEST) + self._random.uniform(0, REFRESH_JITTER)
