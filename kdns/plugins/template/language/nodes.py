# -*- test-case-name: tests.plugins.template.language.test_parser -*-
"""
The parts of a parsed template. ``str`` of one is its normal form, as Go prints it: ``{{.Name}} 60 IN A 10.0.0.1``.

Each node keeps its offset in the text, for errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Node:
    """Something of a template."""

    offset: int


@dataclass(frozen=True, slots=True)
class Text(Node):
    """What stands between actions."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """A literal: text, a number, a character, true, false or nil."""

    value: object
    source: str

    def __str__(self) -> str:
        return self.source


@dataclass(frozen=True, slots=True)
class Path(Node):
    """``.A.B``, ``$x.A``, ``(pipeline).A``, ``.`` and ``$x``: a start and the fields read from it."""

    start: str | Pipeline
    """Empty for the dot."""

    fields: tuple[str, ...]

    def __str__(self) -> str:
        start = f"({self.start})" if isinstance(self.start, Pipeline) else self.start
        return start + "".join(f".{name}" for name in self.fields) or "."


@dataclass(frozen=True, slots=True)
class Function(Node):
    """The name of a function."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Command(Node):
    """A value, or something that is called with arguments."""

    words: tuple[Node, ...]

    def __str__(self) -> str:
        return " ".join(f"({word})" if isinstance(word, Pipeline) else str(word) for word in self.words)


@dataclass(frozen=True, slots=True)
class Pipeline(Node):
    """Commands, each of which gets the value of the one before as its last argument; variables take the last value."""

    commands: tuple[Command, ...]
    variables: tuple[str, ...] = ()
    declares: bool = True
    """Whether the variables are made here."""

    def __str__(self) -> str:
        commands = " | ".join(map(str, self.commands))
        if not self.variables:
            return commands
        return f"{', '.join(self.variables)} {':=' if self.declares else '='} {commands}"


@dataclass(frozen=True, slots=True)
class Action(Node):
    """``{{ pipeline }}``: its value is printed unless it goes into a variable."""

    pipeline: Pipeline

    def __str__(self) -> str:
        return f"{{{{{self.pipeline}}}}}"


@dataclass(frozen=True, slots=True)
class Branch(Node):
    """``if``, ``with`` or ``range``."""

    keyword: str
    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...] | None = None

    def __str__(self) -> str:
        otherwise = "" if self.otherwise is None else f"{{{{else}}}}{joined(self.otherwise)}"
        return f"{{{{{self.keyword} {self.pipeline}}}}}{joined(self.body)}{otherwise}{{{{end}}}}"


@dataclass(frozen=True, slots=True)
class Jump(Node):
    """``break`` or ``continue``."""

    keyword: str

    def __str__(self) -> str:
        return f"{{{{{self.keyword}}}}}"


@dataclass(frozen=True, slots=True)
class Include(Node):
    """``{{ template "name" pipeline }}``."""

    name: str
    source: str
    pipeline: Pipeline | None

    def __str__(self) -> str:
        return f"{{{{template {self.source}{'' if self.pipeline is None else f' {self.pipeline}'}}}}}"


@dataclass(slots=True)
class Tree:
    """A parsed template and those that it defines."""

    body: tuple[Node, ...] = ()
    defined: dict[str, tuple[Node, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        return joined(self.body)


def joined(nodes: Sequence[Node]) -> str:
    """The normal form of nodes in a row."""
    return "".join(map(str, nodes))
