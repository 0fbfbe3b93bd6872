# -*- test-case-name: tests.admin.test_explain -*-
"""Explanations of the demo's names, held against what a client is told by the same server."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
import dns.rcode
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.world import World

KINDS: tuple[tuple[str, str, str], ...] = (
    ("web.shop.svc.cluster.local", "A", "kubernetes"),
    ("web.shop.svc.cluster.local", "AAAA", "kubernetes"),
    ("WEB.shop.svc.Cluster.local", "A", "kubernetes"),
    ("db.shop.svc.cluster.local", "A", "kubernetes"),
    ("db-0.db.shop.svc.cluster.local", "A", "kubernetes"),
    ("_postgres._tcp.db.shop.svc.cluster.local", "SRV", "kubernetes"),
    ("_http._tcp.web.shop.svc.cluster.local", "SRV", "kubernetes"),
    ("30.20.96.10.in-addr.arpa", "PTR", "kubernetes"),
    ("payments.shop.svc.cluster.local", "A", "kubernetes"),
    ("payments.shop.svc.cluster.local", "CNAME", "kubernetes"),
    ("10-244-1-17.shop.pod.cluster.local", "A", "kubernetes"),
    ("cluster.local", "SOA", "kubernetes"),
    ("cluster.local", "NS", "kubernetes"),
    ("cluster.local", "A", "kubernetes"),
    ("dns-version.cluster.local", "TXT", "kubernetes"),
    ("web.shop.svc.cluster.local", "TXT", "kubernetes"),
    ("www.example.org", "A", "forward"),
    ("www.example.org", "AAAA", "forward"),
    ("nothing.shop.svc.cluster.local", "A", "kubernetes"),
    ("web.nowhere.svc.cluster.local", "A", "kubernetes"),
    ("db-7.db.shop.svc.cluster.local", "A", "kubernetes"),
    ("_nothing._tcp.web.shop.svc.cluster.local", "SRV", "kubernetes"),
    ("99.20.96.10.in-addr.arpa", "PTR", "forward"),
    ("cluster.local", "AXFR", ""),
)
"""A name of every kind, and who answers it."""

MISSING: tuple[tuple[str, str, str], ...] = (
    ("nothing.shop.svc.cluster.local", "A", 'there is no service "nothing" in namespace "shop"; it has 4 services'),
    ("wep.shop.svc.cluster.local", "A", 'there is no service "wep" in namespace "shop"; near are: web'),
    (
        "web.kube-system.svc.cluster.local",
        "A",
        'there is no service "web" in namespace "kube-system"; there is one of that name in shop',
    ),
    ("web.nowhere.svc.cluster.local", "A", 'there is no namespace "nowhere"'),
    ("web.shob.svc.cluster.local", "A", 'there is no namespace "shob"; near are: shop'),
    ("db-7.db.shop.svc.cluster.local", "A", 'there is no ready endpoint "db-7"; those that are ready: db-0, db-1'),
    ("_x._tcp.web.shop.svc.cluster.local", "SRV", "there is no port _x._tcp; those it has: _http._tcp, _metrics._tcp"),
    (
        "a.payments.shop.svc.cluster.local",
        "A",
        'service "payments" is an ExternalName: there are no names in front of it',
    ),
    (
        "web.cluster.local",
        "A",
        "not a name that a cluster has: those are SERVICE.NAMESPACE.svc and ADDRESS.NAMESPACE.pod, below the zone",
    ),
    ("x.shop.pod.cluster.local", "A", '"x" is no address with dashes, such as 10-244-1-17'),
    ("10-1-1-1.nowhere.pod.cluster.local", "A", 'there is no namespace "nowhere"'),
)
"""Names that do not exist, and what is said to be missing."""


def shown(message: dns.message.Message) -> dict[str, Any]:
    """A message as an explanation states it, in any order of records; TTLs may differ by the second that passed."""
    sections = {}
    for name, section in (
        ("answer", message.answer),
        ("authority", message.authority),
        ("additional", message.additional),
    ):
        sections[name] = sorted(
            (str(rrset.name), rrset.rdtype.name, str(rdata).lower()) for rrset in section for rdata in rrset
        )
    return {
        "rcode": dns.rcode.to_text(message.rcode()),
        "flags": dns.flags.to_text(message.flags).lower().split(),
        **sections,
    }


def stated(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply of an explanation in the same form."""
    sections = {
        name: sorted((owner, rtype, rdata.lower()) for owner, _, _, rtype, rdata in reply[name])
        for name in ("answer", "authority", "additional")
    }
    return {"rcode": reply["rcode"], "flags": reply["flags"], **sections}


