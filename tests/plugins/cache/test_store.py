"""The store of a cache and its two budgets."""

from __future__ import annotations

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.request import Request
from kdns.core.stamps import Stamp
from kdns.core.validity import Validity
from kdns.plugins.cache.config import CacheConfig, Limits
from kdns.plugins.cache.entries import Entry, key_of, stripped, weight
from kdns.plugins.cache.store import Budget, CacheStore
from kdns.wire.constants import NXDOMAIN, SERVFAIL
from tests.plugins.cache.upstream import address, relayed
from tests.support import a_request

KEY = key_of(a_request("a.test"))


def entry(rcode: int = 0, stored: float = 0.0, count: int = 1) -> Entry:
    """An entry of 10 seconds."""
    return Entry(Answer(rcode, body=Sections(answer=(address("a.test"),) * count)), stored, 10, rcode != 0)


class StoreTests(SynchronousTestCase):
    """What takes the place of what."""

    def setUp(self) -> None:
        limits = Limits(1024, 3600, 5, 1024 * 1024)
        self.store = CacheStore(CacheConfig((), limits, limits))

    def test_news_take_the_place_of_what_was_known(self) -> None:
        """A name that is gone, or is back, is one entry."""
        for rcode in (0, NXDOMAIN, 0):
            stored = entry(rcode)
            self.assertIs(self.store.put(KEY, stored).entry, stored)
            self.assertIs(self.store.find(KEY, 1.0), stored)
            self.assertEqual(len(self.store.success) + len(self.store.denial), 1)

    def test_a_failure_does_not(self) -> None:
        """A failure takes no place of what can be served, but that of another failure or of what has expired."""
        good = entry()
        self.store.put(KEY, good)
        self.assertIsNone(self.store.put(KEY, entry(SERVFAIL, 5.0)).entry)
        self.assertIs(self.store.find(KEY, 5.0), good)
        failure = entry(SERVFAIL, 10.0)
        self.assertIs(self.store.put(KEY, failure).entry, failure)
        newer = entry(SERVFAIL, 11.0)
        self.assertIs(self.store.put(KEY, newer).entry, newer)
        self.assertIs(self.store.find(KEY, 12.0), newer)

    def test_what_does_not_fit(self) -> None:
        """An answer larger than an eighth of the store is not kept."""
        self.assertIsNone(self.store.put(KEY, entry(count=1000)).entry)
        self.assertIsNone(self.store.find(KEY, 0.0))

    def test_dead_entries_leave(self) -> None:
        """An entry whose data changed is forgotten when it is found so."""
        stamp = Stamp()
        self.store.put(KEY, Entry(Answer(validity=Validity(stamps=(stamp.ref(),))), 0.0, 10, False))
        stamp.bump()
        self.assertIsNone(self.store.find(KEY, 0.0))
        self.assertEqual((len(self.store.success), self.store.success.octets), (0, 0))


def a_budget(most: int, octets: int) -> Budget:
    """A budget of so many entries and bytes."""
    return Budget(Limits(most, 3600, 5, octets))


def small() -> Entry:
    """An entry with one address."""
    return entry()


def found(budget: Budget, request: Request) -> Entry | None:
    """The entry for a request, marked as asked for."""
    one = budget.entries.get(key_of(request))
    if one is not None:
        one.asked = True
    return one


class BudgetTests(SynchronousTestCase):
    """A bounded number of entries."""

    def test_the_oldest_makes_room(self) -> None:
        """A full budget gives up its oldest entry."""
        budget = a_budget(2, 10**6)
        requests = [a_request(f"{letter}.test") for letter in "abc"]
        self.assertEqual([budget.put(key_of(request), small()) for request in requests], [0, 0, 1])
        self.assertIsNone(found(budget, requests[0]))
        self.assertIsNotNone(found(budget, requests[2]))

    def test_what_is_asked_for_stays(self) -> None:
        """An entry that somebody asked for is spared once."""
        budget = a_budget(2, 10**6)
        requests = [a_request(f"{letter}.test") for letter in "abcd"]
        budget.put(key_of(requests[0]), small())
        budget.put(key_of(requests[1]), small())
        found(budget, requests[0])
        budget.put(key_of(requests[2]), small())
        self.assertIsNone(found(budget, requests[1]))
        budget.put(key_of(requests[3]), small())
        budget.put(key_of(requests[1]), small())
        self.assertIsNone(found(budget, requests[0]))

    def test_room_is_found_when_all_are_asked_for(self) -> None:
        """When every entry was asked for one goes all the same."""
        budget = a_budget(200, 10**6)
        requests = [a_request(f"n{number}.test") for number in range(201)]
        for request in requests[:200]:
            budget.put(key_of(request), small())
            found(budget, request)
        self.assertEqual(budget.put(key_of(requests[200]), small()), 1)
        self.assertEqual(len(budget), 200)

    def test_octets_are_bounded(self) -> None:
        """Large answers push out as many as they need room for, and one that is too large is not taken."""
        one = small()
        budget = a_budget(1000, one.size * 16)
        for number in range(16):
            budget.put(key_of(a_request(f"n{number}.test")), small())
        self.assertEqual((len(budget), budget.octets), (16, one.size * 16))
        large = entry(count=2)
        self.assertEqual(budget.put(key_of(a_request("large.test")), large), 2)
        self.assertTrue(budget.octets <= one.size * 16)
        huge = entry(count=100)
        self.assertTrue(budget.fits(large))
        self.assertFalse(budget.fits(huge))
        self.assertTrue(weight(huge.answer) > weight(large.answer))

    def test_put_again(self) -> None:
        """A new entry takes the place of the one with the same key, and its weight too."""
        budget = a_budget(10, 10**6)
        key = key_of(a_request("a.test"))
        budget.put(key, small())
        newer = small()
        self.assertEqual(budget.put(key, newer), 0)
        self.assertEqual((len(budget), budget.octets), (1, newer.size))
        budget.drop(key)
        self.assertEqual((len(budget), budget.octets), (0, 0))

    def test_weight_is_near_the_truth(self) -> None:
        """The memory that entries take is what they are said to weigh, give or take a half."""
        for count in (1, 8):
            budget = a_budget(2000, 10**9)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for number in range(500):
                request = a_request(f"name-{number}.example.com")
                addresses = [address(f"name-{number}.example.com", last) for last in range(count)]
                kept = stripped(relayed(request, addresses))
                budget.put(key_of(request), Entry(kept, 0.5 + number, 300 + number, False))
            taken = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            self.assertTrue(taken / 2 < budget.octets < taken * 2, f"{taken} taken, {budget.octets} accounted")
