# -*- test-case-name: tests.server.test_limits -*-
"""Bounds that follow from the memory and the processor that the process may use."""

from __future__ import annotations

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/memory.max")
CGROUP_V1 = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
CGROUP_PROCESSOR = Path("/sys/fs/cgroup/cpu.max")
CGROUP_V1_PROCESSOR = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
UNLIMITED = 1024**3
"""Octets that are taken for the limit where there is none."""

TABLE_SHARE = 0.1
"""Share of the memory that finished replies may take."""

TABLE_LEAST, TABLE_MOST = 4 * 1024**2, 64 * 1024**2
"""Octets that the answer tables have in any case, and at most: 64 MiB are about 33,000 replies."""


def memory_limit(files: tuple[Path, ...] = (CGROUP, CGROUP_V1)) -> int | None:
    """Octets of memory that the control group allows; None without a limit."""
    for file in files:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return None


def processor_limit(file: Path = CGROUP_PROCESSOR, quota_file: Path = CGROUP_V1_PROCESSOR) -> float | None:
    """Cores that the control group allows on average, 0.5 for half of one; None without a limit."""
    try:
        quota, period = file.read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (
                quota_file.read_text().strip(),
                quota_file.with_name("cpu.cfs_period_us").read_text().strip(),
            )
        except OSError:
            return None
    if quota.isdigit() and period.isdigit() and int(quota) and int(period):
        return int(quota) / int(period)
    return None


def table_octets(limit: int | None = None) -> int:
    """Octets for the answer tables, by default from :func:`memory_limit`."""
    memory = limit or memory_limit() or UNLIMITED
    return int(min(TABLE_MOST, max(TABLE_LEAST, memory * TABLE_SHARE)))
