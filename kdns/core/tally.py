# -*- test-case-name: tests.core.test_tally -*-
"""
Counting without counting: what happens for each query is one addition, the rest is done when somebody looks.

A :class:`Charge` is one thing to add to one counter. The charges of a reply that is given again and again stand together in a
:class:`Tally`; giving it costs ``tally.hits += 1``. :class:`TallyBook` makes one tally for each distinct set of charges and folds the
hits into the counters, a bounded number at a time.
"""

from __future__ import annotations

from typing import Protocol


class Charge(Protocol):
    """Something that can be charged *times* times at once."""

    def charge(self, times: int) -> None:
        """Count *times* more of it."""


class Durations(Protocol):
    """A histogram of seconds."""

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count *times* events that took *seconds* each."""


class Tally:
    """Hits that all charge the same things, and have not been charged yet."""

    __slots__ = ("charges", "durations", "hits")

    def __init__(self, charges: tuple[Charge, ...], durations: tuple[Durations, ...]) -> None:
        self.hits = 0
        self.charges = charges
        self.durations = durations

    def fold(self) -> None:
        """Charge the hits."""
        hits, self.hits = self.hits, 0
        if hits:
            for charge in self.charges:
                charge.charge(hits)


class TallyBook:
    """One tally for each distinct set of charges."""

    MOST = 20_000
    """Tallies that are kept; one is about 200 octets. Past that the book is folded and begun anew."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[tuple[Charge, ...], tuple[Durations, ...]], Tally] = {}
        self.touched: list[Tally] = []
        """Tallies with hits; whoever makes the first hit of one appends it."""

    def tally(self, charges: tuple[Charge, ...], durations: tuple[Durations, ...] = ()) -> Tally:
        """The tally of these charges."""
        key = (charges, durations)
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= self.MOST:
                self._tallies.clear()
            tally = self._tallies[key] = Tally(charges, durations)
        return tally

    def fold(self, most: int | None = None) -> bool:
        """
        Charge what was hit.

        :param most: how many tallies to fold at most; None means all.
        :return: whether some are left.
        """
        touched = self.touched
        if most is None or len(touched) <= most:
            while touched:
                touched.pop().fold()
            return False
        for _ in range(most):
            touched.pop().fold()
        return True
