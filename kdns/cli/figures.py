# -*- test-case-name: tests.cli.test_figures -*-
"""Numbers for people: what changed between two looks at a server, and how quantities are written. No Twisted, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, TypeAlias

Look: TypeAlias = Mapping[str, Any]
"""The reply to ``status`` at one moment; see :mod:`kdns.admin.status`."""

NOTHING = "-"
"""Stands where there is no figure."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def at(look: Look, path: str) -> float:
    """The number at a path like ``table.given``; 0 when there is none."""
    found: Any = look
    for word in path.split("."):
        if not isinstance(found, Mapping):
            return 0.0
        found = found.get(word)
    return float(found) if isinstance(found, (int, float)) else 0.0


def passed(now: Look, then: Look | None) -> float:
    """Seconds between two looks; since the start when there is no earlier one."""
    return at(now, "seconds") - (at(then, "seconds") if then is not None else 0.0)


def grew(now: Look, then: Look | None, path: str) -> float:
    """By how much a number grew between two looks; since the start when there is no earlier one."""
    return at(now, path) - (at(then, path) if then is not None else 0.0)


def rate(now: Look, then: Look | None, path: str) -> float | None:
    """How much a number grew in a second; None when no time has passed."""
    seconds = passed(now, then)
    return grew(now, then, path) / seconds if seconds > 0 else None


def shares(now: Look, then: Look | None, path: str) -> dict[str, float]:
    """Which parts, 0 to 1, the numbers below a path have in what came between two looks, the largest first; empty when nothing came."""
    numbers = now.get(path) or {}
    parts = {name: grew(now, then, f"{path}.{name}") for name in numbers}
    total = sum(parts.values())
    if total <= 0:
        return {}
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    return {name: part / total for name, part in ordered if part > 0}


Counted: TypeAlias = Mapping[str, Any]
"""A histogram: ``bounds``, ``counts`` with one more for what is above, and ``sum``."""


def between(now: Counted, then: Counted | None) -> list[float]:
    """The counts of what a histogram observed between two looks."""
    counts = [float(count) for count in now.get("counts", ())]
    before = list(then.get("counts", ())) if then else []
    if len(before) != len(counts):
        return counts
    return [count - earlier for count, earlier in zip(counts, before, strict=True)]


def percentile(bounds: Sequence[float], counts: Sequence[float], share: float) -> float | None:
    """
    The value below which a share, 0 to 1, of what was observed lies; a guess within a bucket, infinite above the last bound.

    None when nothing was observed.
    """
    total = sum(counts)
    if total <= 0:
        return None
    wanted, below, lower = share * total, 0.0, 0.0
    for bound, count in zip((*bounds, inf), counts, strict=True):
        if count and below + count >= wanted:
            return inf if bound == inf else lower + (bound - lower) * (wanted - below) / count
        below += count
        lower = bound
    return inf


_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """
    The last *width* values as a row of bars, the highest for the greatest; a blank where there is none.

    Zero, and all values when there is nothing greater, are the lowest bar. Infinity is the highest.
    """
    shown = values[-width:] if width > 0 else ()
    top = greatest(shown)
    bars = []
    for value in shown:
        if value is None:
            bars.append(" ")
        elif value == inf:
            bars.append(_BLOCKS[-1])
        else:
            bars.append(_BLOCKS[min(7, int(value / top * 7 + 0.5)) if top > 0 else 0])
    return "".join(bars)


def greatest(values: Sequence[float | None]) -> float:
    """The greatest of the values that there are, infinity apart; 0 without any."""
    return max((value for value in values if value is not None and value != inf), default=0.0)


# How quantities are written.


def count_text(number: float | None) -> str:
    """A number of things: ``4,812``, ``12.3 M``; below ten with a decimal if it has one."""
    if number is None:
        return NOTHING
    for size, unit in ((1e9, " G"), (1e6, " M")):
        if abs(number) >= 10 * size:
            return f"{number / size:,.1f}{unit}"
    if abs(number) < 9.95 and number != int(number):
        return f"{number:.1f}" if abs(number) >= 0.05 else "<0.1"
    return f"{number:,.0f}"


def share_text(share: float | None) -> str:
    """A share, 0 to 1, in per cent."""
    if share is None:
        return NOTHING
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{share * 100:.1f}%" if share < 0.9995 else "100%"


def seconds_text(seconds: float | None, bounds: Sequence[float] = ()) -> str:
    """A short time: ``120 us``, ``1.2 ms``, ``2.1 s``; what is above the last of *bounds* as such."""
    if seconds is None:
        return NOTHING
    if seconds == inf:
        return f">{seconds_text(bounds[-1])}" if bounds else "very long"
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= size * 0.9995 or unit == "us":
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 9.95 and unit != "us" else f"{value:.0f} {unit}"
    return NOTHING


def age_text(seconds: float) -> str:
    """A time that passed: ``3 s``, ``4 min 10 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = int(max(0.0, seconds))
    for size, unit, small, small_unit in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit} {rest} {small_unit}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def rough_age(seconds: float) -> str:
    """The same in one unit."""
    number, unit = age_text(seconds).split(" ")[:2]
    return f"{number} {unit}"


def bytes_text(size: float) -> str:
    """An amount of memory in MiB, above ten of them in GiB."""
    mebibytes = size / (1 << 20)
    if mebibytes >= 10 * 1024:
        return f"{mebibytes / 1024:.1f} GiB"
    return f"{mebibytes:.1f} MiB" if mebibytes < 9.95 else f"{mebibytes:.0f} MiB"
