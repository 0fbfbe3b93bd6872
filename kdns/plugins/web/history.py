# -*- test-case-name: tests.plugins.web_page.test_history -*-
"""
The last hour in fixed memory: a row of rates, latencies and shares for each ten seconds.

A core module: it takes what the command ``status`` says, and keeps what it grew by.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Look: TypeAlias = Mapping[str, Any]

INTERVAL = 10.0
"""Seconds between two rows."""

ROWS = 360
"""Rows that are kept: an hour."""

FIELDS = (
    "time",
    "queries",
    "noerror",
    "nxdomain",
    "servfail",
    "other",
    "p50",
    "p99",
    "table",
    "fast",
    "cache",
    "memory",
    "processor",
    "lag",
)
"""
What a row holds: Unix seconds; queries and replies by response code, each a second; latencies in seconds; shares of the answer table and
the fast path among all queries, and of cache hits among all that asked a cache; bytes of memory; share of the processor; 99th percentile of
the reactor's lag in seconds. None where nothing was counted.
"""

Row: TypeAlias = tuple[float | None, ...]


class History:
    """The rows of the last hour."""

    def __init__(self) -> None:
        self.rows: deque[Row] = deque(maxlen=ROWS)
        self._before: Look | None = None

    def add(self, look: Look) -> Row | None:
        """Take a look; the row since the one before, None for the first."""
        before, self._before = self._before, look
        if before is None or look["seconds"] <= before["seconds"]:
            return None
        row = row_between(before, look)
        self.rows.append(row)
        return row


def row_between(before: Look, now: Look) -> Row:
    """The row of the time between two looks."""
    seconds = now["seconds"] - before["seconds"]
    counted = now["queries"] is not None and before["queries"] is not None
    queries = _grown(now["queries"], before["queries"]) if counted else _grown_one(now, before, "talkers", "total")
    codes: list[float | None] = [None, None, None, None]
    if now["rcodes"] is not None and before["rcodes"] is not None:
        known = [
            now["rcodes"].get(code, 0) - before["rcodes"].get(code, 0) for code in ("NOERROR", "NXDOMAIN", "SERVFAIL")
        ]
        all_codes = _grown(now["rcodes"], before["rcodes"])
        codes = [count / seconds for count in (*known, all_codes - sum(known))]
    given, made, asked = (_grown_one(now, before, "table", name) for name in ("given", "made", "asked"))
    answered = given + made + asked
    hits = None
    if now["cache"] and before["cache"]:
        requests = _grown_one(now, before, "cache", "requests")
        hits = (requests - _grown_one(now, before, "cache", "misses")) / requests if requests > 0 else None
    process = now["process"]
    return (
        now["now"],
        queries / seconds,
        *codes,
        percentile(now["durations"], before["durations"], 0.5),
        percentile(now["durations"], before["durations"], 0.99),
        given / answered if answered > 0 else None,
        made / answered if answered > 0 else None,
        hits,
        process["resident"],
        process["saturation"],
        percentile(process["lag"], before["process"]["lag"], 0.99),
    )


def percentile(now: Look, before: Look, share: float) -> float | None:
    """
    The value below which *share* of what was counted in between lies, interpolated between the bounds of a histogram.

    None when nothing was counted. Above the last bound, that bound.
    """
    bounds: Sequence[float] = now.get("bounds") or ()
    old = before.get("counts") or [0] * (len(bounds) + 1)
    counts: list[float] = [count - then for count, then in zip(now.get("counts") or (), old, strict=False)]
    wanted = share * sum(counts)
    if wanted <= 0:
        return None
    lower = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count > 0 and wanted <= count:
            return lower + (bound - lower) * wanted / count
        wanted -= count
        lower = bound
    return lower


def _grown(now: Mapping[str, float], before: Mapping[str, float]) -> float:
    return sum(now.values()) - sum(before.values())


def _grown_one(now: Look, before: Look, part: str, name: str) -> float:
    return float(now[part][name] - before[part][name])
