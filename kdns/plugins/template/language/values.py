# -*- test-case-name: tests.plugins.template.language.test_printing -*-
"""
Go's values as templates see them, and what Go calls their types.

Text is :class:`str`, a list is a list or tuple, a map is a dict with text keys. Python's int is Go's ``int``; a :class:`GoInt` is an
integer of another type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

Value = object
"""What a template computes with."""


class Missing(Enum):
    """There is no value: a key that a map does not have."""

    NO_VALUE = "<no value>"


NO_VALUE: Final = Missing.NO_VALUE


class GoInt(int):
    """An integer of another type than ``int``; it counts and prints like one."""

    go_type: str

    def __new__(cls, value: int, go_type: str) -> GoInt:
        """An integer with the name of its type: ``uint16``."""
        made = super().__new__(cls, value)
        made.go_type = go_type
        return made


class TextMap(dict[str, str]):
    """A map whose values are texts: to index one that it does not have gives an empty text."""


class Struct:
    """
    Named fields, each computed when it is read, and methods.

    :ivar go_type: what errors call the type.
    """

    __slots__ = ("_fields", "_methods", "go_type", "text")

    def __init__(
        self,
        go_type: str,
        fields: Mapping[str, Callable[[], Value]],
        methods: Mapping[str, Callable[[str], Value]] | None = None,
        text: str | None = None,
    ) -> None:
        """
        Join fields to one value.

        :param text: what it prints as; its fields, when that is not given.
        """
        self.go_type = go_type
        self.text = text
        self._fields = fields
        self._methods = methods or {}

    def read(self, name: str) -> Value:
        """
        The value of a field.

        :raises KeyError: there is none.
        """
        return self._fields[name]()

    def method(self, name: str) -> Callable[[str], Value] | None:
        """A method, which takes one text."""
        return self._methods.get(name)

    def values(self) -> list[Value]:
        """The values of all fields, in order."""
        return [field() for field in self._fields.values()]


def type_name(value: Value) -> str:
    """What Go calls the type of a value."""
    match value:
        case None | Missing():
            return "<nil>"
        case bool():
            return "bool"
        case GoInt():
            return value.go_type
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case TextMap():
            return "map[string]string"
        case dict():
            return "map[string]interface {}"
        case list() | tuple():
            return "[]string" if value and all(isinstance(each, str) for each in value) else "[]interface {}"
        case Struct():
            return value.go_type
    return type(value).__name__


def is_true(value: Value) -> bool:
    """Whether ``if`` takes a value as true: it is not zero, empty, nil or missing."""
    return True if isinstance(value, Struct) else value is not NO_VALUE and bool(value)
