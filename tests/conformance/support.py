"""
The golden cases as values: what a Corefile text leads to at the start.

A check of a Corefile, whether of the language alone or of all plugins, takes a :class:`StartCase` and makes an :class:`Outcome`, which is
compared with the one wanted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.databases import DATABASES

HERE = Path(__file__).parent / "cases"

_TWICE = re.compile(r"^(plugin/\w+: )\1(?=Corefile:)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What becomes of a Corefile.

    :ivar error: the text that the start ends with, or ``None``.
    :ivar listeners: the lines that announce zones and listeners, sorted; empty after an error.
    :ivar warnings: other lines; empty after an error.
    """

    error: str | None
    listeners: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StartCase:
    """
    A Corefile and what kdns shall make of it.

    ``{{PORT}}``, ``{{DIR}}`` and the like still stand in the texts; :meth:`filled` replaces them.
    """

    name: str
    corefile: str
    files: Mapping[str, str]
    environment: Mapping[str, str]
    wanted: Outcome
    file: str = "corefile-errors"
    """The file of cases that it is from."""

    @property
    def concerns_language_alone(self) -> bool:
        """No plugin and no socket has a say in the outcome."""
        error = self.wanted.error or ""
        return not error.startswith(("plugin/", "Listen")) and "event" not in error

    def filled(self, places: Mapping[str, str]) -> StartCase:
        """The case with each ``{{NAME}}`` replaced, by names in capitals without braces."""

        def fill(text: str) -> str:
            for name, value in places.items():
                text = text.replace("{{" + name + "}}", value)
            return text

        wanted = Outcome(
            None if self.wanted.error is None else fill(self.wanted.error),
            tuple(sorted(fill(line) for line in self.wanted.listeners)),
            tuple(fill(line) for line in self.wanted.warnings),
        )
        files = {path: fill(text) for path, text in self.files.items()}
        environment = {name: fill(text) for name, text in self.environment.items()}
        return StartCase(self.name, fill(self.corefile), files, environment, wanted, self.file)

    def write(self, folder: Path) -> None:
        """Put the Corefile and its other files into *folder*."""
        for path, text in {**self.files, "Corefile": self.corefile}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content(text))


def content(text: str) -> bytes:
    """The content of a file of a case: ``@NAME`` stands for a file of ``mat``, or for a database that is made here."""
    name = text.removeprefix("@")
    if name != text and name in DATABASES:
        return DATABASES[name]()
    if name != text and (HERE / "mat" / name).exists():
        return (HERE / "mat" / name).read_bytes()
    return text.encode()


def start_cases(file: str = "corefile-errors") -> list[StartCase]:
    """
    All cases of ``corefile-errors.json``, or of another file like it.

    One deviation is a rule: the plugin's name stands once in front of an error with a place, where CoreDNS prints it twice for some.
    """
    document: Any = json.loads((HERE / f"{file}.json").read_text(encoding="utf-8"))
    cases = []
    for case in document["cases"]:
        wanted = case.get("kdns_expect", case)
        error = wanted["error"] if wanted["error"] is None else _TWICE.sub(r"\1", wanted["error"])
        warnings = wanted.get("warnings", ()) if error is None else ()
        outcome = Outcome(error, tuple(wanted.get("listeners", ())), tuple(warnings))
        cases.append(StartCase(case["id"], case["corefile"], case.get("files", {}), case.get("env", {}), outcome, file))
    return cases
