"""Records as values, and names inside their rdata."""

from __future__ import annotations

import dns.message
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import CNAME, IN, NAPTR, PTR, SOA, SRV, TXT
from kdns.wire.names import BadName, MalformedName, from_text
from kdns.wire.records import LAYOUTS, Record, a_or_aaaa, cname, expand_rdata, ns, ptr, soa, srv, txt
from tests.wire.support import REPEATABLE

OWNER = from_text("web.prod.")
ZONE = from_text("cluster.local.")


def shown(record: Record) -> str:
    """The rdata of a record as dnspython writes it."""
    rtype = dns.rdatatype.RdataType.make(record.rtype)
    rclass = dns.rdataclass.RdataClass.make(record.rclass)
    rdata = dns.rdata.from_wire(rclass, rtype, record.rdata, 0, len(record.rdata))
    return f"{dns.rdatatype.to_text(rtype)} {rdata}"


class MakingTests(SynchronousTestCase):
    """Records that kdns makes, read by dnspython."""

    def test_texts(self) -> None:
        """Each has the rdata that it says."""
        for record, text in (
            (a_or_aaaa(OWNER, 5, bytes((10, 96, 0, 1))), "A 10.96.0.1"),
            (a_or_aaaa(OWNER, 5, bytes(15) + b"\x01"), "AAAA ::1"),
            (cname(OWNER, 5, ZONE), "CNAME cluster.local."),
            (ptr(OWNER, 5, ZONE), "PTR cluster.local."),
            (ns(OWNER, 5, ZONE), "NS cluster.local."),
            (srv(OWNER, 5, 1, 50, 5432, ZONE), "SRV 1 50 5432 cluster.local."),
            (txt(OWNER, 5, b"one", b'tw"o'), 'TXT "one" "tw\\"o"'),
            (soa(OWNER, 5, ZONE, OWNER, (1, 2, 3, 4, 5)), "SOA cluster.local. web.prod. 1 2 3 4 5"),
        ):
            self.assertEqual(shown(record), text)
            self.assertEqual((record.owner, record.ttl, record.rclass), (OWNER, 5, IN))


class ExpandingTests(SynchronousTestCase):
    """Names inside rdata, uncompressed."""

    def test_compressed(self) -> None:
        """Pointers inside rdata become names, whatever stands before and behind them."""
        message = b"??" + ZONE
        for rtype, compressed, wanted in (
            (CNAME, b"\xc0\x02", ZONE),
            (SRV, b"\x00\x01\x00\x02\x00\x03\xc0\x02", b"\x00\x01\x00\x02\x00\x03" + ZONE),
            (SOA, b"\x02ns\xc0\x02\xc0\x02" + bytes(20), b"\x02ns" + ZONE + ZONE + bytes(20)),
            (NAPTR, b"\x00\x01\x00\x02\x01u\x00\x01!\xc0\x02", b"\x00\x01\x00\x02\x01u\x00\x01!" + ZONE),
            (TXT, b"\x02\xc0\x02", b"\x02\xc0\x02"),
            (65280, b"\xc0\x02", b"\xc0\x02"),
        ):
            start = len(message)
            self.assertEqual(expand_rdata(message + compressed, start, start + len(compressed), rtype), wanted, rtype)

    def test_over_the_end(self) -> None:
        """A name that runs over the end of its record is refused, even where the message goes on."""
        message = ZONE + b"behind"
        self.assertRaises(MalformedName, expand_rdata, message, 0, 5, CNAME)
        self.assertRaises(MalformedName, expand_rdata, b"\x00\x01\x00\x02\x05", 0, 5, NAPTR)

    @REPEATABLE
    @given(st.sampled_from([*LAYOUTS, NAPTR, TXT]), st.binary(max_size=60))
    def test_any_octets(self, rtype: int, rdata: bytes) -> None:
        """Any octets are rdata or are refused; nothing else is raised."""
        try:
            found = expand_rdata(rdata, 0, len(rdata), rtype)
        except BadName:
            return
        self.assertIsInstance(found, bytes)

    @REPEATABLE
    @given(st.sampled_from([CNAME, PTR, SOA, SRV, NAPTR]))
    def test_layouts(self, rtype: int) -> None:
        """The layouts are those that dnspython knows: what it compresses is expanded to what it writes plain."""
        texts = {
            CNAME: "a.cluster.local.",
            PTR: "a.cluster.local.",
            SOA: "ns.cluster.local. h.cluster.local. 1 2 3 4 5",
            SRV: "1 2 3 a.cluster.local.",
            NAPTR: '1 2 "u" "" "!a!b!" a.cluster.local.',
        }
        rdata = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.RdataType.make(rtype), texts[rtype])
        plain = rdata.to_wire()
        assert plain is not None
        self.assertEqual(expand_rdata(plain, 0, len(plain), rtype), plain)
