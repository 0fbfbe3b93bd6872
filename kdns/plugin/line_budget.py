# -*- test-case-name: tests.plugin.test_line_budget -*-
"""
A budget of lines a second, for plugins that print a line for each query.

It decides before a line is made, so that a flood of lines costs next to nothing, and says once a second how many it held back. It is a
plugin's and not the output's business because only a plugin knows which of its lines must not be lost to the others. What the process
prints altogether is bounded by the output, which drops what is not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdns.core.metrics import Counter, Registry
from kdns.plugin.seam import Resource

WINDOW = 1.0
"""Seconds that a budget is for. They begin with a line, so that a silent plugin keeps no timer."""

Say = Callable[[int, int], None]
"""Says how many lines were held back, and how many of these were errors."""


def held_lines(registry: Registry, plugin: str, reason: str) -> Counter:
    """The counter of lines that a plugin held back."""
    family = registry.counter(
        "kdns_log_held_lines_total", "Lines that were not made, by plugin and reason.", ["plugin", "reason"]
    )
    return family.counter(plugin, reason)


class LineBudget(Resource):
    """
    Admits so many lines a second.

    :param lines: at least 1.
    :param reserve: lines of them that are for errors alone.
    :param reactor: keeps the time.
    :param held: counts what is not admitted.
    """

    def __init__(self, lines: int, reserve: int, reactor: Any, held: Counter, say: Say) -> None:
        self._lines = lines
        self._reserve = reserve
        self._reactor = reactor
        self._counter = held
        self._say = say
        self._left = 0
        """Lines that are left in the second that runs; 0 when none runs."""

        self._held = self._errors = 0
        self._end: Any = None
        self._stopped = False

    def admit(self, error: bool) -> bool:
        """Whether there may be a line now; it is counted when not."""
        left = self._left
        if left > self._reserve or (error and left):
            self._left = left - 1
            return True
        if self._stopped:
            return True  # few come after the end of a configuration, and nobody would say what was held back
        if self._end is None:
            self._end = self._reactor.callLater(WINDOW, self._over)
            self._left = self._lines - 1
            return True
        self._counter.value += 1
        self._held += 1
        self._errors += error
        return False

    def stop(self) -> None:
        """Say what was held back until now, and hold back no more."""
        self._stopped = True
        if self._end is not None:
            self._end.cancel()
            self._over()

    def _over(self) -> None:
        self._end = None
        self._left = 0
        held, errors = self._held, self._errors
        self._held = self._errors = 0
        if held:
            self._say(held, errors)
