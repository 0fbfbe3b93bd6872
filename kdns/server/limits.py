# -*- test-case-name: tests.server.test_limits -*-
"""What the process may use, as its control groups say, and the bounds that follow: memory and cores."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path
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
    """A group's limit binds all groups below it, so the lowest on the way from the process's own group to the root is what counts."""
    found = [limit for folder in _folders(controller, groups, mount) if (limit := read(folder)) is not None]
    return min(found, default=None)


def _folders(controller: str, groups: Path, mount: Path) -> Iterator[Path]:
    """The folders of the process's group and of those above it; version 1 has a hierarchy for each controller."""
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
