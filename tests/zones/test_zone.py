# -*- test-case-name: tests.zones.test_zone -*-
"""What makes a zone, and what does not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import MX, NS, SOA, TXT, A
from kdns.wire.names import from_text
from kdns.zones.zone import LARGE_NODE, BadZone, Zone, ZoneBuilder, hash_of_owner, hashed_owner, is_newer
from tests.zones.support import HEAD, text_of, zone_of

ORIGIN = from_text("example.org")
SOA_DATA = (
    from_text("ns.example.org")
    + from_text("admin.example.org")
    + b"".join(n.to_bytes(4, "big") for n in (5, 7200, 1800, 86400, 60))
)


def finished(builder: ZoneBuilder) -> Zone:
    """The zone."""
    for _ in builder.finish():
        pass
    return builder.zone


class BuilderTests(SynchronousTestCase):
    """kdns.zones.zone.ZoneBuilder."""

    def setUp(self) -> None:
        """A builder with an SOA."""
        self.builder = ZoneBuilder(ORIGIN)
        self.builder.add(ORIGIN, SOA, 300, SOA_DATA)

    def test_equal_records_are_one(self) -> None:
        """A record that comes again, next to itself or later, is there once."""
        for name in ("www", "other", "www"):
            for _ in range(2):
                self.builder.add(from_text(f"{name}.example.org"), A, 60, b"\x01\x02\x03\x04")
        zone = finished(self.builder)
        self.assertEqual(zone.records, 3)
        self.assertEqual(len(zone.rrset(b"www\x00", A)), 1)

    def test_types_stay_together(self) -> None:
        """Records of one type are next to each other, whatever the order in which they came."""
        for number in range(3):
            self.builder.add(from_text("www.example.org"), A, 60, bytes((10, 0, 0, number)))
            self.builder.add(from_text("www.example.org"), TXT, 60, bytes((1, number)))
        zone = finished(self.builder)
        self.assertEqual([datum.rdata[3] for datum in zone.rrset(b"www\x00", A)], [0, 1, 2])
        self.assertEqual([datum.rdata[1] for datum in zone.rrset(b"www\x00", TXT)], [0, 1, 2])

    def test_many_records_of_a_name(self) -> None:
        """Ten thousand addresses of two names that take turns are all kept, once."""
        count = 10_000
        self.assertGreater(count * 14, LARGE_NODE)
        for _ in range(2):
            for number in range(count):
                for name in ("a", "b"):
                    self.builder.add(from_text(f"{name}.example.org"), A, 60, number.to_bytes(4, "big"))
        zone = finished(self.builder)
        self.assertEqual(zone.records, 2 * count + 1)
        self.assertEqual([int.from_bytes(d.rdata, "big") for d in zone.rrset(b"b\x00", A)], list(range(count)))

    def test_foreign_records_are_left_out(self) -> None:
        """What is outside the zone is counted, and its SOA is named."""
        self.assertFalse(self.builder.add(from_text("example.net"), SOA, 60, SOA_DATA))
        self.assertFalse(self.builder.add(from_text("www.xexample.org"), A, 60, bytes(4)))
        self.assertEqual((self.builder.foreign, self.builder.foreign_soa), (2, from_text("example.net")))
        self.assertEqual(finished(self.builder).records, 1)

    def test_no_soa(self) -> None:
        """Without an SOA there is no zone."""
        with self.assertRaisesRegex(BadZone, "no SOA record"):
            finished(ZoneBuilder(ORIGIN))

    def test_two_soas(self) -> None:
        """The last SOA at the apex counts, as at CoreDNS; one below it is left out."""
        last = SOA_DATA[:-1] + b"\x01"
        self.assertTrue(self.builder.add(ORIGIN, SOA, 300, last))
        self.assertFalse(self.builder.add(from_text("sub.example.org"), SOA, 300, SOA_DATA))
        zone = finished(self.builder)
        self.assertEqual((zone.soa.rdata, zone.records, self.builder.extra_soas), (last, 1, 1))
        self.assertEqual([datum.rdata for datum in zone.rrset(b"", SOA)], [last])

    def test_ttl_with_top_bit(self) -> None:
        """Such a TTL counts as zero."""
        self.builder.add(from_text("www.example.org"), A, 0x80000001, bytes(4))
        self.assertEqual(finished(self.builder).rrset(b"www\x00", A)[0].ttl, 0)

    def test_nsec3_without_parameters(self) -> None:
        """NSEC3 records say themselves how names are hashed; none is lost when the zone does not say it, too."""
        owner = from_text("2t7b4g4vsa5smi47k61mv5bv1a22bojr.example.org")
        self.builder.add(owner, 50, 60, b"\x01\x00\x00\x03\x01\xaa\x14" + bytes(20))
        zone = finished(self.builder)
        assert zone.nsec3 is not None
        self.assertEqual(
            (zone.nsec3.iterations, zone.nsec3.salt, len(list(zone.all_records()))), (3, b"\xaa", zone.records)
        )

    def test_hostile_nsec3(self) -> None:
        """Parameters that would make each answer expensive, or that are not known, are refused."""
        owner = from_text("2t7b4g4vsa5smi47k61mv5bv1a22bojr.example.org")
        rest = b"\x00" + b"\x14" + bytes(20)
        for data, reason in ((b"\x01\x00\x00\x97", "more than 150"), (b"\x02\x00\x00\x00", "algorithm 2")):
            with self.assertRaisesRegex(BadZone, reason):
                self.builder.add(owner, 50, 60, data + rest)
        with self.assertRaisesRegex(BadZone, "no hash"):
            self.builder.add(from_text("abc.example.org"), 50, 60, b"\x01\x00\x00\x00" + rest)
        with self.assertRaisesRegex(BadZone, "next hash"):
            self.builder.add(owner, 50, 60, b"\x01\x00\x00\x00\x00\x15" + bytes(21))


class ZoneTests(SynchronousTestCase):
    """kdns.zones.zone.Zone."""

    def test_order_of_all_records(self) -> None:
        """SOA and NS come first, then the apex, then all names in canonical order."""
        zone = zone_of(HEAD + "b A 10.0.0.2\n@ MX 5 b\n*.a A 10.0.0.3\na.b A 10.0.0.1\n")
        owners = [text_of(record).split()[0::2] for record in zone.all_records()]
        self.assertEqual([record.rtype for record in zone.all_records()][:3], [SOA, NS, MX])
        self.assertEqual([owner[0] for owner in owners[3:]], [f"{n}.example.org." for n in ("*.a", "b", "a.b", "ns")])

    def test_spelling_of_srv_owners(self) -> None:
        """Owners of SRV records keep their letters, others do not."""
        zone = zone_of(HEAD + "_Cap._tcp SRV 0 0 80 WWW\n_Cap._tcp TXT x\n")
        shown = {text_of(record).split()[0] for record in zone.all_records() if record.rtype in (TXT, 33)}
        self.assertEqual(shown, {"_Cap._tcp.example.org.", "_cap._tcp.example.org."})

    def test_negative_ttl(self) -> None:
        """The lower of the SOA's TTL and its last number."""
        self.assertEqual(zone_of(HEAD).negative_ttl, 60)
        self.assertEqual(zone_of(HEAD.replace("$TTL 300", "$TTL 7")).negative_ttl, 7)

    def test_serials(self) -> None:
        """Serials go round."""
        self.assertTrue(is_newer(1, 0xFFFFFFFF))
        self.assertFalse(is_newer(0xFFFFFFFF, 1))
        self.assertFalse(is_newer(5, 5))
        self.assertFalse(is_newer(0, 0x80000000))

    def test_hashed_owners(self) -> None:
        """The owner of an NSEC3 record and its hash are the same thing."""
        hashed = bytes(range(20))
        self.assertEqual(hash_of_owner(hashed_owner(hashed, ORIGIN), ORIGIN), hashed)
        self.assertIsNone(hash_of_owner(from_text("x.example.org"), ORIGIN))
