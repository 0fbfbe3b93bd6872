# -*- test-case-name: tests.plugins.forward.test_cores -*-
"""
Whether one upstream may be asked: a core module of *forward*. How it is checked is upstream.py's business.

::

    HEALTHY --query failed--> SUSPECT --too many checks failed--> DOWN
       ^                         |                                  |
       +------check passed-------+----------check passed-----------+

    any --withdrawn--> WITHDRAWN --restored--> HEALTHY

A query that succeeds changes nothing: only a check makes an upstream healthy again. While it is SUSPECT or DOWN it is checked, at once and
then each interval; while it is HEALTHY it is left alone. WITHDRAWN is for an upstream that answers well and must not be asked all the same,
because it sends the queries back here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Health(Enum):
    """What is known of an upstream."""

    HEALTHY = "healthy"
    """Nothing speaks against it."""

    SUSPECT = "suspect"
    """A query failed, and no check has passed since; it is still asked."""

    DOWN = "down"
    """More checks than allowed failed in a row; it is asked only when all are down."""

    WITHDRAWN = "withdrawn"
    """Somebody took it out of use; it is not asked at all."""


class Event(Enum):
    """What can happen to an upstream."""

    QUERY_FAILED = "a query failed or timed out"
    CHECK_FAILED = "a check failed, and so many may"
    CHECKS_EXHAUSTED = "a check failed, and so many may not"
    CHECK_PASSED = "a check was answered"
    WITHDRAWN = "it was taken out of use"
    RESTORED = "it was taken back into use"


MOVES: dict[tuple[Health, Event], Health] = {
    (Health.HEALTHY, Event.QUERY_FAILED): Health.SUSPECT,
    (Health.SUSPECT, Event.QUERY_FAILED): Health.SUSPECT,
    (Health.DOWN, Event.QUERY_FAILED): Health.DOWN,
    (Health.WITHDRAWN, Event.QUERY_FAILED): Health.WITHDRAWN,
    (Health.SUSPECT, Event.CHECK_FAILED): Health.SUSPECT,
    (Health.SUSPECT, Event.CHECKS_EXHAUSTED): Health.DOWN,
    (Health.DOWN, Event.CHECKS_EXHAUSTED): Health.DOWN,
    (Health.SUSPECT, Event.CHECK_PASSED): Health.HEALTHY,
    (Health.DOWN, Event.CHECK_PASSED): Health.HEALTHY,
    (Health.HEALTHY, Event.WITHDRAWN): Health.WITHDRAWN,
    (Health.SUSPECT, Event.WITHDRAWN): Health.WITHDRAWN,
    (Health.DOWN, Event.WITHDRAWN): Health.WITHDRAWN,
    (Health.WITHDRAWN, Event.WITHDRAWN): Health.WITHDRAWN,
    (Health.WITHDRAWN, Event.RESTORED): Health.HEALTHY,
}
"""Every move there is; an event in another state is an error of the caller."""


class ImpossibleMove(RuntimeError):
    """An event that cannot happen in this state."""


@dataclass(slots=True)
class UpstreamHealth:
    """
    Judge one upstream by what its caller reports, at times in seconds of one clock.

    :ivar max_fails: checks that may fail in a row; one more, and the upstream is down. 0: it is never down and never checked.
    :ivar interval: seconds from a failed check to the next.
    """

    max_fails: int
    interval: float
    state: Health = field(default=Health.HEALTHY, init=False)
    fails: int = field(default=0, init=False)
    _check_at: float | None = field(default=None, init=False)

    @property
    def usable(self) -> bool:
        """Whether it is asked in its turn."""
        return self.state is Health.HEALTHY or self.state is Health.SUSPECT

    def failed(self, now: float) -> None:
        """A query to the upstream failed or timed out at *now*."""
        if not self.max_fails:
            return
        before = self.state
        self._move(Event.QUERY_FAILED)
        if before is Health.HEALTHY:
            self._check_at = now

    def next_deadline(self) -> float | None:
        """When the next check is due; None while none is."""
        return self._check_at

    def check_begun(self) -> None:
        """The check that was due is on its way."""
        self._check_at = None

    def check_failed(self, now: float) -> None:
        """The check was not answered."""
        self.fails += 1
        self._move(Event.CHECKS_EXHAUSTED if self.fails > self.max_fails else Event.CHECK_FAILED)
        self._check_at = now + self.interval

    def check_passed(self) -> None:
        """The check was answered, whatever the answer was."""
        self._move(Event.CHECK_PASSED)
        self._clear()

    def withdraw(self) -> None:
        """Do not ask it any more, and do not check it."""
        self._move(Event.WITHDRAWN)
        self._clear()

    def restore(self) -> None:
        """Ask it again, with nothing held against it."""
        self._move(Event.RESTORED)
        self._clear()

    def _clear(self) -> None:
        self.fails = 0
        self._check_at = None

    def _move(self, event: Event) -> None:
        try:
            self.state = MOVES[self.state, event]
        except KeyError:
            raise ImpossibleMove(f"{event.value}, while {self.state.value}") from None
