# -*- test-case-name: tests.plugins.forward.test_cores -*-
"""In which order the upstreams of a stanza are asked: a core module of *forward*. Who of them is down is health.py's business."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Policy(Enum):
    """The order of upstreams; the value is the word in a Corefile."""

    RANDOM = "random"
    """Shuffled for each query."""

    ROUND_ROBIN = "round_robin"
    """Each query begins one further, the rest follows in order."""

    SEQUENTIAL = "sequential"
    """Always as they are written."""


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
