"""A new list entered while the old data serves, and the check for drift."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.invalidation import pod_key
from kdns.cluster.objects import Delete, Keep, Kind, Pod, Upsert
from kdns.cluster.relist import Suspect


def pod(number: int, version: int = 1) -> Pod:
    """One of many pods, in two namespaces."""
    return Pod(b"n%d" % (number % 2), b"p%d" % number, bytes((10, 0, 0, number)), version=version)


def names(index: ClusterIndex) -> set[bytes]:
    """The pods that are known."""
    return {item.name for item in index.walk(Kind.POD)}


class RelistTests(SynchronousTestCase):
    """Mark and sweep."""

    def setUp(self) -> None:
        """Ten pods are known."""
        self.index = ClusterIndex()
        for number in range(10):
            self.index.apply(Upsert(pod(number)), 1.0)

    def test_old_data_serves_until_swept(self) -> None:
        """What is not listed stays until the list is complete, and goes with it."""
        relist = self.index.relist(Kind.POD)
        for number in range(5, 12):
            relist.seen(Upsert(pod(number)), 2.0)
        self.assertEqual(names(self.index), {b"p%d" % number for number in range(12)})
        relist.finish(3.0)
        self.assertEqual(names(self.index), {b"p%d" % number for number in range(5, 12)})
        self.assertTrue(relist.closed)

    def test_sweep_in_slices(self) -> None:
        """Each call looks at a bounded number of objects."""
        relist = self.index.relist(Kind.POD)
        calls = 1
        while not relist.sweep(3, 2.0):
            calls += 1
            self.assertGreaterEqual(len(names(self.index)), 10 - 3 * calls)
        self.assertEqual((calls, names(self.index)), (4, set()))

    def test_unchanged_objects_cost_nothing(self) -> None:
        """Neither stamps nor the serial move, and the stored objects stay the same ones."""
        noted = [self.index.stamps.note(pod_key(pod(number).address)) for number in range(10)]
        before = list(self.index.walk(Kind.POD))
        relist = self.index.relist(Kind.POD)
        for number in reversed(range(10)):
            relist.seen(Upsert(pod(number)), 2.0)
        relist.finish(2.0)
        self.assertTrue(all(stamp.version == version for stamp, version in noted))
        self.assertEqual(self.index.serial(), 1)
        self.assertTrue(all(one is two for one, two in zip(before, self.index.walk(Kind.POD), strict=True)))

    def test_abort(self) -> None:
        """A list that breaks off takes nothing away."""
        relist = self.index.relist(Kind.POD)
        relist.seen(Upsert(pod(11)), 2.0)
        relist.abort()
        self.assertTrue(relist.sweep(100, 2.0))
        self.assertEqual(len(names(self.index)), 11)
        self.assertRaises(ValueError, relist.seen, Upsert(pod(1)), 2.0)

    def test_a_newer_list_ends_the_older(self) -> None:
        """Only one list of a kind is under way."""
        old = self.index.relist(Kind.POD)
        self.index.relist(Kind.POD).abort()
        old.finish(2.0)
        self.assertTrue(old.closed)
        self.assertEqual(len(names(self.index)), 10)

    def test_keep(self) -> None:
        """Pods that are being deleted, and items that cannot be used, stay as they were known; unknown ones stay unknown."""
        relist = self.index.relist(Kind.POD)
        relist.seen(Keep(Kind.POD, b"n1", b"p1"), 2.0)
        relist.seen(Keep(Kind.POD, b"n1", b"unknown"), 2.0)
        relist.seen(Delete(Kind.POD, b"n0", b"p2"), 2.0)
        relist.finish(2.0)
        self.assertEqual(names(self.index), {b"p1"})

    def test_events_meanwhile(self) -> None:
        """What an event brings during the list stays, before and while it is swept; what one takes away is gone."""
        relist = self.index.relist(Kind.POD)
        self.index.apply(Upsert(pod(20)), 2.0)
        relist.seen(Upsert(pod(1)), 2.0)
        self.index.apply(Delete(Kind.POD, b"n1", b"p1"), 2.0)
        relist.sweep(1, 2.0)
        self.index.apply(Upsert(pod(9)), 2.0)
        relist.finish(2.0)
        self.assertEqual(names(self.index), {b"p20", b"p9"})

    def test_other_kinds_are_refused(self) -> None:
        """A list is of one kind."""
        self.assertRaises(ValueError, self.index.relist(Kind.SERVICE).seen, Upsert(pod(1)), 2.0)


class DriftTests(SynchronousTestCase):
    """Versions compared with what is stored."""

    def test_no_drift(self) -> None:
        """The same versions are no suspects."""
        index = ClusterIndex()
        index.apply(Upsert(pod(1)), 1.0)
        check = index.drift(Kind.POD)
        self.assertEqual(check.page([(b"n1", b"p1", 1)]), [])
        self.assertEqual([it for it in check.missed() if it], [])

    def test_suspects(self) -> None:
        """Another version, nothing stored, and nothing listed."""
        index = ClusterIndex()
        for number in range(3):
            index.apply(Upsert(pod(number)), 1.0)
        check = index.drift(Kind.POD)
        found = check.page([(b"n1", b"p1", 2), (b"n1", b"new", 5)])
        self.assertEqual(found, [Suspect(b"n1", b"p1", 2, 1), Suspect(b"n1", b"new", 5, None)])
        found = check.page([(b"n0", b"p2", 1)])
        self.assertEqual(found, [])
        self.assertEqual([it for it in check.missed() if it], [Suspect(b"n0", b"p0", None, 1)])

    def test_a_version_that_was_followed_is_no_drift(self) -> None:
        """A new version that changed nothing for DNS is stored all the same."""
        index = ClusterIndex()
        index.apply(Upsert(pod(1)), 1.0)
        index.apply(Upsert(replace(pod(1), version=2)), 1.0)
        self.assertEqual(index.drift(Kind.POD).page([(b"n1", b"p1", 2)]), [])
