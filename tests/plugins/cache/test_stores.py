"""How the two stores of a cache stand to each other."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Scope
from kdns.plugins.cache.config import CacheConfig, Limits
from kdns.plugins.cache.entries import Entry
from kdns.plugins.cache.stores import CacheStores
from kdns.wire.constants import NXDOMAIN, SERVFAIL
from tests.plugins.cache.upstream import address
from tests.support import a_request

REQUEST = a_request("a.test")


def entry(rcode: int = 0, stored: float = 0.0, count: int = 1) -> Entry:
    """An entry of 10 seconds."""
    return Entry(Answer(rcode, answer=(address("a.test"),) * count), stored, 10, Scope.EVERYBODY, rcode != 0)


class ShelvesTests(SynchronousTestCase):
    """What takes the place of what."""

    def setUp(self) -> None:
        limits = Limits(1024, 3600, 5, 1024 * 1024)
        self.stores = CacheStores(CacheConfig((), limits, limits))

    def test_news_take_the_place_of_what_was_known(self) -> None:
        """A name that is gone, or is back, is one entry."""
        for rcode in (0, NXDOMAIN, 0):
            stored = entry(rcode)
            self.assertIs(self.stores.put(REQUEST, stored).entry, stored)
            self.assertIs(self.stores.find(REQUEST, 1.0), stored)
            self.assertEqual(len(self.stores.success) + len(self.stores.denial), 1)

    def test_a_failure_does_not(self) -> None:
        """A failure takes no place of what can be served, but that of another failure or of what has expired."""
        good = entry()
        self.stores.put(REQUEST, good)
        self.assertIsNone(self.stores.put(REQUEST, entry(SERVFAIL, 5.0)).entry)
        self.assertIs(self.stores.find(REQUEST, 5.0), good)
        failure = entry(SERVFAIL, 10.0)
        self.assertIs(self.stores.put(REQUEST, failure).entry, failure)
        newer = entry(SERVFAIL, 11.0)
        self.assertIs(self.stores.put(REQUEST, newer).entry, newer)
        self.assertIs(self.stores.find(REQUEST, 12.0), newer)

    def test_what_does_not_fit(self) -> None:
        """An answer larger than an eighth of the store is not kept."""
        self.assertIsNone(self.stores.put(REQUEST, entry(count=1000)).entry)
        self.assertIsNone(self.stores.find(REQUEST, 0.0))
