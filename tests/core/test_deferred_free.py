"""Large tables are freed over several turns of the reactor."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.deferred_free import FEW, DeferredFree
from tests.support import SlowReactor


class DeferredFreeTests(SynchronousTestCase):
    """Tables in the hands of one of them."""

    def setUp(self) -> None:
        self.reactor = SlowReactor()
        self.deferred_free = DeferredFree()

    def table(self, entries: int) -> dict[int, None]:
        """A table of so many entries."""
        return dict.fromkeys(range(entries))

    def test_turns(self) -> None:
        """A slice in each turn, over several tables, until nothing is left."""
        self.deferred_free.start(self.reactor)
        for _ in range(2):
            self.deferred_free.take(self.table(FEW + 1))
        seen = [len(self.deferred_free)]
        while len(self.deferred_free):
            self.reactor.turn()
            seen.append(len(self.deferred_free))
        self.assertEqual(seen[0], 2 * FEW + 2)
        self.assertGreater(len(seen), 4)
        self.reactor.turn()
        self.deferred_free.take(self.table(FEW + 1))
        self.reactor.settle()
        self.assertEqual((len(self.deferred_free), self.reactor.leftovers()), (0, []))

    def test_few(self) -> None:
        """A small table is freed at once."""
        self.deferred_free.start(self.reactor)
        self.deferred_free.take(self.table(FEW))
        self.assertEqual((len(self.deferred_free), self.reactor.leftovers()), (0, []))

    def test_no_reactor(self) -> None:
        """Without a reactor nothing is kept."""
        self.deferred_free.take(self.table(FEW + 1))
        self.assertEqual(len(self.deferred_free), 0)

    def test_stop(self) -> None:
        """At the end all that is left is freed."""
        self.deferred_free.start(self.reactor)
        self.deferred_free.take(self.table(10 * FEW))
        self.deferred_free.stop()
        self.assertEqual((len(self.deferred_free), self.reactor.leftovers()), (0, []))
