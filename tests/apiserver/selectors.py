# -*- test-case-name: tests.apiserver.test_selectors -*-
"""Label and field selectors: whether an object is in a list; which objects there are is store.py's business."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Test: TypeAlias = Callable[[Mapping[str, str]], bool]

_KEY = r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_COMPARE = re.compile(rf"({_KEY})\s*(==|=|!=|>|<)\s*({_VALUE})")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")
_VALUE_ONLY = re.compile(_VALUE)


class SelectorError(ValueError):
    """A selector that cannot be read."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A conjunction of tests over a mapping of strings; without tests it takes everything."""

    text: str
    tests: tuple[Test, ...] = ()

    def __call__(self, values: Mapping[str, str]) -> bool:
        return all(test(values) for test in self.tests)

    def __bool__(self) -> bool:
        """Whether anything is selected away at all."""
        return bool(self.tests)


EVERYTHING = Selector("")


def _split(text: str) -> list[str]:
    """Cut at commas outside of parentheses."""
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        if letter == "(":
            depth += 1
        elif letter == ")":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [part.strip() for part in parts]


def _requirement(part: str) -> Test:
    if found := _SET.fullmatch(part):
        key, operator = found[1], found[2]
        chosen = frozenset(value.strip() for value in found[3].split(","))
        if not all(_VALUE_ONLY.fullmatch(value) for value in chosen):
            raise SelectorError(f"unable to parse requirement: {part!r}")
        if operator == "in":
            return lambda labels: key in labels and labels[key] in chosen
        # An object without the key is not in any set.
        return lambda labels: key not in labels or labels[key] not in chosen
    if found := _COMPARE.fullmatch(part):
        key, operator, value = found[1], found[2], found[3]
        if operator in ("=", "=="):
            return lambda labels: labels.get(key) == value
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        if not value.isdecimal():
            raise SelectorError(f"for 'Gt', 'Lt' operators, the value must be an integer: {part!r}")
        bound = int(value)
        if operator == ">":
            return lambda labels: _number(labels.get(key)) is not None and int(labels[key]) > bound
        return lambda labels: _number(labels.get(key)) is not None and int(labels[key]) < bound
    if found := _EXISTS.fullmatch(part):
        key, absent = found[2], bool(found[1])
        return lambda labels: (key in labels) is not absent
    raise SelectorError(f"unable to parse requirement: {part!r}")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def label_selector(text: str) -> Selector:
    """
    Read a labelSelector: ``a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1``.

    :raises SelectorError: it cannot be read.
    """
    if not text.strip():
        return EVERYTHING
    return Selector(text, tuple(_requirement(part) for part in _split(text)))


def field_selector(text: str, known: frozenset[str]) -> Selector:
    """
    Read a fieldSelector: ``status.phase!=Succeeded,metadata.name=web``; a missing field counts as empty.

    :param known: the fields this resource can be selected by.
    :raises SelectorError: it cannot be read, or names a field that is not known.
    """
    tests: list[Test] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        found = re.fullmatch(r"([A-Za-z0-9_.\-]+)\s*(!=|==|=)\s*(.*)", part)
        if found is None:
            raise SelectorError(f"invalid field selector: {part!r}; can't understand it")
        if found[1] not in known:
            raise SelectorError(f"field label not supported: {found[1]}")
        tests.append(_field_test(found[1], found[2] == "!=", found[3]))
    return Selector(text, tuple(tests))


def _field_test(name: str, unequal: bool, value: str) -> Test:
    if unequal:
        return lambda fields: fields.get(name, "") != value
    return lambda fields: fields.get(name, "") == value
