# -*- test-case-name: tests.plugins.forward.test_cores -*-
"""How long connecting to an upstream may take: a core module of *forward*."""

from __future__ import annotations

from dataclasses import dataclass

SHORTEST, LONGEST = 1.0, 2.4
"""Seconds; nothing less and nothing more is waited for a connection. A client waits 5: a second upstream must fit in."""

WEIGHT = 4
"""What one more connection counts against the average: a quarter."""


@dataclass(slots=True)
class DialTime:
    """The moving average of the time that connecting took, in seconds, failed attempts included."""

    average: float = 15.0

    def took(self, seconds: float) -> None:
        """One more attempt to connect took so long."""
        self.average += (seconds - self.average) / WEIGHT

    @property
    def limit(self) -> float:
        """Seconds to wait for the next connection: twice the average."""
        return min(max(2 * self.average, SHORTEST), LONGEST)
