# -*- test-case-name: tests.plugins.forward.test_policy -*-
"""
Which upstream is asked next, and when to give up: the decisions of *forward*, without sockets and timers.

:class:`Order` is the ``policy`` of the Corefile, :class:`AttemptPlan` the attempts of one query, :class:`UpstreamHealth` whether an
upstream may be asked, :class:`DialTime` how long connecting to it may take. Health moves like this::

    HEALTHY --query failed--> SUSPECT --too many checks failed--> DOWN
       ^                         |                                  |
       +------check passed-------+----------check passed-----------+

    any --withdrawn--> WITHDRAWN --restored--> HEALTHY

A query that succeeds changes nothing: only a check makes an upstream healthy again. A SUSPECT or DOWN upstream is checked at once and
then each interval; a HEALTHY one is never checked. WITHDRAWN is for an upstream that answers and must not be asked, because it sends
queries back here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Generic, TypeVar

PATIENCE = 5.0
"""Seconds after which no new attempt begins: a stub resolver asks again by then (resolv.conf(5), ``timeout``)."""

SHORTEST_DIAL, LONGEST_DIAL = 1.0, 2.4
"""Seconds that connecting may take at least and at most. A client waits 5: a second upstream must fit in."""

DIAL_WEIGHT = 4
"""The weight of one more connection in the average is one in this many."""

T = TypeVar("T")


class Policy(Enum):
    RANDOM = "random"
    """Shuffled for each query."""

    ROUND_ROBIN = "round_robin"
    """Each query begins one further; the rest follows in order."""

    SEQUENTIAL = "sequential"
    """Always as written."""


class Order:
    """Put upstreams in the order of a policy, query after query."""

    def __init__(self, policy: Policy, chance: Random) -> None:
        self._policy = policy
        self._chance = chance
        self._turn = 0

    def next(self, upstreams: Sequence[T]) -> Sequence[T]:
        """The order for one more query."""
        if len(upstreams) < 2 or self._policy is Policy.SEQUENTIAL:
            return upstreams
        if self._policy is Policy.RANDOM:
            return self._chance.sample(upstreams, len(upstreams))
        start = self._turn % len(upstreams)
        self._turn += 1
        return [*upstreams[start:], *upstreams[:start]]


class AttemptPlan(Generic[T]):
    """
    The attempts of one query: upstreams in the order of the policy, over and over, those that are down passed over.

    When all are down, a random one is tried once: the checks may be what is broken.

    :param order: the upstreams that may be asked; none of them withdrawn.
    :param usable: whether an upstream is not down.
    :param started: when the query came, in seconds.
    :param most: attempts that may be made; 0 means as many as there is time for.
    :param failfast: ask no upstream when all are down.
    :param made: attempts made already, on the first upstreams of the order.
    :ivar broken: whether all upstreams were found down.
    """

    def __init__(
        self,
        order: Sequence[T],
        usable: Callable[[T], bool],
        chance: Random,
        started: float,
        *,
        most: int = 0,
        failfast: bool = False,
        made: int = 0,
    ) -> None:
        self.broken = False
        self._order = order
        self._usable = usable
        self._chance = chance
        self._deadline = started + PATIENCE
        self._most = most
        self._failfast = failfast
        self._made = self._turn = made
        self._replied: list[T] = []

    def next(self, now: float) -> T | None:
        """The upstream to ask next; None when it is time to give up."""
        if self.broken or not self._order or now >= self._deadline or (self._most and self._made >= self._most):
            return None
        self._made += 1
        for _ in self._order:
            upstream = self._order[self._turn % len(self._order)]
            self._turn += 1
            if upstream not in self._replied and self._usable(upstream):
                return upstream
        if self._replied:
            return None
        self.broken = True
        return None if self._failfast else self._chance.choice(self._order)

    def replied(self, upstream: T) -> None:
        """*upstream* gave an unsatisfactory reply: ask only the others."""
        self._replied.append(upstream)


class Health(Enum):
    """The state of an upstream."""

    HEALTHY = "healthy"
    """No query failed since the last good check."""

    SUSPECT = "suspect"
    """A query failed, and no check has passed since; it is still asked."""

    DOWN = "down"
    """More checks than allowed failed in a row; it is asked only when all are down."""

    WITHDRAWN = "withdrawn"
    """Taken out of use; it is not asked at all."""


class Event(Enum):
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
"""Every legal move; any other is a bug of the caller."""


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
        self.fails += 1
        self._move(Event.CHECKS_EXHAUSTED if self.fails > self.max_fails else Event.CHECK_FAILED)
        self._check_at = now + self.interval

    def check_passed(self) -> None:
        """The check was answered, whatever the answer was."""
        self._move(Event.CHECK_PASSED)
        self._clear()

    def withdraw(self) -> None:
        """Neither ask nor check it any more."""
        self._move(Event.WITHDRAWN)
        self._clear()

    def restore(self) -> None:
        """Ask it again, as if new."""
        self._move(Event.RESTORED)
        self._clear()

    def _clear(self) -> None:
        self.fails = 0
        self._check_at = None

    def _move(self, event: Event) -> None:
        self.state = MOVES[self.state, event]


@dataclass(slots=True)
class DialTime:
    """The moving average of the seconds that connecting took, failed attempts included."""

    average: float = 15.0

    def took(self, seconds: float) -> None:
        self.average += (seconds - self.average) / DIAL_WEIGHT

    @property
    def limit(self) -> float:
        return min(max(2 * self.average, SHORTEST_DIAL), LONGEST_DIAL)
