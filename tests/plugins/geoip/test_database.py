"""A database that is read, and read again."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.degraded import Fault
from kdns.corefile.errors import SetupError
from kdns.plugin.seam import ServerContext
from kdns.plugins.geoip.database import LOOK_INTERVAL, Database
from kdns.plugins.geoip.labels import CITY
from tests.databases import CAMBRIDGE, GERMANY, asn, city, database

KNOWN, OTHER = ip_address("81.2.69.142"), ip_address("10.1.0.1")


class DatabaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.write_bytes(city())
        self.clock = Clock()
        self.context = ServerContext(self.clock, clock=self.clock.seconds, wall=self.clock.seconds)
        self.database = Database(str(self.path), CITY, True, self.context)
        started = self.database.start()
        assert started is not None
        self.successResultOf(started)
        self.addCleanup(self.database.stop)

    def replace(self, content: bytes) -> None:
        """Put another file in the place of the first, and wait until it is looked at."""
        made = self.path.with_suffix(".new")
        made.write_bytes(content)
        os.replace(made, self.path)
        self.clock.advance(LOOK_INTERVAL)

    def code(self, address: object = KNOWN) -> str:
        return self.database.labels(address)[2]  # type: ignore[arg-type]  # both are addresses

    def faults(self) -> list[tuple[Fault, str]]:
        return [(state.kind, state.text) for state in self.context.degraded]

    def test_read(self) -> None:
        """Known addresses have their labels, unknown ones none."""
        self.assertEqual([self.code(), self.code(OTHER), self.code(ip_address("2001:db8::1"))], ["GB", "DE", ""])

    def test_read_again(self) -> None:
        """A file that changed is read within seconds, and every client's group is another one."""
        version, group = self.database.stamp.version, self.database.group("192.0.2.1")
        self.replace(database("GeoLite2-City", {"81.2.69.142/32": GERMANY}))
        self.assertEqual((self.code(), self.code(OTHER)), ("DE", ""))
        self.assertGreater(self.database.stamp.version, version)
        self.assertNotEqual(self.database.group("192.0.2.1"), group)

    def test_unchanged(self) -> None:
        """A file that did not change is not read again."""
        version = self.database.stamp.version
        self.clock.pump([LOOK_INTERVAL] * 3)
        self.assertEqual(self.database.stamp.version, version)

    def test_cannot_be_read_again(self) -> None:
        """A file that is no database, of another kind or missing is in the list of faults, and the one before stays in use."""
        for content in (b"hello\n", city()[:1000], asn()):
            self.replace(content)
            self.assertEqual(self.code(), "GB")
            ((kind, text),) = self.faults()
            self.assertEqual(kind, Fault.GEOIP_DATABASE)
            self.assertIn("not read again: ", text)
        self.path.unlink()
        self.clock.advance(LOOK_INTERVAL)
        self.assertIn("no such file", self.faults()[0][1])
        self.replace(database("GeoLite2-City", {"81.2.69.142/32": GERMANY}))
        self.assertEqual((self.code(), self.faults()), ("DE", []))

    def test_cut_in_place(self) -> None:
        """A file that is cut short while it is in use does no harm: what is mapped is a copy."""
        os.truncate(self.path, 0)
        self.assertEqual([self.code(), self.code(OTHER)], ["GB", "DE"])

    def test_damaged_inside(self) -> None:
        """A database whose damage shows only when an address is looked up is in the list of faults."""
        whole = database("GeoLite2-City", {"81.2.69.142/32": CAMBRIDGE})
        marker = whole.index(b"\xab\xcd\xefMaxMind.com")
        data = whole.index(b"Cambridge") - 60
        self.replace(whole[:data] + b"\xff" * (marker - data) + whole[marker:])
        self.assertEqual(self.code(), "")
        ((kind, text),) = self.faults()
        self.assertEqual((kind, text.partition(":")[0]), (Fault.GEOIP_DATABASE, "damaged"))

    def test_not_there_at_the_start(self) -> None:
        """A file that is gone between building and start ends the start."""
        self.path.write_bytes(b"hello\n")
        database = Database(str(self.path), CITY, True, self.context)
        started = database.start()
        assert started is not None
        error = self.failureResultOf(started, SetupError).value
        self.assertIn("invalid MaxMind DB file", str(error))
        database.stop()

    def test_stopped(self) -> None:
        """Nothing is left on the clock, and no descriptor is open."""
        before = len(os.listdir("/proc/self/fd"))
        other = Database(str(self.path), CITY, True, self.context)
        other.start()
        other.stop()
        self.database.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before)
