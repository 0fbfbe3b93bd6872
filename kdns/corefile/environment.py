# -*- test-case-name: tests.corefile.test_environment -*-
"""
Environment references in a Corefile: ``{$NAME}`` and ``{%NAME%}``.

Decides what a word reads after replacement. A value is taken as it is: it is neither searched for further references (so no value can
make the search endless) nor cut into words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\{\$([^}]+)\}|\{%((?:(?!%\}).)+)%\}", re.DOTALL)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """
    Replace each reference in *text*; a variable that is not set reads as nothing.

    ``{$}`` names nothing and stays. So does the template ``{{ $x }}``, for its blank; ``{{$x}}`` is a reference in braces.
    """
    if "{" not in text:
        return text
    return _REFERENCE.sub(lambda found: environment.get(found[1] or found[2], ""), text)


def has_reference(text: str) -> bool:
    """Whether anything in *text* would be replaced."""
    return _REFERENCE.search(text) is not None
