# -*- test-case-name: tests.node_cache.test_firewall -*-
"""Run the programs of the packet filters, and wait for them. They are short; whoever runs them does so in a thread."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

SECONDS = 10.0
"""After which a program is killed: longer than the five that iptables waits for its lock."""

MISSING = 127
"""Status of a program that is not installed."""


class Outcome(NamedTuple):
    status: int
    output: str = ""
    errors: str = ""

    @property
    def reason(self) -> str:
        """Why it failed, on one line."""
        return "; ".join(self.errors.split("\n")).strip("; ") or f"status {self.status}"


Run = Callable[[Sequence[str], str], Outcome]
"""Runs a command with a text as its input."""


def run(command: Sequence[str], text: str = "") -> Outcome:
    """Run a command; a failure to do so is an outcome like any other."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except FileNotFoundError:
        return Outcome(MISSING, errors=f"{command[0]}: not installed")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Outcome(-1, errors=str(error))
    return Outcome(done.returncode, done.stdout, done.stderr)
