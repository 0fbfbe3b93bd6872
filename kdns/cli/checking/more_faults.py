# -*- test-case-name: tests.cli.checking.test_more_faults -*-
"""
What else is wrong with a directive whose first fault is known: its plugin reads it again without the option at fault, and again.

Only faults of option lines are told. One that comes up behind the last line, such as an option that needs another, may be there only
because a line was left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import CorefileError, Place
from kdns.corefile.lexer import Token
from kdns.plugin import registry
from kdns.server.assembly import Configuration

MOST = 20
"""Faults of one directive, at most."""


def further(configuration: Configuration, error: CorefileError) -> Iterator[CorefileError]:
    """The faults behind *error* in the same directive of the same block."""
    name = error.plugin or ""
    for builder, tree in zip(configuration.builders, configuration.corefile.blocks, strict=True):
        use = tree.directives.get(name)
        if use is None or name not in registry.BUILT_IN or error.place not in {token.place for token in use.tokens}:
            continue
        directive = registry.find(name, use.place)
        tokens: Sequence[Token] = use.tokens
        place: Place | None = error.place
        for _ in range(MOST):
            shorter = _without(tokens, place)
            if shorter is None:
                break
            tokens = shorter
            try:
                directive.parse(Dispenser(replace(use, tokens=tuple(tokens))), builder.block)
                break
            except CorefileError as following:
                if _without(tokens, following.place) is None:
                    break
                place = following.place
                yield following


def _without(tokens: Sequence[Token], place: Place | None) -> list[Token] | None:
    """The tokens without the option lines at a place; None when something else stands there, or nothing."""
    kept: list[Token] = []
    inside = False
    for token in tokens:
        brace = token.text in ("{", "}")
        if token.place == place and (brace or not inside):
            return None
        if token.place != place:
            kept.append(token)
        if brace:
            inside = token.text == "{"
    return kept if len(kept) < len(tokens) else None
