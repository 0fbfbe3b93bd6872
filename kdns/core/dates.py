# -*- test-case-name: tests.core.test_dates -*-
"""Times as machines read them in a log: RFC 3339, in UTC, to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime


class Dates:
    """Makes the text of one time after another; what they have in common with the one before is made once a second."""

    __slots__ = ("_second", "_start")

    def __init__(self) -> None:
        self._second = -1
        self._start = ""

    def text(self, now: float) -> str:
        """The text of *now*, seconds since 1970: ``2026-11-23T10:15:20.123456Z``."""
        micros = int(now * 1_000_000)
        second = micros // 1_000_000
        if second != self._second:
            self._second = second
            self._start = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._start}{micros - second * 1_000_000:06d}Z"
