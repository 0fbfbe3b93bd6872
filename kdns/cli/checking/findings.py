# -*- test-case-name: tests.cli.checking.test_faults -*-
"""What a check says: findings as values, in which order they stand, and how they look as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum

from kdns.corefile.errors import Place


class Severity(Enum):
    """How much a finding matters; the value is the word that is shown."""

    FAULT = "fault"
    """kdns would not start, or would refuse a reload."""

    WARNING = "warning"
    """It starts, and does something that who wrote it may not have meant."""

    NOTE = "note"
    """It is right, and differs from CoreDNS."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an operator should know; what does not apply is empty."""

    severity: Severity
    file: str
    line: int
    """Counted from 1; 0 when it concerns no line."""

    directive: str
    text: str
    wanted: str = ""
    """What would have been right: a line of syntax."""

    found: str = ""
    """What stands there."""

    suggestion: str = ""
    """What to do."""

    @property
    def place(self) -> str:
        """``FILE:LINE``, as far as it is known."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def lines(self) -> list[str]:
        """As it is shown."""
        about = f"{self.directive}: " if self.directive else ""
        shown = [f"{self.place}: {self.severity.value}: {about}{self.text}"]
        if self.severity is Severity.NOTE:
            return [f"{shown[0]} ({self.suggestion})" if self.suggestion else shown[0]]
        for word, text in (("wanted", self.wanted), ("found", self.found), ("suggestion", self.suggestion)):
            if text:
                first, *rest = text.splitlines()
                shown.append(f"    {word + ':':11} {first}")
                shown += [f"    {'':11} {line}" for line in rest]
        return shown


def warning(place: Place, directive: str, text: str, found: str = "", suggestion: str = "") -> Finding:
    """A warning at a place."""
    return Finding(Severity.WARNING, place.file, place.line, directive, text, "", found, suggestion)


def as_json(findings: Iterable[Finding]) -> str:
    """A list of objects with the fields of :class:`Finding`."""
    rows = [asdict(finding) | {"severity": finding.severity.value} for finding in findings]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def summary(findings: Iterable[Finding]) -> str:
    """How many there are of each kind: ``1 fault, 2 warnings, no notes``."""
    kinds = [finding.severity for finding in findings]
    counted = []
    for severity in Severity:
        number = kinds.count(severity)
        counted.append(f"{number or 'no'} {severity.value}{'' if number == 1 else 's'}")
    return ", ".join(counted)
