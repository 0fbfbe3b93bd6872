"""Answers: what kind they are, for whom and how long they hold."""

from __future__ import annotations

from math import inf

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import (
    FOR_CLIENT,
    FOR_EVERYBODY,
    FOR_NOBODY,
    FROM_UPSTREAM,
    Answer,
    Kind,
    Scope,
    Validity,
)
from kdns.core.stamps import Stamp
from kdns.wire.constants import AAAA, ANY, CNAME, MX, NOERROR, NS, NXDOMAIN, QR, REFUSED, SERVFAIL, A
from kdns.wire.message import scan
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa, cname, ns, soa
from kdns.wire.render import render

NAME = from_text("web.example.com.")
ZONE = from_text("example.com.")
ADDRESS = a_or_aaaa(NAME, 60, bytes((192, 0, 2, 1)))
ALIAS = cname(NAME, 300, ZONE)
OWN_SOA = soa(ZONE, 30, ZONE, ZONE, (1, 2, 3, 4, 5))
SERVER = ns(ZONE, 3600, NAME)


def both(answer: Answer) -> list[Answer]:
    """The answer with records, and the same as an upstream's message."""
    sections = (answer.answer, answer.authority, answer.additional)
    message = render(7, QR | answer.rcode, NAME + b"\x00\x01\x00\x01", sections, b"", 65535, 65535)
    return [answer, Answer(answer.rcode, relayed=scan(message))]


class KindTests(SynchronousTestCase):
    """What an answer is to a cache and to the log's classes."""

    def test_kinds(self) -> None:
        """Response codes, sections and the type asked for decide; records and messages are judged alike."""
        for answer, qtype, kind in (
            (Answer(answer=(ADDRESS,)), A, Kind.SUCCESS),
            (Answer(answer=(ALIAS, ADDRESS)), A, Kind.SUCCESS),
            (Answer(answer=(ADDRESS,)), ANY, Kind.SUCCESS),
            (Answer(answer=(ALIAS,)), CNAME, Kind.SUCCESS),
            (Answer(answer=(ALIAS,), authority=(OWN_SOA,)), A, Kind.NODATA),
            (Answer(authority=(OWN_SOA,)), A, Kind.NODATA),
            (Answer(authority=(OWN_SOA,)), ANY, Kind.NODATA),
            (Answer(authority=(SERVER,)), A, Kind.DELEGATION),
            (Answer(authority=(SERVER, OWN_SOA)), A, Kind.NODATA),
            (Answer(), A, Kind.SUCCESS),
            (Answer(answer=(ALIAS,)), A, Kind.SUCCESS),
            (Answer(NXDOMAIN, authority=(OWN_SOA,)), A, Kind.NXDOMAIN),
            (Answer(NXDOMAIN), A, Kind.ERROR),
            (Answer(NXDOMAIN, answer=(ALIAS,), authority=(OWN_SOA,)), A, Kind.ERROR),
            (Answer(SERVFAIL), A, Kind.ERROR),
            (Answer(REFUSED, answer=(ADDRESS,)), A, Kind.ERROR),
        ):
            for form in both(answer):
                self.assertEqual(form.kind(qtype), kind, (answer, qtype))

    def test_reaches(self) -> None:
        """A chain of aliases that does not come to the type is no answer to it."""
        for answer, qtype, reaches in (
            (Answer(answer=(ALIAS, ADDRESS)), A, True),
            (Answer(answer=(ALIAS,)), A, False),
            (Answer(answer=(ALIAS,)), CNAME, True),
            (Answer(answer=(ALIAS,)), ANY, True),
            (Answer(answer=(ADDRESS,)), MX, True),
            (Answer(), A, False),
        ):
            for form in both(answer):
                self.assertEqual(form.reaches(qtype), reaches, (answer, qtype))


class SectionTests(SynchronousTestCase):
    """Records and their TTLs, whichever form the body has."""

    def test_facts(self) -> None:
        """Counts, types, the lowest TTL and the size are the same for both forms."""
        answer = Answer(answer=(ALIAS, ADDRESS), authority=(SERVER,))
        for form in both(answer):
            self.assertEqual(form.answer_count(), 2)
            self.assertEqual(form.answer_types(), [CNAME, A])
            self.assertEqual(form.authority_types(), [NS])
            self.assertEqual(form.lowest_ttl(), 60)
            self.assertEqual(form.sections(), ((ALIAS, ADDRESS), (SERVER,), ()))
            self.assertEqual(
                form.uncompressed_size(NAME + b"\x00\x01\x00\x01"), answer.uncompressed_size(NAME + bytes(4))
            )

    def test_other_ttl(self) -> None:
        """A TTL of the answer's own is every record's."""
        for form in both(Answer(answer=(ALIAS, ADDRESS))):
            form = replace(form, ttl=7)
            self.assertEqual(form.lowest_ttl(), 7)
            self.assertEqual([record.ttl for record in form.sections()[0]], [7, 7])

    def test_nothing(self) -> None:
        """Nothing has no TTL."""
        for form in both(Answer(NXDOMAIN)):
            self.assertIsNone(form.lowest_ttl())

    def test_frozen(self) -> None:
        """An answer cannot be changed, only copied."""
        with self.assertRaises(AttributeError):
            Answer().rcode = NXDOMAIN  # type: ignore[misc]  # that is the point
        self.assertEqual(Answer().held(FOR_EVERYBODY).validity, FOR_EVERYBODY)
        self.assertEqual((Answer().rcode, AAAA), (NOERROR, 28))


class HoldsTests(SynchronousTestCase):
    """For whom and how long."""

    def test_default(self) -> None:
        """Who says nothing means: for this client only."""
        self.assertEqual(Answer().validity, FOR_CLIENT)
        self.assertEqual((FOR_CLIENT.scope, FOR_CLIENT.until), (Scope.CLIENT, inf))

    def test_narrowed(self) -> None:
        """The narrower scope, the earlier end, and all stamps."""
        one, two = Stamp(), Stamp()
        holds = Validity(Scope.EVERYBODY, 10.0, (one.ref(),)).narrowed(Scope.TRANSPORT, 20.0, (two.ref(),))
        self.assertEqual(holds, Validity(Scope.TRANSPORT, 10.0, (one.ref(), two.ref())))
        self.assertEqual(FOR_NOBODY.narrowed(Scope.EVERYBODY), FOR_NOBODY)

    def test_both(self) -> None:
        """Of two, the narrower and the earlier."""
        self.assertEqual(Validity(Scope.EVERYBODY, 5.0).both(Validity(Scope.CLIENT, 9.0)), Validity(Scope.CLIENT, 5.0))
        self.assertEqual(Validity(Scope.CLIENT, 9.0).both(Validity(Scope.EVERYBODY, 5.0)), Validity(Scope.CLIENT, 5.0))

    def test_cacheable(self) -> None:
        """An upstream's answer is given to nobody again as it is, and yet a cache may keep it for all."""
        self.assertEqual((FROM_UPSTREAM.scope, FROM_UPSTREAM.cacheable), (Scope.NOBODY, Scope.EVERYBODY))
        self.assertEqual(FOR_CLIENT.cacheable, Scope.CLIENT)
        self.assertEqual(FROM_UPSTREAM.narrowed(Scope.CLIENT).cacheable, Scope.CLIENT)
        self.assertEqual(FROM_UPSTREAM.both(FOR_CLIENT).cacheable, Scope.CLIENT)
        self.assertEqual(FOR_EVERYBODY.both(FROM_UPSTREAM).cacheable, Scope.EVERYBODY)
