# -*- test-case-name: tests.plugins.transfer.test_sending -*-
"""Transfers to secondaries, through a whole server in memory."""

from __future__ import annotations

from kdns.core.request import Transport
from kdns.plugins.transfer import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import AXFR, REFUSED
from tests.plugins.file.support import ZoneTestCase, zone_text

COREFILE = """
.:{{PORT}} {
    transfer example.org {
        to %s
    }
    file DIR/db example.org {
        reload 1s
    }
}
"""


class SendingTests(ZoneTestCase):
    """kdns.plugins.transfer.sending."""

    def test_full_and_incremental(self) -> None:
        """Everything for a new secondary, what changed for one that has a version, an SOA for one that has the newest."""
        self.write("db", zone_text(5, *(f"h{n} A 10.0.0.{n}" for n in range(20))))
        world = self.world(COREFILE % "*")
        told = self.transfer(world, "example.org")
        self.assertEqual((told["rcode"], told["flags"], len(told["answer"])), ("NOERROR", ["qr", "aa"], 24))
        self.write("db", zone_text(6, *(f"h{n} A 10.0.0.{n}" for n in range(19)), "new A 10.0.1.1"))
        world.reactor.advance(1.1)
        told = self.transfer(world, "example.org", 5)
        kinds = [" ".join(line.split()[0:3:2]) for line in told["answer_in_order"]]
        soa = "example.org. SOA"
        self.assertEqual(kinds, [soa, soa, "h19.example.org. A", soa, "new.example.org. A", soa])
        self.assertEqual(len(self.transfer(world, "example.org", 6)["answer"]), 1)
        self.assertEqual(len(self.transfer(world, "example.org", 4)["answer"]), 24)
        self.assertEqual(self.logged("Outgoing noop, incremental transfer for up to date zone"), 1)
        self.assertEqual(
            self.logged('Outgoing transfer of 24 records of zone "example.org." to 127.0.0.1 for 5 SOA serial'), 1
        )

    def test_large(self) -> None:
        """A zone of many messages arrives whole, while other queries on other connections are answered."""
        self.write("db", zone_text(5, *(f'h{n} TXT "{"x" * 200}"' for n in range(3000))))
        world = self.world(COREFILE % "*")
        told = self.transfer(world, "example.org")
        self.assertEqual((len(told["answer"]), told["messages"]), (3004, 29))
        self.assertEqual(self.ask(world, "ns.example.org")["rcode"], "NOERROR")

    def test_who(self) -> None:
        """Only listed clients, only over streams, only zones that are there."""
        self.write("db", zone_text(5))
        world = self.world(COREFILE % "127.0.0.9:5300")
        self.assertEqual(self.transfer(world, "example.org")["rcode"], "REFUSED")
        self.assertEqual(len(self.transfer(world, "example.org", source="127.0.0.9")["answer"]), 4)
        self.assertEqual(self.ask(world, "example.org", AXFR, source="127.0.0.9")["rcode"], "REFUSED")
        for name in ("sub.example.org", "example.net"):
            self.assertEqual(self.transfer(world, name, source="127.0.0.9")["rcode"], "REFUSED")
        world.reactor.advance(10)  # NOTIFY to a secondary that is not there is given up

    def test_other_queries(self) -> None:
        """Everything but a transfer passes, and may be repeated."""
        bench = PluginBench(directive, "transfer {\n to 10.0.0.1\n}")
        self.addCleanup(bench.stop)
        bench.check_repeats(["a.test", "b.test"], qtypes=("A", "TXT"))
        self.assertEqual(bench.ask("a.test").source, "forward")
        self.assertEqual(bench.ask("a.test", AXFR, transport=Transport.TCP).rcode, REFUSED)
        self.assertEqual(bench.ask("a.test", AXFR, transport=Transport.TCP, client="10.0.0.1").source, "forward")

    def test_explained(self) -> None:
        """An explanation says whether the client may have the zone."""
        bench = PluginBench(directive, "transfer {\n to 10.0.0.1\n}")
        self.addCleanup(bench.stop)
        link = bench.builder.links[0]
        for client, transport, text in (
            ("127.0.0.1", Transport.TCP, "not among those"),
            ("127.0.0.1", Transport.UDP, "anything but TCP"),
            ("10.0.0.1", Transport.TCP, "no plugin offers"),
        ):
            (note,) = link.explain(a_request("a.test", AXFR, client=client, transport=transport))
            self.assertIn(text, note.text)
        self.assertEqual(list(link.explain(a_request("a.test"))), [])
