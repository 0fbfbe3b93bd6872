"""Entries: what tells two questions apart, and how long an entry may be served."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.request import Transport
from kdns.core.stamps import Stamp
from kdns.core.validity import Validity
from kdns.plugins.cache.entries import Entry, key_of, stripped
from kdns.wire.constants import AAAA, CD, CH, NXDOMAIN, RD, SERVFAIL
from kdns.wire.message import Relayed
from kdns.wire.query import Edns
from tests.plugins.cache.upstream import address, relayed
from tests.support import a_request


def entry(answer: Answer | None = None, stored: float = 0.0, ttl: int = 10) -> Entry:
    """An entry with one address."""
    return Entry(answer or Answer(body=Sections(answer=(address("a.test"),))), stored, ttl, False)


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
        assert isinstance(kept.body, Relayed) and isinstance(answer.body, Relayed)
        self.assertEqual((kept.body.opt, kept.options, kept.ede), (None, None, ()))
        self.assertEqual(len(kept.body.message), len(answer.body.message) - len(opt))
        self.assertEqual(
            kept.body.with_ttl(7).patched(request.question), answer.body.with_ttl(7).patched(request.question)
        )
