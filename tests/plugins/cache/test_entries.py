"""Entries, and the store that holds a bounded number of them."""

from __future__ import annotations

import tracemalloc

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Scope, Validity
from kdns.core.request import Request, Transport
from kdns.core.stamps import Stamp
from kdns.plugins.cache.entries import Entry, Store, key_for, key_of, stripped, weight
from kdns.wire.constants import AAAA, CD, CH, NXDOMAIN, RD, SERVFAIL
from kdns.wire.query import Edns
from tests.plugins.cache.upstream import address, relayed
from tests.support import FakeServer, a_request


def entry(answer: Answer | None = None, scope: Scope = Scope.EVERYBODY, stored: float = 0.0, ttl: int = 10) -> Entry:
    """An entry with one address."""
    return Entry(answer or Answer(answer=(address("a.test"),)), stored, ttl, scope, False)


def found(store: Store, request: Request) -> Entry | None:
    """What a store has for a request at the beginning of time."""
    return store.find(key_of(request), request, 0.0, 0)


class KeyTests(SynchronousTestCase):
    """What tells two questions apart."""

    def test_case_does_not_count(self) -> None:
        """The same name in other letters is the same question, over whatever transport."""
        one = key_of(a_request("a.test"))
        self.assertEqual(one, key_of(a_request("A.Test", transport=Transport.TCP)))
        self.assertEqual(one, key_of(a_request("a.test", edns=Edns(4096, 0, 0, b""), flags=0)))

    def test_type_class_do_and_cd_count(self) -> None:
        """Another type, class, DO or CD is another question."""
        keys = {
            key_of(request)
            for request in (
                a_request("a.test"),
                a_request("a.test", AAAA),
                a_request("a.test", qclass=CH),
                a_request("a.test", edns=Edns(1232, 0x8000, 0, b"")),
                a_request("a.test", flags=RD | CD),
            )
        }
        self.assertEqual(len(keys), 5)

    def test_a_dot_in_a_label_is_no_end_of_label(self) -> None:
        """``a\\.b`` and ``a.b`` are two names."""
        self.assertNotEqual(key_of(a_request("a\\.b.test")), key_of(a_request("a.b.test")))


class EntryTests(SynchronousTestCase):
    """How long an entry may be served."""

    def test_age_counts_in_whole_seconds(self) -> None:
        """What is left shrinks by one with each whole second."""
        one = entry(stored=100.0)
        self.assertEqual([one.left(t) for t in (100.0, 100.9, 101.0, 109.9, 110.0)], [10, 10, 9, 1, 0])

    def test_stale(self) -> None:
        """An expired entry may be served for as long as allowed, and one that says "failure" never."""
        one = entry()
        self.assertTrue(one.servable(9.9, 0))
        self.assertFalse(one.servable(10.0, 0))
        self.assertTrue(one.servable(14.9, 5))
        self.assertFalse(one.servable(15.0, 5))
        self.assertTrue(entry(Answer(NXDOMAIN)).servable(12.0, 5))
        self.assertFalse(entry(Answer(SERVFAIL)).servable(12.0, 5))

    def test_moved_stamp(self) -> None:
        """What was made from data that changed is dead at once."""
        stamp = Stamp()
        one = entry(Answer(validity=Validity(stamps=(stamp.ref(),))))
        self.assertTrue(one.servable(0.0, 0))
        stamp.bump()
        self.assertFalse(one.servable(0.0, 3600))

    def test_hits_begin_anew_after_a_gap(self) -> None:
        """A pause longer than the gap forgets the hits before it."""
        one = entry()
        for moment in (1.0, 2.0, 62.0):
            one.hit(moment, 60.0)
        self.assertEqual(one.hits, 3)
        one.hit(122.1, 60.0)
        self.assertEqual(one.hits, 1)

    def test_stripped(self) -> None:
        """The OPT of an upstream is not kept."""
        request = a_request("a.test")
        opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
        answer = replace(relayed(request, (address("a.test"),), opt=opt), options=(), ede=((3, ""),))
        kept = stripped(answer)
        assert kept.relayed is not None and answer.relayed is not None
        self.assertEqual((kept.relayed.opt, kept.options, kept.ede), (None, None, ()))
        self.assertEqual(len(kept.relayed.message), len(answer.relayed.message) - len(opt))
        self.assertEqual(kept.relayed.patched(request.question, 7), answer.relayed.patched(request.question, 7))

    def test_weight_is_near_the_truth(self) -> None:
        """The memory that entries take is what they are said to weigh, give or take a half."""
        for count in (1, 8):
            store = Store(2000, 10**9)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for number in range(500):
                request = a_request(f"name-{number}.example.com")
                addresses = [address(f"name-{number}.example.com", last) for last in range(count)]
                kept = stripped(relayed(request, addresses))
                store.put(key_of(request), Entry(kept, 0.5 + number, 300 + number, Scope.EVERYBODY, False))
            taken = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            self.assertTrue(taken / 2 < store.octets < taken * 2, f"{taken} taken, {store.octets} accounted")


