# -*- test-case-name: tests.server.test_saturation -*-
"""
How busy the process is: its share of the processor time that it may use, and how long it waited for a core.

A process that is slow and not busy waits for a core: others use them, or the quota of its control group is used up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import process_time

from kdns.server.limits import processor_limit

PERIOD = 1.0
"""Seconds between two samples."""

WINDOW = 10
"""Samples that are kept: an autoscaler asks every 15 seconds, and one garbage collection must not scale anything."""

SCHEDULING = Path("/proc/self/schedstat")
"""Run time and waiting time of the main thread on Linux."""


def waited(file: Path = SCHEDULING) -> float:
    """Seconds that the main thread could have run and got no core; 0 where the kernel does not tell."""
    try:
        return int(file.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class Saturation:
    """
    The share of the processor, from samples of the clocks.

    :param clock: seconds of a clock that never goes back.
    :param used: seconds of processor time that the process has used, all threads together.
    :param cores: cores that the control group allows; None reads the limit.
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
        self._samples: deque[tuple[float, float]] = deque(maxlen=WINDOW + 1)

    def sample(self) -> None:
        """Read the clocks, unless that was done less than a second ago."""
        now = self._clock()
        if not self._samples or now - self._samples[-1][0] >= PERIOD:
            self._samples.append((now, self._used()))

    def share(self) -> float:
        """
        Processor time used over the last ten seconds, as a share of what the process may use: 0 is idle, 1 is all.

        It may use one core, or less where the control group allows less.
        """
        if not self._samples:
            return 0.0
        began, before = self._samples[0]
        seconds = self._clock() - began
        if seconds <= 0:
            return 0.0
        return min(1.0, max(0.0, (self._used() - before) / (seconds * self.cores)))
