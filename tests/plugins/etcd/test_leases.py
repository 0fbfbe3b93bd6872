# -*- test-case-name: tests.plugins.etcd.test_leases -*-
"""When to ask about which lease."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.etcd.leases import LEAST_PAUSE, Lease, Leases


class LeasesTests(SynchronousTestCase):
    """kdns.plugins.etcd.leases."""

    def setUp(self) -> None:
        self.leases = Leases()

    def due(self, now: float) -> Lease:
        """The lease that is due."""
        lease = self.leases.take_due(now)
        assert lease is not None
        return lease

    def test_asked(self) -> None:
        """A lease is due at once, and again when half of what was left has passed, but not all the time."""
        self.leases.bind(7, 100.0)
        lease = self.due(100.0)
        self.assertIsNone(self.leases.next_deadline())
        self.leases.told(lease, 60, 40, 100.0)
        self.assertEqual((lease.granted, lease.ends, self.leases.next_deadline()), (60, 140.0, 120.0))
        self.assertIsNone(self.leases.take_due(119.0))
        self.leases.told(self.due(120.0), 60, 1, 120.0)
        self.assertEqual(self.leases.next_deadline(), 120.0 + LEAST_PAUSE)

    def test_failed(self) -> None:
        """Without an answer it is due again after a pause, and what was known stays."""
        self.leases.bind(7, 0.0)
        self.leases.told(self.due(0.0), 60, 60, 0.0)
        lease = self.due(30.0)
        self.leases.failed(lease, 30.0)
        self.assertEqual((lease.ends, self.leases.next_deadline()), (60.0, 30.0 + LEAST_PAUSE))

    def test_shared(self) -> None:
        """A lease stays as long as a record has it, and is not asked about afterwards."""
        one, other = self.leases.bind(7, 0.0), self.leases.bind(7, 1.0)
        self.assertIs(one, other)
        self.leases.release(one)
        self.assertEqual(len(self.leases), 1)
        self.leases.release(one)
        self.assertEqual((len(self.leases), self.leases.next_deadline()), (0, None))

    def test_again(self) -> None:
        """A number that comes again is due once."""
        for _ in range(3):
            self.leases.release(self.leases.bind(7, 0.0))
        self.leases.bind(7, 0.0)
        self.leases.told(self.due(0.0), 60, 60, 0.0)
        self.assertIsNone(self.leases.take_due(10.0))

    def test_gone(self) -> None:
        """A lease that etcd does not know has nothing left."""
        self.leases.bind(7, 0.0)
        lease = self.due(0.0)
        self.leases.told(lease, 0, -1, 5.0)
        self.assertEqual(lease.ends, 5.0)
