# -*- test-case-name: tests.workers.test_number -*-
"""How many workers: what the command line says, else what the Corefile says, else one process that does everything."""

from __future__ import annotations

import os
from collections.abc import Callable
from math import ceil

from kdns.corefile.loader import Corefile
from kdns.server.limits import processor_limit


def usable_cores() -> int:
    """The cores that this machine and the control group let this process use, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = processor_limit()
    return max(1, cores if limit is None else min(cores, ceil(limit)))


def workers_in(corefile: Corefile, usable_cores: Callable[[], int] = usable_cores) -> int:
    """
    What *multisocket* says: the greatest number of all server blocks, 1 where none has it, and at most one a core.

    The directive without a number means as many as there are cores. Its plugin refuses words that are no number.
    """
    most = 1
    for block in corefile.blocks:
        directive = block.directives.get("multisocket")
        if directive is not None:
            words = [token.text for token in directive.tokens[1:]]
            most = max(most, int(words[0]) if words and words[0].isdigit() else 1 if words else usable_cores())
    return min(most, usable_cores())
