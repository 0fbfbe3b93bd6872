# -*- test-case-name: tests.plugins.kubernetes.test_explaining -*-
"""What is said of names, held against what is answered."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.objects import EndpointSlice, ImportKind, Namespace, Pod, Service, ServiceImport, ServiceKind
from kdns.core.answer import Answer
from kdns.plugins.kubernetes.explaining import namespace_of
from kdns.plugins.kubernetes.lookup import Lookup
from kdns.plugins.kubernetes.names import Shape, parse_name
from kdns.plugins.kubernetes.result import Fact, Reason
from kdns.wire.constants import NXDOMAIN
from kdns.wire.names import from_text
from tests.plugins.kubernetes.cluster import HTTP, HTTPS, Bench, external, headless, packed, part, vip
from tests.plugins.kubernetes.telling import NUMBERS
from tests.support import a_request

ZONE = "cluster.local."

FRONTS = (
    "",
    "db-0.",
    "10-0-0-2.",
    "x.",
    "_http._tcp.",
    "_x._tcp.",
    "_http._udp.",
    "_._.",
    "z1.pin._zone.",
    "z9.pin._zone.",
    "a.b.c.d.",
)
SERVICES = ("web", "db", "empty", "gone", "ext", "odd", "bare", "nothing")
NAMESPACES = ("prod", "other", "nowhere")
OTHERS = (
    "web.cluster.local.",
    "svc.cluster.local.",
    "pod.cluster.local.",
    "a.b.c.cluster.local.",
    "prod.svc.cluster.local.",
    "nowhere.svc.cluster.local.",
    "prod.pod.cluster.local.",
    "10-0-0-1.prod.pod.cluster.local.",
    "10-0-0-9.prod.pod.cluster.local.",
    "010-0-0-1.prod.pod.cluster.local.",
    "fd00-0-0-0-0-0-0-1.prod.pod.cluster.local.",
    "0010-0-0-1.nowhere.pod.cluster.local.",
    "x.prod.pod.cluster.local.",
    "a.b.c.10-0-0-1.prod.pod.cluster.local.",
    "ns.dns.cluster.local.",
    "dns-version.cluster.local.",
    "1.0.0.10.in-addr.arpa.",
    "9.0.0.10.in-addr.arpa.",
    "0.96.10.in-addr.arpa.",
    "1.0.96.10.in-addr.arpa.",
)
OPTIONS = ("", "pods verified", "pods insecure", "noendpoints", "ignore empty_service", "namespaces prod", "zonal")


def bench(options: str = "") -> Bench:
    """A cluster with something of each kind."""
    one = Bench(options, zones="cluster.local in-addr.arpa", resolve=lambda request: Answer())
    one.put(Namespace(b"prod", 7), Namespace(b"other"))
    one.put(vip("web", "10.96.0.1", ports=(HTTP, HTTPS)), vip("empty", "10.96.0.2"), headless("db"), headless("gone"))
    one.put(external("ext", "www.example.org"), external("odd", ""), vip("web", "10.96.0.9", namespace="other"))
    one.put(vip("bare", "10.96.0.3", ports=()))
    one.put(part("web-1", "web", "10.0.0.1"), part("db-1", "db", "10.0.0.1", "10.0.0.2", hostnames=(b"db-0", None)))
    one.put(part("gone-1", "gone"))
    one.put(Pod(b"prod", b"web-x", packed("10.0.0.1")[0]), Pod(b"prod", b"db-9", packed("10.0.0.7")[0]))
    return one


class TruthTests(SynchronousTestCase):
    """Every name, under many configurations."""

    def test_missing(self) -> None:
        """Something is said to be missing exactly when the name does not exist."""
        names = [
            f"{front}{service}.{namespace}.svc.{ZONE}"
            for front, service, namespace in product(FRONTS, SERVICES, NAMESPACES)
        ]
        names += OTHERS
        denied = 0
        for options in OPTIONS:
            one = bench(options)
            for name, qtype in product(names, ("A", "SRV", "PTR", "TXT")):
                request = a_request(name, NUMBERS[qtype])
                answer = one.zone.answer(a_request(name, NUMBERS[qtype], server=one.server), _no_next)
                if not isinstance(answer, Answer):
                    continue
                missing = [note.text for note in one.zone.explain(request) if note.missing]
                denied += answer.rcode == NXDOMAIN
                where = f"{name} {qtype} with {options!r}: {missing}"
                self.assertEqual(bool(missing), answer.rcode == NXDOMAIN, where)
        self.assertGreater(denied, 5000)


def _no_next(request: object) -> Answer:
    raise AssertionError("nothing falls through here")


class WordsTests(SynchronousTestCase):
    """The words themselves."""

    def said(self, name: str, options: str = "", qtype: str = "A", more: tuple[object, ...] = ()) -> list[str]:
        """The texts, those of what is missing with a mark."""
        one = bench(options)
        one.put(*more)  # type: ignore[arg-type]  # of any kind
        notes = one.zone.explain(a_request(name, NUMBERS[qtype]))
        return [("! " if note.missing else "") + note.text for note in notes]

    def test_versions(self) -> None:
        """Resource versions are shown where they are known."""
        web = Service(b"prod", b"web", ServiceKind.CLUSTER_IP, packed("10.96.0.1"), ports=(HTTP,), version=4711)
        self.assertEqual(
            self.said("web.prod.svc.cluster.local.", more=(web,))[3:],
            [
                'service "web" exists: cluster IP 10.96.0.1 (resource version 4711)',
                "ports http 80/tcp; ready endpoints behind it: 1 (they play no part in this answer)",
            ],
        )

    def test_not_ready(self) -> None:
        """A pod that exists and is no ready endpoint is told apart from one that does not exist."""
        (line,) = (
            text for text in self.said("db-9.db.prod.svc.cluster.local.", "pods verified") if text.startswith("!")
        )
        self.assertEqual(
            line,
            '! there is no ready endpoint "db-9"; those that are ready: db-0, 10-0-0-2; there is a pod "db-9" at 10.0.0.7,'
            " so it is not ready, or the service does not select it",
        )

    def test_pods_disabled(self) -> None:
        """Names of pods that are turned off are said to be."""
        self.assertIn("turned off", self.said("10-0-0-1.prod.pod.cluster.local.")[-1])

    def test_many(self) -> None:
        """Long lists are cut short."""
        big = EndpointSlice(
            b"prod", b"big", b"db", packed(*(f"10.1.0.{number}" for number in range(1, 101))), ports=(HTTP,)
        )
        (line,) = (text for text in self.said("db.prod.svc.cluster.local.", more=(big,)) if '"big"' in text)
        self.assertEqual(
            line, 'slice "big", 100 ready: 10.1.0.1, 10.1.0.2, 10.1.0.3, 10.1.0.4, 10.1.0.5, 10.1.0.6 and 94 more'
        )

    def test_hidden_namespace(self) -> None:
        """A namespace that the Corefile leaves out is told apart from one that does not exist."""
        self.assertEqual(
            self.said("web.other.svc.cluster.local.", "namespaces prod")[-1],
            '! namespace "other" is not among the namespaces of the Corefile (prod)',
        )

    def test_outside(self) -> None:
        """A name that is in no zone of the plugin is told so."""
        self.assertEqual(
            self.said("www.example.org."), ["www.example.org. is in none of its zones: cluster.local., in-addr.arpa."]
        )

    def test_pod_of_address(self) -> None:
        """The namespace behind an address is known from pods, and from endpoints."""
        index = bench("pods verified").cluster.index
        (watched, endpoint, nobody) = packed("10.0.0.7", "10.0.0.2", "10.9.9.9")
        self.assertEqual(namespace_of(index, watched), (b"prod", 'pod "db-9"'))
        self.assertEqual(namespace_of(index, endpoint), (b"prod", 'a pod, an endpoint of service "db"'))
        self.assertIsNone(namespace_of(index, nobody))

    def test_imports(self) -> None:
        """Services of several clusters."""
        one = Bench("multicluster clusterset.local", zones="clusterset.local")
        one.put(ServiceImport(b"prod", b"vip", ImportKind.CLUSTER_SET_IP, packed("10.3.0.1"), (HTTP,)))
        one.put(ServiceImport(b"prod", b"db", ImportKind.HEADLESS))
        one.put(EndpointSlice(b"prod", b"s", None, packed("10.0.0.1"), ports=(HTTP,), imported=b"db", cluster=b"east"))
        for name, wanted in (
            ("vip", 'ServiceImport "vip" exists: 10.3.0.1'),
            ("_x._tcp.vip", "! there is no port _x._tcp; those it has: _http._tcp"),
            ("db", 'slice "s", 1 ready: 10.0.0.1'),
            ("_x._tcp.db", "! there is no port _x._tcp; those it has: _http._tcp"),
            ("h.west.db", '! there is no ready endpoint "h"; those that are ready: 10-0-0-1'),
            ("h.db", "! an endpoint of several clusters is named with its cluster: ENDPOINT.CLUSTER.SERVICE"),
            ("gone", '! there is no ServiceImport "gone" in namespace "prod"'),
        ):
            notes = one.zone.explain(a_request(f"{name}.prod.svc.clusterset.local."))
            self.assertEqual(("! " if notes[-1].missing else "") + notes[-1].text, wanted)

    def test_every_fact_has_words(self) -> None:
        """No step of a look-up is left without words."""
        told: set[Fact] = set()

        class Noted(list[Reason]):
            """Notes which facts there were."""

            def append(self, reason: Reason) -> None:
                told.add(reason[0])

        names = [f"{front}{name}.{namespace}.svc" for front, name, namespace in product(FRONTS, SERVICES, NAMESPACES)]
        names += [name.removesuffix(f".{ZONE}") for name in OTHERS if name.endswith(ZONE)]
        for options in (*OPTIONS, "noendpoints"):
            one = bench(options)
            lookup = Lookup(one.cluster.index, one.config)
            for name in names:
                parsed = parse_name(from_text(name)[:-1], False, "zonal" in options)
                if parsed.shape in (Shape.SERVICE, Shape.POD, Shape.NAMESPACE, Shape.POD_NAMESPACE):
                    lookup.find(parsed, False, Noted())
            for address in packed("10.0.0.1", "10.9.9.9", "10.96.0.1", "10.96.0.9"):
                lookup.reverse(address, Noted())
        imports = {Fact.NO_IMPORT, Fact.IMPORT, Fact.CLUSTER_MISSING}  # see above
        self.assertEqual(set(Fact) - told - imports, set())

    def test_unsynced(self) -> None:
        """While not everything is known, that comes first and once, and nothing is said to be missing."""
        one = bench()
        one.cluster.synced = False
        for name in ("web.prod.svc.cluster.local.", "web.nope.svc.cluster.local.", "nope.prod.svc.cluster.local."):
            notes = one.zone.explain(a_request(name))
            self.assertEqual(
                [note.text for note in notes if note.missing],
                ["not all of the cluster is known yet: services: no answer of the API server yet"],
            )
            self.assertTrue(notes[0].missing)
        self.assertEqual(one.zone.freshness(), [])
