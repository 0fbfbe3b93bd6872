# -*- test-case-name: tests.test_bench -*-
"""
The machine that is measured on: which core serves and which asks, what there is to say about it, and the file that figures are kept in.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent


def cores() -> tuple[int, int]:
    """
    The core for servers that are measured, and the one for everything else.

    On a machine with one core they are the same, and nothing measured there is worth much.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


SERVER_CORE, CLIENT_CORE = cores()


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started here stays on *core*, with all that it starts itself."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _stolen() -> tuple[int, int]:
    """Ticks of all cores that the machine's host gave to others, and all ticks, since the machine started."""
    try:
        ticks = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0, 0
    return ticks[7] if len(ticks) > 7 else 0, sum(ticks)


_BUSY_BEFORE, _STOLEN_BEFORE = os.getloadavg()[0], _stolen()


def describe() -> dict[str, Any]:
    """What should stand beside figures: when, where, what was measured, and how busy the machine was."""
    stolen, ticks = (now - before for now, before in zip(_stolen(), _STOLEN_BEFORE, strict=True))
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": _printed("git", "describe", "--always", "--dirty"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "twisted": version("twisted"),
        "load average before": round(_BUSY_BEFORE, 2),
        "stolen by the host": f"{stolen / max(1, ticks):.1%}",
    }


def described(about: dict[str, Any]) -> str:
    """The same as a line."""
    return ", ".join(f"{name} {value}" for name, value in about.items())


def keep(path: str, name: str, figures: object) -> None:
    """Write *figures* under *name* into the JSON file *path*, and leave what others wrote there; an empty *path* keeps nothing."""
    if not path:
        return
    file = Path(path)
    held = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    held[name] = {"machine": describe(), "figures": figures}
    file.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


def _printed(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
