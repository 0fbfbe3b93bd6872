# -*- test-case-name: tests.wire.test_presentation -*-
"""Records as text, held against dnspython."""

from __future__ import annotations

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import AA, QR, RA, RD, SRV, TXT, A, type_number
from kdns.wire.names import from_text
from kdns.wire.presentation import Line, flag_texts, rdata_text, record_line
from kdns.wire.records import srv

TEXTS = (
    ("A", "192.0.2.1"),
    ("AAAA", "2001:db8::1"),
    ("AAAA", "::ffff:192.0.2.1"),
    ("NS", "ns.example."),
    ("CNAME", "a\\.b.example."),
    ("PTR", "."),
    ("DNAME", "x.example."),
    ("SOA", "ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 30"),
    ("MX", "10 mail.example."),
    ("SRV", "0 50 5432 db-0.db.example."),
    ("TXT", '"1.1.0"'),
    ("TXT", '"a \\"quoted\\" word" "" "\\\\ \\200"'),
)


def generic(rtype: int, rdata: bytes) -> str:
    """The octets as dnspython writes those of a type that it does not know."""
    known = dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.RdataType.make(rtype), rdata)
    return known.to_text().upper().strip()


class TextTests(SynchronousTestCase):
    """One record each."""

    def test_known_types(self) -> None:
        """The types that a cluster and most of the world use are written as dnspython, and so dig, writes them."""
        for rtype, text in TEXTS:
            rdata = dns.rdata.from_text("IN", rtype, text)
            self.assertEqual(rdata_text(type_number(rtype) or 0, rdata.to_wire() or b""), rdata.to_text(), text)

    def test_unknown_type(self) -> None:
        """Others are octets, as RFC 3597 writes them."""
        self.assertEqual(rdata_text(65280, b"\x01\xff"), "\\# 2 01FF")
        self.assertEqual(rdata_text(65280, b""), "\\# 0")

    def test_what_does_not_fit(self) -> None:
        """Rdata that is none of its type is shown as octets, and raises nothing."""
        for rtype, rdata in (
            (A, b"\x01"),
            (SRV, b"\x00\x01"),
            (TXT, b"\x05a"),
            (TXT, b""),
            (6, b"\x00\x00\x01"),
        ):
            self.assertEqual(rdata_text(rtype, rdata), generic(rtype, rdata), rtype)

    @given(st.integers(1, 260), st.binary(max_size=40))
    def test_anything(self, rtype: int, rdata: bytes) -> None:
        """No octets raise."""
        self.assertIsInstance(rdata_text(rtype, rdata), str)

    def test_line(self) -> None:
        """A record has five columns."""
        record = srv(from_text("_a._tcp.b"), 30, 0, 50, 80, from_text("c.d"))
        self.assertEqual(record_line(record), Line("_a._tcp.b.", 30, "IN", "SRV", "0 50 80 c.d."))

    def test_flags(self) -> None:
        """Flags in the order in which dig shows them."""
        self.assertEqual(flag_texts(RA | QR | RD | AA), ["qr", "aa", "rd", "ra"])
