# -*- test-case-name: tests.plugins.pprof.test_profile -*-
"""
A profile, and the two ways to write it: a core module of *pprof*.

A profile has values for stacks of places in the source. As text it is a table of functions. In the format of ``go tool pprof`` it is a
message of protocol buffers (``profile.proto`` of github.com/google/pprof), compressed with gzip.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

MOST_LINES = 100
"""Functions that the text shows."""


class Place(NamedTuple):
    """A line of a function."""

    function: str
    file: str = ""
    line: int = 0

    @property
    def shown(self) -> str:
        """As the text shows its function."""
        return f"{self.function} {self.file}" if self.file else self.function


class Unit(NamedTuple):
    """What a value means: ``samples`` in ``count``, ``cpu`` in ``nanoseconds``."""

    name: str
    unit: str


Stack = tuple[Place, ...]
"""Places, the innermost first."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Values of stacks."""

    units: tuple[Unit, ...]
    """Of the values; the last one is what the text is sorted by."""

    samples: Mapping[Stack, tuple[int, ...]]
    began: float
    """Seconds since 1970."""

    seconds: float = 0.0
    """How long it was taken; 0 for a state."""

    period: int = 0
    """Between two samples, in the last unit."""


def as_text(profile: Profile) -> str:
    """A table: each function's own values, and the last one with those of what it calls."""
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for stack, values in profile.samples.items():
        own[stack[0].shown] += values[-1]
        for shown in {place.shown for place in stack}:
            below[shown] += values[-1]
    total = sum(own.values())
    unit = profile.units[-1]
    lines = [f"{unit.name} in {unit.unit}: {total}", f"{'own':>14} {'':>6} {'with calls':>14} {'':>6}  function"]
    for shown, value in sorted(below.items(), key=lambda item: (-own[item[0]], -item[1], item[0]))[:MOST_LINES]:
        lines.append(f"{own[shown]:>14} {_share(own[shown], total)} {value:>14} {_share(value, total)}  {shown}")
    return "\n".join(lines) + "\n"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):5.1f}%"


def as_pprof(profile: Profile) -> bytes:
    """The message that ``go tool pprof`` reads."""
    strings: dict[str, int] = {"": 0}

    def text(value: str) -> int:
        return strings.setdefault(value, len(strings))

    def unit(value: Unit) -> bytes:
        return _number(1, text(value.name)) + _number(2, text(value.unit))

    functions: dict[tuple[str, str], int] = {}
    places: dict[Place, int] = {}
    samples = []
    for stack, values in profile.samples.items():
        for place in stack:
            functions.setdefault((place.function, place.file), len(functions) + 1)
            places.setdefault(place, len(places) + 1)
        samples.append(_packed(1, [places[place] for place in stack]) + _packed(2, values))
    body = [_bytes(1, unit(one)) for one in profile.units]
    body += [_bytes(2, sample) for sample in samples]
    for place, number in places.items():
        line = _number(1, functions[place.function, place.file]) + _number(2, place.line)
        body.append(_bytes(4, _number(1, number) + _bytes(4, line)))
    for (function, file), number in functions.items():
        body.append(_bytes(5, _number(1, number) + _number(2, text(function)) + _number(4, text(file))))
    period = unit(profile.units[-1])
    body += [_bytes(6, value.encode("utf-8", "replace")) for value in strings]
    body.append(_number(9, int(profile.began * 1e9)) + _number(10, int(profile.seconds * 1e9)))
    body.append(_bytes(11, period) + _number(12, profile.period))
    return gzip.compress(b"".join(body), 1, mtime=0)


# Protocol buffers, as far as they are needed: varints and bytes.


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _packed(field: int, values: Iterable[int]) -> bytes:
    return _bytes(field, b"".join(map(_varint, values)))
