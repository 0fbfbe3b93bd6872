"""NSEC records that deny one name and type."""

from __future__ import annotations

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.dnssec.denial import COREDNS_TYPES, deny, deny_ds
from kdns.wire.constants import AAAA, CNAME, DNSKEY, DS, MX, NS, NSEC, SOA, A
from kdns.wire.names import from_labels, from_text
from kdns.wire.records import Record

NAME = from_text("www.example.org")


def types_of(record: Record | None) -> set[int]:
    """The types that an NSEC record says there are."""
    assert record is not None
    read = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.NSEC, record.rdata, 0, len(record.rdata))
    _, *words = read.to_text().split()
    return {int(dns.rdatatype.from_text(word)) for word in words}


def next_of(record: Record | None) -> dns.name.Name:
    """The next name of an NSEC record."""
    assert record is not None
    return dns.name.from_wire(record.rdata, 0)[0]


class DenialTests(SynchronousTestCase):
    """By name, type and place in the zone."""

    def test_types(self) -> None:
        """All types that a name may have but the one asked for; never those that would make the proof one of something else."""
        for qtype in (A, AAAA, MX, DS, CNAME, NSEC):
            found = types_of(deny(NAME, qtype, 5))
            self.assertEqual(qtype in found, qtype == NSEC)
            self.assertLessEqual(COREDNS_TYPES - {qtype}, found)
            self.assertFalse(found & {NS, SOA, CNAME, DNSKEY, DS})
        self.assertLess({NS, SOA, DNSKEY}, types_of(deny(NAME, A, 5, apex=True)))
        self.assertEqual({NS, SOA, DS} & types_of(deny(NAME, DS, 5, cut=True)), {NS})

    def test_next(self) -> None:
        """Nothing is between a name and the next one."""
        name = dns.name.from_wire(NAME, 0)[0]
        self.assertEqual(next_of(deny(NAME, A, 5)), dns.name.Name((b"\x00", *name.labels)))

    def test_referral(self) -> None:
        """What is below a delegation is covered, and not the name beside it."""
        found = deny_ds(NAME, 5)
        name = dns.name.from_wire(NAME, 0)[0]
        for text, covered in (("a.www", True), ("zzz.www", True), ("www0", False), ("wwx", False)):
            other = dns.name.from_text(f"{text}.example.org.")
            self.assertEqual(name < other < next_of(found), covered, text)
        self.assertTrue(NS in types_of(found) and not types_of(found) & {DS, SOA})

    def test_long(self) -> None:
        """Where no longer name is possible there is no record."""
        whole = [b"a" * 63, b"b" * 63, b"c" * 63]
        for size, possible in ((59, True), (60, False), (61, False)):
            self.assertEqual(deny(from_labels([*whole, b"d" * size]), A, 5) is not None, possible)
        self.assertIsNone(deny_ds(from_labels([b"a" * 63]), 5))
        for size, possible in ((60, True), (61, False)):
            self.assertEqual(deny_ds(from_labels([b"d" * size, *whole]), 5) is not None, possible)
