# -*- test-case-name: tests.core.expression.test_compiler -*-
"""The values of expressions: text, integers of 64 bits, floats, truth values, nil, lists and maps; and the names of their types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Value = Any
"""``str``, ``int``, ``float``, ``bool``, ``None``, ``list`` or ``dict``: Python's own operators compute with them."""

MAX_ITEMS = 1000
"""Elements of a list or map, those of lists and maps inside it included."""

MAX_TEXT = 4096
"""Characters of a text; a name has at most 1,009 in presentation form."""


@dataclass(frozen=True, slots=True)
class EnvironmentFunction:
    """
    A function that the surroundings give: ``name()``, ``incidr(ip, cidr)``.

    :ivar parameters: types of the arguments.
    :ivar result: type of the result.
    :ivar call: takes the subject that the expression is about, then the arguments. ValueError is an error of execution.
    """

    parameters: tuple[str, ...]
    result: str
    call: Callable[..., Value]

    @property
    def type(self) -> str:
        """What errors call the function's type."""
        return f"func({', '.join(self.parameters)}) {self.result}"


def type_of(value: Value) -> str:
    """What expr-lang calls the type of a value."""
    match value:
        case None:
            return "nil"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "map"
    return type(value).__name__


def text_of(value: Value) -> str:
    """A value as Go's ``%v`` prints it."""
    match value:
        case str():
            return value
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return float_text(value)
        case list():
            return f"[{' '.join(map(text_of, value))}]"
        case dict():
            return f"map[{' '.join(f'{key}:{text_of(value[key])}' for key in sorted(value))}]"
    return str(value)


def float_text(value: float) -> str:
    """The shortest text that reads as the same number, with an exponent from 1e+21 on and below 1e-4."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    digits, _, exponent = repr(value).partition("e")
    if value and not 1e-4 <= abs(value) < 1e21:
        power = int(exponent)
        return f"{digits.removesuffix('.0')}e{'-' if power < 0 else '+'}{abs(power):02d}"
    return str(int(value)) if exponent else digits.removesuffix(".0")
