# -*- test-case-name: tests.testing.test_memory_datagrams -*-
"""
What happens to a datagram on its way: a core module of the memory network.

A rule is a function from a datagram to the delays, in seconds, of the copies that arrive: none is loss, two are duplication, unequal
delays are reordering. Which rule holds for which way is said by a :class:`Path`; to whom a copy goes is network.py's business.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Address = tuple[str, int]
"""A host in canonical text and a port."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram in flight."""

    data: bytes
    source: Address
    destination: Address


Rule = Callable[[Datagram], Sequence[float]]
"""The delay in seconds of each copy of a datagram that arrives."""

STRAIGHT: Sequence[float] = (0.0,)
"""One copy, at once: what happens where no rule says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """A rule for datagrams; None is any address, a port of None any port of that host."""

    rule: Rule
    source: tuple[str, int | None] | None = None
    destination: tuple[str, int | None] | None = None

    def holds_for(self, datagram: Datagram) -> bool:
        """Whether *datagram* matches."""
        return _matches(self.source, datagram.source) and _matches(self.destination, datagram.destination)


def _matches(wanted: tuple[str, int | None] | None, address: Address) -> bool:
    return wanted is None or (wanted[0] == address[0] and wanted[1] in (None, address[1]))


def lost(datagram: Datagram) -> Sequence[float]:
    return ()


def late(seconds: float) -> Rule:
    """Everything arrives *seconds* later."""
    return lambda datagram: (seconds,)


def twice(gap: float = 0.0) -> Rule:
    """Everything arrives, and once more *gap* seconds later."""
    return lambda datagram: (0.0, gap)


def in_turn(*fates: Sequence[float]) -> Rule:
    """
    Treat the first datagram as the first of *fates* says, and so on; behind the last one, everything goes straight.

    ``in_turn((), (), (0.0,))`` loses two datagrams; ``in_turn((0.2,), (0.1,))`` swaps two.
    """
    waiting = iter(fates)
    return lambda datagram: next(waiting, STRAIGHT)


def shuffled(chance: random.Random, longest: float, loss: float = 0.0) -> Rule:
    """Lose the share *loss* (0 to 1), and let the others arrive within *longest* seconds, in an order that *chance* draws."""
    return lambda datagram: () if chance.random() < loss else (chance.uniform(0.0, longest),)
