# -*- test-case-name: tests.plugins.rewrite.test_names -*-
"""
Changes of names, in presentation form: ``www.old.test.``.

Matching is on text, as operators write it: ``suffix old.test`` also fits ``sold.test.``; only ``.old.test`` begins at a label.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from kdns.core.regexp import Regexp
from kdns.wire.names import BadName, from_text, to_text


class MatchKind(Enum):
    """How a rule compares names."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    SUBSTRING = "substring"
    REGEX = "regex"


_REFERENCE = re.compile(r"\{([0-9]{1,3})\}")


def absolute(text: str) -> str:
    """A name as rules keep it: lower case, with its final dot."""
    lowered = text.lower()
    return lowered if lowered.endswith(".") and not lowered.endswith("\\.") else lowered + "."


def references(text: str) -> int:
    """How many different groups a replacement refers to: ``{0}`` to ``{100}``."""
    return len({number for number in map(int, _REFERENCE.findall(text)) if number <= 100})


def filled(replacement: str, groups: tuple[str, ...]) -> str:
    """A replacement with ``{N}`` replaced by group N; a group that the expression does not have stays as it is."""
    if "{" not in replacement:
        return replacement

    def value(match: re.Match[str]) -> str:
        number = int(match[1])
        return groups[number] if number < len(groups) else match[0]

    return _REFERENCE.sub(value, replacement)


@dataclass(frozen=True, slots=True)
class NameMatch:
    """
    Which names a rule is about.

    :ivar text: what is looked for: a name or a part of one in the form of :func:`absolute`; an expression as written.
    """

    kind: MatchKind
    text: str
    regexp: Regexp | None = None

    def fits(self, name: str) -> bool:
        """Whether a name, lower case with its final dot, is one of them."""
        match self.kind:
            case MatchKind.EXACT:
                return name == self.text
            case MatchKind.PREFIX:
                return name.startswith(self.text)
            case MatchKind.SUFFIX:
                return name.endswith(self.text)
            case MatchKind.SUBSTRING:
                return self.text in name
            case MatchKind.REGEX:
                assert self.regexp is not None
                return self.regexp.found_in(name)

    def replaced(self, name: str, replacement: str) -> str | None:
        """The name with what was looked for replaced; None when it does not fit."""
        if self.kind is MatchKind.REGEX:
            assert self.regexp is not None
            groups = self.regexp.search(name)
            return None if groups is None else filled(replacement, groups)
        if not self.fits(name):
            return None
        match self.kind:
            case MatchKind.PREFIX:
                return replacement + name[len(self.text) :]
            case MatchKind.SUFFIX:
                return name[: -len(self.text)] + replacement
            case MatchKind.SUBSTRING:
                return name.replace(self.text, replacement)
        return replacement

    @property
    def zone(self) -> bytes | None:
        """A zone that holds all names which can fit; None when they may be anywhere."""
        match self.kind:
            case MatchKind.EXACT:
                text = self.text
            case MatchKind.SUFFIX:
                text = self.text.partition(".")[2]  # what stands before the first dot may be a part of a label
            case _:
                return None
        try:
            return from_text(text)
        except BadName:
            return None


NameChange = Callable[[str], str | None]
"""What becomes of a name of a reply; None means that it stays."""


@dataclass(frozen=True, slots=True)
class Undone:
    """``answer auto``: the name that a rule made, and names below it, become the name that it was made of."""

    made: str
    original: str

    def __call__(self, name: str) -> str | None:
        lowered = name.lower()
        if lowered == self.made:
            return self.original
        if self.made != "." and lowered.endswith("." + self.made):
            return name[: -len(self.made)] + self.original
        return None


@dataclass(frozen=True, slots=True)
class SuffixUndone:
    """``answer auto`` of a suffix rule: the end of a name that the rule writes becomes the one that it looks for."""

    made: str
    original: str

    def __call__(self, name: str) -> str | None:
        return name[: -len(self.made)] + self.original if name.lower().endswith(self.made) else None


@dataclass(frozen=True, slots=True)
class RegexChange:
    """``answer name`` and ``answer value``: a name in which the expression is found is replaced as a whole."""

    regexp: Regexp
    replacement: str

    def __call__(self, name: str) -> str | None:
        groups = self.regexp.search(name)
        return None if groups is None else filled(self.replacement, groups)


def changed_name(change: NameChange, name: bytes) -> bytes:
    """
    A name in wire form after a change; one that stays is returned as it is.

    :raises BadName: the change makes no valid name; the message is the text that it made.
    """
    made = change(to_text(name))
    if made is None:
        return name
    try:
        return from_text(made)
    except BadName:
        raise BadName(made) from None
