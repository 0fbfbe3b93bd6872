# -*- test-case-name: tests.plugins.forward.test_cores -*-
"""
Whom to ask next for one query, and when to give up: a core module of *forward*.

The upstreams are tried in the order of the policy, over and over, those that are down passed over. When all are down, one of them that
chance draws is tried all the same, once: perhaps it is the checks that are broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Generic, TypeVar

PATIENCE = 5.0
"""Seconds after which no new attempt begins: a stub resolver asks again by then (resolv.conf(5), ``timeout``)."""

T = TypeVar("T")


class AttemptPlan(Generic[T]):
    """
    The attempts of one query.

    :param order: the upstreams that may be asked, in the order of the policy; none of them withdrawn.
    :param usable: whether an upstream is not down.
    :param started: when the query came, in seconds.
    :param most: attempts that may be made; 0 means as many as there is time for.
    :param failfast: ask nobody when all are down.
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
    ) -> None:
        self.broken = False
        self._order = order
        self._usable = usable
        self._chance = chance
        self._deadline = started + PATIENCE
        self._most = most
        self._failfast = failfast
        self._made = 0
        self._turn = 0
        self._replied: list[T] = []

    def next(self, now: float) -> T | None:
        """The upstream to ask next; None when it is time to give up."""
        if self.broken or not self._order or now >= self._deadline or (self._most and self._made >= self._most):
            return None
        self._made += 1
        for _ in self._order:
            upstream = self._order[self._turn % len(self._order)]
            self._turn += 1
            if self._usable(upstream) and upstream not in self._replied:
                return upstream
        if self._replied:
            return None
        self.broken = True
        return None if self._failfast else self._chance.choice(self._order)

    def began(self) -> None:
        """The first in the order was asked already, by who had no need of a plan before that failed."""
        self._made = self._turn = 1

    def replied(self, upstream: T) -> None:
        """*upstream* replied with a code that means: ask another, but not this one again."""
        self._replied.append(upstream)
