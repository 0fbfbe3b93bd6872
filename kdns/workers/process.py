# -*- test-case-name: tests.workers.test_supervisor -*-
"""What a process uses, as metrics that the parent adds up."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from time import process_time

from kdns.core.metrics import FamilyReport, Registry

STATM = Path("/proc/self/statm")


def process_report(statm: Path = STATM) -> list[FamilyReport]:
    """Processor time, memory and descriptors of this process, under the names that every exporter has."""
    registry = Registry()
    registry.counter("process_cpu_seconds_total", "Seconds of processor time, user and system.").counter().inc(
        process_time()
    )
    size, resident = _pages(statm)
    page = resource.getpagesize()
    registry.gauge("process_virtual_memory_bytes", "Bytes of virtual memory.").gauge().set(size * page)
    registry.gauge(
        "process_resident_memory_bytes", "Bytes of resident memory; shared pages count in each process."
    ).gauge().set(resident * page)
    registry.gauge("process_open_fds", "Open file descriptors.").gauge().set(_descriptors())
    return [family.report() for family in registry.families()]


def _pages(statm: Path) -> tuple[int, int]:
    try:
        size, resident, *_ = statm.read_text().split()
        return int(size), int(resident)
    except (OSError, ValueError):
        return 0, 0


def _descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
