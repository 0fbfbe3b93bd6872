# -*- test-case-name: tests.corefile.test_errors -*-
"""
What can be wrong with a Corefile, as one family of exceptions.

Each carries its facts as fields, and its text is made from them, in the wording operators know from CoreDNS. What kdns adds, a guess
at what was meant, is kept apart in ``hint``: ``str(error)`` is the known text alone, :meth:`CorefileError.advice` the text with the guess.
How an error reaches the operator is left to the command line and to ``reload``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file as it was named, and a line counted from 1 (0 when there is none)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class CorefileError(Exception):
    """
    A configuration that cannot be used; the text alone, without a place before it.

    :ivar text: what is wrong, without file, line and plugin.
    :ivar place: where, as far as it is known; not every kind of error shows it.
    :ivar plugin: whose set-up refuses, ``None`` for the language itself.
    :ivar hint: a guess at what was meant, such as ``did you mean 'cache'?``, or ``None``.
    """

    def __init__(
        self, text: str, *, place: Place | None = None, plugin: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(text)
        self.text = text
        self.place = place
        self.plugin = plugin
        self.hint = hint

    @property
    def file(self) -> str | None:
        """The file at fault, if it is known."""
        return self.place.file if self.place else None

    @property
    def line(self) -> int | None:
        """The line at fault, if it is known."""
        return self.place.line if self.place else None

    def __str__(self) -> str:
        return self.text

    def advice(self) -> str:
        """The text and, in parentheses, the hint if there is one: what the command line prints."""
        return f"{self} ({self.hint})" if self.hint else str(self)


class ParseError(CorefileError):
    """The language, ``import`` or ``on`` refuses what stands at a place."""

    def __str__(self) -> str:
        return f"{self.place} - Error during parsing: {self.text}"


class ExpectedToken(CorefileError):
    """A brace of a server block or snippet is missing."""

    def __init__(self, found: str, expected: str, *, place: Place) -> None:
        super().__init__(f"Unexpected token '{found}', expecting '{expected}'", place=place)
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.place} - Syntax error: {self.text}"


class SetupError(CorefileError):
    """
    A plugin refuses its part of the Corefile.

    :ivar located: whether the text shows the place. What concerns the shape of a line does, what concerns a value mostly does not.
    """

    def __init__(
        self, text: str, *, plugin: str, place: Place | None = None, located: bool = True, hint: str | None = None
    ) -> None:
        super().__init__(text, place=place, plugin=plugin, hint=hint)
        self.located = located

    def __str__(self) -> str:
        where = f"{self.place} - Error during parsing: " if self.located and self.place else ""
        return f"plugin/{self.plugin}: {where}{self.text}"


class BadKey(CorefileError):
    """A server key is not ``[SCHEME://]ZONE[:PORT]``."""

    def __str__(self) -> str:
        return f"error inspecting server blocks: {self.text}"


class BadPort(CorefileError):
    """A port of a server key lies outside 0 to 65535."""

    def __init__(self, port: str, *, place: Place | None = None) -> None:
        super().__init__(f"address {port}: invalid port", place=place)
        self.port = port


class Overlap(CorefileError):
    """
    Two server blocks want the same zone on listeners that cannot be told apart.

    :ivar wanted: the zone and address that cannot be served, such as ``dns://.:53 on 127.0.0.1``.
    :ivar taken: the one it collides with; equal to *wanted* when the same was defined twice.
    """

    def __init__(self, wanted: str, taken: str, *, place: Place | None = None) -> None:
        if wanted == taken:
            reason = "it is already defined"
        else:
            reason = f"zone overlap listener capacity with {taken}"
        super().__init__(f"cannot serve {wanted} - {reason}", place=place)
        self.wanted = wanted
        self.taken = taken


class Unreadable(CorefileError):
    """
    The Corefile named on the command line cannot be read.

    :ivar path: the file as it was named.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"loading Corefile via flag: open {path}: {reason}")
        self.path = path
