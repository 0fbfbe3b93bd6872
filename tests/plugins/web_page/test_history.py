"""Tests of :mod:`kdns.plugins.web.history`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.web.history import FIELDS, INTERVAL, ROWS, History, percentile


def a_look(seconds: float, **parts: Any) -> dict[str, Any]:
    """What a server says, with some of it replaced."""
    return {
        "now": 1000.0 + seconds,
        "seconds": seconds,
        "queries": {"udp": 0},
        "rcodes": {},
        "durations": {},
        "talkers": {"total": 0},
        "table": {"given": 0, "made": 0, "asked": 0},
        "cache": None,
        "process": {"resident": 5, "saturation": 0.25, "lag": {}},
        **parts,
    }


class HistoryTests(SynchronousTestCase):
    """Rows."""

    def row(self, first: dict[str, Any], second: dict[str, Any]) -> dict[str, float | None]:
        """The row between two looks, by field."""
        history = History()
        self.assertIsNone(history.add(first))
        row = history.add(second)
        assert row is not None
        return dict(zip(FIELDS, row, strict=True))

    def test_rates(self) -> None:
        """What grew, a second; shares of what grew."""
        row = self.row(
            a_look(10.0, queries={"udp": 50}, rcodes={"NOERROR": 50}, cache={"requests": 10, "misses": 10}),
            a_look(
                20.0,
                queries={"udp": 140, "tcp": 10},
                rcodes={"NOERROR": 90, "NXDOMAIN": 30, "SERVFAIL": 10, "REFUSED": 20},
                durations={"bounds": [0.001, 0.002], "counts": [50, 50, 0], "sum": 1.0},
                table={"given": 60, "made": 20, "asked": 20},
                cache={"requests": 30, "misses": 15},
            ),
        )
        self.assertEqual(row["time"], 1020.0)
        self.assertEqual(row["queries"], 10.0)
        self.assertEqual([row[name] for name in ("noerror", "nxdomain", "servfail", "other")], [4.0, 3.0, 1.0, 2.0])
        self.assertEqual((row["table"], row["fast"], row["cache"]), (0.6, 0.2, 0.75))
        self.assertEqual((row["memory"], row["processor"], row["lag"]), (5, 0.25, None))
        self.assertAlmostEqual(row["p50"] or 0, 0.001)
        self.assertAlmostEqual(row["p99"] or 0, 0.00198)

    def test_nothing_counted(self) -> None:
        """Without prometheus the queries are estimated, and what is not known is a gap."""
        row = self.row(
            a_look(0.0, queries=None, rcodes=None), a_look(10.0, queries=None, rcodes=None, talkers={"total": 70})
        )
        self.assertEqual(row["queries"], 7.0)
        self.assertEqual([row[name] for name in ("noerror", "p50", "table", "cache")], [None] * 4)

    def test_bounded(self) -> None:
        """An hour is kept, whatever comes."""
        history = History()
        for number in range(ROWS + 50):
            history.add(a_look(number * INTERVAL))
        self.assertEqual(len(history.rows), ROWS)
        self.assertEqual(history.rows[-1][0], 1000.0 + (ROWS + 49) * INTERVAL)

    def test_clock_stands(self) -> None:
        """Two looks at one moment make no row."""
        history = History()
        history.add(a_look(5.0))
        self.assertIsNone(history.add(a_look(5.0)))

    def test_percentile(self) -> None:
        """Interpolated within a bucket; above all bounds it is the last bound."""
        now = {"bounds": [1.0, 2.0, 4.0], "counts": [10, 10, 20, 10]}
        before = {"bounds": [1.0, 2.0, 4.0], "counts": [10, 0, 0, 0]}
        self.assertEqual(percentile(now, before, 0.5), 3.0)
        self.assertEqual(percentile(now, {}, 1.0), 4.0)
        self.assertIsNone(percentile(now, now, 0.5))
        self.assertIsNone(percentile({}, {}, 0.5))
