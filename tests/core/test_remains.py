"""Tables are let go of a part at a time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.remains import FEW, Remains


class RemainsTests(SynchronousTestCase):
    """What is left of tables."""

    def test_parts(self) -> None:
        """So many entries at a time, over several tables, until nothing is left."""
        remains, woken = Remains(), []
        remains.wake = lambda: woken.append(len(remains))
        for _ in range(2):
            remains.take(dict.fromkeys(range(FEW + 1)))
        self.assertEqual(woken, [FEW + 1, 2 * FEW + 2])
        self.assertTrue(remains.drop(FEW + 11))
        self.assertEqual(len(remains), FEW - 9)
        self.assertFalse(remains.drop(FEW))
        self.assertEqual(len(remains), 0)

    def test_few(self) -> None:
        """A small table goes at once."""
        remains = Remains()
        remains.wake = lambda: self.fail("woken")
        remains.take({1: 2})
        self.assertEqual(len(remains), 0)

    def test_nobody_sweeps(self) -> None:
        """Where nobody would come to let go of it, nothing is kept."""
        remains = Remains()
        remains.take(dict.fromkeys(range(FEW + 1)))
        self.assertEqual(len(remains), 0)
