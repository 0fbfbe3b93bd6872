# -*- test-case-name: tests.test_bench -*-
"""The benchmarks can be found, say what they measure, and judge numbers as they should; none is run here."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.__main__ import QUICK, arguments_for, benchmarks
from bench.cluster import addresses
from bench.load import query
from bench.processes import median, percentile

CHECKOUT = Path(__file__).parent.parent


class ListTests(SynchronousTestCase):
    """``python -m bench --list``"""

    def test_list(self) -> None:
        """Every benchmark is shown with what it measures."""
        shown = subprocess.run(
            [sys.executable, "-m", "bench", "--list"], capture_output=True, text=True, check=True, cwd=CHECKOUT
        ).stdout
        self.assertEqual(len(shown.splitlines()), len(benchmarks()) + 2)
        for name in ("answers", "latency", "memory_table", "watch"):
            self.assertIn(f"\n{name} ", shown)

    def test_unknown(self) -> None:
        """A name that is no benchmark is told, with those that there are."""
        ended = subprocess.run(
            [sys.executable, "-m", "bench", "nonsense"], capture_output=True, text=True, check=False, cwd=CHECKOUT
        )
        self.assertEqual(ended.returncode, 2)
        self.assertIn("no benchmark nonsense; there are answers", ended.stderr)

    def test_importable(self) -> None:
        """Importing a benchmark runs nothing."""
        for name in benchmarks():
            self.assertTrue(callable(import_module(f"bench.{name}").main))

    def test_quick(self) -> None:
        """Quick runs have arguments of their own, for benchmarks that exist."""
        self.assertEqual(arguments_for("answers", quick=True), ("--quick",))
        self.assertEqual(arguments_for("answers", quick=False), ())
        self.assertEqual(arguments_for("cluster_memory", quick=True), QUICK["cluster_memory"])
        self.assertLessEqual(QUICK.keys(), benchmarks().keys())


class FigureTests(SynchronousTestCase):
    """What is made of what was measured."""

    def test_percentile(self) -> None:
        """The value that a share of all does not exceed."""
        values = [float(number) for number in range(100, 0, -1)]
        self.assertEqual(percentile(values, 0.99), 100.0)
        self.assertEqual(percentile(values, 0.5), 51.0)
        self.assertEqual(percentile([], 0.5), 0.0)

    def test_median(self) -> None:
        """One run that was disturbed does not count."""
        self.assertEqual(median([1.0, 100.0, 2.0]), 2.0)

    def test_addresses(self) -> None:
        """The addresses of a reply are told apart from their order, whether owners are compressed or not."""
        question = query("web.prod.svc.cluster.local")
        fixed = b"\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04"
        for owner in (b"\xc0\x0c", question[12:-4]):
            records = [owner + fixed + bytes((10, 0, 0, number)) for number in (1, 2, 3)]
            for order in (records, records[::-1]):
                reply = question[:6] + b"\x00\x03" + question[8:] + b"".join(order)
                wanted = {b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02", b"\x0a\x00\x00\x03"}
                self.assertEqual(addresses(reply, question), wanted)
        self.assertEqual(addresses(question, question), frozenset())