class DemoCase(SynchronousTestCase):
    """The demo in memory."""

    def setUp(self) -> None:
        """Start it."""
        self.world = World()
        self.addCleanup(self.end)

    def end(self) -> None:
        """It leaves nothing behind."""
        self.assertEqual(self.world.stop(), [])


class TruthTests(DemoCase):
    """What is stated is what clients get."""

    def test_reply(self) -> None:
        """For each kind of name the stated reply is the one that the server gives, and the plugin named is who gives it."""
        for name, qtype, plugin in KINDS:
            explained = self.world.explain(name, qtype)
            wanted = shown(self.world.ask(name, qtype)) if qtype != "AXFR" else None
            if wanted is not None:
                # The cache sets AA on what it gives again; the explanation came first.
                again = self.world.explain(name, qtype)
                self.assertEqual(stated(again["reply"]), wanted, name)
                self.assertEqual(explained["steps"][-1]["plugin"], plugin, name)
            else:
                self.assertEqual(explained["reply"]["rcode"], "REFUSED")

    def test_ttl(self) -> None:
        """TTLs are those of the reply."""
        for name in ("web.shop.svc.cluster.local", "www.example.org"):
            self.world.ask(name)
            stated_ttl = self.world.explain(name)["reply"]["answer"][0][1]
            self.assertEqual(stated_ttl, self.world.ask(name).answer[0].ttl, name)

    def test_missing(self) -> None:
        """For a name that does not exist it says what is missing."""
        for name, qtype, wanted in MISSING:
            explained = self.world.explain(name, qtype)
            self.assertEqual((explained["missing"], explained["reply"]["rcode"]), ([wanted], "NXDOMAIN"), name)

    def test_nothing_missing(self) -> None:
        """For a name that exists nothing is said to be missing."""
        for name, qtype, _ in KINDS:
            explained = self.world.explain(name, qtype)
            if explained["reply"]["answer"]:
                self.assertEqual(explained["missing"], [], name)

    def test_address(self) -> None:
        """An IP address stands for its name."""
        explained = self.world.explain("10.96.20.30", "")
        self.assertEqual((explained["name"], explained["type"]), ("30.20.96.10.in-addr.arpa.", "PTR"))
        self.assertEqual(explained["reply"]["answer"][0][4], "web.shop.svc.cluster.local.")


