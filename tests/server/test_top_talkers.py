"""Top talkers, and names made by search paths."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import ClusterObject, EndpointSlice, Namespace, Pod, Upsert
from kdns.server.top_talkers import MOST_NAMESPACES, SearchPaths, TopTalkers, Waste, name_text, who
from kdns.wire.constants import NOERROR, NXDOMAIN
from kdns.wire.names import from_text, spelled_from_text

DOMAIN = from_text("cluster.local")


class Cluster:
    """A cluster with some namespaces and services."""

    services = {(b"shop", b"db"), (b"shop", b"web"), (b"prod", b"web")}

    def has_namespace(self, namespace: bytes) -> bool:
        """Those of the services, and one without any."""
        return namespace == b"empty" or any(namespace == known for known, _ in self.services)

    def service(self, namespace: bytes, name: bytes) -> object | None:
        """Something, if it is there."""
        return True if (namespace, name) in self.services else None


MADE = (
    # Each step of the search for an outside name, from a pod in a namespace that is there.
    "api.example.com.shop.svc.cluster.local",
    "api.example.com.svc.cluster.local",
    "api.example.com.cluster.local",
    "example.com.shop.svc.cluster.local",
    "example.com.svc.cluster.local",
    "example.com.cluster.local",
    "example.de.shop.svc.cluster.local",
    "xn--bcher-kva.xn--p1ai.shop.svc.cluster.local",
    "www.example.museum.shop.svc.cluster.local",
    "_xmpp-client._tcp.example.com.shop.svc.cluster.local",
    "_ldap._tcp.dc._msdcs.example.corp.shop.svc.cluster.local",
    "host.intra.example.private.empty.svc.cluster.local",
    # A short name of another namespace, and names that are complete but for the final dot.
    "web.prod.shop.svc.cluster.local",
    "web.prod.svc.shop.svc.cluster.local",
    "web.prod.svc.cluster.local.shop.svc.cluster.local",
    "web.prod.svc.cluster.local.svc.cluster.local",
    "web.prod.svc.cluster.local.cluster.local",
    "host.svc.cluster.local.svc.cluster.local",
)

MISSING = (
    # A missing service, one in a missing namespace, and what is missing of services that are there or not.
    "nope.shop.svc.cluster.local",
    "nope.nowhere.svc.cluster.local",
    "db-7.db.shop.svc.cluster.local",
    "db-7.nope.shop.svc.cluster.local",
    "_https._tcp.web.shop.svc.cluster.local",
    "_https._tcp.nope.shop.svc.cluster.local",
    "_https._tcp.nope.nowhere.svc.cluster.local",
    # The search for a name of one label; the cluster's own names.
    "redis.shop.svc.cluster.local",
    "redis.svc.cluster.local",
    "redis.cluster.local",
    "svc.cluster.local",
    "10-0-0-1.shop.pod.cluster.local",
    "cluster.local",
    # Not of the cluster at all.
    "api.example.com",
    "api.example.com.svc.other.local",
    "api.example.com.notcluster.local",
    ".",
)


class SearchPathTests(SynchronousTestCase):
    """The guess."""

    def setUp(self) -> None:
        self.paths = SearchPaths([(DOMAIN, Cluster())])

    def test_made(self) -> None:
        """An outside name with what a search path appends is one that it made, as is a name of the cluster that was not complete."""
        self.assertEqual([name for name in MADE if not self.paths.made(from_text(name))], [])

    def test_missing(self) -> None:
        """A name that is only missing is none."""
        self.assertEqual([name for name in MISSING if self.paths.made(from_text(name))], [])

    def test_no_cluster(self) -> None:
        """Without a cluster there are no search paths."""
        self.assertFalse(SearchPaths(()).made(from_text(MADE[0])))

    def test_several(self) -> None:
        """Each cluster domain has its own; a domain of other labels ends its own complete names."""
        paths = SearchPaths([(DOMAIN, Cluster()), (from_text("k8s.acme"), Cluster())])
        self.assertTrue(paths.made(from_text("api.example.com.shop.svc.k8s.acme")))
        self.assertTrue(paths.made(from_text("api.example.com.shop.svc.cluster.local")))
        self.assertTrue(paths.made(from_text("x.acme.svc.k8s.acme")))

    def test_no_name(self) -> None:
        """A domain that begins within a label, and octets that are no name, are not judged."""
        zone = DOMAIN
        self.assertFalse(self.paths.made(b"\x0fabc.d" + zone))
        self.assertFalse(self.paths.made(b"\x3f" + zone))


DOMAIN = from_text("cluster.local")
HEAD = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"


def query(name: str) -> bytes:
    """A query for an address, behind its identifier."""
    return HEAD + spelled_from_text(name) + b"\x00\x01\x00\x01"


def reply(rcode: int) -> bytes:
    """The beginning of a reply, behind its identifier."""
    return bytes((0x85, 0x80 | rcode)) + HEAD[2:]


def index_of(*things: ClusterObject) -> ClusterIndex:
    """An index of some objects."""
    index = ClusterIndex()
    for thing in things:
        index.apply(Upsert(thing), 0.0)
    return index


class AskersTests(SynchronousTestCase):
    """Samples."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.talkers = TopTalkers(self.clock.seconds)
        self.talkers.set_search_paths(SearchPaths([(DOMAIN, index_of(Namespace(b"shop")))]))

    def test_sample(self) -> None:
        """A reply counts for its client and its name, in lower case, as often as it stands for."""
        self.talkers.sample(query("Web.SHOP.svc.cluster.local"), reply(NOERROR), "10.0.0.1", 3)
        self.talkers.sample(query("web.shop.svc.cluster.local"), reply(NOERROR), "10.0.0.2", 2)
        self.assertEqual(self.talkers.clients.top(5).items, [("10.0.0.1", 3), ("10.0.0.2", 2)])
        self.assertEqual(self.talkers.names.top(5).items, [(from_text("web.shop.svc.cluster.local"), 5)])
        self.assertEqual(self.talkers.denied.top(5).items, [])
        self.assertEqual(self.talkers.queries_ever, 5)

    def test_denied(self) -> None:
        """Names that do not exist have a list of their own; those that a search path made up are waste."""
        for name, times in (("nope.shop.svc.cluster.local", 1), ("example.com.shop.svc.cluster.local", 4)):
            self.talkers.sample(query(name), reply(NXDOMAIN), "10.0.0.1", times)
        self.talkers.sample(query("example.com"), reply(NOERROR), "10.0.0.1", 5)
        denied = self.talkers.denied.top(5)
        self.assertEqual([times for _, times in denied.items], [4, 1])
        self.assertEqual(denied.total, 5)
        self.assertEqual(self.talkers.waste(), Waste(10, 4))
        self.assertEqual(self.talkers.waste().share, 0.4)
        self.assertEqual(self.talkers.wasted_ever, 4)

    def test_namespaces(self) -> None:
        """Waste is counted for the namespace that the first step of a search path names, and told of at its first time."""
        seen: list[bytes] = []
        self.talkers.namespace_seen = seen.append
        for name, times in (
            ("example.com.shop.svc.cluster.local", 4),
            ("api.example.com.shop.svc.cluster.local", 2),
            ("example.com.svc.cluster.local", 8),
            ("example.com.cluster.local", 8),
            ("nope.shop.svc.cluster.local", 8),
            ("example.com.none.svc.cluster.local", 8),
        ):
            self.talkers.sample(query(name), reply(NXDOMAIN), "10.0.0.1", times)
        self.assertEqual(self.talkers.wasteful.top(9).items, [(b"shop", 6)])
        self.assertEqual((self.talkers.wasted_by, seen), ({b"shop": 6}, [b"shop"]))

    def test_namespaces_are_bounded(self) -> None:
        """However many namespaces there are, so many have a figure of their own."""
        spaces = [b"n%d" % number for number in range(MOST_NAMESPACES + 9)]
        self.talkers.set_search_paths(SearchPaths([(DOMAIN, index_of(*map(Namespace, spaces)))]))
        for namespace in spaces:
            name = f"example.com.{namespace.decode()}.svc.cluster.local"
            self.talkers.sample(query(name), reply(NXDOMAIN), "10.0.0.1", 1)
        self.assertEqual(sorted(self.talkers.wasted_by), sorted(spaces[:MOST_NAMESPACES]))

    def test_family_mark(self) -> None:
        """The mark that clients over IPv6 have in a shared table is no part of the name."""
        self.talkers.sample(b"\xff" + query("a.example"), reply(NOERROR), "fd00::1", 1)
        self.assertEqual(self.talkers.names.top(1).items, [(from_text("a.example"), 1)])

    def pass_seconds(self, seconds: int) -> None:
        """Let time pass, with a look each second."""
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.talkers.advance()

    def test_minutes(self) -> None:
        """What was asked three minutes ago is forgotten, waste included; what was ever counted stays."""
        self.pass_seconds(30)
        self.assertEqual(self.talkers.seconds, 30.0)
        self.talkers.sample(query("example.com.shop.svc.cluster.local"), reply(NXDOMAIN), "10.0.0.1", 1)
        self.pass_seconds(149)
        self.assertEqual(self.talkers.waste(), Waste(1, 1))
        self.assertEqual(self.talkers.seconds, 179.0)
        self.pass_seconds(1)
        self.assertEqual(self.talkers.seconds, 120.0)
        self.assertEqual(self.talkers.waste(), Waste(0, 0))
        self.assertEqual(self.talkers.waste().share, 0.0)
        self.assertEqual(self.talkers.clients.top(1).items, [])
        self.assertEqual((self.talkers.queries_ever, self.talkers.wasted_ever), (1, 1))

    def test_batches(self) -> None:
        """One reply of each batch, drawn by lot and counted for all of it, shows the shares that the whole has."""
        chance = Random(7)
        names = [f"n{number}.example" for number in (0,) * 50 + (1,) * 30 + tuple(range(2, 22))]
        for _ in range(2000):
            batch = chance.choices(names, k=64)
            self.talkers.sample(query(chance.choice(batch)), reply(NOERROR), "10.0.0.1", len(batch))
        top = self.talkers.names.top(2)
        self.assertEqual([name_text(name) for name, _ in top.items], ["n0.example.", "n1.example."])
        for (_, times), share in zip(top.items, (0.5, 0.3), strict=True):
            self.assertLess(abs(times / top.total - share), 0.05)

    @settings(deadline=None, derandomize=True)
    @given(st.binary(min_size=1, max_size=80), st.binary(min_size=2, max_size=20))
    def test_anything(self, octets: bytes, said: bytes) -> None:
        """Whatever the octets are, nothing is raised, and what was noted can be shown."""
        talkers = TopTalkers(Clock().seconds)
        talkers.set_search_paths(SearchPaths([(DOMAIN, index_of(Namespace(b"shop")))]))
        talkers.sample(octets, said, "10.0.0.1", 1)
        talkers.sample(query("x") + octets, said, "10.0.0.1", 1)
        talkers.sample(HEAD + octets, said, "10.0.0.1", 1)
        for name, _ in talkers.names.top(5).items:
            self.assertTrue(name_text(name).isprintable())