class StoreTests(SynchronousTestCase):
    """A bounded number of entries."""

    def test_the_oldest_makes_room(self) -> None:
        """A full store gives up its oldest entry."""
        store = Store(2, 10**6)
        requests = [a_request(f"{letter}.test") for letter in "abc"]
        self.assertEqual([store.put(key_of(request), entry()) for request in requests], [0, 0, 1])
        self.assertIsNone(found(store, requests[0]))
        self.assertIsNotNone(found(store, requests[2]))

    def test_what_is_asked_for_stays(self) -> None:
        """An entry that somebody asked for is spared once."""
        store = Store(2, 10**6)
        requests = [a_request(f"{letter}.test") for letter in "abcd"]
        store.put(key_of(requests[0]), entry())
        store.put(key_of(requests[1]), entry())
        found(store, requests[0])
        store.put(key_of(requests[2]), entry())
        self.assertIsNone(found(store, requests[1]))
        store.put(key_of(requests[3]), entry())
        store.put(key_of(requests[1]), entry())
        self.assertIsNone(found(store, requests[0]))

    def test_room_is_found_when_all_are_asked_for(self) -> None:
        """When every entry was asked for one goes all the same."""
        store = Store(200, 10**6)
        requests = [a_request(f"n{number}.test") for number in range(201)]
        for request in requests[:200]:
            store.put(key_of(request), entry())
            found(store, request)
        self.assertEqual(store.put(key_of(requests[200]), entry()), 1)
        self.assertEqual(len(store), 200)

    def test_octets_are_bounded(self) -> None:
        """Large answers push out as many as they need room for, and one that is too large is not taken."""
        small = entry()
        store = Store(1000, small.size * 16)
        for number in range(16):
            store.put(key_of(a_request(f"n{number}.test")), entry())
        self.assertEqual((len(store), store.octets), (16, small.size * 16))
        large = entry(Answer(answer=(address("a.test"),) * 2))
        self.assertEqual(store.put(key_of(a_request("large.test")), large), 2)
        self.assertTrue(store.octets <= small.size * 16)
        huge = entry(Answer(answer=(address("a.test"),) * 100))
        self.assertTrue(store.fits(large))
        self.assertFalse(store.fits(huge))
        self.assertTrue(weight(huge.answer) > weight(large.answer))

    def test_put_again(self) -> None:
        """A new entry takes the place of the one with the same key, and its weight too."""
        store = Store(10, 10**6)
        key = key_of(a_request("a.test"))
        store.put(key, entry())
        newer = entry(ttl=77)
        self.assertEqual(store.put(key, newer), 0)
        self.assertEqual((len(store), store.octets), (1, newer.size))
        store.drop(key)
        self.assertEqual((len(store), store.octets), (0, 0))

    def test_an_answer_for_one_client_stays_with_it(self) -> None:
        """Narrow answers are found again only by who asks the same way."""
        store = Store(10, 10**6)
        mine = a_request("a.test", client="10.0.0.1")
        store.put(key_for(mine, Scope.CLIENT), entry(scope=Scope.CLIENT))
        self.assertIsNotNone(found(store, mine))
        self.assertIsNone(found(store, a_request("a.test", client="10.0.0.2")))
        self.assertIsNone(found(store, replace(mine, transport=Transport.TCP)))
        self.assertIsNone(found(store, replace(mine, server=FakeServer("dns://127.0.0.1:53"))))

    def test_an_answer_for_a_transport(self) -> None:
        """An answer for a transport serves every client of it."""
        store = Store(10, 10**6)
        asked = a_request("a.test", client="10.0.0.1")
        store.put(key_for(asked, Scope.TRANSPORT), entry(scope=Scope.TRANSPORT))
        self.assertIsNotNone(found(store, a_request("a.test", client="10.0.0.2")))
        self.assertIsNone(found(store, replace(asked, transport=Transport.TCP)))

    def test_dead_entries_leave(self) -> None:
        """An entry whose data changed is forgotten when it is found so."""
        store = Store(10, 10**6)
        stamp = Stamp()
        request = a_request("a.test")
        store.put(key_of(request), entry(Answer(validity=Validity(stamps=(stamp.ref(),)))))
        stamp.bump()
        self.assertIsNone(found(store, request))
        self.assertEqual((len(store), store.octets), (0, 0))
