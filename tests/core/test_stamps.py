"""Stamps: how what was made from data notices that the data changed."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.stamps import Stamp, StampBook, stand


class StampTests(SynchronousTestCase):
    """A single stamp."""

    def test_bump(self) -> None:
        """What was noted stands until the stamp is bumped."""
        stamp = Stamp()
        before = stamp.ref()
        self.assertTrue(stand((before,)))
        stamp.bump()
        self.assertFalse(stand((before,)))
        self.assertTrue(stand((stamp.ref(),)))

    def test_all_must_stand(self) -> None:
        """Of several stamps one that moved is enough; of none, none moved."""
        one, two = Stamp(), Stamp()
        noted = (one.ref(), two.ref())
        self.assertTrue(stand(()))
        two.bump()
        self.assertFalse(stand(noted))


class StampBookTests(SynchronousTestCase):
    """Stamps by key."""

    def test_one_for_each_key(self) -> None:
        """Who notes the same key has the same stamp; bumping another key does not matter."""
        book = StampBook()
        first, second, other = book.note("web"), book.note("web"), book.note("db")
        self.assertIs(first[0], second[0])
        book.bump("web")
        self.assertFalse(stand((first,)))
        self.assertTrue(stand((other,)))

    def test_unknown_key(self) -> None:
        """Bumping what nobody depends on leaves nothing behind."""
        book = StampBook()
        book.bump("nobody")
        self.assertEqual(len(book), 0)

    def test_forgotten(self) -> None:
        """A stamp goes when the last note of it goes, so questions for names that do not exist cost nothing for long."""
        book = StampBook()
        noted = [book.note(number) for number in range(1000)]
        self.assertEqual(len(book), 1000)
        del noted
        gc.collect()
        self.assertEqual(len(book), 0)
