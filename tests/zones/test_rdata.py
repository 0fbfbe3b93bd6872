# -*- test-case-name: tests.zones.test_rdata -*-
"""Rdata is what dnspython makes of the same text, or a clean error."""

from __future__ import annotations

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import type_number
from kdns.wire.names import BadName, from_text
from kdns.zones.rdata import BadRdata, parse_name, parse_rdata, parse_ttl

ORIGIN = from_text("example.org")

GOOD = (
    ("A", "192.0.2.1"),
    ("A", "\\# 4 c0000263"),
    ("AAAA", "2001:db8::1"),
    ("AAAA", "::ffff:192.0.2.1"),
    ("NS", "ns"),
    ("NS", "ns.example.net."),
    ("CNAME", "@"),
    ("PTR", "Host.Example.NET."),
    ("DNAME", "a\\.b.Example.net."),
    ("MX", "10 mail"),
    ("SRV", "0 5 80 WWW"),
    ("SOA", "ns admin 5 7200 1800 86400 60"),
    ("TXT", 'plain "quoted text" "quo\\"te" "\\000\\255" ""'),
    ("CAA", '0 issue "ca.example.net"'),
    ("NAPTR", '100 10 "u" "E2U+sip" "!^.*$!sip:info@example.org!" .'),
    ("TLSA", "3 1 1 0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3"),
    ("SSHFP", "4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789"),
    ("HTTPS", '1 . alpn="h3,h2" ipv4hint="192.0.2.1" port=8443'),
    ("LOC", "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m"),
    ("TYPE65280", "\\# 4 0a000001"),
    ("TYPE65281", "\\# 0"),
    ("DNSKEY", "257 3 13 f8WhfnYvXRzUh/PWMOfHdyidzvso8MqY fwRs6dQ+j8QfbVeHWgxZFQerKhVo4fJZ L9l1HCZckPdNvMtoyIVr8g=="),
    ("NSEC", "Zed A RRSIG NSEC"),
    ("DS", "12345 13 2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
)
"""Types and rdata as text."""


def words_of(text: str) -> list[bytes]:
    """Words of rdata without blanks inside quotes taken apart."""
    words: list[bytes] = []
    for part in text.encode("latin-1").split(b" "):
        if words and words[-1].count(b'"') - words[-1].count(b'\\"') == 1:
            words[-1] += b" " + part
        else:
            words.append(part)
    return words


def by_dnspython(rtype: str, text: str) -> bytes:
    """What dnspython makes of it."""
    wire = dns.rdata.from_text(
        dns.rdataclass.IN,
        dns.rdatatype.from_text(rtype),
        text,
        origin=dns.name.from_wire(ORIGIN, 0)[0],
        relativize=False,
    ).to_wire()
    assert wire is not None
    return wire


class RdataTests(SynchronousTestCase):
    """kdns.zones.rdata.parse_rdata."""

    def parse(self, rtype: str, text: str) -> bytes:
        """Rdata of some text."""
        number = type_number(rtype)
        assert number is not None
        return parse_rdata(number, words_of(text), ORIGIN)

    def test_as_dnspython(self) -> None:
        """Every type comes out as dnspython has it, but for the letters of some names."""
        for rtype, text in GOOD:
            got, wanted = self.parse(rtype, text), by_dnspython(rtype, text)
            self.assertEqual(got.lower(), wanted.lower(), rtype)
            if rtype not in ("NS", "CNAME", "MX", "SOA", "SVCB", "HTTPS"):
                self.assertEqual(got, wanted, rtype)

    def test_lower_case(self) -> None:
        """Names of these types lose their capitals, the others keep them."""
        self.assertEqual(self.parse("MX", "5 MAIL"), b"\x00\x05" + from_text("mail.example.org"))
        self.assertIn(b"www", self.parse("HTTPS", "1 WWW alpn=h2"))
        self.assertIn(b"WWW", self.parse("SRV", "0 0 80 WWW"))

    def test_bad(self) -> None:
        """What is none is refused with the word that is wrong."""
        for rtype, text, reason, word in (
            ("A", "10.0.0.300", "bad A A", b"10.0.0.300"),
            ("A", "10.1", "bad A A", b"10.1"),
            ("A", "10.0.0.010", "bad A A", b"10.0.0.010"),
            ("AAAA", "fe80::1%lo", "bad AAAA AAAA", b"fe80::1%lo"),
            ("AAAA", "10.0.0.3", "bad AAAA AAAA", b"10.0.0.3"),
            ("A", "10.0.0.1 x", "garbage after rdata", b"x"),
            ("MX", "mail", "bad MX", b"mail"),
            ("MX", "65536 mail", "bad MX", b"mail"),
            ("SOA", "ns admin 5", "bad SOA", b"5"),
            ("TXT", '"\\300"', "bad TXT", b'"\\300"'),
            ("NS", "a..b", "bad NS", b"a..b"),
            ("NS", "a" * 64, "bad NS", b"a" * 64),
            ("DNSKEY", "x", "bad DNSKEY", b"x"),
        ):
            with self.assertRaises(BadRdata, msg=f"{rtype} {text}") as caught:
                self.parse(rtype, text)
            self.assertIn(reason, caught.exception.reason)
            self.assertEqual(caught.exception.word, word)

    @given(st.integers(1, 300), st.lists(st.binary(min_size=1, max_size=12), max_size=5))
    def test_any_words(self, rtype: int, words: list[bytes]) -> None:
        """Whatever the words, there is rdata that fits a record, or a BadRdata."""
        try:
            rdata = parse_rdata(rtype, words, ORIGIN)
        except BadRdata:
            return
        self.assertLessEqual(len(rdata), 0xFFFF)

    def test_long_strings_are_cut(self) -> None:
        """A string of more than 255 bytes becomes several."""
        self.assertEqual(self.parse("TXT", "x" * 300), b"\xff" + b"x" * 255 + b"\x2d" + b"x" * 45)


class WordTests(SynchronousTestCase):
    """TTLs and names."""

    def test_ttls(self) -> None:
        """Digits, or numbers with units."""
        for text, seconds in (
            (b"300", 300),
            (b"1h30m", 5400),
            (b"2W", 1209600),
            (b"1d", 86400),
            (b"4294967295", 2**32 - 1),
        ):
            self.assertEqual(parse_ttl(text), seconds)
        for bad in (b"", b"x", b"1x", b"h", b"-1", b"4294967296", b"99999999999999999999", b"1.5h"):
            self.assertIsNone(parse_ttl(bad), bad)

    @given(st.lists(st.binary(min_size=1, max_size=70), min_size=1, max_size=5), st.booleans())
    def test_names(self, labels: list[bytes], absolute: bool) -> None:
        """Labels of any bytes, written with escapes, are read as they were, or are refused for their size."""
        word = b".".join(b"".join(b"\\%03d" % byte for byte in label) for label in labels) + (b"." if absolute else b"")
        wanted = b"".join(bytes((len(label),)) + label for label in labels if len(label) < 64) + (
            b"\0" if absolute else ORIGIN
        )
        if any(len(label) > 63 for label in labels) or len(wanted) > 255:
            self.assertRaises(BadName, parse_name, word, ORIGIN)
        else:
            self.assertEqual(parse_name(word, ORIGIN), wanted)

    def test_final_escaped_dot(self) -> None:
        """A dot that is part of the last label does not make a name absolute."""
        self.assertEqual(parse_name(b"a\\.", ORIGIN), b"\x02a." + ORIGIN)
        self.assertEqual(parse_name(b"a\\\\.", ORIGIN), b"\x02a\\\x00")
        self.assertEqual(parse_name(b".", ORIGIN), b"\x00")
