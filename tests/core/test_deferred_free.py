"""Tables are let go of a part at a time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.deferred_free import FEW, DeferredFree


class RemainsTests(SynchronousTestCase):
    """What is left of tables."""

    def test_parts(self) -> None:
        """So many entries at a time, over several tables, until nothing is left."""
        deferred_free, woken = DeferredFree(), []
        deferred_free.wake = lambda: woken.append(len(deferred_free))
        for _ in range(2):
            deferred_free.take(dict.fromkeys(range(FEW + 1)))
        self.assertEqual(woken, [FEW + 1, 2 * FEW + 2])
        self.assertTrue(deferred_free.drop(FEW + 11))
        self.assertEqual(len(deferred_free), FEW - 9)
        self.assertFalse(deferred_free.drop(FEW))
        self.assertEqual(len(deferred_free), 0)

    def test_few(self) -> None:
        """A small table goes at once."""
        deferred_free = DeferredFree()
        deferred_free.wake = lambda: self.fail("woken")
        deferred_free.take({1: 2})
        self.assertEqual(len(deferred_free), 0)

    def test_nobody_sweeps(self) -> None:
        """Where nobody would come to let go of it, nothing is kept."""
        deferred_free = DeferredFree()
        deferred_free.take(dict.fromkeys(range(FEW + 1)))
        self.assertEqual(len(deferred_free), 0)
