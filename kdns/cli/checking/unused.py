# -*- test-case-name: tests.cli.checking.test_surprises -*-
"""What a Corefile says in vain: variables that are not set, imports that fit nothing, snippets that nobody imports; seen in its words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from kdns.cli.checking.findings import Finding, warning
from kdns.cli.checking.source import Source
from kdns.corefile.environment import expand
from kdns.corefile.lexer import Token, tokens_of
from kdns.server.assembly import Configuration


def said_in_vain(configuration: Configuration, source: Source, environment: Mapping[str, str]) -> list[Finding]:
    """All of it, in the Corefile and in what it imports."""
    found: list[Finding] = []
    imported: set[str] = set()
    for file in dict.fromkeys((source.name, *configuration.corefile.files)):
        if file != source.name and file == source.files.absolute(source.name):
            continue
        tokens = list(tokens_of(source.content(file), file))
        imported |= {pattern.text for statement, pattern in pairwise(tokens) if statement.text == "import"}
        found += _unset(tokens, environment)
        found += _unmatched(tokens, configuration, environment)
    return [*found, *_unused_snippets(source, imported)]


def _unset(tokens: list[Token], environment: Mapping[str, str]) -> Iterator[Finding]:
    for token in tokens:
        missing = _Missing(environment)
        try:
            expand(token.text, missing)
        except ValueError:
            continue
        for name in missing.names:
            text = f"the environment variable {name} is not set here, and reads as nothing"
            yield warning(token.place, "", text, token.text, f"set {name}")


class _Missing(dict[str, str]):
    """An environment that notes which variables were asked for in vain."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(environment)
        self.names: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        """See :class:`dict`."""
        if name not in self:
            self.names.append(name)
        return super().get(name, default)


def _unmatched(tokens: list[Token], configuration: Configuration, environment: Mapping[str, str]) -> Iterator[Finding]:
    empty = [text for text in configuration.corefile.warnings if "import glob pattern" in text]
    for statement, pattern in pairwise(tokens):
        if statement.text == "import" and statement.starts_line:
            shown = expand(pattern.text, environment)
            if any(text.endswith(f": {shown}") for text in empty):
                yield warning(statement.place, "import", f"no file matches {shown}: nothing is imported", shown)


def _unused_snippets(source: Source, imported: set[str]) -> Iterator[Finding]:
    for key, brace in pairwise(tokens_of(source.text, source.name)):
        name = key.text[1:-1]
        snippet = key.starts_line and key.text[:1] == "(" and key.text[-1:] == ")" and brace.text == "{"
        if snippet and name not in imported:
            text = f"the snippet {name} is imported by nothing, and nothing in it was looked at"
            yield warning(key.place, "import", text)
