# -*- test-case-name: tests.plugins.kubernetes.test_transfer -*-
"""A cluster's zones as lists of records; what each service adds is in the golden files about transfers."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.capabilities import OffersTransfers, TransferZone
from kdns.wire.constants import NS, PTR, SOA
from kdns.wire.names import from_text, to_text
from kdns.wire.records import WireRecord
from tests.conformance.cases import case_file
from tests.conformance.world import MemoryWorld, world_of


def type_of(record: WireRecord) -> int:
    """The type of a record."""
    return int.from_bytes(record[1][:2], "big")


class TransferTests(SynchronousTestCase):
    """kdns.plugins.kubernetes.transfer."""

    def setUp(self) -> None:
        """A server with the cluster of the golden cases."""
        self.world: MemoryWorld = world_of(case_file("transfer"), Path(self.mktemp()))
        self.world.start()
        self.addCleanup(self.world.stop)
        configuration = self.world.service.configuration
        assert configuration is not None
        self.link = next(
            link
            for link in configuration.builders[0].links
            if isinstance(link, OffersTransfers) and link.name == "kubernetes"
        )

    def zone(self, name: str) -> TransferZone:
        """The zone of that name."""
        zone = self.link.transfer_zone(from_text(name))
        assert zone is not None
        return zone

    def records(self, zone: TransferZone, serial: int | None = None) -> tuple[str, list[WireRecord]]:
        """The kind of a transfer, and its records."""
        found = zone.transfer(serial)
        assert found is not None
        return found[0], list(found[1])

    def test_reverse(self) -> None:
        """A reverse zone has the PTR records of cluster IPs and endpoints in it, into the primary zone."""
        kind, found = self.records(self.zone("in-addr.arpa"))
        self.assertEqual((kind, type_of(found[0]), type_of(found[1]), found[-1]), ("full", SOA, NS, found[0]))
        pointers = {to_text(one[0]): to_text(one[1][10:]) for one in found if type_of(one) == PTR}
        self.assertEqual(pointers["10.0.96.10.in-addr.arpa."], "kube-dns.kube-system.svc.cluster.local.")
        self.assertEqual(pointers["21.1.244.10.in-addr.arpa."].partition(".")[0], "db-0")

    def test_versions(self) -> None:
        """A client with the serial of now gets the SOA alone, one with another everything."""
        zone = self.zone("cluster.local")
        serial = int.from_bytes(self.records(zone)[1][0][1][-20:-16], "big")
        kind, records = self.records(zone, serial)
        self.assertEqual((kind, len(records)), ("noop", 1))
        self.assertEqual(self.records(zone, serial - 1)[0], "full")

    def test_only_zones(self) -> None:
        """A name below a zone is no zone."""
        self.assertIsNone(self.link.transfer_zone(from_text("prod.svc.cluster.local")))
