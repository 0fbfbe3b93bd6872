"""Signatures, key tags, DS and NSEC records against dnspython's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dns.dnssec
import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.NSEC
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.dnssec.keys import read_key
from kdns.wire.constants import IN, RRSIG
from kdns.wire.names import from_text, spelled_from_text
from kdns.wire.records import Record
from kdns.zones.signing import (
    SHA1,
    SHA256,
    canonical_rrset,
    ds_rdata,
    key_tag,
    nsec_rdata,
    rrsig_rdata,
)
from tests.signing_keys import write_key

ORIGIN = dns.name.from_text("example.org.")
NOW = 1_800_000_000

RRSETS = (
    ("www.example.org.", "A", "192.0.2.2", "192.0.2.1", "192.0.2.1"),
    ("WWW.example.org.", "AAAA", "2001:db8::1"),
    ("*.w.example.org.", "TXT", '"b" "c"', '"a"'),
    ("example.org.", "NS", "NS2.example.org.", "ns1.EXAMPLE.org."),
    ("example.org.", "SOA", "Ns.example.org. Admin.example.org. 1 2 3 4 5"),
    ("example.org.", "MX", "10 Mail.example.org.", "5 Mail2.example.org."),
    ("_s._tcp.example.org.", "SRV", "0 0 80 WWW.example.org."),
    ("example.org.", "NAPTR", '1 2 "u" "E2U+sip" "!^.*$!sip:A@x!" Repl.EXAMPLE.org.'),
    ("d.example.org.", "DNAME", "Other.EXAMPLE."),
    ("d.example.org.", "CAA", '0 issue "CA.example"'),
    ("h.example.org.", "HTTPS", "1 Svc.example.org. alpn=h2"),
    ("n.example.org.", "NSEC", "O.example.org. A RRSIG"),
    ("x.example.org.", "TYPE65280", "\\# 3 aabbcc"),
)


class SigningTests(SynchronousTestCase):
    """One key of each algorithm."""

    def test_signatures(self) -> None:
        """dnspython finds every signature good, whatever the type, the spelling and the order."""
        folder = Path(self.mktemp())
        folder.mkdir()
        for algorithm in (5, 7, 8, 10, 13, 14, 15):
            key = read_key(str(write_key(folder, f"k{algorithm}", algorithm=algorithm)))
            dnskey = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.DNSKEY, key.rdata, 0, len(key.rdata))
            self.assertEqual(key.tag, dns.dnssec.key_id(dnskey))  # type: ignore[arg-type]  # it is one
            keys: dict[dns.name.Name, Any] = {ORIGIN: dns.rrset.from_rdata(ORIGIN, 3600, dnskey)}
            for owner, rtype, *texts in RRSETS:
                rrset = dns.rrset.from_text_list(owner, 300, "IN", rtype, texts)
                number = int(rrset.rdtype)
                records = [
                    Record(spelled_from_text(owner), number, IN, 300, rdata.to_wire() or b"")
                    for rdata in reversed(list(rrset))
                ]
                signed = rrsig_rdata(key, from_text("example.org"), canonical_rrset(records), 3600, NOW - 60, NOW + 60)
                rdata = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RRSIG, signed, 0, len(signed))
                rrsig = dns.rrset.from_rdata(rrset.name, 300, rdata)
                policy = dns.dnssec.allow_all_policy
                dns.dnssec.validate(rrset, rrsig, keys, now=NOW, policy=policy)
                for when in (NOW - 61, NOW + 61):
                    with self.assertRaises(dns.exception.ValidationFailure):
                        dns.dnssec.validate(rrset, rrsig, keys, now=when, policy=policy)
        self.assertEqual(RRSIG, dns.rdatatype.RRSIG)

    def test_delegation_signer(self) -> None:
        """The DS of a key is dnspython's."""
        folder = Path(self.mktemp())
        folder.mkdir()
        key = read_key(str(write_key(folder, "k")))
        dnskey = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.DNSKEY, key.rdata, 0, len(key.rdata))
        for digest in (SHA1, SHA256):
            wanted = dns.dnssec.make_ds(ORIGIN, dnskey, digest, policy=dns.dnssec.allow_all_policy)  # type: ignore[arg-type]  # a DNSKEY
            self.assertEqual(ds_rdata(from_text("Example.org"), key.rdata, digest), wanted.to_wire())

    @given(st.binary(min_size=4, max_size=300))
    def test_key_tag(self, octets: bytes) -> None:
        """Whatever is in a key."""
        octets = octets[:3] + b"\x0d" + octets[4:]
        dnskey = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.DNSKEY, octets, 0, len(octets))
        self.assertEqual(key_tag(octets), dns.dnssec.key_id(dnskey))  # type: ignore[arg-type]  # a DNSKEY

    @given(st.sets(st.integers(1, 65535), max_size=20))
    def test_nsec(self, types: set[int]) -> None:
        """The types of an NSEC record are read as they were written."""
        rdata = nsec_rdata(from_text("a.test"), types)
        read = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.NSEC, rdata, 0, len(rdata))
        assert isinstance(read, dns.rdtypes.ANY.NSEC.NSEC)
        found = {
            window * 256 + at * 8 + bit
            for window, bitmap in read.windows
            for at, byte in enumerate(bitmap)
            for bit in range(8)
            if byte & 0x80 >> bit
        }
        self.assertEqual((read.next.to_text(), found), ("a.test.", types))

    @given(st.binary(max_size=60), st.sampled_from((2, 5, 6, 12, 15, 33, 35, 39, 1, 64)))
    def test_any_bytes(self, octets: bytes, rtype: int) -> None:
        """Rdata that does not fit its type is put into some canonical form all the same."""
        canonical_rrset([Record(b"\x00", rtype, IN, 1, octets)])
