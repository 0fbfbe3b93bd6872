"""External names are answered out of a live picture of the cluster."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.objects import Delete, Kind, Service
from kdns.core.answer import Answer, records
from kdns.core.request import Request
from kdns.core.validity import FROM_UPSTREAM
from kdns.plugins.k8s_external import directive
from kdns.testing.plugin import PluginBench
from kdns.wire.constants import EDE_NOT_READY, EDE_STALE_NXDOMAIN, RA, SERVFAIL, A
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa
from tests.plugins.kubernetes.cluster import HTTP, HTTPS, Bench, headless, packed, part, vip
from tests.plugins.kubernetes.telling import told

OPTIONS = """
k8s_external ext.test 113.0.203.in-addr.arpa {
    ttl 60
    headless
}
"""


def published(name: str, *addresses: str, hostnames: tuple[str, ...] = (), ports: tuple = (HTTP,)) -> Service:  # type: ignore[type-arg]  # of ports
    """A service that is reached from outside."""
    names = tuple(map(from_text, hostnames))
    return replace(vip(name, "10.96.0.7", ports=ports), external_addresses=packed(*addresses), ingress_hostnames=names)


def upstream(request: Request) -> Answer:
    """One address for each name, of either family."""
    address = packed("192.0.2.83" if request.qtype == A else "2001:db8::83")[0]
    made = [] if request.qname.startswith(b"\x07nothing") else [a_or_aaaa(request.spelled, 300, address)]
    return Answer(flags=RA, body=records(made), validity=FROM_UPSTREAM, source="forward")


class ExternalTests(SynchronousTestCase):
    """A namespace with a few services."""

    def setUp(self) -> None:
        self.kubernetes = Bench("ttl 30")
        self.bench = self.made(OPTIONS)

    def made(self, text: str) -> PluginBench:
        """The plugin in front of the cluster."""
        bench = PluginBench(directive, text, upstream, behind=[self.kubernetes.zone])
        bench.context.own_addresses = lambda: ["10.244.0.2"]
        return bench

    def told(self, name: str, qtype: str = "A") -> list[str]:
        """The records of the answer section, without owners."""
        said = told(self.bench.ask(name, qtype))
        self.assertEqual(said.rcode, "NOERROR", name)
        return sorted(text.split(" ", 1)[1] for text in said.answer)

    def rcode(self, name: str, qtype: str = "A") -> str:
        """The response code; one without records has the zone's SOA."""
        answer = self.bench.ask(name, qtype)
        said = told(answer)
        self.assertEqual(len(said.authority), 0 if said.answer else 1, name)
        return said.rcode if said.answer or said.rcode != "NOERROR" else "NODATA"

    def test_addresses(self) -> None:
        """External addresses of either family, for the service, a port of it, and any label in front."""
        self.kubernetes.put(published("web", "203.0.113.7", "2001:db8:7::7", ports=(HTTP, HTTPS)))
        for name in (
            "web.prod.ext.test",
            "x.web.prod.ext.test",
            "_http._tcp.WEB.prod.ext.test",
            "https.tcp.web.prod.ext.test",
        ):
            self.assertEqual(self.told(name), ["60 A 203.0.113.7"])
            self.assertEqual(self.told(name, "AAAA"), ["60 AAAA 2001:db8:7::7"])
        self.assertEqual(self.rcode("_http._udp.web.prod.ext.test"), "NXDOMAIN")
        self.assertEqual(self.rcode("a.b.c.web.prod.ext.test"), "NXDOMAIN")
        self.assertEqual(self.rcode("web.prod.ext.test", "TXT"), "NODATA")

    def test_structure(self) -> None:
        """Namespaces that are exposed exist, the apex label does, and nothing else below it does but ns1."""
        for name, wanted in (
            ("ext.test", "NODATA"),
            ("prod.ext.test", "NODATA"),
            ("nope.ext.test", "NXDOMAIN"),
            ("dns.ext.test", "NODATA"),
            ("x.dns.ext.test", "NXDOMAIN"),
            ("nope.prod.ext.test", "NXDOMAIN"),
        ):
            self.assertEqual(self.rcode(name), wanted, name)

    def test_hostname(self) -> None:
        """A load balancer with a name is a CNAME with what the server finds behind it, once, however many ports there are."""
        self.kubernetes.put(published("lb", hostnames=("lb.example", "lb2.example"), ports=(HTTP, HTTPS)))
        self.assertEqual(self.told("lb.prod.ext.test"), ["30 CNAME lb.example.", "300 A 192.0.2.83"])
        self.assertEqual(self.told("lb.prod.ext.test", "CNAME"), ["30 CNAME lb.example."])
        self.assertEqual(self.rcode("lb.prod.ext.test", "TXT"), "NODATA")
        self.assertEqual(
            self.told("_https._tcp.lb.prod.ext.test", "SRV"),
            ["30 SRV 0 50 443 lb.example.", "30 SRV 0 50 443 lb2.example."],
        )
        said = told(self.bench.ask("_https._tcp.lb.prod.ext.test", "SRV"))
        self.assertEqual(len(said.additional), 4)

    def test_hostname_without_records(self) -> None:
        """The CNAME stands whatever its target leads to."""
        self.kubernetes.put(published("lb", hostnames=("nothing.example",)))
        self.assertEqual(self.told("lb.prod.ext.test"), ["30 CNAME nothing.example."])

    def test_addresses_and_hostname(self) -> None:
        """A name that has addresses is no alias as well (RFC 1034 section 3.6.2)."""
        self.kubernetes.put(published("both", "203.0.113.9", hostnames=("lb.example",)))
        self.assertEqual(self.told("both.prod.ext.test"), ["60 A 203.0.113.9"])
        self.assertEqual(self.rcode("both.prod.ext.test", "AAAA"), "NODATA")
        self.assertEqual(
            self.told("both.prod.ext.test", "SRV"),
            ["30 SRV 0 50 80 both.prod.ext.test.", "30 SRV 0 50 80 lb.example."],
        )

    def test_many_endpoints(self) -> None:
        """Of a headless service with thousands of endpoints no more records are made than a reply holds, others each time."""
        names = [f"10.{number >> 8}.{number & 255}.1" for number in range(3000)]
        self.kubernetes.put(headless("many"), part("many-1", "many", *names))
        for qtype in ("A", "SRV"):
            firsts = set()
            for _ in range(8):
                answer = self.bench.ask("many.prod.ext.test", qtype)
                self.assertLess(len(answer.answer), 100)
                self.assertGreater(len(answer.answer), 5)
                self.assertFalse(answer.validity.cacheable)
                firsts.add(answer.answer[0].rdata)
            self.assertGreater(len(firsts), 1)
        self.assertEqual(self.told("10-0-7-1.many.prod.ext.test"), ["60 A 10.0.7.1"])

    def test_headless(self) -> None:
        """Ready endpoints of headless services, and endpoints of any service without an external address."""
        self.kubernetes.put(
            headless("db"), part("db-1", "db", "10.244.1.21", "10.244.1.22", hostnames=(b"db-0", b"db-1")),
            vip("in", "10.96.0.9"), part("in-1", "in", "10.244.1.30"), headless("empty"),
        )  # fmt: skip
        self.assertEqual(self.told("db.prod.ext.test"), ["60 A 10.244.1.21", "60 A 10.244.1.22"])
        self.assertEqual(self.told("db-1.db.prod.ext.test"), ["60 A 10.244.1.22"])
        self.assertEqual(self.told("10-244-1-30.in.prod.ext.test"), ["60 A 10.244.1.30"])
        self.assertEqual(
            self.told("_http._tcp.db.prod.ext.test", "SRV"),
            ["30 SRV 0 50 80 db-0.db.prod.ext.test.", "30 SRV 0 50 80 db-1.db.prod.ext.test."],
        )
        for name in ("in.prod.ext.test", "db-2.db.prod.ext.test", "empty.prod.ext.test"):
            self.assertEqual(self.rcode(name), "NXDOMAIN", name)

    def test_without_ports(self) -> None:
        """A service without ports has addresses and no SRV."""
        self.kubernetes.put(published("bare", "203.0.113.7", ports=()))
        self.assertEqual(self.told("bare.prod.ext.test"), ["60 A 203.0.113.7"])
        self.assertEqual(self.rcode("bare.prod.ext.test", "SRV"), "NODATA")

    def test_reverse(self) -> None:
        """An external address leads to all its services, in the zone that is no reverse one."""
        self.kubernetes.put(published("web", "203.0.113.5"), published("too", "203.0.113.5"))
        self.assertEqual(
            self.told("5.113.0.203.in-addr.arpa", "PTR"), ["60 PTR too.prod.ext.test.", "60 PTR web.prod.ext.test."]
        )
        self.assertEqual(self.rcode("6.113.0.203.in-addr.arpa", "PTR"), "NXDOMAIN")
        self.assertEqual(self.rcode("5.113.0.203.in-addr.arpa", "A"), "NXDOMAIN")

    def test_name_server(self) -> None:
        """The server's own addresses, or those at which its services are reached from outside."""
        self.assertEqual(self.told("ns1.dns.ext.test"), ["60 A 10.244.0.2"])
        self.kubernetes.put(vip("dns", "10.96.0.10"), part("dns-1", "dns", "10.244.0.2"))
        self.assertEqual(self.rcode("ns1.dns.ext.test"), "NODATA")
        self.kubernetes.put(published("dns", "203.0.113.53"))
        self.assertEqual(self.told("ns1.dns.ext.test"), ["60 A 203.0.113.53"])
        said = told(self.bench.ask("ext.test", "NS"))
        self.assertEqual(said.answer, {"ext.test. 60 NS ns1.dns.ext.test."})
        self.assertEqual(said.additional, {"ns1.dns.ext.test. 60 A 203.0.113.53"})

    def test_not_synced(self) -> None:
        """Until the cluster is known, a name that is not known is no NXDOMAIN."""
        self.kubernetes.cluster.synced = False
        answer = self.bench.ask("nope.prod.ext.test")
        self.assertEqual((answer.rcode, answer.ede[0][0], answer.validity.repeat), (SERVFAIL, EDE_NOT_READY, False))
        self.assertNotIn("API server", answer.ede[0][1])  # why not is for the operator alone

    def test_stale(self) -> None:
        """Answers out of a snapshot say so."""
        from kdns.core.stamps import Stamp

        self.kubernetes.cluster.stale = ("from a snapshot 7 s old", Stamp().ref())
        self.assertEqual(self.bench.ask("nope.prod.ext.test").ede, ((EDE_STALE_NXDOMAIN, "from a snapshot 7 s old"),))

    def test_fallthrough(self) -> None:
        """Names that do not exist go to the next plugin in these zones, until they exist."""
        self.bench = self.made("k8s_external ext.test {\n fallthrough ext.test\n}")
        self.assertEqual(self.bench.ask("web.prod.ext.test").source, "forward")
        self.assertEqual(self.bench.ask("ext.test").source, "k8s_external")
        self.bench.check_repeats(
            ["web.prod.ext.test"], change=lambda: self.kubernetes.put(published("web", "203.0.113.7"))
        )

    def test_changes(self) -> None:
        """Neither the answer table nor a cache repeats what the cluster does not say any more."""
        names = [
            "web.prod.ext.test",
            "lb.prod.ext.test",
            "db.prod.ext.test",
            "prod.ext.test",
            "7.113.0.203.in-addr.arpa",
        ]
        self.kubernetes.put(published("lb", hostnames=("lb.example",)))
        first = published("web", "203.0.113.7")
        for change in (
            lambda: self.kubernetes.put(first, headless("db"), part("db-1", "db", "10.244.1.21")),
            lambda: self.kubernetes.put(published("web", "203.0.113.8"), part("db-1", "db", "10.244.1.22")),
            lambda: self.kubernetes.put(published("lb", "203.0.113.9")),
            lambda: self.kubernetes.cluster.index.apply(Delete(Kind.SERVICE, b"prod", b"web"), 0.0),
            lambda: self.kubernetes.cluster.index.apply(Delete(Kind.NAMESPACE, b"", b"prod"), 0.0),
        ):
            self.bench.check_repeats(names, qtypes=("A", "SRV", "PTR"), change=change)

    def test_explained(self) -> None:
        """An explanation says what is missing."""
        from kdns.testing.plugin import a_request

        self.kubernetes.put(vip("in", "10.96.0.9"), published("web", "203.0.113.7"))
        (link,) = self.bench.builder.links
        for name, wanted, missing in (
            ("in.prod.ext.test", "zone ext.test.: the service has no such ready endpoint", True),
            ("web.prod.ext.test", "zone ext.test.: 1 addresses", False),
            ("x.nope.ext.test", "zone ext.test.: namespace nope is not there, or not exposed", True),
            ("nope.prod.ext.test", "zone ext.test.: there is no service prod/nope", True),
        ):
            notes = link.explain(a_request(name))
            if name == "in.prod.ext.test":
                wanted = "zone ext.test.: service prod/in has no external address"
            self.assertEqual([tuple(note) for note in notes], [(wanted, missing)])