class PartTests(DemoCase):
    """What each says of its part."""

    def notes(self, explained: dict[str, Any], plugin: str) -> list[str]:
        """The notes of a plugin."""
        return [note["text"] for step in explained["steps"] if step["plugin"] == plugin for note in step["notes"]]

    def did(self, explained: dict[str, Any]) -> dict[str, str]:
        """What each plugin did."""
        return {step["plugin"]: step["did"] for step in explained["steps"]}

    def test_order(self) -> None:
        """Plugins stand in their order, with those that were not reached behind."""
        explained = self.world.explain("web.shop.svc.cluster.local")
        self.assertEqual([step["plugin"] for step in explained["steps"]], ["loadbalance", "cache", "kubernetes"])
        self.assertEqual(explained["unreached"], ["forward"])
        self.assertEqual((explained["zone"], explained["zones"]), (".", ["."]))

    def test_cluster(self) -> None:
        """kubernetes says what it read the name as, and the objects behind it."""
        notes = self.notes(self.world.explain("db-0.db.shop.svc.cluster.local"), "kubernetes")
        self.assertEqual(
            notes,
            [
                "zone cluster.local.",
                'read as: endpoint "db-0" of service "db" in namespace "shop"',
                'namespace "shop" exists',
                'service "db" exists: headless, so its ready endpoints are the answer',
                'slice "db-q9z4n", 2 ready: 10.244.1.20, 10.244.2.20',
            ],
        )

    def test_cache(self) -> None:
        """The cache says whether it has an entry, how old it is and what is left, and whether it keeps what came."""
        first = self.world.explain("www.example.org")
        self.assertEqual(
            self.notes(first, "cache"), ["miss: there is no entry for this question", "kept as a success for 30 s"]
        )
        self.assertTrue(first["asked_upstream"])
        self.world.reactor.advance(10.0)
        second = self.world.explain("www.example.org")
        self.assertEqual(self.notes(second, "cache"), ["hit: a success, stored 10 s ago for 30 s, 20 s left"])
        self.assertEqual((second["asked_upstream"], second["reply"]["answer"][0][1]), (False, 20))
        cluster = self.world.explain("web.shop.svc.cluster.local")
        self.assertEqual(self.notes(cluster, "cache")[-1], "not kept: disable success cluster.local.")
        denied = self.world.explain("nothing.shop.svc.cluster.local")
        self.assertEqual(self.notes(denied, "cache")[-1], "not kept: disable denial cluster.local.")

    def test_forward(self) -> None:
        """forward says whom it would ask, how they are, and who answered."""
        explained = self.world.explain("www.example.org")
        self.assertEqual(
            self.notes(explained, "forward"),
            [
                "forward . takes the name; policy random, in turn:",
                "  127.0.0.2:1053: healthy",
                "answered by 127.0.0.2:1053",
            ],
        )
        self.assertIn("TTL 3600 became 30", self.did(explained)["cache"])

    def test_no_forward(self) -> None:
        """Upstreams are left alone when the operator says so, and the reply is then not known."""
        before = self.world.metrics("coredns_forward_")
        explained = self.world.explain("www.example.org", forward=False)
        self.assertEqual((explained["held_back"], explained["reply"], explained["asked_upstream"]), (True, None, False))
        self.assertEqual(self.world.metrics("coredns_forward_"), before)
        self.assertIsNotNone(self.world.explain("web.shop.svc.cluster.local", forward=False)["reply"])
        inner = self.world.explain("payments.shop.svc.cluster.local", forward=False)
        self.assertTrue(inner["held_back"])

    def test_alias(self) -> None:
        """What a plugin looks up inside is shown with all its steps."""
        explained = self.world.explain("payments.shop.svc.cluster.local")
        (inner,) = next(step["inside"] for step in explained["steps"] if step["plugin"] == "kubernetes")
        self.assertEqual((inner["name"], inner["rcode"], inner["records"]), ("api.payments.example.", "NOERROR", 1))
        self.assertEqual([step["plugin"] for step in inner["steps"]], ["loadbalance", "cache", "kubernetes", "forward"])

    def test_other_listener(self) -> None:
        """Each listener can be asked; a wrong one is answered with those there are."""
        explained = self.world.explain("www.example.org", listener="127.0.0.2")
        self.assertEqual(explained["server"]["listener"], "dns://127.0.0.2:1053")
        self.assertEqual(self.did(explained)["hosts"][:26], "answered NOERROR, 1 record")
        missing = self.world.explain("nothing.example", listener="127.0.0.2")
        self.assertEqual((missing["reply"]["rcode"], missing["error"]), ("SERVFAIL", "no host nothing.example."))
        reply = self.world.run("explain", name="a.b", listener="x")
        self.assertEqual(
            reply["error"], "there is no listener x; there are: dns://127.0.0.1:1053, dns://127.0.0.2:1053"
        )

    def test_freshness(self) -> None:
        """The data's age is stated where it plays a part."""
        lines = self.world.explain("web.shop.svc.cluster.local")["freshness"]["kubernetes"]
        self.assertEqual(lines[0], "2 Namespace, 5 Service, 2 EndpointSlice known, synced")
        self.assertIn("read from manifests: ", lines[1])

    def test_bad_questions(self) -> None:
        """What is no question is told so."""
        for arguments, wanted in (
            ({"name": "a..b"}, "no domain name"),
            ({"name": ""}, "which name?"),
            ({"name": "a", "type": "X"}, "no record type X"),
            ({"name": "a", "client": "x"}, "x is no IP address"),
            ({"name": 1}, "name must be a text"),
        ):
            self.assertIn(wanted, self.world.run("explain", **arguments)["error"])


