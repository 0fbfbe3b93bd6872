# -*- test-case-name: tests.cli.test_check -*-
"""Findings as values, and how they look as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum

from kdns.core.text import printable
from kdns.corefile.errors import Place


class Severity(Enum):
    """How much a finding matters; the value is the word that is shown."""

    FAULT = "fault"
    """kdns would not start, or would refuse a reload."""

    WARNING = "warning"
    """It starts, and may do something that its author did not mean."""

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
    """What the file says."""

    suggestion: str = ""
    """What to do."""

    def lines(self) -> list[str]:
        """
        As it is shown, with escapes for what is not printable: words of a Corefile must not command a terminal.

        ``FILE:LINE: SEVERITY: DIRECTIVE: TEXT``, then a line for each of the other fields.
        """
        place = f"{self.file}:{self.line}" if self.line else self.file
        about = f"{self.directive}: " if self.directive else ""
        head = f"{place}: {self.severity.value}: {about}{self.text}"
        if self.severity is Severity.NOTE:
            return [printable(f"{head} ({self.suggestion})" if self.suggestion else head)]
        return [printable(head), *self.details()]

    def details(self) -> list[str]:
        """The lines after the first one."""
        shown = []
        for word, text in (("wanted", self.wanted), ("found", self.found), ("suggestion", self.suggestion)):
            for number, line in enumerate(text.split("\n") if text else ()):
                shown.append(printable(f"    {word + ':' if number == 0 else '':11} {line}"))
        return shown


def warning(place: Place, directive: str, text: str, found: str = "", suggestion: str = "") -> Finding:
    """A warning at a place."""
    return Finding(Severity.WARNING, place.file, place.line, directive, text, "", found, suggestion)


def note(place: Place, directive: str, text: str, suggestion: str = "") -> Finding:
    """A note at a place."""
    return Finding(Severity.NOTE, place.file, place.line, directive, text, suggestion=suggestion)


def as_json(findings: Iterable[Finding]) -> str:
    """A list of objects with the fields of :class:`Finding`; ASCII, so that it is safe to look at."""
    rows = [asdict(finding) | {"severity": finding.severity.value} for finding in findings]
    return json.dumps(rows, indent=2) + "\n"


def summary(findings: Iterable[Finding], *severities: Severity) -> str:
    """How many there are of each: ``1 fault, 2 warnings, no notes``."""
    kinds = [finding.severity for finding in findings]
    counted = []
    for severity in severities or Severity:
        number = kinds.count(severity)
        counted.append(f"{number or 'no'} {severity.value}{'' if number == 1 else 's'}")
    return ", ".join(counted)
