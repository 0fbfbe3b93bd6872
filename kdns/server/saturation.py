# -*- test-case-name: tests.server.test_saturation -*-
"""
How busy the process is: which share of the processor that it can use it did use in the last seconds, and how long it waited for one.

Who is slow and not busy waits: others have the machine's cores, or the control group's quota is used up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import process_time

from kdns.server.limits import processor_limit

PERIOD = 1.0
"""Seconds between two looks."""

WINDOW = 10
"""Looks that are remembered: an autoscaler asks every 15 seconds, and a collection of garbage alone shall not scale anything."""


SCHEDULING = Path("/proc/self/schedstat")
"""Where Linux says how long the thread that answers ran and waited."""


def waited(file: Path = SCHEDULING) -> float:
    """Seconds that the thread that answers could have run and got no core; 0 where the kernel does not tell."""
    try:
        return int(file.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class Vitals:
    """
    The share of the processor, from looks at the clocks.

    :param clock: seconds of a clock that never goes back.
    :param used: seconds of processor time that the process has taken, all threads together.
    :param cores: how much of the machine the control group allows, in cores; None is no limit.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        used: Callable[[], float] = process_time,
        cores: float | None = None,
    ) -> None:
        limit = processor_limit() if cores is None else cores
        # One Python process answers on one core, however many there are.
        self.cores = min(1.0, limit or 1.0)
        self._clock = clock
        self._used = used
        self._looks: deque[tuple[float, float]] = deque(maxlen=WINDOW + 1)

    def look(self) -> None:
        """Remember what the clocks say, unless that was done less than a second ago."""
        now = self._clock()
        if not self._looks or now - self._looks[-1][0] >= PERIOD:
            self._looks.append((now, self._used()))

    def saturation(self) -> float:
        """
        How much of the time that it can have the process took over the last ten seconds: 0 is idle, 1 is all.

        What it can have is one core, or less where the control group allows less.
        """
        if not self._looks:
            return 0.0
        began, before = self._looks[0]
        seconds = self._clock() - began
        if seconds <= 0:
            return 0.0
        return min(1.0, max(0.0, (self._used() - before) / (seconds * self.cores)))
