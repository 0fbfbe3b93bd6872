# -*- test-case-name: tests.plugins.stores.test_zones -*-
"""Hosted zones: read, read again, kept through failures, and several of one name."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred

from kdns.core.degraded import Fault
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.stores.rest import RestClient, StoreProblem
from kdns.plugins.stores.zones import BadValue, HostedZone, HostedZonesLink, Page, RecordSet, rdata_of
from kdns.testing.plugin import PluginBench
from kdns.wire.constants import NXDOMAIN, SERVFAIL, TXT, A
from kdns.wire.names import from_text
from tests.plugins.stores.http import HttpCase

ORG = from_text("example.org")
SOA = RecordSet("example.org.", "SOA", 900, ["ns.example.org. host.example.org. 1 7200 900 1209600 86400"])


class FakeProvider:
    """A zone that the test sets."""

    name = "group:zone"

    def __init__(self, *sets: RecordSet) -> None:
        self.sets = [SOA, *sets]
        self.problem = ""
        self.reads = 0
        self.hold: Deferred[None] | None = None

    async def pages(self, client: RestClient) -> AsyncIterator[Page]:
        """See :class:`kdns.plugins.stores.zones.Provider`; each record set is a page."""
        self.reads += 1
        if self.hold is not None:
            await self.hold
        for one in self.sets:
            yield Page([one], repr(one).encode())
        if self.problem:
            raise StoreProblem(self.problem)


def a(name: str, *addresses: str) -> RecordSet:
    """Addresses of a name."""
    return RecordSet(name, "A", 300, addresses)


class ZoneTests(HttpCase):
    """kdns.plugins.stores.zones.HostedZone."""

    def begun(self, provider: FakeProvider, refresh: float = 60.0) -> HostedZone:
        """A zone that was started."""
        made = HostedZone("route53", Fault.ROUTE53, ORG, provider, refresh, self.context)
        self.started: list[object] = []
        made.start().addBoth(self.started.append)
        self.stopping.append(made)
        self.reactor.advance(0.1)
        return made

    def addresses(self, zone: HostedZone, key: bytes = b"www") -> set[str]:
        """The addresses of a name directly in the zone."""
        from kdns.zones.keys import key_of

        assert zone.served.zone is not None
        found = zone.served.zone.rrset(key_of(bytes((len(key),)) + key + ORG, ORG), A)
        return {".".join(map(str, datum.rdata)) for datum in found}

    def test_read(self) -> None:
        """The zone is there when the start is over, and read again after its interval; an equal one changes nothing."""
        provider = FakeProvider(a("www.example.org.", "192.0.2.1", "192.0.2.2"))
        zone = self.begun(provider)
        self.assertEqual(self.started, [None])
        self.assertEqual(self.addresses(zone), {"192.0.2.1", "192.0.2.2"})
        stamp = zone.served.stamp.ref()
        self.advance(67)
        self.assertEqual(provider.reads, 2)
        self.assertEqual(zone.served.stamp.ref(), stamp)
        provider.sets.append(a("new.example.org.", "192.0.2.3"))
        self.advance(67)
        self.assertEqual(self.addresses(zone, b"new"), {"192.0.2.3"})
        self.assertNotEqual(zone.served.stamp.ref(), stamp)

    def test_away(self) -> None:
        """A provider that fails in the middle leaves the last version, and is told of until it works."""
        provider = FakeProvider(a("www.example.org.", "192.0.2.1"))
        zone = self.begun(provider)
        provider.sets = [SOA]
        provider.problem = "AccessDenied"
        self.advance(70)
        self.assertEqual(self.addresses(zone), {"192.0.2.1"})
        self.assertEqual(self.wrong(), ["AccessDenied"])
        provider.problem = ""
        self.advance(70)
        self.assertEqual(self.addresses(zone), set())
        self.assertEqual(self.wrong(), [])

    def test_never_there(self) -> None:
        """The start does not wait for a provider that fails; it is asked again soon."""
        provider = FakeProvider(a("www.example.org.", "192.0.2.1"))
        provider.problem = "no credentials"
        zone = self.begun(provider)
        self.assertEqual(self.started, [None])
        self.assertIn("no credentials", zone.served.why)
        provider.problem = ""
        self.advance(4)
        self.assertEqual(self.addresses(zone), {"192.0.2.1"})

    def test_slow(self) -> None:
        """For a slow one the start waits five seconds."""
        provider = FakeProvider()
        provider.hold = Deferred()
        self.begun(provider)
        self.advance(4)
        self.assertEqual(self.started, [])
        self.advance(2)
        self.assertEqual(self.started, [None])

    def test_unreadable(self) -> None:
        """What cannot be read is left out whole, and named; the rest is there."""
        provider = FakeProvider(
            a("www.example.org.", "192.0.2.1"),
            a("bad.example.org.", "192.0.2.2", "nonsense"),
            RecordSet("t.example.org.", "NOPE", 300, ["x"]),
            a("a..b.", "192.0.2.2"),
            a("www.example.net.", "192.0.2.9"),
        )
        zone = self.begun(provider)
        self.assertEqual((self.addresses(zone), self.addresses(zone, b"bad")), ({"192.0.2.1"}, set()))
        (text,) = self.wrong()
        self.assertIn("3 record sets are left out: bad.example.org. A: ", text)
        del provider.sets[2:5]
        self.advance(70)
        self.assertEqual(self.wrong(), [])

    def test_no_zone(self) -> None:
        """Records without an SOA are no zone."""
        provider = FakeProvider()
        provider.sets = [a("www.example.org.", "192.0.2.1")]
        zone = self.begun(provider)
        self.assertIn("no SOA record", zone.served.why)
        provider.sets = [SOA._replace(values=["nonsense"])]
        self.advance(10)
        self.assertIn("no SOA record; 1 record set is left out: example.org. SOA: ", zone.served.why)

    def test_rdata(self) -> None:
        """Values are read as in a master file, but names are absolute, and nothing else of a master file counts."""
        self.assertEqual(rdata_of(TXT, '"a b" "c\\"d" e'), b'\x03a b\x03c"d\x01e')
        self.assertEqual(rdata_of(5, "WWW.example.org"), from_text("www.example.org"))
        for rtype, value in ((A, ""), (A, "1.2.3.4 5"), (A, "1.2.3.4 ; no"), (TXT, ""), (15, "10"), (5, "a..b.")):
            with self.assertRaises(BadValue, msg=value):
                rdata_of(rtype, value)


class Directive:
    """Some hosted zones of one name."""

    name = "route53"

    def __init__(self, *providers: FakeProvider) -> None:
        self.providers = providers
        self.zones: list[HostedZone] = []

    def parse(self, tokens: Dispenser, block: Block) -> str:
        """Nothing to read but ``fallthrough``."""
        words = [word for _ in tokens.invocations() for word in tokens.remaining_args()]
        return " ".join(words)

    def build(self, config: str, builder: BlockBuilder) -> None:
        """As the real ones."""
        zones = [
            HostedZone("route53", Fault.ROUTE53, ORG, provider, 60.0, builder.context) for provider in self.providers
        ]
        for zone in zones:
            builder.run(zone)
        self.zones += zones
        fallthrough = (ORG,) if config else ()
        builder.link(HostedZonesLink("route53", {ORG: zones}, fallthrough))


class LinkTests(HttpCase):
    """kdns.plugins.stores.zones.HostedZonesLink."""

    def bench(self, text: str, *providers: FakeProvider) -> PluginBench:
        """The zones in a server block."""
        bench = PluginBench(Directive(*providers), text)
        self.addCleanup(bench.stop)
        return bench

    def test_repeats_across_changes(self) -> None:
        """Table and cache never say what the zones no longer say, also where two have one name."""
        one = FakeProvider(
            a("www.example.org.", "192.0.2.1"), RecordSet("cn.example.org.", "CNAME", 60, ["www.example.org."])
        )
        two = FakeProvider(a("two.example.org.", "192.0.2.2"), a("*.w.example.org.", "192.0.2.3"))
        names = [f"{name}example.org" for name in ("www.", "two.", "cn.", "x.w.", "new.", "")] + ["www.example.net"]
        bench = self.bench("route53", one, two)

        def change() -> None:
            one.sets[1:] = [a("new.example.org.", "192.0.2.9"), a("two.example.org.", "192.0.2.8")]
            two.sets[1:] = [a("www.example.org.", "192.0.2.7")]
            for _ in range(70):
                bench.advance(1)

        bench.check_repeats(names, qtypes=("A", "AAAA", "TXT"), change=change)
        self.assertEqual(bench.ask("www.example.org").answer[0].rdata, bytes((192, 0, 2, 7)))

    def test_several(self) -> None:
        """The first that has the name answers; the last one says that none has it."""
        one = FakeProvider(a("both.example.org.", "192.0.2.1"), a("t.example.org.", "192.0.2.1"))
        two = FakeProvider(a("both.example.org.", "192.0.2.2"), a("two.example.org.", "192.0.2.2"))
        bench = self.bench("route53", one, two)
        self.assertEqual(bench.ask("both.example.org").answer[0].rdata, bytes((192, 0, 2, 1)))
        self.assertEqual(bench.ask("two.example.org").answer[0].rdata, bytes((192, 0, 2, 2)))
        self.assertEqual((bench.ask("t.example.org", "TXT").rcode, bench.ask("nope.example.org").rcode), (0, NXDOMAIN))
        self.assertEqual(bench.ask("www.example.net").source, "forward")
        self.assertEqual(bench.ask("nope.example.org", "AXFR").rcode, 5)
        bench.advance(7)
        text = "zone example.org. (group:zone): serial 1, {} records, read 7 s ago"
        self.assertEqual(bench.builder.links[0].freshness(), [text.format(3), text.format(3)])

    def test_fallthrough(self) -> None:
        """A name that no zone has goes on."""
        bench = self.bench("route53 fallthrough", FakeProvider(), FakeProvider(a("two.example.org.", "192.0.2.2")))
        self.assertEqual(bench.ask("nope.example.org").source, "forward")
        self.assertEqual(bench.ask("two.example.org").source, "route53")

    def test_one_not_read(self) -> None:
        """While one of two was not read, only names that the other has can be answered."""
        one = FakeProvider()
        one.problem = "away"
        bench = self.bench("route53", one, FakeProvider(a("two.example.org.", "192.0.2.2")))
        self.assertEqual(bench.ask("two.example.org").rcode, 0)
        self.assertEqual(bench.ask("nope.example.org").rcode, SERVFAIL)
        self.assertIn("has not been read yet: away", bench.builder.links[0].freshness()[0])
