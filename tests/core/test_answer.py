"""Answers: what kind they are, and their records."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Kind, Sections
from kdns.core.validity import ALWAYS, ONCE
from kdns.wire.constants import AAAA, ANY, CNAME, MX, NOERROR, NS, NXDOMAIN, QR, REFUSED, SERVFAIL, A
from kdns.wire.message import scan
from kdns.wire.names import from_text
from kdns.wire.records import Record, a_or_aaaa, cname, ns, soa
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
    return [answer, Answer(answer.rcode, body=scan(message))]


class KindTests(SynchronousTestCase):
    """What an answer is to a cache and to the log's classes."""

    def test_kinds(self) -> None:
        """Response codes, sections and the type asked for decide; records and messages are judged alike."""
        for answer, qtype, kind in (
            (Answer(body=Sections(answer=(ADDRESS,))), A, Kind.SUCCESS),
            (Answer(body=Sections(answer=(ALIAS, ADDRESS))), A, Kind.SUCCESS),
            (Answer(body=Sections(answer=(ADDRESS,))), ANY, Kind.SUCCESS),
            (Answer(body=Sections(answer=(ALIAS,))), CNAME, Kind.SUCCESS),
            (Answer(body=Sections(answer=(ALIAS,), authority=(OWN_SOA,))), A, Kind.NODATA),
            (Answer(body=Sections(authority=(OWN_SOA,))), A, Kind.NODATA),
            (Answer(body=Sections(authority=(OWN_SOA,))), ANY, Kind.NODATA),
            (Answer(body=Sections(authority=(SERVER,))), A, Kind.DELEGATION),
            (Answer(body=Sections(authority=(SERVER, OWN_SOA))), A, Kind.NODATA),
            (Answer(), A, Kind.SUCCESS),
            (Answer(body=Sections(answer=(ALIAS,))), A, Kind.SUCCESS),
            (Answer(NXDOMAIN, body=Sections(authority=(OWN_SOA,))), A, Kind.NXDOMAIN),
            (Answer(NXDOMAIN), A, Kind.ERROR),
            (Answer(NXDOMAIN, body=Sections(answer=(ALIAS,), authority=(OWN_SOA,))), A, Kind.ERROR),
            (Answer(SERVFAIL), A, Kind.ERROR),
            (Answer(REFUSED, body=Sections(answer=(ADDRESS,))), A, Kind.ERROR),
        ):
            for form in both(answer):
                self.assertEqual(form.kind(qtype), kind, (answer, qtype))

    def test_reaches(self) -> None:
        """A chain of aliases that does not come to the type is no answer to it."""
        for answer, qtype, reaches in (
            (Answer(body=Sections(answer=(ALIAS, ADDRESS))), A, True),
            (Answer(body=Sections(answer=(ALIAS,))), A, False),
            (Answer(body=Sections(answer=(ALIAS,))), CNAME, True),
            (Answer(body=Sections(answer=(ALIAS,))), ANY, True),
            (Answer(body=Sections(answer=(ADDRESS,))), MX, True),
            (Answer(), A, False),
        ):
            for form in both(answer):
                self.assertEqual(form.reaches(qtype), reaches, (answer, qtype))


class SectionTests(SynchronousTestCase):
    """Records and their TTLs, whichever form the body has."""

    def test_facts(self) -> None:
        """Counts, types, the lowest TTL and the size are the same for both forms."""
        answer = Answer(body=Sections(answer=(ALIAS, ADDRESS), authority=(SERVER,)))
        for form in both(answer):
            self.assertEqual(form.answer_count(), 2)
            self.assertEqual(form.body.types(0), [CNAME, A])
            self.assertEqual(form.body.types(1), [NS])
            self.assertEqual(form.body.lowest_ttl, 60)
            self.assertEqual(form.sections(), ((ALIAS, ADDRESS), (SERVER,), ()))
            self.assertEqual(
                form.body.uncompressed_size(NAME + b"\x00\x01\x00\x01"), answer.body.uncompressed_size(NAME + bytes(4))
            )

    def test_other_ttl(self) -> None:
        """A TTL of the answer's own is every record's."""
        for form in both(Answer(body=Sections(answer=(ALIAS, ADDRESS)))):
            form = form.with_ttl(7)
            self.assertEqual(form.body.lowest_ttl, 7)
            self.assertEqual([record.ttl for record in form.sections()[0]], [7, 7])

    def test_mapped(self) -> None:
        """A plugin changes records in one way, whichever form the body has, and what it says is what is sent."""

        def change(record: Record) -> Record | None:
            return None if record.rtype == CNAME else record._replace(ttl=record.ttl + 1)

        for form in both(Answer(body=Sections(answer=(ALIAS, ADDRESS)))):
            changed = form.with_ttl(7).mapped(change)
            self.assertEqual(changed.answer, (ADDRESS._replace(ttl=8),))
            self.assertEqual(changed.body.lowest_ttl, 8)

    def test_once(self) -> None:
        """A copy for one query neither repeats nor rotates."""
        answer = Answer(NXDOMAIN, validity=ALWAYS, rotate=()).once()
        self.assertEqual((answer.validity, answer.rotate), (ONCE, None))

    def test_nothing(self) -> None:
        """Nothing has no TTL."""
        for form in both(Answer(NXDOMAIN)):
            self.assertIsNone(form.body.lowest_ttl)

    def test_frozen(self) -> None:
        """An answer cannot be changed, only copied."""
        with self.assertRaises(AttributeError):
            Answer().rcode = NXDOMAIN  # type: ignore[misc]  # that is the point
        self.assertEqual(Answer().with_validity(ALWAYS).validity, ALWAYS)
        self.assertEqual((Answer().rcode, AAAA), (NOERROR, 28))
