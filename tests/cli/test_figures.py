"""Numbers for people."""

from __future__ import annotations

from bisect import bisect_left
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.figures import (
    age_text,
    at,
    between,
    bytes_text,
    count_text,
    greatest,
    grew,
    percentile,
    rate,
    rough_age,
    seconds_text,
    share_text,
    shares,
    sparkline,
)

THEN = {"seconds": 10.0, "queries": {"udp": 100}, "rcodes": {"NOERROR": 90, "NXDOMAIN": 10}}
NOW = {"seconds": 14.0, "queries": {"udp": 300, "tcp": 8}, "rcodes": {"NOERROR": 100, "NXDOMAIN": 40, "SERVFAIL": 0}}
BOUNDS = (1.0, 2.0, 4.0)


class BetweenTests(SynchronousTestCase):
    """What changed between two looks."""

    def test_rates(self) -> None:
        """What came in a second; from nothing when there was none before, and over the whole time without an earlier look."""
        self.assertEqual(rate(NOW, THEN, "queries.udp"), 50.0)
        self.assertEqual(rate(NOW, THEN, "queries.tcp"), 2.0)
        self.assertEqual(rate(NOW, None, "queries.tcp"), 8 / 14)
        self.assertIsNone(rate(NOW, NOW, "queries.udp"))
        self.assertEqual((at(NOW, "nothing.there"), at(NOW, "queries.udp.more"), at(NOW, "queries")), (0.0, 0.0, 0.0))
        self.assertEqual(grew(NOW, THEN, "queries.udp"), 200)

    def test_shares(self) -> None:
        """The parts of what came, the largest first; what did not come is left out."""
        self.assertEqual(shares(NOW, THEN, "rcodes"), {"NXDOMAIN": 0.75, "NOERROR": 0.25})
        self.assertEqual(list(shares(NOW, THEN, "rcodes")), ["NXDOMAIN", "NOERROR"])
        self.assertEqual(shares(NOW, NOW, "rcodes"), {})
        self.assertEqual(shares({"rcodes": None}, None, "rcodes"), {})

    def test_histogram(self) -> None:
        """A histogram between two looks; one of other bounds is no earlier one."""
        self.assertEqual(between({"counts": [5, 6]}, {"counts": [1, 2]}), [4.0, 4.0])
        self.assertEqual(between({"counts": [5, 6]}, {"counts": [1]}), [5.0, 6.0])
        self.assertEqual(between({"counts": [5, 6]}, None), [5.0, 6.0])
        self.assertEqual(between({}, None), [])

    def test_percentile(self) -> None:
        """A guess within the bucket; infinite above all of them; none of nothing."""
        self.assertEqual(percentile(BOUNDS, [10, 0, 0, 0], 0.5), 0.5)
        self.assertEqual(percentile(BOUNDS, [5, 5, 0, 0], 0.75), 1.5)
        self.assertEqual(percentile(BOUNDS, [0, 0, 10, 0], 1.0), 4.0)
        self.assertEqual(percentile(BOUNDS, [0, 0, 1, 9], 0.5), inf)
        self.assertIsNone(percentile(BOUNDS, [0, 0, 0, 0], 0.5))

    @settings(deadline=None, derandomize=True)
    @given(st.lists(st.floats(0.001, 3.999), min_size=1), st.floats(0.01, 1.0))
    def test_bucket(self, values: list[float], share: float) -> None:
        """The guess lies in the bucket of the true percentile."""
        counts = [0.0] * 4
        for value in values:
            counts[bisect_left(BOUNDS, value)] += 1
        guess = percentile(BOUNDS, counts, share)
        assert guess is not None
        ordered = sorted(values)
        true = next(value for number, value in enumerate(ordered, 1) if number >= share * len(values) * (1 - 1e-12))
        self.assertEqual(bisect_left(BOUNDS, guess * (1 - 1e-12)), bisect_left(BOUNDS, true))


class TextTests(SynchronousTestCase):
    """How quantities are written."""

    def check(self, write: object, table: dict[object, str]) -> None:
        """A table of quantities and texts."""
        assert callable(write)
        self.assertEqual({value: write(value) for value in table}, table)

    def test_counts(self) -> None:
        """Whole when large, with a decimal when small."""
        self.check(
            count_text,
            {None: "-", 0: "0", 0.01: "<0.1", 0.5: "0.5", 3: "3", 9.96: "10", 4812.4: "4,812", 9_999_999: "9,999,999",
             12_345_678: "12.3 M", 1e10: "10.0 G"},
        )  # fmt: skip

    def test_shares(self) -> None:
        """In per cent; what is there is not 0, and what is not all is not 100."""
        self.check(
            share_text,
            {None: "-", 0.0: "0.0%", 0.0001: "<0.1%", 0.123: "12.3%", 0.9994: "99.9%", 1.0: "100%"},
        )

    def test_seconds(self) -> None:
        """In the unit that fits."""
        self.check(
            seconds_text,
            {None: "-", 0.0: "0 us", 0.000123: "123 us", 0.001: "1.0 ms", 0.0099: "9.9 ms", 0.25: "250 ms", 2.14: "2.1 s",
             12.0: "12 s", inf: "very long"},
        )  # fmt: skip
        self.assertEqual(seconds_text(inf, BOUNDS), ">4.0 s")

    def test_ages(self) -> None:
        """In two units."""
        self.check(
            age_text,
            {
                -1.0: "0 s",
                59.9: "59 s",
                60: "1 min",
                250: "4 min 10 s",
                7500: "2 h 5 min",
                7200: "2 h",
                273600: "3 d 4 h",
            },
        )

        self.assertEqual([rough_age(seconds) for seconds in (3.0, 250.0, 7500.0)], ["3 s", "4 min", "2 h"])

    def test_octets(self) -> None:
        """In MiB."""
        self.check(bytes_text, {0: "0.0 MiB", 1572864: "1.5 MiB", 178257920: "170 MiB", 34359738368: "32.0 GiB"})


class SparklineTests(SynchronousTestCase):
    """Bars."""

    def test_bars(self) -> None:
        """The greatest is the highest, zero the lowest; a gap where nothing is known, infinity at the top."""
        self.assertEqual(sparkline([0, 1, 2, 4, 7], 9), "▁▂▃▅█")
        self.assertEqual(sparkline([0.0, None, inf, 5.0], 9), "▁ ██")
        self.assertEqual((sparkline([0, 0], 9), sparkline([], 9), sparkline([1], 0)), ("▁▁", "", ""))

    def test_newest(self) -> None:
        """Where there is no room for all, the last are shown, by their own greatest."""
        self.assertEqual(sparkline([900, 1, 2], 2), "▅█")
        self.assertEqual(greatest([None, 3.0, inf, 1.0]), 3.0)
        self.assertEqual(greatest([None]), 0.0)
