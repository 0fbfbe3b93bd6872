"""A Corefile given to the check, and what it says."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

from kdns.checking.faults import look
from kdns.checking.findings import Finding
from kdns.checking.rules import find_surprises
from kdns.checking.source import Source
from kdns.cli import check

IN_A_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run of the command left behind."""

    status: int
    out: str
    err: str


def run(*words: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> Ended:
    """Run ``kdns check``."""
    out, err = io.StringIO(), io.StringIO()
    status = check.main(words, environment or {}, io.StringIO(stdin), out, err)
    return Ended(status, out.getvalue(), err.getvalue())


def faults(corefile: str, environment: Mapping[str, str] | None = None, *, elsewhere: bool = False) -> list[Finding]:
    """What is wrong with a Corefile."""
    return look(Source("Corefile", corefile), environment or {}, elsewhere=elsewhere).findings


def warnings(corefile: str, environment: Mapping[str, str] | None = None, *, elsewhere: bool = True) -> list[Finding]:
    """What is surprising about a Corefile without faults, in a cluster or not."""
    read = look(Source("Corefile", corefile), environment or {}, elsewhere=elsewhere)
    assert read.configuration is not None, read.findings
    return find_surprises(
        read.configuration,
        Source("Corefile", corefile),
        environment or {},
        whole=read.first is None,
        elsewhere=elsewhere,
    )
