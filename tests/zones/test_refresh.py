# -*- test-case-name: tests.zones.test_refresh -*-
"""When a secondary asks, and when it stops to answer."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from kdns.zones.refresh import Refresh, State
from kdns.zones.zone import Timers

TIMERS = Timers(5, refresh=3600, retry=600, expire=86400, minimum=60)


class RefreshTests(SynchronousTestCase):
    """kdns.zones.refresh."""

    def setUp(self) -> None:
        """A zone without data, at time 100."""
        self.refresh = Refresh(Random(1), 100.0)

    def test_at_once(self) -> None:
        """The first attempt is due at the start."""
        self.assertEqual((self.refresh.due, self.refresh.state), (100.0, State.EMPTY))

    def test_without_data(self) -> None:
        """Attempts come after 250 ms, then twice as long each time up to 10 s, without end."""
        self.assertEqual([self.refresh.failed(100.0) for _ in range(8)], [0.25, 0.5, 1, 2, 4, 8, 10, 10])
        self.assertEqual((self.refresh.due, self.refresh.state), (110.0, State.EMPTY))
        self.refresh.unchanged(110.0)
        self.assertEqual(self.refresh.state, State.EMPTY)

    def test_fresh(self) -> None:
        """After a transfer the next look is a refresh later, and up to five seconds."""
        self.refresh.transferred(TIMERS, 200.0)
        self.assertEqual(self.refresh.state, State.FRESH)
        self.assertTrue(3800.0 <= self.refresh.due <= 3805.0)
        self.assertEqual(self.refresh.next_deadline(), self.refresh.due)
        self.assertFalse(self.refresh.expire(1e9), "what is fresh does not expire before an attempt failed")

    def test_expiry(self) -> None:
        """A failure begins retries; at the SOA's expire the data are dead, until a primary answers, be it that nothing is new."""
        self.refresh.transferred(TIMERS, 0.0)
        self.assertEqual(self.refresh.failed(3600.0), 600)
        self.assertEqual(self.refresh.state, State.RETRYING)
        self.assertTrue(4200.0 <= self.refresh.due <= 4202.0)
        self.refresh.failed(86000.0)
        self.assertEqual(self.refresh.next_deadline(), 86400.0)
        self.assertFalse(self.refresh.expire(86399.0))
        self.assertTrue(self.refresh.expire(86400.0))
        self.assertFalse(self.refresh.expire(86401.0))
        self.assertEqual((self.refresh.state, self.refresh.next_deadline()), (State.EXPIRED, self.refresh.due))
        self.refresh.unchanged(90000.0)
        self.assertEqual(self.refresh.state, State.FRESH)

    def test_late_failure_expires(self) -> None:
        """A failure after the expiry time expires the data at once."""
        self.refresh.transferred(TIMERS, 0.0)
        self.refresh.failed(90000.0)
        self.assertEqual(self.refresh.state, State.EXPIRED)

    def test_lowest(self) -> None:
        """Intervals of zero do not make a busy loop."""
        self.refresh.transferred(Timers(1, 0, 0, 10, 0), 0.0)
        self.assertGreaterEqual(self.refresh.due, 1.0)
        self.refresh.failed(2.0)
        self.assertGreaterEqual(self.refresh.due, 3.0)

    def test_notify(self) -> None:
        """A NOTIFY makes the next attempt due now."""
        self.refresh.transferred(TIMERS, 0.0)
        self.refresh.notified(7.0)
        self.assertEqual(self.refresh.due, 7.0)
