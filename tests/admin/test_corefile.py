"""Tests of :mod:`kdns.admin.corefile`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.corefile import FRESH, MOST_LINES, difference
from tests.admin.world import ROOT, World


class CommandTests(SynchronousTestCase):
    """A server whose file changes."""

    def setUp(self) -> None:
        text = (ROOT / "conf" / "demo" / "Corefile").read_text(encoding="utf-8")
        self.world = World(text.replace("reload 2s 1s", ""))
        self.addCleanup(lambda: self.assertEqual(self.world.stop(), []))

    def found(self) -> Any:
        """What the command says, of a moment that is not that of the last reply."""
        self.world.reactor.advance(FRESH)
        return self.world.run("corefile")["result"]

    def test_same(self) -> None:
        """What runs, with references replaced; comments are no difference."""
        self.world.text += "# a remark\n"
        found = self.found()
        self.assertIn(".:1053 {\n    bind 127.0.0.1\n", found["running"])
        self.assertEqual((found["diff"], found["error"]), ([], ""))

    def test_other(self) -> None:
        """The lines that differ, until the file is taken over."""
        self.world.text = self.world.text.replace("ttl 30", "ttl 31")
        diff = self.found()["diff"]
        self.assertEqual([line for line in diff[2:] if line[0] in "+-"], ["-        ttl 30", "+        ttl 31"])
        self.world.service.reload()
        self.world.reactor.advance(1.0)
        self.assertEqual(self.found()["diff"], [])

    def test_unusable(self) -> None:
        """A file that is no Corefile: why."""
        self.world.text = "example.org {\n nonsense\n}\n"
        self.assertIn("nonsense", self.found()["error"])

    def test_bounded(self) -> None:
        """Large files are compared behind their first difference, and only a part."""
        before = [f"line {number}" for number in range(5000)]
        after = [*before[:4000], "new", *before[4000:]]
        self.assertIn("+new", difference(before, after))
        self.assertLess(len(difference(before, [f"other {line}" for line in before])), 2 * MOST_LINES + 10)
        self.assertEqual(difference(["a"], ["a", "b"])[2:], ["@@ -1 +1,2 @@", " a", "+b"])
