# -*- test-case-name: tests.cluster.test_selectors -*-
"""
The label selectors of Kubernetes: ``app=web,tier in (a, b),!legacy``.

The API server applies them to a watch. Here they are applied to objects from files, and a configured selector is checked before it is
sent. Error texts are those of the servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

_WORD = re.compile(r"[^\s,()=!<>]+")
_SYMBOLS = ("!=", "==", "=", "!", ",", "(", ")", "<", ">")

_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class SelectorError(ValueError):
    """The text is not a selector."""

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        super().__init__(f'couldn\'t parse the selector string "{quoted}": {reason}')


class Operator(Enum):
    """Condition on a label."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"
    LESS = "lt"
    GREATER = "gt"


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None
            case _:
                number = _integer(value)
                (bound,) = map(int, self.values)
                if number is None:
                    return False
                return number < bound if self.operator is Operator.LESS else number > bound


@dataclass(frozen=True, slots=True)
class Selector:
    """Conditions that must all hold; none selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


EVERYTHING = Selector()


class _Unexpected(Exception):
    """A syntax error; its text is the reason of a SelectorError."""


class _Tokens:
    """The tokens of a selector, with a look at the next one; the end is an empty token."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_scan(text))
        self._position = 0

    def peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self._position += 1
        return token


def _scan(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        for symbol in _SYMBOLS:
            if text.startswith(symbol, position):
                yield symbol
                position += len(symbol)
                break
        else:
            word = _WORD.match(text, position)
            assert word is not None
            yield word.group()
            position = word.end()


def parse(text: str) -> Selector:
    """
    Read a selector; the empty text selects everything.

    :raises SelectorError: it is none.
    """
    tokens = _Tokens(text)
    requirements: list[Requirement] = []
    try:
        while tokens.peek():
            requirements.append(_requirement(tokens))
            separator = tokens.next()
            if not separator:
                break
            if separator != ",":
                raise _Unexpected(f"found '{separator}', expected: ',' or 'end of string'")
            if tokens.peek() in ("", *_SYMBOLS) and tokens.peek() != "!":
                raise _Unexpected(f"found '{tokens.peek()}', expected: identifier after ','")
    except _Unexpected as problem:
        raise SelectorError(text, str(problem)) from None
    return Selector(tuple(requirements))


def _requirement(tokens: _Tokens) -> Requirement:
    try:
        absent = tokens.peek() == "!"
        if absent:
            tokens.next()
        key = tokens.next()
        if not key or key in _SYMBOLS:
            raise _Unexpected(f"found '{key}', expected: identifier")
        _check_key(key)
        if absent:
            return Requirement(key, Operator.ABSENT)
        if tokens.peek() in ("", ","):
            return Requirement(key, Operator.EXISTS)
        word = tokens.next()
        if word in ("in", "notin"):
            values = _values(tokens)
            operator = Operator.IN if word == "in" else Operator.NOT_IN
        elif word in ("=", "==", "!=", "<", ">"):
            # Nothing after the sign means the empty value.
            value = "" if tokens.peek() in ("", ",") else tokens.next()
            if value in _SYMBOLS:
                raise _Unexpected(f"found '{value}', expected: identifier")
            values = frozenset((value,))
            operator = _OPERATORS.get(word, Operator.IN)
        else:
            raise _Unexpected(f"found '{word}', expected: in, notin, =, ==, !=, gt, lt")
        _check_values(key, operator, values)
        return Requirement(key, operator, values)
    except _Unexpected as problem:
        raise _Unexpected(f"unable to parse requirement: {problem}") from None


_OPERATORS = {"!=": Operator.NOT_IN, "<": Operator.LESS, ">": Operator.GREATER}


def _values(tokens: _Tokens) -> frozenset[str]:
    opening = tokens.next()
    if opening != "(":
        raise _Unexpected(f"found '{opening}' expected: '('")
    values = set()
    if tokens.peek() == ")":
        # Nothing between the brackets is one empty value.
        tokens.next()
        return frozenset(("",))
    while True:
        value = "" if tokens.peek() in (",", ")") else tokens.next()
        if value in _SYMBOLS:
            raise _Unexpected(f"found '{value}', expected: ',', ')' or identifier")
        values.add(value)
        separator = tokens.next()
        if separator == ")":
            return frozenset(values)
        if separator != ",":
            raise _Unexpected(f"found '{separator}', expected: ',' or ')'")


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    good = len(name) <= 63 and _NAME.fullmatch(name)
    if slash:
        good = good and len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix)
    if good is None or good is False:
        raise _Unexpected(
            f'key: Invalid value: "{key}": not a label name: letters, digits, -, _ and . after an optional domain and /'
        )


def _check_values(key: str, operator: Operator, values: frozenset[str]) -> None:
    for value in sorted(values):
        if operator in (Operator.LESS, Operator.GREATER):
            if _integer(value) is None:
                raise _Unexpected(
                    f"values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
                )
        elif value and not (len(value) <= 63 and _NAME.fullmatch(value)):
            raise _Unexpected(
                f'values[0][{key}]: Invalid value: "{value}": a label value is 1 to 63 letters, digits, -, _ and .'
            )


def _integer(text: str | None) -> int | None:
    """A number of 64 bits, as the API takes it."""
    if text is None or not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return None
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else None
