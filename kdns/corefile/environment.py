# -*- test-case-name: tests.corefile.test_environment -*-
"""
Environment references in a Corefile: ``{$NAME}`` and ``{%NAME%}``.

Decides what a word reads after replacement. A value is taken as it is: it is neither searched for further references (so no value can
make the search endless) nor cut into words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

MAX_WORD = 1024 * 1024
"""Characters of a word after replacement; references to one long value would otherwise multiply it without end."""

_ENDS = {"{$": "}", "{%": "%}"}


def expand(text: str, environment: Mapping[str, str]) -> str:
    """
    Replace each reference in *text*; a variable that is not set reads as nothing.

    ``{$}`` names nothing and stays. So does the template ``{{ $x }}``, for its blank; ``{{$x}}`` is a reference in braces.

    :raises ValueError: the values make the word longer than :data:`MAX_WORD`.
    """
    pieces = []
    done = size = 0
    for start, end in _references(text):
        name = text[start + 2 : end - len(_ENDS[text[start : start + 2]])]
        value = environment.get(name, "")
        size += len(value)
        if size > MAX_WORD:
            raise ValueError(f"environment values make a word longer than {MAX_WORD} characters")
        pieces += [text[done:start], value]
        done = end
    return "".join(pieces) + text[done:] if pieces else text


def has_reference(text: str) -> bool:
    """Whether anything in *text* would be replaced."""
    return any(_references(text))


def _references(text: str) -> Iterator[tuple[int, int]]:
    """
    Where the references begin and end, one after another.

    Each search starts where the last one ended and a missing end is looked for once, so the time is proportional to the length also
    for a million openings without an end, which a regular expression would try one by one to the end of the text.
    """
    endless: set[str] = set()
    position = text.find("{")
    while position >= 0:
        opening = text[position : position + 2]
        following = position + 1
        if opening in _ENDS and opening not in endless:
            end = text.find(_ENDS[opening], position + 2)
            if end < 0:
                endless.add(opening)
            elif end > position + 2:
                following = end + len(_ENDS[opening])
                yield position, following
        position = text.find("{", following)
