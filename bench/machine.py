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


def describe() -> dict[str, Any]:
    """What should stand beside figures: when, where, what was measured, and how busy the machine was."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": _printed("git", "describe", "--always", "--dirty"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "twisted": version("twisted"),
        "load average": os.getloadavg()[0],
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
