# -*- test-case-name: tests.core.test_dates -*-
"""Times in a log, in the form of RFC 3339: UTC, with microseconds."""

from __future__ import annotations

from datetime import UTC, datetime


class Dates:
    """Formats times. The part down to the second is formatted once a second."""

    __slots__ = ("_second", "_start")

    def __init__(self) -> None:
        self._second = -1
        self._start = ""

    def text(self, now: float) -> str:
        """*now*, in seconds since 1970, as ``2026-11-23T10:15:20.123456Z``."""
        micros = int(now * 1_000_000)
        second = micros // 1_000_000
        if second != self._second:
            self._second = second
            self._start = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._start}{micros - second * 1_000_000:06d}Z"
