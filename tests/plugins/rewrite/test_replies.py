"""Tests of :mod:`kdns.plugins.rewrite.replies`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, records
from kdns.plugins.rewrite.names import MatchKind, NameMatch, Undone
from kdns.plugins.rewrite.replies import CnameChange, OwnerChange, RcodeChange, TtlChange, ValueChange
from kdns.plugins.template.record import record_from_text
from kdns.wire.constants import NOERROR, NXDOMAIN, SERVFAIL, TC
from kdns.wire.names import from_text
from kdns.wire.presentation import record_line
from kdns.wire.records import Record

BACK = Undone("new.test.", "old.test.")

VALUES = [
    # a record, and what becomes of its value
    ("x. 60 CNAME www.New.test.", "www.old.test."),
    ("x. 60 DNAME new.test.", "old.test."),
    ("x. 60 NS ns.new.test.", "ns.old.test."),
    ("x. 60 PTR new.test.", "old.test."),
    ("x. 60 MX 10 mail.new.test.", "10 mail.old.test."),
    ("x. 60 SRV 0 50 80 web.new.test.", "0 50 80 web.old.test."),
    ("x. 60 SOA ns.new.test. admin.new.test. 1 2 3 4 5", "ns.old.test. admin.new.test. 1 2 3 4 5"),
    ("x. 60 TXT new.test.", '"new.test."'),
    ("x. 60 A 10.0.0.1", "10.0.0.1"),
    ("x. 60 CNAME other.test.", "other.test."),
]


def lines(answer: Answer) -> list[str]:
    """The records of the answer section as text."""
    return [" ".join(map(str, record_line(record))) for record in answer.answer]


def a_record(text: str) -> Record:
    """A record in the form of a master file."""
    record = record_from_text(text)
    assert record is not None
    return record


def an_answer(*texts: str, rcode: int = NOERROR, flags: int = 0) -> Answer:
    """An answer with these records."""
    return Answer(rcode, flags, records([a_record(text) for text in texts]))


class ChangeTests(SynchronousTestCase):
    """What changes do to answers."""

    def test_owners(self) -> None:
        """Owners of all sections change, and nothing else."""
        record = a_record("WWW.new.test. 60 CNAME new.test.")
        answer = OwnerChange(BACK).apply(Answer(body=records([record], [record], [record])))
        for section in answer.sections():
            self.assertEqual([tuple(record_line(each))[::4] for each in section], [("www.old.test.", "new.test.")])

    def test_values(self) -> None:
        """The target of a record changes where it has one."""
        for text, wanted in VALUES:
            answer = ValueChange(BACK).apply(an_answer(text))
            self.assertEqual(record_line(answer.answer[0]).rdata, wanted, text)

    def test_naptr(self) -> None:
        """The replacement of a NAPTR stands behind three character strings."""
        head = b"\0\1\0\2\1u\0\3!a!"
        record = Record(from_text("x"), 35, 1, 60, head + from_text("new.test"))
        answer = ValueChange(BACK).apply(Answer(body=records([record])))
        self.assertEqual(answer.answer[0].rdata, head + from_text("old.test"))

    def test_broken_rdata(self) -> None:
        """Rdata that does not fit its type stays as it is."""
        for rtype, rdata in ((35, b""), (35, b"\0\1\0\2\xff"), (5, b"\x3fa"), (15, b"\0"), (5, b"\xc0\x00")):
            record = Record(from_text("x"), rtype, 1, 60, rdata)
            self.assertEqual(ValueChange(BACK).apply(Answer(body=records([record]))).answer, (record,))

    def test_ttl(self) -> None:
        """TTLs come into the range, or become the one value."""
        answer = an_answer("a. 5 A 10.0.0.1", "b. 15 A 10.0.0.1", "c. 25 A 10.0.0.1")
        self.assertEqual([record.ttl for record in TtlChange(10, 20).apply(answer).answer], [10, 15, 20])
        self.assertEqual([record.ttl for record in TtlChange(7, 7).apply(answer).answer], [7, 7, 7])

    def test_rcode(self) -> None:
        """One code becomes another; all others stay."""
        change = RcodeChange(NXDOMAIN, NOERROR)
        self.assertEqual([change.apply(Answer(code)).rcode for code in (NXDOMAIN, SERVFAIL)], [NOERROR, SERVFAIL])


class CnameTests(SynchronousTestCase):
    """Targets of CNAMEs."""

    change = CnameChange(NameMatch(MatchKind.EXACT, "old.test."), "new.test.")

    def test_found(self) -> None:
        """The first CNAME whose target fits, whatever its letter case."""
        answer = an_answer("a. 60 CNAME b.", "b. 60 CNAME Old.Test.", "old.test. 60 A 10.0.0.1")
        self.assertEqual(self.change.found(answer), (1, "new.test."))
        self.assertIsNone(self.change.found(an_answer("a. 60 CNAME b.", "old.test. 60 A 10.0.0.1")))

    def test_joined(self) -> None:
        """What stands before the CNAME stays, what stands behind it is what the look-up found."""
        answer = an_answer("d. 60 DNAME e.", "a. 60 CNAME old.test.", "old.test. 60 A 10.0.0.1")
        inner = an_answer("new.test. 30 A 10.0.0.2", rcode=SERVFAIL, flags=TC)
        joined = self.change.joined(answer, 1, from_text("new.test"), inner)
        wanted = ["d. 60 IN DNAME e.", "a. 60 IN CNAME new.test.", "new.test. 30 IN A 10.0.0.2"]
        self.assertEqual(lines(joined), wanted)
        self.assertEqual((joined.rcode, joined.flags), (NOERROR, TC))
