# -*- test-case-name: tests.plugin.test_line_budget -*-
"""
A rate limit for the log lines of a plugin, in lines a second.

The plugin asks before it formats a line, so that a flood of suppressed lines costs next to nothing. Once a second the number of suppressed
lines is logged. Each plugin has a limit of its own, because only the plugin knows which of its lines matter more than others. The output
bounds what the process prints altogether.
"""

from __future__ import annotations

from collections.abc import Callable

from kdns.core.metrics import Counter, Registry
from kdns.core.timing import Clock, Timer
from kdns.plugin.seam import Resource

WINDOW = 1.0
"""Seconds in which the budget is spent. A window begins with a line, so a silent plugin has no timer."""

Say = Callable[[int, int], None]
"""Logs how many lines were suppressed, and how many of them were errors."""


def held_lines(registry: Registry, plugin: str, reason: str) -> Counter:
    """The counter of a plugin's suppressed lines."""
    family = registry.counter(
        "kdns_log_held_lines_total", "Lines that were not made, by plugin and reason.", ["plugin", "reason"]
    )
    return family.counter(plugin, reason)


class LineBudget(Resource):
    """
    Admits a number of lines a second.

    :param lines: at least 1.
    :param reserve: how many of them only errors may use.
    :param clock: the reactor.
    :param held: counts suppressed lines.
    """

    def __init__(self, lines: int, reserve: int, clock: Clock, held: Counter, say: Say) -> None:
        self._lines = lines
        self._reserve = reserve
        self._clock = clock
        self._counter = held
        self._say = say
        self._left = 0
        """Lines left in the current window; 0 when there is none."""

        self._held = self._errors = 0
        self._end: Timer | None = None
        self._stopped = False

    def admit(self, error: bool) -> bool:
        """Whether a line may be printed now; a line that may not is counted."""
        left = self._left
        if left > self._reserve or (error and left):
            self._left = left - 1
            return True
        if self._stopped:
            return True  # the configuration has ended: few lines come, and nothing would report suppressed ones
        if self._end is None:
            self._end = self._clock.callLater(WINDOW, self._over)
            self._left = self._lines - 1
            return True
        self._counter.value += 1
        self._held += 1
        self._errors += error
        return False

    def stop(self) -> None:
        """Report the lines suppressed so far, and suppress no more."""
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
