"""What stands behind a name in the cluster."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import EndpointSlice, ImportKind, Namespace, ServiceImport, Upsert
from kdns.plugins.kubernetes import directive
from kdns.plugins.kubernetes.fast import ServiceNames
from kdns.plugins.kubernetes.lookup import Lookup
from kdns.plugins.kubernetes.names import Shape, parse_name
from kdns.plugins.kubernetes.result import LARGE, Group, Pair, ReplyBudget, Result, endpoint_label, wire_label
from kdns.wire.constants import NXDOMAIN, A
from kdns.wire.names import MalformedName, from_text, labels_of
from tests.plugins.kubernetes.cluster import HTTP, HTTPS, headless, packed, part, vip
from tests.support import blocks_of

ONE, TWO, SIX = packed("10.0.0.1", "10.0.0.2", "fd00::1")


class LookupTests(SynchronousTestCase):
    """Look-ups in one index."""

    def setUp(self) -> None:
        self.index = ClusterIndex(grace=0.0)
        self.put(Namespace(b"prod"))

    def put(self, *items: object) -> None:
        """Enter objects."""
        for item in items:
            self.index.apply(Upsert(item), 1.0)  # type: ignore[arg-type]  # of any kind

    def lookup(self, options: str = "") -> Lookup:
        """By the rules of a configuration."""
        block, words = blocks_of(f"a b {{\n kubernetes {{\n{options}\n}}\n}}\n", ("kubernetes",))[0]
        return Lookup(self.index, directive.parse(words["kubernetes"], block))

    def find(self, name: str, options: str = "", multicluster: bool = False) -> Result:
        """Look up the labels left of the zone."""
        front = from_text(name)[:-1]
        return self.lookup(options).find(parse_name(front, multicluster, "zonal" in options), multicluster)

    def addresses(self, found: Result) -> list[bytes]:
        """The addresses of both families, each once."""
        return [address for size in (4, 16) for address in found.addresses(size, 9, Random(1))[0]]

    def ports(self, found: Result) -> list[tuple[bytes, int | None]]:
        """Addresses with ports."""
        return [(pair.address, pair.port) for pair in found.from_place(0)]

    def test_labels(self) -> None:
        """Host name, pod, address, in this order."""
        for address, hostnames, pods, wanted in (
            (ONE, (b"h",), (b"p",), b"h"),
            (ONE, (None,), (b"p",), b"p"),
            (ONE, (), (b"p",), b"p"),
            (ONE, (), (), b"10-0-0-1"),
            (SIX, (), (None,), b"fd00--1"),
        ):
            part = EndpointSlice(b"prod", b"s", b"db", (address,), hostnames, pods)
            self.assertEqual(endpoint_label(part, 0), wanted)

    def test_ports(self) -> None:
        """Every address with every port, or with those that are named."""
        self.put(vip("web", "10.0.0.1", "fd00::1", ports=(HTTP, HTTPS)))
        every = [(ONE, 80), (ONE, 443), (SIX, 80), (SIX, 443)]
        self.assertEqual(self.ports(self.find("web.prod.svc")), every)
        self.assertEqual(self.ports(self.find("_https._tcp.web.prod.svc")), [(ONE, 443), (SIX, 443)])
        self.assertEqual(self.ports(self.find("_._.web.prod.svc")), every)
        self.assertFalse(self.find("_https._udp.web.prod.svc").exists)
        self.assertEqual(self.addresses(self.find("web.prod.svc")), [ONE, SIX])

    def test_topology(self) -> None:
        """A topology zone of a headless service exists even where nothing is."""
        zones = (b"z1", b"z2")
        self.put(headless("db"), EndpointSlice(b"prod", b"s", b"db", (ONE, TWO), zones=zones, ports=(HTTP,)))
        for name, addresses in (
            ("z1.pin._zone", [ONE]),
            ("z2.prefer._zone", [TWO]),
            ("z9.pin._zone", []),
            ("z9.prefer._zone", [ONE, TWO]),
        ):
            found = self.find(f"{name}.db.prod.svc", "zonal")
            self.assertEqual((found.exists, self.addresses(found)), (True, addresses), name)
        self.put(vip("web", "10.0.0.1"))
        self.assertFalse(self.find("z1.pin._zone.web.prod.svc", "zonal").exists)

    def test_imports(self) -> None:
        """Endpoints of several clusters have the cluster in their names, where it is known."""

        def imported(name: bytes, cluster: bytes | None, address: bytes) -> EndpointSlice:
            return EndpointSlice(
                b"prod", name, None, (address,), (b"h",), ports=(HTTP,), imported=b"db", cluster=cluster
            )

        self.put(ServiceImport(b"prod", b"db", ImportKind.HEADLESS))
        self.assertFalse(self.find("db.prod.svc", multicluster=True).exists)
        self.put(imported(b"1", b"east", ONE), imported(b"2", b"west", TWO), imported(b"3", None, SIX))
        found = self.find("db.prod.svc", multicluster=True)
        self.assertEqual(
            list(found.from_place(0)),
            [
                Pair(b"\x01h\x04east\x02db\x04prod\x03svc", 80, ONE),
                Pair(b"\x01h\x04west\x02db\x04prod\x03svc", 80, TWO),
                Pair(b"\x01h\x02db\x04prod\x03svc", 80, SIX),
            ],
        )
        self.assertEqual(self.addresses(self.find("h.west.db.prod.svc", multicluster=True)), [TWO])
        self.assertFalse(self.find("h.north.db.prod.svc", multicluster=True).exists)
        self.assertFalse(self.find("h.db.prod.svc", multicluster=True).exists)
        self.assertFalse(self.find("db.prod.svc").exists, "in the zone of this cluster")

    def test_empty_import(self) -> None:
        """``ignore empty_service`` is for services of several clusters too."""
        self.put(ServiceImport(b"prod", b"v", ImportKind.CLUSTER_SET_IP, (ONE,), (HTTP,)))
        self.assertEqual(self.addresses(self.find("v.prod.svc", multicluster=True)), [ONE])
        self.assertFalse(self.find("v.prod.svc", "ignore empty_service", multicluster=True).exists)

    def test_empty_service(self) -> None:
        """A service whose endpoints went is ignored, one that is headless is nothing without them anyway."""
        self.put(vip("web", "10.0.0.1"))
        self.assertTrue(self.find("web.prod.svc").exists)
        self.assertFalse(self.find("web.prod.svc", "ignore empty_service").exists)
        self.put(part("s", "web", "10.0.0.9"))
        self.assertTrue(self.find("web.prod.svc", "ignore empty_service").exists)

    def test_reverse(self) -> None:
        """A cluster IP before endpoints; an endpoint has one name in each service that selects it."""
        lookup = self.lookup()
        self.assertEqual(lookup.reverse(ONE)[1], [])
        self.put(part("s1", "a", "10.0.0.1"), part("s2", "b", "10.0.0.1", hostnames=(b"h",)))
        names = [b"\x0810-0-0-1\x01a\x04prod\x03svc", b"\x01h\x01b\x04prod\x03svc"]
        self.assertEqual(lookup.reverse(ONE)[1], names)
        self.put(vip("web", "10.0.0.1"))
        found, targets = lookup.reverse(ONE)
        self.assertEqual((found.exists, targets), (True, [b"\x03web\x04prod\x03svc"]))

    def test_stamps(self) -> None:
        """What was looked at is noted whether it was found or not, and what no change can concern is not."""
        for name, options, count in (
            ("web.prod.svc", "", 2),
            ("prod.svc", "", 1),
            ("1-2-3-4.prod.pod", "", 0),
            ("1-2-3-4.prod.pod", "pods insecure", 1),
            ("1-2-3-4.prod.pod", "pods verified", 2),
            ("web.prod.svc", "namespaces dev", 0),
        ):
            self.assertEqual(len(self.find(name, options).stamps), count, (name, options))


LABELS = st.sampled_from(
    [
        b"svc",
        b"pod",
        b"dns",
        b"ns",
        b"dns-version",
        b"prod",
        b"dev",
        b"web",
        b"db",
        b"db-0",
        b"_http",
        b"_tcp",
        b"10-0-0-1",
        b"x" * 63,
    ]
)
OPTIONS = st.sampled_from(
    ("", "namespaces prod", "pods verified", "pods insecure", "ignore empty_service", "noendpoints", "zonal")
)


class AbsentTests(SynchronousTestCase):
    """What is said to be absent at a glance is not there, and octets that are no labels are never said to be."""

    def setUp(self) -> None:
        self.index = ClusterIndex(grace=0.0)
        for item in (
            Namespace(b"prod"),
            Namespace(b"svc"),
            vip("web", "10.0.0.1"),
            headless("db"),
            part("db", "10.0.0.1"),
        ):
            self.index.apply(Upsert(item), 1.0)

    def lookup(self, options: str) -> Lookup:
        """By the rules of a configuration."""
        block, words = blocks_of(f"a b {{\n kubernetes {{\n{options}\n}}\n}}\n", ("kubernetes",))[0]
        return Lookup(self.index, directive.parse(words["kubernetes"], block))

    def absent(self, front: bytes, options: str = "") -> bool:
        """Whether the fast path denies a name below the zone."""
        block, words = blocks_of(f"a b {{\n kubernetes {{\n{options}\n}}\n}}\n", ("kubernetes",))[0]
        config = directive.parse(words["kubernetes"], block)
        zone = from_text("cluster.local")
        lookup = Lookup(self.index, config)
        names = ServiceNames(self.index, config, zone, lambda: True, True, lookup, lambda ttl: ttl, lambda ttl: ttl)
        made = names.answer(front + zone, A, 0.0)
        return made is not None and made[0] == NXDOMAIN

    @given(st.lists(LABELS, min_size=1, max_size=6), OPTIONS)
    def test_truth(self, labels: list[bytes], options: str) -> None:
        """Whatever is absent is found by no look-up."""
        lookup = self.lookup(options)
        front = b"".join(map(wire_label, labels))
        if self.absent(front, options):
            parsed = parse_name(front, False, "zonal" in options)
            self.assertIn(parsed.shape, (Shape.INVALID, Shape.SERVICE, Shape.NAMESPACE, Shape.POD))
            self.assertFalse(parsed.shape is not Shape.INVALID and lookup.find(parsed, False).exists)

    @given(st.binary(max_size=40))
    def test_octets(self, octets: bytes) -> None:
        """Anything may be asked."""
        try:
            labels = labels_of(octets + b"\x00")
            sound = len(octets) == sum(len(label) + 1 for label in labels) and all(len(label) <= 63 for label in labels)
        except (MalformedName, IndexError):
            sound = False
        if self.absent(octets):
            self.assertTrue(sound)

    def test_search_paths(self) -> None:
        """What search paths make of outside names is absent, and so are endpoints and pods that are not there."""
        for name in (
            "api.example.com.prod.svc",
            "example.com.svc",
            "com.svc",
            "api.example.com",
            "web.dev.svc",
            "no.prod.svc",
            "a.no.prod.svc",
            "a.web.prod.svc",
            "10-0-0-1.prod.pod",
        ):
            self.assertTrue(self.absent(from_text(name + ".")[:-1]), name)
        for name in ("web.prod.svc", "prod.svc", "svc", "prod.pod", "ns.dns", "dns-version"):
            self.assertFalse(self.absent(from_text(name + ".")[:-1]), name)


class ShareTests(SynchronousTestCase):
    """Services with more endpoints than a reply can hold."""

    def setUp(self) -> None:
        self.chance = Random(1)

    def found(self, slices: int, ports: tuple[int | None, ...] = (80,), size: int = 100) -> Result:
        """A service with so many slices."""
        found = Result(exists=True)
        for number in range(slices):
            addresses = tuple(bytes((10, number, 0, row)) for row in range(size))
            part = EndpointSlice(b"prod", b"s%d" % number, b"db", addresses)
            found.groups.append(Group(addresses, ports, b"\x02db", part))
        return found

    def test_all(self) -> None:
        """Up to a number, all endpoints are given in their order, whether they fit or not."""
        found = self.found(LARGE // 100)
        every = [address for group in found.groups for address in group.addresses]
        self.assertEqual(found.addresses(4, 10, self.chance), (every, False))
        self.assertEqual(found.addresses(16, 10, self.chance), ([], False))
        targets, addresses, share = found.services(15, ReplyBudget(1000), self.chance)
        self.assertEqual((len(targets), len(addresses), share), (LARGE, LARGE, False))

    def test_share_of_addresses(self) -> None:
        """Of more, as many as are wanted, and each equally often."""
        found = self.found(50)
        times: Counter[bytes] = Counter()
        for _ in range(500):
            some, share = found.addresses(4, 1000, self.chance)
            self.assertEqual((len(some), len(set(some)), share), (1000, 1000, True))
            times.update(some)
        self.assertEqual(len(times), 5000)
        self.assertTrue(all(40 < count < 180 for count in times.values()), (min(times.values()), max(times.values())))
        self.assertEqual(len(found.addresses(4, 9000, self.chance)[0]), 5000)

    def test_share_of_services(self) -> None:
        """SRV records begin at a random endpoint; over a stream they fit with their addresses, over UDP one more than fits."""
        found = self.found(50, (80, 443))
        seen: Counter[bytes] = Counter()
        for _ in range(300):
            for room in (ReplyBudget(65_000), ReplyBudget(1232, 1)):
                targets, addresses, share = found.services(15, room, self.chance)
                self.assertTrue(share)
                size = sum(18 + 15 + len(target) for target, _ in targets)
                last = 18 + 15 + len(targets[-1][0])
                if room.over:
                    self.assertTrue(size - last <= room.size < size)
                else:
                    glue = sum(14 + 15 + len(target) for target, _ in addresses)
                    self.assertTrue(0.6 * room.size < size + glue <= room.size, (size, glue))
                    seen.update({target for target, _ in targets})
        self.assertEqual(len(seen), 5000)
        self.assertEqual(found.weight, 1)

    def test_circle(self) -> None:
        """From whatever pair on, each pair comes once."""
        found = self.found(3, (80, 443), size=2)
        found.groups.append(Group((ONE, TWO, SIX), (None,), b"\x02db", None, (0, 2)))
        every = list(found.from_place(0))
        self.assertEqual((len(every), found.pairs), (14, 14))
        for start in range(14):
            turned = list(found.from_place(start))
            self.assertEqual(sorted(turned, key=repr), sorted(every, key=repr))
            self.assertEqual(turned[0][0], every[start][0])
        self.assertEqual(list(Result().from_place(0)), [])
