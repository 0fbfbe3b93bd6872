# -*- test-case-name: tests.corefile.test_parser -*-
"""
The tree a Corefile becomes: server blocks, their keys, their directives.

The parser makes these values and all others read them. What keys and arguments mean is left to :mod:`kdns.corefile.keys` and to the
plugins, writing a tree down as text to :mod:`kdns.corefile.printer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kdns.corefile.errors import Place
from kdns.corefile.lexer import Token


@dataclass(frozen=True, slots=True)
class Directive:
    """
    All that one server block says under one directive name.

    :ivar tokens: of every repetition, in file order, names and braces included.
    """

    name: str
    tokens: tuple[Token, ...]

    @property
    def place(self) -> Place:
        """Where the directive stands first."""
        return self.tokens[0].place


@dataclass(frozen=True, slots=True)
class ServerBlock:
    """
    One server block.

    :ivar keys: as they are written, environment references replaced; never empty.
    :ivar place: where the block begins.
    :ivar directives: by name, in the order of their first appearance.
    """

    keys: tuple[Token, ...]
    place: Place
    directives: Mapping[str, Directive] = field(default_factory=dict)

    @property
    def key_texts(self) -> tuple[str, ...]:
        """The keys as plain text."""
        return tuple(key.text for key in self.keys)
