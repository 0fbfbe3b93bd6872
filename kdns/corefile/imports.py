# -*- test-case-name: tests.corefile.test_imports -*-
"""
What an ``import`` stands for: the tokens of a snippet, of a file, or of all files that fit a pattern.

Decides which of these is meant, where a relative path starts, what may not be imported, and when enough is enough. Finding the
statement and putting the tokens in its place is left to the parser.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, pairwise

from kdns.core.text import reason_of
from kdns.corefile.errors import ParseError
from kdns.corefile.files import Files, Kind
from kdns.corefile.guesses import nearest_hint
from kdns.corefile.lexer import Token, tokens_of

MAX_SNIPPET_IMPORTS = 10_000
"""Snippets expanded in one configuration, at most; CoreDNS's number."""

MAX_FILE_IMPORTS = 100_000
"""Files expanded in one configuration, at most; CoreDNS's number."""

MAX_IMPORTED_TEXT = 32 * 1024 * 1024
"""Characters read from imported files, at most; a pattern may fit a folder full of anything."""

MAX_TOKENS = 500_000
"""Tokens of one configuration, imports included: what a ConfigMap (1 MiB) can hold, and a second or two of work."""


class Imports:
    """
    The snippets defined and the files read so far, for one configuration.

    :ivar warnings: what the operator should know though it is no error.
    :ivar files_read: absolute paths in the order of first reading; ``reload`` may want to look at them.
    """

    def __init__(self, files: Files) -> None:
        self.warnings: list[str] = []
        self.files_read: list[str] = []
        self._files = files
        self._snippets: dict[str, Sequence[Token]] = {}
        self._folders: dict[str, str] = {}
        self._contents: dict[str, Sequence[Token]] = {}
        self._matches: dict[str, list[str]] = {}
        self._snippet_imports = 0
        self._file_imports = 0
        self._text_size = 0

    def refuse_redefinition(self, name: str, key: Token) -> None:
        """
        Make sure that *name* is free for a snippet.

        :raises ParseError: it is taken.
        """
        if name in self._snippets:
            raise ParseError(f"redeclaration of previously declared snippet {name}", place=key.place)

    def define(self, name: str, body: Sequence[Token], end: Token) -> None:
        """
        Keep a snippet for later ``import`` statements; it is visible in every file from here on.

        :param end: its closing brace.
        :raises ParseError: it imports itself.
        """
        for statement, pattern in pairwise(body):
            if statement.text == "import" and pattern.text == name and not pattern.starts_line:
                raise ParseError(_too_deep("snippet", MAX_SNIPPET_IMPORTS), place=end.place)
        self._snippets[name] = _starting_a_line(body)

    def resolve(self, pattern: Token) -> Sequence[Token]:
        """
        The tokens that replace ``import`` *pattern*.

        :param pattern: the argument, references replaced and not empty; a relative path starts at the folder of its file.
        :raises ParseError: nothing there, not importable, or too much of it.
        """
        if pattern.text in self._snippets:
            self._snippet_imports += 1
            if self._snippet_imports > MAX_SNIPPET_IMPORTS:
                raise ParseError(_too_deep("snippet", MAX_SNIPPET_IMPORTS), place=pattern.place)
            return self._snippets[pattern.text]
        paths = self._paths(pattern)
        self._file_imports += len(paths) or 1
        if self._file_imports > MAX_FILE_IMPORTS:
            raise ParseError(_too_deep("file", MAX_FILE_IMPORTS), place=pattern.place)
        if len(paths) == 1:
            return self._content(paths[0], pattern)
        brought: list[Token] = []
        for path in paths:
            brought += self._content(path, pattern)
            if len(brought) > MAX_TOKENS:  # the parser will refuse them; there is no need to read on
                break
        return brought

    def _paths(self, pattern: Token) -> list[str]:
        absolute = self._absolute(pattern)
        known = self._matches.get(absolute)
        if known is not None:
            return known
        # Several wildcards can keep a file system busy for minutes.
        several = absolute.count("*") > 1 or absolute.count("?") > 1
        if several or ("[" in absolute and "]" in absolute):
            text = f"Glob pattern may only contain one wildcard (*), but has others: {absolute}"
            raise ParseError(text, place=pattern.place)
        found = self._files.matches(absolute)
        if not found and "*" not in absolute and "?" not in absolute:
            hint = nearest_hint(pattern.text, self._snippets)
            raise ParseError(f"File to import not found: {pattern.text}", place=pattern.place, hint=hint)
        if not found:
            self.warnings.append(f"No files matching import glob pattern: {pattern.text}")
        self._matches[absolute] = found
        return found

    def _absolute(self, pattern: Token) -> str:
        if os.path.isabs(pattern.text):
            return pattern.text
        folder = self._folders.get(pattern.file)
        if folder is None:
            folder = self._folders[pattern.file] = os.path.dirname(self._files.absolute(pattern.file))
        return os.path.normpath(os.path.join(folder, pattern.text))

    def _content(self, path: str, pattern: Token) -> Sequence[Token]:
        known = self._contents.get(path)
        if known is not None:
            return known
        kind = self._files.kind(path)
        if kind is not Kind.FILE:
            raise ParseError(f"Could not import {path}: {kind.value}", place=pattern.place)
        try:
            text = self._files.read(path)
        except OSError as error:
            raise ParseError(f"Could not import {path}: {reason_of(error)}", place=pattern.place) from error
        self._text_size += len(text)
        if self._text_size > MAX_IMPORTED_TEXT:
            raise ParseError(f"more than {MAX_IMPORTED_TEXT} characters in imported files", place=pattern.place)
        self.files_read.append(path)
        tokens = self._contents[path] = first_tokens(text, path)
        return tokens


def first_tokens(text: str, file: str) -> list[Token]:
    """The tokens of *text*, or one more than may be; the work stays within the limit."""
    return list(islice(tokens_of(text, file), MAX_TOKENS + 1))


def _too_deep(kind: str, limit: int) -> str:
    return f"maximum {kind} import depth ({limit}) exceeded"


def _starting_a_line(body: Sequence[Token]) -> Sequence[Token]:
    """The first token of what is imported starts a line, also when its snippet stands on one line."""
    if not body or body[0].starts_line:
        return body
    return [replace(body[0], starts_line=True), *body[1:]]
