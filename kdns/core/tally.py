# -*- test-case-name: tests.core.test_tally -*-
"""
Count table hits with one addition each, and add them to the counters later.

Every hit of a table entry counts the same things. The counters to add to, as :class:`Charge` values, stand together in a :class:`Tally`;
a hit costs ``tally.hits += 1``. Entries that count the same things share a tally. The hits are folded into the counters once a second, and
whenever somebody reads them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

_STEP = 100
"""Tallies folded between two looks at the clock: some 100 microseconds."""


class Charge(Protocol):
    """Something that a hit counts."""

    def charge(self, times: int) -> None:
        """Count it *times* times."""


class Durations(Protocol):
    """A histogram of seconds."""

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count *times* events that took *seconds* each."""


class Tally:
    """Hits that are not yet in the counters."""

    __slots__ = ("charges", "durations", "hits")

    def __init__(self, charges: tuple[Charge, ...], durations: tuple[Durations, ...]) -> None:
        self.hits = 0
        self.charges = charges
        self.durations = durations
        """Histograms that get the duration of each hit; they are filled at once, because durations differ."""

    def fold(self) -> None:
        """Add the hits to the counters."""
        hits, self.hits = self.hits, 0
        if hits:
            for charge in self.charges:
                charge.charge(hits)


class TallyBook:
    """The tallies in use, one for each distinct set of charges."""

    MOST = 20_000
    """Tallies in the book, of about 200 bytes each; a full book is emptied. Tallies that entries hold go on counting."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[tuple[Charge, ...], tuple[Durations, ...]], Tally] = {}
        self.touched: list[Tally] = []
        """Tallies with hits. The first hit of a tally appends it."""

    def tally(self, charges: tuple[Charge, ...], durations: tuple[Durations, ...] = ()) -> Tally:
        """The tally of these charges."""
        key = (charges, durations)
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= self.MOST:
                self._tallies.clear()
            tally = self._tallies[key] = Tally(charges, durations)
        return tally

    def folding(self) -> Generator[None, None, None]:
        """Fold all hits in steps, as work for :func:`~kdns.core.slices.in_slices`."""
        touched = self.touched
        while touched:
            for _ in range(min(_STEP, len(touched))):
                touched.pop().fold()
            yield

    def fold(self) -> None:
        """Fold all hits at once."""
        for _ in self.folding():
            pass
