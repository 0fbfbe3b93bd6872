"""The records of a cluster zone."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.validity import ONCE
from kdns.plugins.kubernetes.result import Group, Pair, ReplyBudget, Result
from kdns.plugins.kubernetes.zone import Zone
from kdns.wire.constants import AA, AAAA, NOERROR, NXDOMAIN, SERVFAIL, SRV, A
from kdns.wire.names import from_text
from tests.plugins.kubernetes.cluster import packed
from tests.plugins.kubernetes.telling import texts

ZONE = from_text("cluster.local")
ROOM = ReplyBudget(65_000)
OWNER = from_text("web.prod.svc.cluster.local")
PLACE = b"\x03web\x04prod\x03svc"
ONE, TWO, SIX = packed("10.0.0.1", "10.0.0.2", "fd00::1")


class ZoneTests(SynchronousTestCase):
    """A zone as one query sees it."""

    def existing(self, zone: Zone, qtype: int, found: Result, room: ReplyBudget = ROOM) -> Answer:
        """The answer for a name that stands for addresses."""
        return zone.existing(OWNER, qtype, found, room, Random(1), 100.0)

    def test_soa(self) -> None:
        """The SOA's own TTL stays at five minutes or below; its minimum is the TTL of the option."""
        for ttl, own in ((0, 0), (5, 5), (300, 300), (3600, 300)):
            (text,) = texts([Zone(ZONE, ttl, 77).soa_record()])
            shown = f"{own} SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 {ttl}"
            self.assertEqual(text, f"cluster.local. {shown}")
        self.assertIn((77).to_bytes(4, "big"), Zone(ZONE, 5, 77).soa_record().rdata)

    def test_negative(self) -> None:
        """Both kinds have the SOA and hold for the TTL, with TTL 0 for a second."""
        for ttl, until in ((30, 130.0), (0, 101.0)):
            zone = Zone(ZONE, ttl, 1)
            for answer, rcode in ((zone.nodata((), 100.0), NOERROR), (zone.nxdomain((), 100.0), NXDOMAIN)):
                self.assertEqual((answer.rcode, answer.flags, answer.answer), (rcode, AA, ()))
                self.assertEqual(answer.authority, (zone.soa_record(),))
                self.assertEqual((answer.validity.repeat, answer.validity.until), (True, until))

    def test_not_ready(self) -> None:
        """What cannot be told yet is kept by nobody."""
        answer = Zone(ZONE, 5, 0).not_ready((14, "why"))
        self.assertEqual((answer.rcode, answer.flags, answer.ede), (SERVFAIL, AA, ((14, "why"),)))
        self.assertEqual(answer.validity, ONCE)

    def test_addresses(self) -> None:
        """One family, each address once, in the order of the data."""
        found = Result(exists=True)
        found.groups = [Group((TWO, SIX, ONE), (80, 443), PLACE), Group((ONE,), (80,), PLACE)]
        for qtype, wanted in ((A, [TWO, ONE]), (AAAA, [SIX])):
            answer = self.existing(Zone(ZONE, 5, 0), qtype, found)
            self.assertEqual([record.rdata for record in answer.answer], wanted)

    def test_services(self) -> None:
        """Equal records and equal glue once; the weight is shared by all that was found."""
        found = Result(exists=True)
        found.groups = [Group((ONE,), (80, 443), PLACE), Group((SIX,), (80,), PLACE), Group((TWO,), (None,), PLACE)]
        answer = self.existing(Zone(ZONE, 5, 0), SRV, found)
        records, glue = answer.answer, answer.additional
        name = "web.prod.svc.cluster.local."
        self.assertEqual(texts(records), {f"{name} 5 SRV 0 25 {port} {name}" for port in (80, 443)})
        self.assertEqual(texts(glue), {f"{name} 5 A 10.0.0.1", f"{name} 5 AAAA fd00::1"})
        self.assertEqual((len(records), len(glue)), (2, 2))
        self.assertEqual(
            self.existing(Zone(ZONE, 5, 0), SRV, Result(exists=True)).authority, (Zone(ZONE, 5, 0).soa_record(),)
        )

    def test_long_names(self) -> None:
        """A target of more than 255 bytes is no name: neither it nor its address is in any record."""
        front = (b"\x3f" + bytes(63)) * 3
        fits, long = (front + bytes((length,)) + bytes(length) for length in (47, 48))
        self.assertEqual((len(fits + ZONE), len(long + ZONE)), (255, 256))
        found = Result(exists=True)
        found.groups = [Group((ONE,), (80,), long), Group((TWO,), (80,), fits)]
        zone = Zone(ZONE, 5, 0)
        answer = self.existing(zone, SRV, found)
        servers, addresses = zone.name_servers(ZONE, [Pair(long, None, ONE), Pair(fits, None, TWO)], [])
        for records, glue in ((answer.answer, answer.additional), (servers, addresses)):
            self.assertEqual([record.rdata[-255:] for record in records], [fits + ZONE])
            self.assertEqual([record.owner for record in glue], [fits + ZONE])

    def test_name_servers(self) -> None:
        """Without a service of its own a server is called ``ns.dns``."""
        records, glue = Zone(ZONE, 5, 0).name_servers(ZONE, [], [ONE, SIX])
        self.assertEqual(texts(records), {"cluster.local. 5 NS ns.dns.cluster.local."})
        self.assertEqual(len(glue), 2)
        self.assertEqual(Zone(ZONE, 5, 0).name_servers(ZONE, [], []), ([], []))

    def test_version(self) -> None:
        """The version of the specification."""
        owner = from_text("dns-version.cluster.local")
        self.assertEqual(texts([Zone(ZONE, 5, 0).version(owner)]), {'dns-version.cluster.local. 28800 TXT "1.1.0"'})
