"""Answers of the plugin that the golden cases do not ask for: chains, zones, what is not known yet, and how long answers hold."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import ClusterObject, Delete, Kind, Namespace, Pod, Port, Upsert
from kdns.core.answer import NO_REPLY, Answer, Sections
from kdns.core.failure import NoNextPlugin
from kdns.core.reply import render_reply
from kdns.core.request import Request, Transport
from kdns.core.stamps import Stamp, stand
from kdns.core.validity import FROM_UPSTREAM, ONCE
from kdns.wire.constants import AA, NOERROR, NXDOMAIN, SERVFAIL, SRV, TC, A
from kdns.wire.names import from_text, to_text
from kdns.wire.query import Edns
from kdns.wire.records import a_or_aaaa
from tests.plugins.kubernetes.cluster import HTTP, HTTPS, Bench, external, headless, packed, part, vip
from tests.plugins.kubernetes.telling import told
from tests.support import a_request, now

WEB = "web.prod.svc.cluster.local."


class AliasTests(SynchronousTestCase):
    """External names."""

    def chain(self, length: int) -> Bench:
        """A bench with so many external names one behind the other, the last one pointing at a service."""
        bench = Bench("ttl 30")
        bench.put(vip("web", "10.96.0.1"))
        for number in range(length):
            target = WEB if number == length - 1 else f"e{number + 1}.prod.svc.cluster.local"
            bench.put(external(f"e{number}", target))
        return bench

    def test_chains(self) -> None:
        """Eleven external names in a row lead to the address, and twelve lead nowhere."""
        for length in (1, 2, 10, 11):
            answer = self.chain(length).ask("e0.prod.svc.cluster.local.")
            self.assertEqual(len(answer.answer), length + 1)
            owners = [to_text(record.owner) for record in answer.answer]
            wanted = [f"e{number}.prod.svc.cluster.local." for number in range(length)]
            self.assertEqual(owners, [*wanted, WEB], "in the order of the chain")
        self.assertEqual(self.chain(12).told("e0.prod.svc.cluster.local.").answer, frozenset())

    def test_loops(self) -> None:
        """A name that comes back to itself, at once or later, has no records; the CNAME is there for who asks for it."""
        bench = Bench()
        bench.put(external("self", "self.prod.svc.cluster.local"), external("below", "x.below.prod.svc.cluster.local"))
        bench.put(external("ping", "pong.prod.svc.cluster.local"), external("pong", "ping.prod.svc.cluster.local"))
        bench.put(external("into", "ping.prod.svc.cluster.local"))
        for name in ("self", "below", "ping", "into"):
            said = bench.told(f"{name}.prod.svc.cluster.local.")
            self.assertEqual((said.rcode, said.aa, said.answer), ("NOERROR", True, frozenset()), name)
            self.assertEqual(len(bench.answers(f"{name}.prod.svc.cluster.local.", "CNAME")), 1)

    def test_other_zone_of_the_plugin(self) -> None:
        """A target in another zone of the same plugin is asked of the whole server."""
        asked: list[str] = []

        def resolve(request: Request) -> Answer:
            asked.append(to_text(request.spelled))
            return now(bench.zone.answer(request, _no_next))

        bench = Bench(zones="a.test b.test", resolve=resolve)
        bench.put(vip("web", "10.96.0.1"), external("e", "web.prod.svc.b.test"), external("gone", "no.prod.svc.b.test"))
        self.assertEqual(bench.answers("e.prod.svc.a.test."), {"CNAME web.prod.svc.b.test.", "A 10.96.0.1"})
        self.assertEqual(bench.answers("gone.prod.svc.a.test."), {"CNAME no.prod.svc.b.test."})
        self.assertEqual(asked, ["web.prod.svc.b.test.", "no.prod.svc.b.test."])

    def test_outside(self) -> None:
        """The CNAME stands whatever the server says of its target, and TC comes along."""
        address = a_or_aaaa(from_text("www.example.com"), 77, packed("192.0.2.1")[0])
        for inner, records, flags in (
            (Answer(body=Sections(answer=(address,))), {"CNAME www.example.com.", "A 192.0.2.1"}, AA),
            (Answer(NXDOMAIN), {"CNAME www.example.com."}, AA),
            (Answer(SERVFAIL), {"CNAME www.example.com."}, AA),
            (Answer(flags=TC), {"CNAME www.example.com."}, AA | TC),
            (NO_REPLY, set(), AA),
        ):
            bench = Bench(resolve=lambda request, inner=inner: inner)  # type: ignore[misc]  # a default that binds it now
            bench.put(external("e", "www.example.com"))
            self.assertEqual(bench.answers("e.prod.svc.cluster.local."), records)
            self.assertEqual(bench.ask("e.prod.svc.cluster.local.").flags, flags)

    def test_waiting(self) -> None:
        """An answer from outside may have to be waited for."""
        inner: Deferred[Answer] = Deferred()
        bench = Bench(resolve=lambda request: inner)
        bench.put(external("e", "www.example.com"))
        reply = bench.reply("e.prod.svc.cluster.local.")
        assert isinstance(reply, Deferred)
        self.assertNoResult(reply)
        inner.callback(Answer(NXDOMAIN))
        self.assertEqual(len(self.successResultOf(reply).answer), 1)

    def test_how_long_it_holds(self) -> None:
        """What was asked outside is asked again each time; a cache may keep as much of it as of the inner answer."""
        bench = Bench(resolve=lambda request: Answer(validity=FROM_UPSTREAM))
        bench.put(external("e", "www.example.com"))
        holds = bench.ask("e.prod.svc.cluster.local.").validity
        self.assertEqual((holds.repeat, holds.cacheable), (False, True))
        bench.put(external("e", "www.example.org"))
        self.assertFalse(stand(holds.stamps))
        bench = Bench(resolve=lambda request: Answer(SERVFAIL))
        bench.put(external("e", "www.example.com"))
        self.assertFalse(bench.ask("e.prod.svc.cluster.local.").validity.cacheable)

    def test_no_target(self) -> None:
        """An external name that is an address is no name at all."""
        bench = Bench()
        bench.put(external("e", ""))
        for qtype in ("A", "CNAME", "SRV"):
            self.assertEqual(bench.told("e.prod.svc.cluster.local.", qtype).rcode, "NXDOMAIN")


class ZoneTests(SynchronousTestCase):
    """Zones and namespaces."""

    def test_root(self) -> None:
        """The root is a zone like any other; names of addresses below it are names of addresses."""
        bench = Bench(zones=".", own=("10.0.0.2",))
        bench.put(vip("web", "10.96.0.1"))
        self.assertEqual(bench.answers("web.prod.svc."), {"A 10.96.0.1"})
        self.assertEqual(bench.answers("1.0.96.10.in-addr.arpa.", "PTR"), {"PTR web.prod.svc."})
        self.assertEqual(bench.answers("ns.dns."), {"A 10.0.0.2"})
        self.assertEqual(bench.answers(".", "NS"), {"NS ns.dns."})
        for name, qtype in (("2.0.96.10.in-addr.arpa.", "PTR"), ("1.0.96.10.in-addr.arpa.", "A"), ("foo.", "A")):
            self.assertEqual(bench.told(name, qtype).rcode, "NXDOMAIN", name)

    def test_spelling(self) -> None:
        """Owners, targets and the SOA are spelled as the question spells them."""
        bench = Bench()
        bench.put(vip("web", "10.96.0.1"), vip("other", "10.96.0.2"))
        answer = bench.ask("WEB.Prod.svc.CLUSTER.local.", "SRV")
        self.assertEqual(to_text(answer.answer[0].owner), "WEB.Prod.svc.CLUSTER.local.")
        self.assertEqual(to_text(answer.additional[0].owner), "web.prod.svc.CLUSTER.local.")
        self.assertEqual(to_text(bench.ask("no.prod.svc.CLUSTER.local.").authority[0].owner), "CLUSTER.local.")
        self.assertEqual(bench.answers("CLUSTER.local.", "NS"), set(), "without an address of its own there is none")

    def test_longest_zone(self) -> None:
        """The longest zone that a name is in has it."""
        bench = Bench(zones="test sub.test")
        bench.put(vip("web", "10.96.0.1"))
        self.assertEqual(bench.answers("web.prod.svc.sub.test."), {"A 10.96.0.1"})
        said = bench.told("nope.prod.svc.sub.test.")
        self.assertTrue(next(iter(said.authority)).startswith("sub.test. "))

    def test_namespaces(self) -> None:
        """Only listed namespaces that exist have names; for reverse names it is enough that they are listed."""
        bench = Bench("namespaces prod lost\n pods insecure")
        bench.put(Namespace(b"dev"), vip("web", "10.96.0.1"), vip("web", "10.96.0.2", namespace="dev"))
        bench.put(vip("web", "10.96.0.3", namespace="lost"))
        for namespace, rcode in (("prod", "NOERROR"), ("dev", "NXDOMAIN"), ("lost", "NXDOMAIN")):
            for name in ("web.{}.svc", "{}.svc", "{}.pod", "1-2-3-4.{}.pod"):
                self.assertEqual(bench.told(f"{name.format(namespace)}.cluster.local.").rcode, rcode, name)
        for last, wanted in (
            (1, {"PTR web.prod.svc.cluster.local."}),
            (3, {"PTR web.lost.svc.cluster.local."}),
        ):
            self.assertEqual(bench.answers(f"{last}.0.96.10.in-addr.arpa.", "PTR"), wanted)
        self.assertEqual(bench.told("2.0.96.10.in-addr.arpa.", "PTR").rcode, "NXDOMAIN")

    def test_name_servers(self) -> None:
        """The services that the server is an endpoint of; namespaces do not matter here, and glue comes once."""
        bench = Bench("namespaces nothing", own=("10.1.0.1", "10.1.0.2"))
        bench.put(vip("dns", "10.96.0.10", "fd00::10", namespace="kube"))
        bench.put(part("d-1", "dns", "10.1.0.1", "10.1.0.2", namespace="kube"))
        said = bench.told("cluster.local.", "NS")
        self.assertEqual(said.answer, {"cluster.local. 5 NS dns.kube.svc.cluster.local."})
        glue = {"dns.kube.svc.cluster.local. 5 A 10.96.0.10", "dns.kube.svc.cluster.local. 5 AAAA fd00::10"}
        self.assertEqual(said.additional, glue)
        self.assertEqual(len(bench.ask("cluster.local.", "NS").additional), 2)
        self.assertEqual(bench.answers("ns.dns.cluster.local.", "AAAA"), {"AAAA fd00::10"})
        bench.put(headless("node-dns", "kube"), part("n-1", "node-dns", "10.1.0.2", "10.1.0.3", namespace="kube"))
        names = {
            "NS dns.kube.svc.cluster.local.",
            "NS 10-1-0-2.node-dns.kube.svc.cluster.local.",
            "NS 10-1-0-3.node-dns.kube.svc.cluster.local.",
        }
        self.assertEqual(bench.answers("cluster.local.", "NS"), names)


class ServiceTests(SynchronousTestCase):
    """Services with unusual ports and slices."""

    def test_weights(self) -> None:
        """The weight is a share of all address and port pairs, and never less than one."""
        bench = Bench()
        bench.put(headless("db"))
        for count, weight in ((1, 100), (3, 33), (100, 1), (150, 1)):
            addresses = [f"10.2.{number // 100}.{number % 100 + 1}" for number in range(count)]
            bench.put(part("s-1", "db", *addresses))
            weights = {text.split()[2] for text in bench.answers("db.prod.svc.cluster.local.", "SRV")}
            self.assertEqual(weights, {str(weight)}, count)

    def test_slices_with_and_without_ports(self) -> None:
        """An address without a port takes part in the sharing, and has no record."""
        bench = Bench()
        bench.put(headless("db"), part("s-1", "db", "10.2.0.1"), part("s-2", "db", "10.2.0.2", ports=()))
        srv = {"SRV 0 50 80 10-2-0-1.db.prod.svc.cluster.local."}
        self.assertEqual(bench.answers("db.prod.svc.cluster.local.", "SRV"), srv)
        self.assertEqual(bench.answers("db.prod.svc.cluster.local."), {"A 10.2.0.1", "A 10.2.0.2"})
        self.assertEqual(len(bench.ask("db.prod.svc.cluster.local.", "SRV").additional), 1)
        self.assertEqual(
            bench.told("_http._tcp.db.prod.svc.cluster.local.", "A").answer,
            {"_http._tcp.db.prod.svc.cluster.local. 5 A 10.2.0.1"},
        )

    def test_duplicates(self) -> None:
        """An address in two slices is answered once, with one SRV record whose weight counts both."""
        bench = Bench()
        bench.put(headless("db"), part("s-1", "db", "10.2.0.1"), part("s-2", "db", "10.2.0.1"))
        self.assertEqual(len(bench.ask("db.prod.svc.cluster.local.").answer), 1)
        answer = bench.ask("db.prod.svc.cluster.local.", "SRV")
        self.assertEqual((len(answer.answer), len(answer.additional)), (1, 1))
        self.assertEqual(
            told(answer).answer, {"db.prod.svc.cluster.local. 5 SRV 0 50 80 10-2-0-1.db.prod.svc.cluster.local."}
        )
        self.assertEqual(len(bench.ask("1.0.2.10.in-addr.arpa.", "PTR").answer), 1)

    def test_several_slices(self) -> None:
        """Slices differ in ports and families; a name two of them share has the addresses of both."""
        bench = Bench()
        bench.put(headless("db"), part("s-1", "db", "10.2.0.1", hostnames=(b"h",), ports=(HTTP, HTTPS)))
        bench.put(part("s-2", "db", "fd00::1", hostnames=(b"h",), ports=(HTTP,)))
        self.assertEqual(bench.answers("h.db.prod.svc.cluster.local."), {"A 10.2.0.1"})
        self.assertEqual(bench.answers("h.db.prod.svc.cluster.local.", "AAAA"), {"AAAA fd00::1"})
        self.assertEqual(
            bench.answers("_https._tcp.db.prod.svc.cluster.local.", "SRV"),
            {"SRV 0 100 443 h.db.prod.svc.cluster.local."},
        )
        self.assertEqual(bench.told("_https._tcp.db.prod.svc.cluster.local.", "AAAA").rcode, "NOERROR")
        self.assertEqual(len(bench.ask("db.prod.svc.cluster.local.", "SRV").additional), 2)

    def test_port_without_number(self) -> None:
        """A port of a slice that names none is found, and has no SRV record."""
        bench = Bench()
        bench.put(headless("db"), part("s-1", "db", "10.2.0.1", ports=(Port(b"any", 0, b"tcp"),)))
        self.assertEqual(bench.answers("_any._tcp.db.prod.svc.cluster.local.", "SRV"), set())
        self.assertEqual(bench.answers("_any._tcp.db.prod.svc.cluster.local."), {"A 10.2.0.1"})

    def test_noendpoints(self) -> None:
        """Without endpoints, slices that are read for other clusters give no names here."""
        bench = Bench("noendpoints\n multicluster set.local", "cluster.local set.local in-addr.arpa", own=("10.2.0.1",))
        bench.put(headless("db"), part("s-1", "db", "10.2.0.1"))
        self.assertEqual(bench.told("db.prod.svc.cluster.local.").rcode, "NXDOMAIN")
        self.assertEqual(bench.told("1.0.2.10.in-addr.arpa.", "PTR").rcode, "NXDOMAIN")
        self.assertEqual(bench.answers("cluster.local.", "NS"), {"NS ns.dns.cluster.local."})


class NotYetTests(SynchronousTestCase):
    """Before everything has been seen, and while it may be out of date."""

    def test_before_sync(self) -> None:
        """What is there is answered; what is not found is SERVFAIL, says so without naming the API server, and is kept by nobody."""
        bench = Bench()
        bench.put(vip("web", "10.96.0.1"))
        bench.cluster.synced = False
        self.assertEqual(bench.answers(WEB), {"A 10.96.0.1"})
        self.assertEqual(bench.told(WEB, "AAAA").rcode, "NOERROR")
        answer = bench.ask("nope.prod.svc.cluster.local.")
        self.assertEqual((answer.rcode, answer.flags), (SERVFAIL, AA))
        self.assertEqual(answer.ede, ((14, "not all of the cluster is known yet"),))
        self.assertEqual(answer.validity, ONCE)
        self.assertEqual(len(answer.authority), 1)

    def test_before_sync_falls_through(self) -> None:
        """What falls through does so at once."""
        bench = Bench("fallthrough in-addr.arpa")
        bench.cluster.synced = False
        self.assertRaises(NoNextPlugin, bench.reply, "1.0.96.10.in-addr.arpa.", "PTR")
        self.assertEqual(bench.told("nope.prod.svc.cluster.local.").rcode, "SERVFAIL")

    def test_stale(self) -> None:
        """Data of a snapshot is marked, for a second at a time, until its stamp moves."""
        bench = Bench()
        bench.put(vip("web", "10.96.0.1"))
        fresh = Stamp()
        bench.cluster.stale = ("from a snapshot 60 s old", fresh.ref())
        for name, rcode, code in ((WEB, NOERROR, 3), ("nope.prod.svc.cluster.local.", NXDOMAIN, 19)):
            answer = bench.ask(name)
            self.assertEqual((answer.rcode, answer.ede), (rcode, ((code, "from a snapshot 60 s old"),)))
            self.assertEqual(answer.validity.until, 1.0)
            self.assertTrue(stand(answer.validity.stamps))
            fresh.bump()
            self.assertFalse(stand(answer.validity.stamps))
            bench.cluster.stale = ("from a snapshot 60 s old", fresh.ref())
        self.assertRaises(NoNextPlugin, bench.reply, "www.example.com.")
        bench.cluster.stale = None
        self.assertEqual(bench.ask(WEB).ede, ())


class StampTests(SynchronousTestCase):
    """An answer dies exactly when something that it depends on changes."""

    def setUp(self) -> None:
        self.bench = Bench("pods verified\n multicluster set.local", "cluster.local set.local in-addr.arpa")
        self.bench.put(vip("web", "10.96.0.1"), headless("db"), part("s-1", "db", "10.2.0.1"))
        self.bench.put(external("e", WEB), Pod(b"prod", b"a", packed("10.1.0.1")[0]))

    def changes(self) -> dict[str, list[Upsert | Delete]]:
        """Changes by what they are about."""

        def gone(kind: Kind, name: bytes, namespace: bytes = b"prod") -> Delete:
            return Delete(kind, namespace, name)

        def come(item: ClusterObject) -> Upsert:
            return Upsert(item)

        return {
            "web": [come(vip("web", "10.96.0.7")), gone(Kind.SERVICE, b"web")],
            "db": [come(part("s-1", "db", "10.2.0.7")), gone(Kind.ENDPOINT_SLICE, b"s-1"), gone(Kind.SERVICE, b"db")],
            "e": [come(external("e", "db.prod.svc.cluster.local")), gone(Kind.SERVICE, b"e")],
            "new": [come(vip("new", "10.96.0.9"))],
            "pod": [gone(Kind.POD, b"a")],
            "newpod": [come(Pod(b"prod", b"b", packed("10.1.0.9")[0]))],
            "namespace": [gone(Kind.NAMESPACE, b"prod", b"")],
            "elsewhere": [come(Namespace(b"dev")), come(vip("web", "10.96.1.1", namespace="dev"))],
        }

    def test_stamps(self) -> None:
        """Each answer, found or not, with the changes that end it; none of the others does."""
        for name, qtype, mortal in (
            (WEB, "A", {"web", "namespace"}),
            (WEB, "AAAA", {"web", "namespace"}),
            ("_http._tcp." + WEB, "SRV", {"web", "namespace"}),
            ("db.prod.svc.cluster.local.", "A", {"db", "namespace"}),
            ("10-2-0-1.db.prod.svc.cluster.local.", "A", {"db", "namespace"}),
            ("e.prod.svc.cluster.local.", "A", {"e", "web", "namespace"}),
            ("e.prod.svc.cluster.local.", "CNAME", {"e", "namespace"}),
            ("new.prod.svc.cluster.local.", "A", {"new", "namespace"}),
            ("prod.svc.cluster.local.", "A", {"namespace"}),
            ("dev.svc.cluster.local.", "A", {"elsewhere"}),
            ("1.0.96.10.in-addr.arpa.", "PTR", {"web"}),
            ("9.0.96.10.in-addr.arpa.", "PTR", {"new"}),
            ("1.0.2.10.in-addr.arpa.", "PTR", {"db"}),
            ("10-1-0-1.prod.pod.cluster.local.", "A", {"pod", "namespace"}),
            ("10-1-0-9.prod.pod.cluster.local.", "A", {"newpod", "namespace"}),
            ("foo.cluster.local.", "A", set()),
            ("svc.cluster.local.", "A", set()),
            ("dns-version.cluster.local.", "TXT", set()),
            ("web.prod.svc.set.local.", "A", {"namespace"}),
        ):
            died = set()
            for about, changes in self.changes().items():
                for number in range(len(changes)):
                    self.setUp()
                    answer = self.bench.ask(name, qtype)
                    self.assertTrue(answer.validity.repeat, name)
                    for change in changes[number:] if about == "elsewhere" else changes[number : number + 1]:
                        self.bench.cluster.index.apply(change, 5.0)
                    if not stand(answer.validity.stamps):
                        died.add(about)
                    elif about in mortal and about != "elsewhere":
                        # Taking the service away does not take away its slices, nor the names of their addresses.
                        self.assertEqual((name, number), ("1.0.2.10.in-addr.arpa.", 2))
            self.assertEqual(died, mortal, (name, qtype))

    def test_times(self) -> None:
        """What has records holds until they change; what has none shows a serial, and so holds for its TTL."""
        bench = Bench("ttl 30")
        bench.clock.advance(100.0)
        bench.put(vip("web", "10.96.0.1"))
        self.assertEqual(bench.ask(WEB).validity.until, float("inf"))
        self.assertEqual(bench.ask(WEB, "AAAA").validity.until, 130.0)
        self.assertEqual(bench.ask("nope.prod.svc.cluster.local.").validity.until, 130.0)
        soa = bench.ask("cluster.local.", "SOA")
        bench.put(vip("web", "10.96.0.1"))
        self.assertTrue(stand(soa.validity.stamps))
        bench.clock.advance(1.0)
        bench.put(vip("web", "10.96.0.2"))
        self.assertFalse(stand(soa.validity.stamps))

    def test_nothing_is_left_behind(self) -> None:
        """Questions for names that do not exist leave no stamps behind."""
        index: ClusterIndex = self.bench.cluster.index
        for number in range(100):
            self.bench.ask(f"no{number}.prod.svc.cluster.local.")
        self.assertLess(len(index.stamps), 5)

    def test_next_plugin(self) -> None:
        """What the next plugin said of a name holds no longer than the cluster does not know it."""
        bench = Bench("fallthrough")
        self.assertRaises(NoNextPlugin, bench.reply, "new.prod.svc.cluster.local.")
        asked = a_request("new.prod.svc.cluster.local.")
        answer = now(bench.zone.answer(asked, lambda request: Answer(validity=FROM_UPSTREAM)))
        self.assertTrue(stand(answer.validity.stamps))
        bench.put(vip("other", "10.96.0.8"))
        self.assertTrue(stand(answer.validity.stamps))
        bench.put(vip("new", "10.96.0.9"))
        self.assertFalse(stand(answer.validity.stamps))


def _no_next(request: Request) -> Answer:
    raise NoNextPlugin("kubernetes")


class LongNameTests(SynchronousTestCase):
    """Names that would be longer than 255 bytes."""

    def test_left_out(self) -> None:
        """They are in no answer, and an address that has no other name has none."""
        zone = ".".join(["z" * 60] * 3)
        bench = Bench(zones=f"{zone} in-addr.arpa")
        long, short = "s" * 60, "short"
        for name in (long, short):
            bench.put(headless(name), part(name, name, "10.0.0.1", "10.0.0.2", hostnames=(b"h" * 63, None)))
        self.assertEqual(bench.told(f"{long}.prod.svc.{zone}.", "SRV").answer, frozenset())
        self.assertEqual(
            bench.answers(f"{short}.prod.svc.{zone}.", "SRV"), {f"SRV 0 50 80 10-0-0-2.short.prod.svc.{zone}."}
        )
        self.assertEqual(bench.told("1.0.0.10.in-addr.arpa.", "PTR").rcode, "NXDOMAIN")
        self.assertEqual(bench.answers("2.0.0.10.in-addr.arpa.", "PTR"), {f"PTR 10-0-0-2.short.prod.svc.{zone}."})


class LargeServiceTests(SynchronousTestCase):
    """A headless service with more endpoints than a reply can hold."""

    def setUp(self) -> None:
        self.bench = Bench()
        self.bench.put(headless("big"))
        for number in range(50):
            addresses = (f"10.1.{number}.{row}" for row in range(100))
            self.bench.put(part(f"big-{number}", "big", *addresses, ports=(HTTP, HTTPS)))

    def ask(self, qtype: int, transport: Transport, edns: Edns | None = None) -> tuple[Answer, bytes]:
        """The answer, and the reply made of it."""
        request = a_request("big.prod.svc.cluster.local.", qtype, transport=transport, edns=edns)
        answer = now(self.bench.zone.answer(request, None))  # type: ignore[arg-type]  # nothing falls through
        return answer, render_reply(request, answer)

    def test_streams(self) -> None:
        """Over TCP the reply is as full as it can be, and whole: to set TC would make no client wiser."""
        for qtype in (A, SRV):
            answer, reply = self.ask(qtype, Transport.TCP, Edns(0, 1232, 0, b""))
            self.assertFalse(int.from_bytes(reply[2:4], "big") & TC)
            self.assertTrue(32_000 < len(reply) <= 65_535, len(reply))
            self.assertEqual(int.from_bytes(reply[6:8], "big"), len(answer.answer))

    def test_datagrams(self) -> None:
        """Over UDP there is one record more than fits, so that the client asks again over TCP; a cache does not keep so small a share."""
        for qtype in (A, SRV):
            for edns in (None, Edns(0, 1232, 0, b"")):
                answer, reply = self.ask(qtype, Transport.UDP, edns)
                self.assertTrue(int.from_bytes(reply[2:4], "big") & TC)
                self.assertTrue(0 < int.from_bytes(reply[6:8], "big") < len(answer.answer) < 100)
                self.assertEqual((answer.validity.repeat, answer.validity.cacheable), (True, False))

    def test_share(self) -> None:
        """Another share is drawn after the TTL, and a change of an endpoint ends this one at once."""
        first, _ = self.ask(A, Transport.TCP)
        self.assertEqual(first.validity.until, self.bench.clock.seconds() + 5)
        self.assertTrue(stand(first.validity.stamps))
        starts = {self.ask(A, Transport.TCP)[0].answer[0].rdata for _ in range(20)}
        self.assertGreater(len(starts), 15)
        self.bench.put(part("big-7", "big", "10.2.0.1"))
        self.assertFalse(stand(first.validity.stamps))

    def test_endpoint(self) -> None:
        """An endpoint is found by its name among thousands, by its one spelling only."""
        self.assertEqual(self.bench.answers("10-1-49-99.big.prod.svc.cluster.local."), {"A 10.1.49.99"})
        for name in ("10-1-50-0", "010-1-49-99", "10-1-49-099"):
            self.assertEqual(self.bench.told(f"{name}.big.prod.svc.cluster.local.").rcode, "NXDOMAIN")