class WhoTests(SynchronousTestCase):
    """Pods of clients."""

    def test_pod(self) -> None:
        """Where pods are watched a client is one of them."""
        index = index_of(Pod(b"shop", b"web-1", b"\x0a\x00\x00\x01"))
        self.assertEqual(who("10.0.0.1", [index_of(Namespace(b"x")), index]), "pod shop/web-1")
        self.assertEqual(who("10.0.0.2", [index]), "")

    def test_node(self) -> None:
        """Pods on a node's network share its address."""
        address = b"\x0a\x00\x00\x01"
        index = index_of(
            Pod(b"shop", b"a", address), Pod(b"shop", b"b", address), Pod(b"kube-system", b"proxy", address)
        )
        self.assertEqual(who("10.0.0.1", [index]), "pod kube-system/proxy and 2 more")

    def test_slice(self) -> None:
        """Where pods are not watched, what stands behind a service is known by its slice, with the pod's name where that is kept."""
        address = bytes(15) + b"\x01"
        plain = EndpointSlice(b"shop", b"web-abc", b"web", (address,))
        self.assertEqual(who("::1", [index_of(plain)]), "behind service shop/web")
        named = EndpointSlice(b"shop", b"web-abc", b"web", (address,), pods=(b"web-1",))
        self.assertEqual(who("::1", [index_of(named)]), "pod shop/web-1")

    def test_no_address(self) -> None:
        """What is no address belongs to nobody."""
        self.assertEqual(who("", [index_of(Namespace(b"x"))]), "")
