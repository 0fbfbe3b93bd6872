# -*- test-case-name: tests.core.test_regexp -*-
"""
Regular expressions of a Corefile: RE2's syntax and RE2's engine.

The engine is google-re2, whose matching time is linear in the length of the text, whatever the expression is: clients choose the names
that expressions are tried on, so a backtracking engine is out of the question. Compilation errors read as Go's do.

A domain name is matched in its presentation form (:func:`kdns.wire.names.to_text`): that is ASCII, a dot inside a label stays apart from
a dot between labels, and an expression sees what CoreDNS shows it. All other text is matched as UTF-8.
"""

from __future__ import annotations

import re2

MAX_LENGTH = 10_000
"""Bytes of an expression; CoreDNS has the same limit."""

MAX_MEMORY = 1 << 20
"""
Bytes that RE2 may use for one expression: a third for the program, the rest for the states it builds while it matches.

RE2's own default is 8 MiB. An eighth still holds an alternation of 400 host names three times over. An expression that needs many states
(nested counts, ``((.{0,30}){0,30})z``) then falls back to RE2's slower engine soon, instead of filling 8 MiB first: 15 ms instead of 60
on a name of 1,000 characters.
"""

# RE2's words -> Go's. Both are written as "words: part of the expression".
_REASONS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid named capture group": "invalid named capture",
    "trailing \\": "trailing backslash at end of expression",
    "pattern too large - compile failed": "expression too large",
}
# Errors for which Go shows the whole expression.
_WHOLE = ("missing )", "unexpected )", "pattern too large - compile failed")


class BadRegexp(ValueError):
    """
    A text is no regular expression; the message is in Go's words.

    :ivar reason: what is wrong.
    :ivar part: the part of the expression that is.
    """

    def __init__(self, reason: str, part: str) -> None:
        super().__init__(f"error parsing regexp: {reason}: `{part}`")
        self.reason = reason
        self.part = part


class RegexpTooLong(BadRegexp):
    """An expression has more than :data:`MAX_LENGTH` bytes."""

    def __init__(self, length: int) -> None:
        ValueError.__init__(self, f"regex pattern too long: {length} > {MAX_LENGTH}")
        self.reason = "regex pattern too long"
        self.part = ""
        self.length = length


class Regexp:
    """
    A compiled expression; it is not anchored.

    :ivar text: the expression as written.
    :ivar size: instructions of its program; a character may take as many steps, of some nanoseconds each.
    :ivar group_count: how many groups it has.
    :ivar group_names: the number of each named group.
    """

    __slots__ = ("_pattern", "group_count", "group_names", "size", "text")

    def __init__(self, text: str) -> None:
        """
        Compile.

        :raises BadRegexp: *text* is not in RE2's syntax, or too long or too large.
        """
        try:
            source = text.encode()
        except UnicodeEncodeError:
            raise BadRegexp("invalid UTF-8", ascii(text)[1:-1]) from None
        if len(source) > MAX_LENGTH:
            raise RegexpTooLong(len(source))
        options = re2.Options()
        options.max_mem = MAX_MEMORY
        options.log_errors = False
        try:
            self._pattern = re2.compile(source, options)
        except re2.error as error:
            raise _bad_regexp(_decoded(error.args[0]), text) from None
        finally:
            # The module keeps the last 128 expressions, with their states, for ever; this object is the one owner.
            re2.purge()
        self.text = text
        self.size: int = self._pattern.programsize
        self.group_count: int = self._pattern.groups
        self.group_names: dict[str, int] = {_decoded(name): number for name, number in self._pattern.groupindex.items()}

    def found_in(self, text: str) -> bool:
        """Whether the expression matches somewhere in *text*."""
        return self._pattern.search(_encoded(text)) is not None

    def search(self, text: str) -> tuple[str, ...] | None:
        """The leftmost match: its text, then the text of each group, empty for one that took no part. None without a match."""
        match = self._pattern.search(_encoded(text))
        if match is None:
            return None
        return (_decoded(match.group()), *map(_decoded, match.groups(b"")))

    def __repr__(self) -> str:
        return f"Regexp({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regexp) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def _bad_regexp(message: str, text: str) -> BadRegexp:
    """Go's error for what RE2 says about the expression *text*."""
    reason, _, part = message.partition(": ")
    return BadRegexp(_REASONS.get(reason, reason), text if reason in _WHOLE else part)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")
