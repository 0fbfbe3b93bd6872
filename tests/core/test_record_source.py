# -*- test-case-name: tests.core.test_record_source -*-
"""Records as the fast path has them, and what is left to the chain."""

from __future__ import annotations

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.fast_path import Made
from kdns.core.record_source import FoundRecords, RecordSource
from kdns.wire.constants import CNAME, IN, MX, NXDOMAIN, SOA, TXT, A
from kdns.wire.names import from_text
from kdns.wire.records import Record

WWW, ZONE = from_text("www.example.org"), from_text("example.org")


def record(rtype: int, rdata: bytes, ttl: int = 300, owner: bytes = WWW) -> Record:
    """One of class IN."""
    return Record(owner, rtype, IN, ttl, rdata)


ONE, OTHER = record(A, b"\x0a\0\0\x01"), record(A, b"\x0a\0\0\x02", 60)
DENIAL = record(SOA, b"soa", 600, ZONE)


class RecordSourceTests(SynchronousTestCase):
    """kdns.core.record_source."""

    def made(
        self,
        answer: tuple[Record, ...] = (),
        authority: tuple[Record, ...] = (),
        additional: tuple[Record, ...] = (),
        *,
        rcode: int = 0,
        qtype: int = A,
        keeps: bool = False,
    ) -> Made | None:
        """What becomes of records; a cache keeps them for a minute, denials for ten seconds."""
        found = FoundRecords(rcode, answer, authority, additional, ())
        source = RecordSource(lambda qname, qtype: found, lambda ttl: min(ttl, 60), lambda ttl: min(ttl, 10), keeps)
        return source.answer(WWW, qtype, 1000.0)

    def test_as_they_are(self) -> None:
        """Without a cache each record keeps its TTL, and the answer holds as long as its stamps."""
        wire = WWW + b"\0\x01\0\x01\0\0\x01\x2c\0\x04\x0a\0\0\x01"
        soa = ZONE + b"\0\x06\0\x01\0\0\x02\x58\0\x03soa"
        self.assertEqual(self.made((ONE,), (DENIAL,)), (0, (1, 1, 0), wire + soa, (), inf, 0, None))

    def test_kept(self) -> None:
        """A cache gives all records what it makes of their lowest TTL."""
        made = self.made((ONE,), (DENIAL,), keeps=True)
        assert made is not None
        self.assertEqual((made[2].count(b"\0\0\0\x3c"), made[4]), (2, 1060.0))
        made = self.made((), (DENIAL,), rcode=NXDOMAIN, keeps=True)
        assert made is not None
        self.assertEqual((made[2].count(b"\0\0\0\x0a"), made[4]), (1, 1010.0))
        self.assertIsNone(self.made((record(A, b"\x0a\0\0\x01", 0),), keeps=True))

    def test_order(self) -> None:
        """A set of addresses may be turned; sets elsewhere, and of mail servers, are left to the chain."""
        made = self.made((ONE, OTHER))
        assert made is not None
        self.assertEqual(made[5], len(WWW) + 14)
        mail = record(MX, b"\0\x0a\x01a\0")
        self.assertIsNone(self.made((mail, mail._replace(rdata=b"\0\x0a\x01b\0")), qtype=MX))
        self.assertIsNone(self.made((mail,), (), (ONE, OTHER), qtype=MX))
        self.assertIsNotNone(self.made((mail,), (), (ONE, OTHER._replace(owner=ZONE)), qtype=MX))
        text = record(TXT, b"\x01a")
        made = self.made((text, text._replace(rdata=b"\x01b")), qtype=TXT)
        assert made is not None
        self.assertEqual(made[5], 0)

    def test_left_to_the_chain(self) -> None:
        """Aliases, failures, and negative answers without an SOA."""
        self.assertIsNone(self.made((record(CNAME, ZONE), ONE)))
        self.assertIsNone(self.made((ONE,), (), rcode=NXDOMAIN))
        self.assertIsNone(self.made())
        self.assertIsNone(self.made((), (DENIAL,), rcode=2))
