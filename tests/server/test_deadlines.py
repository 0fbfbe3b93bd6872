"""Queries that wait: how many, and until when."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.server.deadlines import PATIENCE, InFlight


class WaitingTests(SynchronousTestCase):
    """The open queries of a listener."""

    def test_deadline(self) -> None:
        """The oldest comes first, each at its own time."""
        waiting: InFlight[str] = InFlight(10, 5.0)
        self.assertIsNone(waiting.next_deadline())
        waiting.add("one", 1.0)
        waiting.add("two", 2.0)
        waiting.add("three", 2.0)
        self.assertEqual(waiting.next_deadline(), 6.0)
        self.assertEqual(waiting.expire(5.999, 9), [])
        self.assertEqual(waiting.expire(6.0, 9), ["one"])
        self.assertEqual(waiting.expire(9.0, 1), ["two"])
        self.assertEqual(waiting.expire(9.0, 9), ["three"])
        self.assertIsNone(waiting.next_deadline())

    def test_end(self) -> None:
        """A query ends once."""
        waiting: InFlight[str] = InFlight(10)
        ticket = waiting.add("one", 0.0)
        self.assertTrue(waiting.end(ticket))
        self.assertFalse(waiting.end(ticket))
        self.assertEqual(waiting.expire(100.0, 9), [])

    def test_full(self) -> None:
        """No more than the bound may wait."""
        waiting: InFlight[int] = InFlight(2)
        tickets = [waiting.add(number, 0.0) for number in range(2)]
        self.assertTrue(waiting.full)
        waiting.end(tickets[0])
        self.assertFalse(waiting.full)
        self.assertEqual(len(waiting), 1)

    def test_drain(self) -> None:
        """All can be taken out."""
        waiting: InFlight[int] = InFlight(5)
        for number in range(3):
            waiting.add(number, 0.0)
        self.assertEqual(waiting.drain(), [0, 1, 2])
        self.assertEqual(len(waiting), 0)

    def test_patience(self) -> None:
        """A client that waits five seconds hears something."""
        self.assertLess(PATIENCE, 5.0)
