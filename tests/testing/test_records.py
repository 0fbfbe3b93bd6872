"""Tests of :mod:`kdns.testing.records`; dnspython says what is right."""

from __future__ import annotations

import dns.rdata
import dns.rdataclass
import dns.rdatatype
from twisted.trial.unittest import SynchronousTestCase

from kdns.testing.records import BadRecord, parse_record, parse_records
from kdns.wire.constants import CH, IN, TXT, A
from kdns.wire.records import Record

GOOD = [
    "www.example.com. 300 IN A 192.0.2.81",
    "www.example.com. 300 IN AAAA 2001:db8::81",
    'www.example.com. 300 IN TXT "hello"',
    'www.example.com. 300 IN TXT "two" "strings with \\"quotes\\" and \\255"',
    "www.example.com. 300 IN TXT plain",
    "www.example.com. 300 IN MX 10 mail.example.com.",
    'www.example.com. 300 IN CAA 0 issue "ca.example.com"',
    "example.com. 60 IN SOA ns.example.com. admin.example.com. 7 7200 3600 1209600 30",
    "example.com. 300 IN NS ns.example.com.",
    "alias.example.com. 120 IN CNAME api.example.com.",
    "1.1.1.1.in-addr.arpa. 300 IN PTR one.example.com.",
    "_dns._udp.example.com. 30 IN SRV 0 100 53 a\\.b.example.com.",
    'www.example.com. 8482 IN HINFO "ANY obsoleted" "See RFC 8482"',
    "www.example.com. 300 IN TYPE65280 \\# 3 0102ff",
    'version.bind. 0 CH TXT "upstream"',
]

BAD = [
    "",
    "www.example.com.",
    "www.example.com. 300 IN A",
    "www.example.com. soon IN A 192.0.2.1",
    "www.example.com. 300 IN A 192.0.2.256",
    "www.example.com. 300 IN MX mail.example.com.",
    "www.example.com. 300 IN SRV 0 100 70000 a.",
    "www.example.com. 300 IN NOTYPE x",
    "www.example.com. 300 IN LOC x",
    "www..example.com. 300 IN A 192.0.2.1",
    "www.example.com. 300 IN TYPE65280 \\# 4 0102ff",
]


class ParseTests(SynchronousTestCase):
    """Text in, octets out."""

    def test_as_dnspython(self) -> None:
        """The octets are those that dnspython makes of the same text."""
        for text in GOOD:
            record = parse_record(text)
            rclass, rtype, rdata = text.split(None, 4)[2:]
            wanted = dns.rdata.from_text(rclass, rtype, rdata).to_wire()
            self.assertEqual(record.rdata, wanted, text)
            self.assertEqual(record.rtype, dns.rdatatype.from_text(rtype))
            self.assertEqual(record.rclass, dns.rdataclass.from_text(rclass))

    def test_value(self) -> None:
        """Owner, class and TTL stand where they belong; the class may be left out, the spelling stays."""
        owner = b"\x03WwW\x04test\x00"
        self.assertEqual(parse_record("WwW.test. 5 A 192.0.2.1"), Record(owner, A, IN, 5, b"\xc0\x00\x02\x01"))
        self.assertEqual(parse_record('WwW.test. 0 CH TXT ""'), Record(owner, TXT, CH, 0, b"\x00"))

    def test_several(self) -> None:
        """Several records keep their order."""
        self.assertEqual([record.ttl for record in parse_records([". 1 A 192.0.2.1", ". 2 A 192.0.2.2"])], [1, 2])

    def test_bad(self) -> None:
        """What is no record is refused with its text."""
        for text in BAD:
            with self.assertRaises(BadRecord, msg=text):
                parse_record(text)