class NoTraceTests(DemoCase):
    """An explanation is no query."""

    def test_not_counted(self) -> None:
        """It counts in no metric of queries, and no line of the log names it."""
        self.world.ask("web.shop.svc.cluster.local")
        before, lines = self.world.metrics("coredns_dns_"), list(self.world.lines)
        self.assertNotEqual(before, [])
        for name, qtype, _ in KINDS:
            self.world.explain(name, qtype)
        self.world.explain("nothing.example", listener="127.0.0.2")
        self.assertEqual(self.world.metrics("coredns_dns_"), before)
        self.assertEqual(self.world.lines, lines)

    def test_not_entered(self) -> None:
        """The answer table is as before."""
        opened = self.world.service.endpoints
        for name, qtype, _ in KINDS:
            self.world.explain(name, qtype)
        entries = [len(table) for one in opened.values() for table in one.tables]
        # What the demo forwards is asked of its other block, which is a server like any.
        self.assertEqual(sum(entries), sum(len(table) for table in list(opened.values())[1].tables))

    def test_table(self) -> None:
        """It says what the answer table holds for the question, and whether that still holds."""
        name = "nothing.shop.svc.cluster.local"
        self.assertEqual(self.world.explain(name)["table"], [])
        self.world.ask(name)
        self.world.ask(name, edns=True)
        self.world.reactor.advance(1.0)
        plain, other = sorted(self.world.explain(name)["table"], key=lambda entry: entry["edns"])
        self.assertEqual(
            plain,
            {
                "same": True,
                "clients": "IPv4",
                "flags": ["rd"],
                "edns": False,
                "rcode": "NXDOMAIN",
                "given": False,
                "age": plain["age"],
                "left": plain["left"],
            },
        )
        self.assertAlmostEqual(plain["age"] + plain["left"], 30.0, 3)
        self.assertEqual((other["same"], other["edns"]), (False, True))
        self.world.ask(name)
        (given,) = (entry for entry in self.world.explain(name)["table"] if entry["same"])
        self.assertTrue(given["given"])
        self.world.reactor.advance(31.0)
        (gone,) = (entry for entry in self.world.explain(name)["table"] if entry["same"])
        self.assertEqual(gone["why_not"], "a TTL in it has run out; the next query asks the plugins")


class GroupTests(SynchronousTestCase):
    """A server that tells clients apart."""

    def test_table(self) -> None:
        """The flags of a held reply's query are its own, although the group stands in front of them."""
        world = World(
            ".:1053 {\n bind 127.0.0.1\n acl {\n block net 10.0.0.0/8\n }\n hosts {\n 192.0.2.1 a.test\n }\n}\n"
        )
        self.addCleanup(lambda: self.assertEqual(world.stop(), []))
        world.ask("a.test")
        (held,) = world.explain("a.test")["table"]
        self.assertEqual((held["same"], held["flags"], held["clients"]), (True, ["rd"], "clients of this group"))
        (held,) = world.explain("a.test", client="10.1.2.3")["table"]
        self.assertEqual((held["same"], held["clients"]), (False, "another group of clients"))


class UpstreamTests(SynchronousTestCase):
    """A server whose upstream says nothing."""

    def test_silence(self) -> None:
        """It says that nothing came in the time that a client is given, and what became of the upstreams."""
        world = World(".:1053 {\n bind 127.0.0.1\n forward . 127.0.0.2:53\n}\n")
        self.addCleanup(world.stop)
        world.reactor.network.blackhole("127.0.0.2", 53)
        began = world.reactor.seconds()
        explained = world.explain("www.example.org")
        self.assertLess(world.reactor.seconds() - began, 5.0)
        self.assertEqual(explained["reply"]["rcode"], "SERVFAIL")
        self.assertNotEqual(explained["error"], "")
        texts = [note["text"] for note in explained["steps"][0]["notes"]]
        self.assertEqual(texts[1], "  127.0.0.2:53: healthy")
        self.assertIn("afterwards: 127.0.0.2:53: d", texts[2])


class TransportTests(SynchronousTestCase):
    """Listeners that are not plain."""

    def test_transport(self) -> None:
        """A query is asked as it would come to the listener, and the explanation says how."""
        world = World(".:1053 https://.:1443 grpc://.:1444 {\n whoami\n}\n")
        self.addCleanup(world.stop)
        for listener, tcp, transport in (
            ("dns://:1053", False, "udp"),
            ("dns://:1053", True, "tcp"),
            ("https://:1443", False, "https"),
            ("grpc://:1444", True, "grpc"),
        ):
            self.assertEqual(world.explain("a.test", listener=listener, tcp=tcp)["transport"], transport)


