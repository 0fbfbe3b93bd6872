# -*- test-case-name: tests.cli.checking.test_notes -*-
"""Which directives and options of a Corefile do not do what they do in CoreDNS: a note for each, once."""

from __future__ import annotations

from collections.abc import Iterator

from kdns.cli.checking.coredns_support import PAGE, ROWS
from kdns.cli.checking.findings import Finding, Severity
from kdns.corefile.lexer import Token
from kdns.corefile.loader import Corefile
from kdns.corefile.tree import Directive
from kdns.plugin import registry


def notes(corefile: Corefile) -> list[Finding]:
    """The notes, each at the place where the directive or option stands first."""
    found: dict[tuple[str, str], Finding] = {}
    if corefile.built_in:
        return []
    for tree in corefile.blocks:
        for use in tree.directives.values():
            for note in _notes(use):
                found.setdefault((note.directive, note.text), note)
    return list(found.values())


def _notes(use: Directive) -> Iterator[Finding]:
    row = ROWS.get(use.name)
    if row is None:
        if registry.accept(use.name):
            text = "CoreDNS does not have this directive: it is a plugin for kdns"
            yield Finding(Severity.NOTE, use.place.file, use.place.line, use.name, text)
        return
    if row.there:
        see = f"see docs/plugins/{use.name}.md, {PAGE}"
        for text in row.differences:
            yield Finding(Severity.NOTE, use.place.file, use.place.line, use.name, text, suggestion=see)
        for line in _option_lines(use):
            words = " ".join(token.text for token in line) + " "
            for option, text in row.options.items():
                if words.startswith(f"{option} "):
                    place = line[0].place
                    yield Finding(Severity.NOTE, place.file, place.line, use.name, f"{option}: {text}", suggestion=see)


def _option_lines(use: Directive) -> list[list[Token]]:
    """The lines of a directive's option blocks."""
    lines: list[list[Token]] = []
    for token in use.tokens:
        if token.starts_line:
            lines.append([])
        lines[-1].append(token)
    return [line for line in lines if line[0].text not in (use.name, "}")]
