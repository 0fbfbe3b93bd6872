# -*- test-case-name: tests.server.test_limits -*-
"""
Limits of the process's control groups (memory and cores), the bounds that follow, and how much of its cores the process uses.

A process that is slow but not saturated waits for a core: other processes use them, or the quota of its control group is used up.
"""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import TypeVar

OWN_GROUPS = Path("/proc/self/cgroup")
"""The control groups of this process, one line for each hierarchy: ``0::/system.slice/kdns.service`` (cgroups(7))."""

MOUNT = Path("/sys/fs/cgroup")
"""Where the hierarchies are mounted. A container often sees its own group as the root."""

STATM = Path("/proc/self/statm")
"""Memory of this process in pages, on Linux."""

UNLIMITED = 1024**3
"""Bytes of memory to reckon with where no limit is set."""

TABLE_SHARE = 0.1
"""Share of the memory that finished replies may take."""

TABLE_LEAST, TABLE_MOST = 4 * 1024**2, 64 * 1024**2
"""Bounds of the answer tables in bytes; 64 MiB hold about 33,000 replies."""

T = TypeVar("T", int, float)


def memory_limit(groups: Path = OWN_GROUPS, mount: Path = MOUNT) -> int | None:
    """Bytes of memory that the control groups allow; None without a limit."""

    def read(folder: Path) -> int | None:
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _text(folder / name)
            # Version 1 has no word for "no limit": it shows a number near 2 ** 63.
            if text.isdigit() and int(text) < 1 << 60:
                return int(text)
        return None

    return _lowest(read, "memory", groups, mount)


def processor_limit(groups: Path = OWN_GROUPS, mount: Path = MOUNT) -> float | None:
    """Cores that the control groups allow on average, 0.5 for half of one; None without a limit."""

    def read(folder: Path) -> float | None:
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not period:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(quota) and int(period):
            return int(quota) / int(period)
        return None

    return _lowest(read, "cpu", groups, mount)


def _lowest(read: Callable[[Path], T | None], controller: str, groups: Path, mount: Path) -> T | None:
    """The lowest limit from the process's group up to the root: a group's limit binds all groups below it."""
    found = [limit for folder in _folders(controller, groups, mount) if (limit := read(folder)) is not None]
    return min(found, default=None)


def _folders(controller: str, groups: Path, mount: Path) -> Iterator[Path]:
    """The folders of the process's group and of its parents; version 1 has a hierarchy for each controller."""
    roots = {"": mount, controller: mount / controller}
    for line in _text(groups).splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            if name in roots:
                group = Path(path.lstrip("/"))
                yield from (roots[name] / part for part in (group, *group.parents))
    # Without the list of groups, or where it names folders that the container does not see.
    yield from roots.values()


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def resident(statm: Path = STATM) -> int:
    """Bytes of memory that the process takes; the most that it ever took where the kernel does not tell."""
    try:
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def table_bytes(limit: int | None = None) -> int:
    """Bytes for the answer tables, by default from :func:`memory_limit`."""
    memory = limit or memory_limit() or UNLIMITED
    return int(min(TABLE_MOST, max(TABLE_LEAST, memory * TABLE_SHARE)))


PERIOD = 1.0
"""Seconds between two samples."""

WINDOW = 10
"""Samples that are kept: an autoscaler asks every 15 seconds, and one garbage collection must not scale anything."""

SCHEDULING = Path("/proc/self/schedstat")
"""Run time and waiting time of the main thread on Linux."""


def waited(file: Path = SCHEDULING) -> float:
    """Seconds that the main thread was runnable without a core; 0 where the kernel does not tell."""
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
        """Read the clocks, at most once a second."""
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
