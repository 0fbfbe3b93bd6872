"""Faults strike the requests they are meant for, as often as told, and change lines as they say."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver.faults import Fault, FaultKind, FaultPlan, LineTrouble, corrupted
from tests.apiserver.watching import Line, LineKind


def line(number: int, kind: LineKind = LineKind.ADDED) -> Line:
    """A line that can be told from others."""
    return Line(kind, b'{"n":%d}\n' % number)


class FaultPlanTests(SynchronousTestCase):
    """FaultPlan."""

    def test_meant_for(self) -> None:
        """A fault strikes its resource and verb only, or any if it names none."""
        plan = FaultPlan()
        narrow = Fault(FaultKind.HANG, "services", "watch", times=None)
        wide = Fault(FaultKind.DELAY, times=None)
        plan.add(narrow)
        plan.add(wide)
        self.assertEqual(plan.take("watch", "services"), (narrow, wide))
        self.assertEqual(plan.take("list", "services"), (wide,))
        self.assertEqual(plan.take("watch", "pods"), (wide,))

    def test_used_up(self) -> None:
        """A fault strikes as many requests as it says, and requests it is not for do not use it up."""
        plan = FaultPlan()
        plan.add(Fault(FaultKind.STATUS, "services", times=2))
        struck = [len(plan.take("list", plural)) for plural in ("services", "pods", "services", "services")]
        self.assertEqual(struck, [1, 0, 1, 0])

    def test_cleared(self) -> None:
        """Faults are taken back one by one or all together."""
        plan = FaultPlan()
        kept, gone = Fault(FaultKind.HANG, times=None), Fault(FaultKind.HANG, times=None)
        plan.add(kept)
        plan.add(gone)
        plan.clear(gone)
        self.assertEqual(plan.take("get", "pods"), (kept,))
        plan.clear()
        self.assertEqual(plan.take("get", "pods"), ())


class LineTroubleTests(SynchronousTestCase):
    """LineTrouble."""

    def passed(self, kind: FaultKind, count: int = 4, **details: Any) -> tuple[bytes, LineTrouble]:
        """What becomes of so many lines."""
        trouble = LineTrouble()
        trouble.add(Fault(kind, **details))
        return b"".join(trouble.pass_on(line(number)) for number in range(count)), trouble

    def test_none(self) -> None:
        """Without faults lines pass as they are."""
        self.assertEqual(LineTrouble().pass_on(line(1)), b'{"n":1}\n')

    def test_silent(self) -> None:
        """Silence begins at once or after some lines."""
        self.assertEqual(self.passed(FaultKind.SILENT)[0], b"")
        self.assertEqual(self.passed(FaultKind.SILENT, after_lines=2)[0], b'{"n":0}\n{"n":1}\n')

    def test_cut(self) -> None:
        """A cut comes after whole lines, or in the middle of the next one."""
        data, trouble = self.passed(FaultKind.CUT, after_lines=2)
        self.assertEqual((data, trouble.broken and trouble.broken.kind), (b'{"n":0}\n{"n":1}\n', FaultKind.CUT))
        data, trouble = self.passed(FaultKind.RESET, after_lines=1, mid_line=True)
        self.assertEqual((data, trouble.broken and trouble.broken.kind), (b'{"n":0}\n{"n"', FaultKind.RESET))

    def test_duplicate(self) -> None:
        """Lines come twice, as many as told."""
        data, _ = self.passed(FaultKind.DUPLICATE, 3, after_lines=1, lines=1)
        self.assertEqual(data, b'{"n":0}\n{"n":1}\n{"n":1}\n{"n":2}\n')

    def test_reorder(self) -> None:
        """Lines change places in pairs."""
        data, _ = self.passed(FaultKind.REORDER)
        self.assertEqual(data, b'{"n":1}\n{"n":0}\n{"n":3}\n{"n":2}\n')
        data, _ = self.passed(FaultKind.REORDER, lines=1)
        self.assertEqual(data, b'{"n":1}\n{"n":0}\n{"n":2}\n{"n":3}\n')

    def test_corrupt(self) -> None:
        """A corrupt line is one line still, but no JSON."""
        data, _ = self.passed(FaultKind.CORRUPT, 2, lines=1)
        first, second = data.splitlines()
        self.assertRaises(ValueError, json.loads, first)
        self.assertEqual(second, b'{"n":1}')

    def test_long_line(self) -> None:
        """An overlong line is right but for its length."""
        data, _ = self.passed(FaultKind.LONG_LINE, 1, size=1000)
        self.assertGreater(len(data), 1000)
        self.assertEqual(json.loads(data)["n"], 0)

    def test_bookmarks(self) -> None:
        """Bookmarks are left out, events and the end of the initial state are not."""
        trouble = LineTrouble()
        trouble.add(Fault(FaultKind.SKIP_BOOKMARKS))
        kinds = (LineKind.ADDED, LineKind.BOOKMARK, LineKind.INITIAL_END, LineKind.BOOKMARK)
        passed = [bool(trouble.pass_on(line(1, kind))) for kind in kinds]
        self.assertEqual(passed, [True, False, True, False])

    def test_two_at_once(self) -> None:
        """Faults add up, each counting lines from when it came."""
        trouble = LineTrouble()
        trouble.add(Fault(FaultKind.DUPLICATE, lines=1))
        data = trouble.pass_on(line(1))
        trouble.add(Fault(FaultKind.CUT, after_lines=1))
        data += trouble.pass_on(line(2)) + trouble.pass_on(line(3))
        self.assertEqual(data, b'{"n":1}\n{"n":1}\n{"n":2}\n')

    def test_corrupted_keeps_length(self) -> None:
        """Corruption changes bytes, not their number, so that announced lengths stay true."""
        self.assertEqual(len(corrupted(b'{"a": 1}\n')), 9)
