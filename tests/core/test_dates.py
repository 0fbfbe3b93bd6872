"""Tests of :mod:`kdns.core.dates`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.dates import Dates


class DatesTests(SynchronousTestCase):
    """Times as text."""

    def test_text(self) -> None:
        """Date, time and microseconds in UTC, also when time goes back."""
        dates = Dates()
        for now, wanted in [
            (0.0, "1970-01-01T00:00:00.000000Z"),
            (1_795_428_920.125, "2026-11-23T10:15:20.125000Z"),
            (1_795_428_920.000244140625, "2026-11-23T10:15:20.000244Z"),
            (1_795_428_921.5, "2026-11-23T10:15:21.500000Z"),
            (1_795_428_919.999999, "2026-11-23T10:15:19.999999Z"),
        ]:
            self.assertEqual(dates.text(now), wanted)
