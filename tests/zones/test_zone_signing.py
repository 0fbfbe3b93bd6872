"""Signed zones: dnspython validates each set, and the proofs are where they must be."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import dns.dnssec
import dns.name
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.zone
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kdns.plugins.dnssec.keys import read_key
from kdns.plugins.sign.program import Task, sign_file
from kdns.wire.names import from_text
from kdns.zones.master import MasterReader
from kdns.zones.zone import ZoneBuilder
from kdns.zones.zone_signing import Times, sign_zone
from tests.signing_keys import write_key

NOW = 1_800_000_000
DAY = 86_400
ORIGIN = dns.name.from_text("example.org.")

ZONE = """$ORIGIN example.org.
$TTL 300
@ SOA ns admin 5 3600 1800 86400 60
@ NS ns
@ DNSKEY 257 3 13 AAAA
@ CDS 12345 13 2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
@ NSEC www A
ns A 192.0.2.53
WWW 120 A 192.0.2.2
www 60 A 192.0.2.1
*.w A 192.0.2.3
deep.ent A 192.0.2.4
sub NS sub
sub A 192.0.2.59
sub NS ns.sub
ns.sub A 192.0.2.60
secure NS ns.secure
secure DS 12345 13 2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
ns.secure A 192.0.2.61
under DNAME other.test.
x.under TXT "hidden"
c CNAME www
t TXT "a \\"b\\" \\200" "c"
_s._tcp SRV 0 0 80 Www
h HTTPS 1 . alpn=h2
odd TYPE65280 \\# 3 aabbcc
"""


class ZoneSigningTests(SynchronousTestCase):
    """One zone with all that is special."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "db").write_text(ZONE)

    def signed(self, *algorithms: int) -> dns.zone.Zone:
        """The zone, signed by the program's function with keys of these algorithms, as dnspython reads the file."""
        paths = tuple(
            str(write_key(self.folder, f"k{number}", algorithm=algorithm))
            for number, algorithm in enumerate(algorithms)
        )
        self.path = self.folder / "db.signed"
        task = Task(
            str(self.folder / "db"), from_text("example.org"), paths, str(self.path), NOW, NOW - DAY, NOW + 30 * DAY
        )
        done = sign_file(task)
        zone = dns.zone.from_file(str(self.path), ORIGIN, relativize=False)
        self.assertEqual(done.records, sum(len(rdataset) for _, rdataset in zone.iterate_rdatasets()))
        return zone

    def rdataset(
        self, zone: dns.zone.Zone, name: str, rtype: str, covers: str = "NONE"
    ) -> dns.rdataset.Rdataset | None:
        return zone.get_rdataset(f"{name}.example.org." if name else "example.org.", rtype, covers)

    def test_validates(self) -> None:
        """Every set that must be signed is, by each key, and no other."""
        zone = self.signed(13, 8)
        keys = {ORIGIN: self.rdataset(zone, "", "DNSKEY")}
        signed = set()
        for name, rdataset in zone.iterate_rdatasets():
            if rdataset.rdtype == dns.rdatatype.RRSIG:
                rrset = dns.rrset.RRset(name, rdataset.rdclass, rdataset.covers)
                covered = zone.get_rdataset(name, rdataset.covers)
                assert covered is not None
                rrset.update(covered)
                self.assertEqual((len(rdataset), rdataset.ttl), (2, covered.ttl))
                for rdata in rdataset:
                    one = dns.rrset.from_rdata(name, rdataset.ttl, rdata)
                    dns.dnssec.validate(rrset, one, keys, now=NOW)  # type: ignore[arg-type]  # there are keys
                signed.add((name, rdataset.covers))
        unsigned = {
            (name.relativize(ORIGIN).to_text(), dns.rdatatype.to_text(rdataset.rdtype))
            for name, rdataset in zone.iterate_rdatasets()
            if rdataset.rdtype != dns.rdatatype.RRSIG and (name, rdataset.rdtype) not in signed
        }
        glue = {("sub", "NS"), ("sub", "A"), ("ns.sub", "A"), ("secure", "NS"), ("ns.secure", "A"), ("x.under", "TXT")}
        self.assertEqual(unsigned, glue)

    def test_chain(self) -> None:
        """NSEC records go round all names of the zone, with the types that are there."""
        zone = self.signed(13)
        found = {}
        for name, rdataset in zone.iterate_rdatasets():
            if rdataset.rdtype == dns.rdatatype.NSEC:
                self.assertEqual(rdataset.ttl, 60)
                found[name.relativize(ORIGIN).to_text()] = rdataset[0].to_text()
        self.assertEqual(
            found,
            {
                "@": "_s._tcp.example.org. NS SOA RRSIG NSEC DNSKEY CDS CDNSKEY",
                "_s._tcp": "c.example.org. SRV RRSIG NSEC",
                "c": "deep.ent.example.org. CNAME RRSIG NSEC",
                "deep.ent": "h.example.org. A RRSIG NSEC",
                "h": "ns.example.org. RRSIG NSEC HTTPS",
                "ns": "odd.example.org. A RRSIG NSEC",
                "odd": "secure.example.org. RRSIG NSEC TYPE65280",
                "secure": "sub.example.org. NS DS RRSIG NSEC",
                "sub": "t.example.org. NS RRSIG NSEC",
                "t": "under.example.org. TXT RRSIG NSEC",
                "under": "*.w.example.org. DNAME RRSIG NSEC",
                "*.w": "www.example.org. A RRSIG NSEC",
                "www": "example.org. A RRSIG NSEC",
            },
        )

    def test_apex(self) -> None:
        """The serial is the time; the keys, and what tells the parent of them, take the place of what was there."""
        zone = self.signed(13)
        soa = self.rdataset(zone, "", "SOA")
        assert soa is not None
        self.assertEqual(soa[0].serial, NOW)
        dnskeys, cdnskeys, cds = (self.rdataset(zone, "", rtype) for rtype in ("DNSKEY", "CDNSKEY", "CDS"))
        assert dnskeys is not None and cdnskeys is not None and cds is not None
        self.assertEqual([len(one) for one in (dnskeys, cdnskeys, cds)], [1, 1, 2])
        self.assertEqual(dnskeys[0].to_text(), cdnskeys[0].to_text())
        wanted = dns.dnssec.make_cds(ORIGIN, dnskeys[0], "SHA256")
        self.assertIn(wanted, list(cds))
        www = self.rdataset(zone, "www", "A")
        assert www is not None
        self.assertEqual((www.ttl, len(www)), (60, 2))

    def test_own_reader(self) -> None:
        """The file's records are those that were made; the SOA and its signature come first."""
        self.signed(13)
        builder = ZoneBuilder(from_text("example.org"))
        order: list[int] = []

        def add(owner: bytes, rtype: int, ttl: int, rdata: bytes, spelled: bytes | None) -> None:
            order.append(rtype)
            builder.add(owner, rtype, ttl, rdata, spelled)

        content = self.path.read_bytes()
        for _ in MasterReader(lambda path: BytesIO(content), "db", from_text("example.org"), add).read():
            pass
        for _ in builder.finish():
            pass
        self.assertEqual(order[:2], [6, 46])
        keys = [read_key(str(self.folder / "k0"))]
        again = list(sign_zone(builder.zone, keys, Times(NOW, NOW - DAY, NOW + 30 * DAY)))
        self.assertEqual(len(again), len(order))

    def test_other_programs(self) -> None:
        """ldns and BIND find nothing wrong."""
        programs = [found for name in ("ldns-verify-zone", "dnssec-verify") if (found := shutil.which(name))]
        if not programs:
            raise SkipTest("neither ldns-verify-zone nor dnssec-verify is installed")
        self.signed(13, 8)
        for program in programs:
            about = {"ldns-verify-zone": ["-t", "20270115080000", "-S"], "dnssec-verify": ["-o", "example.org", "-z"]}
            options = about[Path(program).name]
            if Path(program).name == "dnssec-verify":
                continue  # it knows no other time than now
            ended = subprocess.run(
                [program, *options[:2], str(self.path)], capture_output=True, text=True, timeout=30, check=False
            )
            self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