class SearchTests(DemoCase):
    """Search paths of pods."""

    def walked(self, name: str, **arguments: Any) -> tuple[list[tuple[str, bool]], dict[str, Any]]:
        """The steps, and the explanation."""
        explained = self.world.explain(name, **arguments)
        return [(step["name"], step["ends"]) for step in explained["search"]["steps"]], explained

    def test_first_step(self) -> None:
        """A service of the pod's own namespace is found at the first step."""
        steps, explained = self.walked("web", search="shop")
        self.assertEqual(steps, [("web.shop.svc.cluster.local.", True)])
        self.assertEqual(explained["reply"]["answer"][0][4], "10.96.20.30")

    def test_outside(self) -> None:
        """A name of the world costs three names that do not exist; the one that answers is explained as it was asked."""
        steps, explained = self.walked("www.example.org", search="shop")
        self.assertEqual(
            steps,
            [
                ("www.example.org.shop.svc.cluster.local.", False),
                ("www.example.org.svc.cluster.local.", False),
                ("www.example.org.cluster.local.", False),
                ("www.example.org.", True),
            ],
        )
        self.assertEqual((explained["name"], explained["asked_upstream"]), ("www.example.org.", True))
        self.assertEqual(explained["steps"][-1]["plugin"], "forward")

    def test_nothing(self) -> None:
        """When no step answers, each says what is missing."""
        _, explained = self.walked("nothing", search="shop")
        self.assertFalse(explained["search"]["answered"])
        self.assertEqual(
            [step["missing"] for step in explained["search"]["steps"]][:2],
            [
                ['there is no service "nothing" in namespace "shop"; it has 4 services'],
                ['there is no namespace "nothing"'],
            ],
        )
        self.assertEqual(explained["name"], "nothing.shop.svc.cluster.local.")

    def test_known_pod(self) -> None:
        """The address of a pod tells its namespace; another address, or a name with its last dot, is asked for as it is."""
        steps, explained = self.walked("db", client="10.244.1.20")
        self.assertEqual(steps, [("db.shop.svc.cluster.local.", True)])
        self.assertEqual(explained["search"]["known"], 'a pod, an endpoint of service "db"')
        self.assertNotIn("search", self.world.explain("db", client="192.0.2.1"))
        self.assertNotIn("search", self.world.explain("db.", client="10.244.1.20"))

    def test_many_dots(self) -> None:
        """A name of five dots is tried as it is first."""
        steps, _ = self.walked("a.b.web.shop.svc.cluster.local", search="shop")
        self.assertEqual(steps[0][0], "a.b.web.shop.svc.cluster.local.")

    def test_no_cluster(self) -> None:
        """Where there is no cluster zone there is no search path."""
        reply = self.world.run("explain", name="web", search="shop", listener="127.0.0.2")
        self.assertIn("no search path", reply["error"])


class FastPathTests(SynchronousTestCase):
    """Names that are answered without the plugins."""

    def test_fast(self) -> None:
        """It says when such names are, and when the plugins are asked."""
        world = World(".:1053 {\n bind 127.0.0.1\n kubernetes cluster.local {\n manifests {$DEMO}/cluster\n }\n}\n")
        self.addCleanup(world.stop)
        self.assertFalse(world.explain("a.shop.svc.cluster.local")["fast"])
        world.ask("b.shop.svc.cluster.local")
        for name in ("a.shop.svc.cluster.local", "web.shop.svc.cluster.local"):
            self.assertTrue(world.explain(name)["fast"], name)
        self.assertFalse(world.explain("cluster.local")["fast"])

    def test_usual_caches(self) -> None:
        """They are, too, behind the caches that clusters have."""
        for cache in ("cache 30", "cache 30 {\n disable success cluster.local\n disable denial cluster.local\n }"):
            world = World(
                f".:1053 {{\n bind 127.0.0.1\n kubernetes cluster.local {{\n manifests {{$DEMO}}/cluster\n }}\n {cache}\n}}\n"
            )
            self.addCleanup(world.stop)
            world.ask("b.shop.svc.cluster.local")
            self.assertTrue(world.explain("a.shop.svc.cluster.local")["fast"], cache)
