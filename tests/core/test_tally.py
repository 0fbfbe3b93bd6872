"""Counting with one addition a query, and the folding of it into counters."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.metrics import Counter, Histogram
from kdns.core.tally import Tally, TallyBook


class TallyBookTests(SynchronousTestCase):
    """One tally for each distinct set of charges."""

    def hit(self, book: TallyBook, tally: Tally, times: int = 1) -> None:
        """Do what the answer table does for each hit."""
        for _ in range(times):
            if not tally.hits:
                book.touched.append(tally)
            tally.hits += 1

    def test_fold(self) -> None:
        """Hits are charged to every charge, once."""
        book, one, two = TallyBook(), Counter(), Counter()
        self.hit(book, book.tally((one, two)), 5)
        self.hit(book, book.tally((two,)), 2)
        self.assertEqual((one.value, two.value), (0, 0))
        book.fold()
        book.fold()
        self.assertEqual((one.value, two.value), (5, 7))

    def test_same_tally(self) -> None:
        """The same charges have the same tally."""
        book, one, two = TallyBook(), Counter(), Counter()
        self.assertIs(book.tally((one, two)), book.tally((one, two)))
        self.assertIsNot(book.tally((one, two)), book.tally((two, one)))

    def test_steps(self) -> None:
        """Many tallies are folded in several steps, and none is lost; hits that come in between are folded, too."""
        book = TallyBook()
        counters = [Counter() for _ in range(1000)]
        for counter in counters:
            self.hit(book, book.tally((counter,)))
        steps = book.folding()
        next(steps)
        self.assertLess(sum(counter.value for counter in counters), 500)
        self.hit(book, book.tally((counters[0],)))
        self.assertGreater(len(list(steps)), 2)
        self.assertEqual(sum(counter.value for counter in counters), 1001)

    def test_hits_after_fold(self) -> None:
        """A tally that was folded counts on."""
        book, counter = TallyBook(), Counter()
        for _ in range(3):
            self.hit(book, book.tally((counter,)), 2)
            book.fold()
        self.assertEqual(counter.value, 6)

    def test_bounded(self) -> None:
        """The book is begun anew when there are too many; hits of tallies that are not in it any more are charged all the same."""
        book = TallyBook()
        book.MOST = 3
        counters = [Counter() for _ in range(10)]
        for counter in counters:
            self.hit(book, book.tally((counter,)))
        self.assertLessEqual(len(book._tallies), 3)
        book.fold()
        self.assertEqual([counter.value for counter in counters], [1] * 10)

    def test_histogram(self) -> None:
        """A value observed again is the same charge."""
        book, histogram = TallyBook(), Histogram((10, 20))
        self.assertIs(histogram.again(15), histogram.again(15))
        self.hit(book, book.tally((histogram.again(15),)), 3)
        book.fold()
        self.assertEqual((histogram.counts, histogram.sum), ([0, 3, 0], 45))
