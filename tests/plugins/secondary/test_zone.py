# -*- test-case-name: tests.plugins.secondary.test_zone -*-
"""A secondary and its primary, two listeners of one server in memory: transfers, NOTIFY, refresh, expiry, catalogs."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from kdns.core.degraded import Fault
from kdns.plugins.file.answering import ZonesLink
from kdns.wire.constants import NOTIFY, SOA
from tests.conformance.world import MemoryWorld
from tests.plugins.file.support import ZoneTestCase, zone_text

COREFILE = """
.:{{PORT}} {
    secondary example.org {
        transfer from 127.0.0.1:{{PORT2}}
    }
}
.:{{PORT2}} {
    transfer {
        to *%s
    }
    file DIR/db example.org {
        reload 1s
    }
}
"""


class Bogus(Protocol):
    """A primary that answers with something else."""

    transport: Any
    says = b""

    def dataReceived(self, data: bytes) -> None:
        """A query."""
        if self.says:
            self.transport.write(len(self.says).to_bytes(2, "big") + self.says)


class SecondaryTests(ZoneTestCase):
    """kdns.plugins.secondary."""

    def address(self, world: MemoryWorld, name: str = "www.example.org") -> str:
        """What the secondary says to a name: the first record, or the response code."""
        told = self.ask(world, name)
        return str(told["answer"][0].split()[-1] if told["answer"] else told["rcode"])

    def until(self, world: MemoryWorld, wanted: str, seconds: float = 5.0, name: str = "www.example.org") -> None:
        """Let time pass until the secondary says it."""
        self.wait(world, lambda: self.address(world, name) == wanted, seconds)

    def test_transferred_at_the_start(self) -> None:
        """The zone is there as soon as the primary is."""
        self.write("db", zone_text(5, "www A 10.0.0.1", "*.w A 10.0.0.2"))
        world = self.world(COREFILE % "")
        self.until(world, "10.0.0.1")
        self.assertEqual(self.address(world, "x.w.example.org"), "10.0.0.2")
        self.assertEqual(self.logged("Transferred: example.org. from 127.0.0.1:1054"), 1)

    def test_refresh(self) -> None:
        """When the refresh time has passed, a newer version is transferred, as differences."""
        self.write("db", zone_text(5, "www A 10.0.0.1", *(f"h{n} A 10.0.0.1" for n in range(9)), refresh=10))
        world = self.world(COREFILE % "")
        self.until(world, "10.0.0.1")
        self.write("db", zone_text(6, "www A 10.0.0.2", *(f"h{n} A 10.0.0.1" for n in range(9)), refresh=10))
        world.reactor.advance(5)
        self.assertEqual(self.address(world), "10.0.0.1")
        self.until(world, "10.0.0.2", 15)
        self.assertEqual(self.logged("Outgoing transfer of 6 records"), 1)

    def test_notify(self) -> None:
        """A NOTIFY of the primary is acknowledged, and brings the new version at once; others are not answered."""
        self.write("db", zone_text(5, "www A 10.0.0.1"))
        world = self.world(COREFILE % " 127.0.0.1:{{PORT}}")
        self.until(world, "10.0.0.1")
        self.write("db", zone_text(6, "www A 10.0.0.2"))
        self.until(world, "10.0.0.2", 5)
        self.assertGreater(self.logged("Notify from 127.0.0.1 for example.org.: checking transfer"), 0)
        told = self.ask(world, "example.org", SOA, NOTIFY)
        self.assertEqual((told["rcode"], told["flags"]), ("NOERROR", ["qr", "aa"]))
        self.assertIsNone(self.ask(world, "example.org", SOA, NOTIFY, source="127.0.0.9"))

    def test_expiry(self) -> None:
        """Without a primary the zone is served until it expires, and again when a primary confirms its serial."""
        self.write("db", zone_text(5, "www A 10.0.0.1", refresh=10, retry=5, expire=60))
        world = self.world(COREFILE % "")
        self.until(world, "10.0.0.1")
        os.rename(self.folder / "db", self.folder / "away")
        configuration = world.service.configuration
        assert configuration is not None
        primary = next(one for one in configuration.builders if one.block.keys[0].port == 1054)
        link = primary.find(ZonesLink)
        assert link is not None
        served = next(iter(link.zones.values()))
        served.expire()  # a primary that answers SOA with SERVFAIL is none
        world.reactor.advance(40)
        self.assertEqual(self.address(world), "10.0.0.1")
        for _ in range(10):
            world.reactor.advance(5)
        self.assertEqual(self.address(world), "SERVFAIL")
        (state,) = (one for one in world.service.context.degraded if one.kind is Fault.ZONE_TRANSFER)
        self.assertEqual(state.name, "zone example.org.")
        self.assertTrue(state.text.startswith("it has expired; "))
        self.assertEqual(self.logged("Zone example.org. is expired"), 1)
        self.assertEqual(self.logged("All 'example.org.' masters failed to transfer, retrying in 5s"), 1)
        served.confirm()
        self.until(world, "10.0.0.1", 20)
        self.assertEqual(world.service.context.degraded.count(Fault.ZONE_TRANSFER), 0)

    def test_no_primary(self) -> None:
        """Until somebody sends the zone it is SERVFAIL; attempts come after 250 ms, then twice as long each time."""
        world = self.world(".:{{PORT}} {\n secondary example.org {\n transfer from 127.0.0.3:1\n }\n}\n")
        self.assertEqual(self.address(world), "SERVFAIL")
        world.reactor.advance(0.3)
        world.reactor.advance(0.6)
        for pause in ("250ms", "500ms", "1s"):
            self.assertEqual(self.logged(f"masters failed to transfer, retrying in {pause}"), 1, pause)

    def test_bad_primaries(self) -> None:
        """A primary that is silent, closes, or sends nonsense is given up in time, and the next one is asked."""
        self.write("db", zone_text(5, "www A 10.0.0.1"))
        corefile = (COREFILE % "").replace("from 127.0.0.1:", "from 127.0.0.4 127.0.0.5 127.0.0.1:")
        ports = []
        world = MemoryWorld(corefile.replace("DIR", str(self.folder)))
        for host, says in (("127.0.0.4", b""), ("127.0.0.5", b"\x00" * 20)):
            factory = Factory.forProtocol(type("Primary", (Bogus,), {"says": says}))
            factory.noisy = False
            ports.append(world.reactor.listenTCP(53, factory, interface=host))
        world.start()
        self.until(world, "10.0.0.1", 10)
        self.assertEqual(self.logged("from 127.0.0.4:53: 127.0.0.4:53: no message within 2 s"), 1)
        self.assertEqual(self.logged("from 127.0.0.5:53: a message that is no reply to the query"), 1)
        for port in ports:
            port.stopListening()
        self.assertEqual(world.stop(), [])

    def test_kept_over_a_reload(self) -> None:
        """A zone is not transferred again when the Corefile changes elsewhere, and is answered all the time."""
        self.write("db", zone_text(5, "www A 10.0.0.1"))
        text = COREFILE % ""
        world = self.world(text)
        self.until(world, "10.0.0.1")
        text = text.replace(
            "    secondary example.org {",
            "    secondary late.test {\n transfer from 127.0.0.3:1\n }\n    secondary example.org {",
        )
        world.corefile = text.replace("DIR", str(self.folder)).replace("{{PORT}}", "1053").replace("{{PORT2}}", "1054")
        world.service.reload()
        for _ in range(10):
            world.reactor.advance(0.05)
            self.assertEqual(self.address(world), "10.0.0.1")
        self.assertEqual(self.ask(world, "www.late.test")["rcode"], "SERVFAIL")
        self.assertEqual(self.logged("Transferred: example.org."), 1)

    def test_catalog(self) -> None:
        """Members of a catalog come and go with its versions."""
        head = "$TTL 1\n@ SOA invalid. invalid. {} 5 5 600 0\n@ NS invalid.\nversion TXT 2\n"
        self.write("catalog", head.format(1) + "a.zones PTR a.test.\nb.zones PTR b.test.\nc.zones PTR other.example.\n")
        for name in ("a", "b"):
            self.write(name, zone_text(5, f"www A 10.0.0.{ord(name) - 96}"))
        world = self.world(
            ".:{{PORT}} {\n secondary catalog.test {\n transfer from 127.0.0.1:{{PORT2}}\n catalog test\n }\n}\n"
            ".:{{PORT2}} {\n transfer {\n to * 127.0.0.1:{{PORT}}\n }\n file DIR/catalog catalog.test {\n reload 1s\n }\n"
            " file DIR/a a.test\n file DIR/b b.test\n}\n"
        )
        for name, address in (("www.a.test", "10.0.0.1"), ("www.b.test", "10.0.0.2")):
            self.until(world, address, name=name)
        self.assertEqual(self.logged("Added catalog member zone"), 2)
        self.write("catalog", head.format(2) + "a.zones PTR a.test.\n")
        self.wait(world, lambda: self.logged("Removed catalog member zone b.test. from catalog catalog.test."))
        self.assertEqual(self.address(world, "www.a.test"), "10.0.0.1")
        self.assertEqual(self.ask(world, "www.b.test")["rcode"], "SERVFAIL")
        self.write("catalog", head.format(3).replace("TXT 2", "TXT 1"))
        self.wait(world, lambda: self.logged("unsupported version"))
        self.assertEqual(self.address(world, "www.a.test"), "10.0.0.1")
