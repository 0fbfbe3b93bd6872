# -*- test-case-name: tests.plugins.kubernetes.test_histories -*-
"""Random clusters: what may happen in one, which configurations look at it, and which questions are worth asking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeAlias

from hypothesis import strategies as st

from tests.apiserver import FaultKind
from tests.plugins.kubernetes.reference import IMPORTED_NAME, SERVICE_NAME, SOURCE_CLUSTER, Rules
from tests.plugins.kubernetes.world import OWN_ADDRESS, Question, World

Json: TypeAlias = dict[str, Any]

NAMESPACES = ("default", "prod", "svc")
SERVICES = ("web", "db")
IPV4 = ("10.1.0.1", "10.1.0.2", OWN_ADDRESS)
IPV6 = ("fd00:1::1", "fd00:1::")
HOSTNAMES = ("h0", "h1")
PODS = ("pod-a", "pod-b")
TOPOLOGIES = ("z1", "z2")
CLUSTERS = ("east", "west")
TARGETS = (
    "web.prod.svc.cluster.local", "db.svc.svc.cluster.local", "db.default.svc.cluster.local", "h0.db.prod.svc.cluster.local",
    "10-1-0-1.prod.pod.cluster.local", "www.example.com", "nx.example.com", "none.example.com", "192.0.2.9", "cluster.local",
    "web.prod.svc.clusterset.local", "web.prod.svc.second.local", "foo.web.default.svc.cluster.local",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A configuration, as the Corefile and as the reference have it."""

    options: tuple[str, ...]
    rules: Rules
    others: str


NOT_OF_CLUSTER = "cache 30 {\n disable success cluster.local\n disable denial cluster.local\n }"
"""As kubeadm writes it."""


@st.composite
def settings(draw: st.DrawFn) -> Setting:
    """A configuration."""
    options: list[str] = []
    zones = ["cluster.local."]
    if draw(st.booleans()):
        zones.append("second.local.")
    multicluster: tuple[str, ...] = ()
    if draw(st.booleans()):
        zones.append("clusterset.local.")
        multicluster = ("clusterset.local.",)
        options.append("multicluster clusterset.local")
    zones += ["in-addr.arpa.", "ip6.arpa."]
    pods = draw(st.sampled_from(("disabled", "insecure", "verified")))
    options.append(f"pods {pods}")
    ttl = draw(st.sampled_from((5, 30, 3600)))
    options.append(f"ttl {ttl}")
    namespaces = draw(st.sampled_from(((), (), ("prod",), ("prod", "svc"))))
    if namespaces:
        options.append(f"namespaces {' '.join(namespaces)}")
    pod_names = draw(st.booleans())
    if pod_names:
        options.append("endpoint_pod_names")
    endpoints = draw(st.sampled_from((True, True, True, False)))
    zonal = endpoints and draw(st.booleans())
    options += ["zonal"] * zonal + ["noendpoints"] * (not endpoints)
    ignore = draw(st.booleans())
    if ignore:
        options.append("ignore empty_service")
    fall = draw(st.sampled_from(((), ("in-addr.arpa.", "ip6.arpa."), ("prod.svc.cluster.local.",), (".",))))
    if fall:
        options.append(f"fallthrough {' '.join(fall)}")
    rules = Rules(
        tuple(zones), multicluster, pods, ttl, namespaces, pod_names, endpoints, fall, ignore, zonal, (OWN_ADDRESS,)
    )
    return Setting(tuple(options), rules, draw(st.sampled_from(("", "cache 30", "cache", NOT_OF_CLUSTER))))


Step: TypeAlias = Callable[[World], None]
"""Something that happens."""


@dataclass(frozen=True)
class Put:
    """An object is created or replaced."""

    thing: Json

    def __call__(self, world: World) -> None:
        """Do it, unless there is no such namespace."""
        meta = self.thing["metadata"]
        if "namespace" in meta and meta["namespace"] not in _names(world):
            return
        if self.thing["kind"] == "Service":
            _remove(world, "Service", meta["namespace"], meta["name"], unless=self.thing)
        world.api.apply(self.thing)


@dataclass(frozen=True)
class Remove:
    """An object is deleted, if it is there; a namespace with all in it."""

    kind: str
    namespace: str
    name: str

    def __call__(self, world: World) -> None:
        """Do it."""
        _remove(world, self.kind, self.namespace, self.name)


@dataclass(frozen=True)
class Trouble:
    """A fault strikes the watches of a resource, and perhaps the request that follows."""

    kind: FaultKind
    resource: str
    compact: bool = False

    def __call__(self, world: World) -> None:
        """Do it."""
        details: dict[str, Any] = {"code": 410} if self.kind is FaultKind.STATUS else {}
        if self.kind is FaultKind.DUPLICATE:
            details["lines"] = 5
        world.api.disturb(self.kind, self.resource, **details)
        if self.compact:
            world.api.compact()


@dataclass(frozen=True)
class Relist:
    """kdns asks for the whole state once more."""

    def __call__(self, world: World) -> None:
        """Do it."""
        source: Any = world.cluster._source
        source.resync()


@dataclass(frozen=True)
class Pass:
    """Time passes."""

    seconds: float

    def __call__(self, world: World) -> None:
        """Do it."""
        world.reactor.advance(self.seconds)


def touched(step: Step) -> str:
    """The namespace in which a step may change something; ``none`` when it changes nothing."""
    if isinstance(step, Put):
        meta = step.thing["metadata"]
        return str(meta.get("namespace") or meta["name"])
    if isinstance(step, Remove):
        return step.namespace or step.name
    return "none"


def _names(world: World) -> set[str]:
    return {one["metadata"]["name"] for one in world.api.objects("Namespace")}


def _remove(world: World, kind: str, namespace: str, name: str, unless: Json | None = None) -> None:
    for one in world.api.objects(kind, namespace):
        if one["metadata"]["name"] == name:
            # A cluster IP cannot change in place.
            if unless is not None and one["spec"].get("clusterIPs") == unless["spec"].get("clusterIPs"):
                return
            world.api.delete(kind, namespace, name)


def _meta(namespace: str, name: str, **labels: str) -> Json:
    return {"namespace": namespace, "name": name, "labels": labels}


PORTS = (
    {"name": "http", "port": 80, "protocol": "TCP"},
    {"name": "dns", "port": 53, "protocol": "UDP"},
    {"port": 9000, "protocol": "TCP"},
)

port_lists = st.lists(st.sampled_from(PORTS), max_size=2, unique_by=str)


@st.composite
def services(draw: st.DrawFn) -> Put:
    """A service of any kind."""
    namespace, name = draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from(SERVICES))
    ports = draw(port_lists)
    kind = draw(st.sampled_from(("ip", "ip", "dual", "headless", "headless", "external", "external")))
    if kind == "external":
        spec: Json = {"type": "ExternalName", "externalName": draw(st.sampled_from(TARGETS))}
    elif kind == "headless":
        spec = {"clusterIP": "None", "clusterIPs": ["None"]}
    else:
        # Of each service its own, so that none has that of another; endpoints may have it all the same.
        number = NAMESPACES.index(namespace) * 10 + SERVICES.index(name) + 1
        spec = {"clusterIPs": [f"10.96.{number}.{draw(st.integers(1, 2))}"]}
        if kind == "dual":
            spec["clusterIPs"].append(f"fd00:96::{number}")
        spec["clusterIP"] = spec["clusterIPs"][0]
    return Put({"kind": "Service", "metadata": _meta(namespace, name), "spec": {**spec, "ports": ports}})


@st.composite
def endpoints(draw: st.DrawFn, addresses: tuple[str, ...]) -> Json:
    """An endpoint of a slice."""
    one: Json = {"addresses": [draw(st.sampled_from(addresses))]}
    ready = draw(st.sampled_from((True, True, None, False)))
    if ready is not None:
        one["conditions"] = {"ready": ready}
    hostname, pod, zone = (draw(st.sampled_from((None, *values))) for values in (HOSTNAMES, PODS, TOPOLOGIES))
    one |= {"hostname": hostname} if hostname else {}
    one |= {"targetRef": {"kind": "Pod", "name": pod}} if pod else {}
    return one | ({"zone": zone} if zone else {})


@st.composite
def slices(draw: st.DrawFn) -> Put:
    """A slice, of a service of this cluster, of one of several clusters, of both or of none."""
    namespace, name = draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from(("s-1", "s-2", "s-3")))
    six = draw(st.booleans())
    labels: dict[str, str] = {}
    whose = draw(st.sampled_from(("here", "here", "here", "there", "both", "none")))
    if whose in ("here", "both"):
        labels[SERVICE_NAME] = draw(st.sampled_from(SERVICES))
    if whose in ("there", "both"):
        labels[IMPORTED_NAME] = draw(st.sampled_from(SERVICES))
        labels[SOURCE_CLUSTER] = draw(st.sampled_from(CLUSTERS))
    return Put(
        {
            "kind": "EndpointSlice",
            "metadata": _meta(namespace, name, **labels),
            "addressType": "IPv6" if six else "IPv4",
            "endpoints": draw(st.lists(endpoints(IPV6 if six else IPV4), max_size=3)),
            "ports": draw(port_lists),
        }
    )


@st.composite
def pods(draw: st.DrawFn) -> Put:
    """A pod, perhaps without an address yet or no longer alive."""
    addresses = draw(st.lists(st.sampled_from((*IPV4, *IPV6)), max_size=2, unique=True))
    status: Json = {"phase": draw(st.sampled_from(("Running", "Running", "Pending", "Succeeded")))}
    if addresses:
        status |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    meta = _meta(draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from(PODS)))
    return Put({"kind": "Pod", "metadata": meta, "spec": {}, "status": status})


@st.composite
def imports(draw: st.DrawFn) -> Put:
    """A service of several clusters."""
    namespace, name = draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from(SERVICES))
    spec: Json = {"type": draw(st.sampled_from(("Headless", "ClusterSetIP"))), "ports": draw(port_lists)}
    if spec["type"] == "ClusterSetIP":
        spec["ips"] = [f"10.97.0.{draw(st.integers(1, 2))}"]
    return Put({"kind": "ServiceImport", "metadata": _meta(namespace, name), "spec": spec})


namespaces = st.sampled_from(NAMESPACES[1:]).map(lambda name: Put({"kind": "Namespace", "metadata": {"name": name}}))

creations = st.one_of(services(), services(), slices(), slices(), slices(), pods(), imports(), namespaces)

removals = st.one_of(
    st.builds(Remove, st.just("Service"), st.sampled_from(NAMESPACES), st.sampled_from(SERVICES)),
    st.builds(Remove, st.just("EndpointSlice"), st.sampled_from(NAMESPACES), st.sampled_from(("s-1", "s-2", "s-3"))),
    st.builds(Remove, st.just("Pod"), st.sampled_from(NAMESPACES), st.sampled_from(PODS)),
    st.builds(Remove, st.just("ServiceImport"), st.sampled_from(NAMESPACES), st.sampled_from(SERVICES)),
    st.builds(Remove, st.just("Namespace"), st.just(""), st.sampled_from(NAMESPACES[1:])),
)

RESOURCES = ("services", "endpointslices", "namespaces", "pods", "serviceimports", "")

troubles = st.one_of(
    st.builds(Trouble, st.sampled_from((FaultKind.CUT, FaultKind.RESET)), st.sampled_from(RESOURCES), st.booleans()),
    st.builds(Trouble, st.sampled_from((FaultKind.STATUS, FaultKind.DUPLICATE)), st.sampled_from(RESOURCES)),
    st.just(Relist()),
)

steps = st.one_of(
    creations, creations, creations, removals, troubles, st.builds(Pass, st.sampled_from((0.3, 2.0, 40.0)))
)

FULL: list[Put] = [Put({"kind": "Namespace", "metadata": {"name": name}}) for name in NAMESPACES[1:]]
"""With what a history begins."""


# Questions

TYPES = ("A", "AAAA", "SRV", "TXT", "CNAME", "PTR", "NS", "SOA", "MX", "HTTPS")


def questions(rules: Rules) -> list[Question]:
    """Every name that a random cluster could have, and some beside them, with the types that could tell them apart."""
    found: list[Question] = []
    for zone in rules.zones:
        if zone.endswith("arpa."):
            found += [(zone, qtype) for qtype in ("SOA", "NS", "PTR", "A")]
            continue
        found += [(zone, qtype) for qtype in TYPES]
        for name in ("svc", "pod", "ns.dns", "dns-version", "dns", "x", "web.prod"):
            found += [(f"{name}.{zone}", qtype) for qtype in ("A", "AAAA", "TXT", "SRV", "SOA", "NS")]
        for namespace in (*NAMESPACES, "gone"):
            found += [(f"{namespace}.{kind}.{zone}", qtype) for kind in ("svc", "pod") for qtype in ("A", "TXT", "SOA")]
            found += _of_pods(f"{namespace}.pod.{zone}")
            for service in (*SERVICES, "gone"):
                found += _of_service(f"{service}.{namespace}.svc.{zone}")
    addresses = (*IPV4, *IPV6, *(f"10.96.{number}.1" for number in (1, 2, 11, 12, 21, 22)), "10.97.0.1", "10.9.9.9")
    for address in addresses:
        name = f"{ip_address(address).reverse_pointer}."
        found += [(name, qtype) for qtype in ("PTR", "A", "SOA", "TXT")]
    return [*found, ("1.10.in-addr.arpa.", "PTR"), ("www.example.com.", "A"), ("nx.example.com.", "A")]


def _of_pods(place: str) -> list[Question]:
    labels = [address.replace(".", "-").replace(":", "-") for address in (*IPV4, *IPV6[:1])]
    found = [(f"{label}.{place}", qtype) for label in labels for qtype in ("A", "AAAA", "SRV")]
    return found + [(f"x.{labels[0]}.{place}", "A"), (f"blah.{place}", "A"), (f"a.b.c.{labels[0]}.{place}", "A")]


def _of_service(place: str) -> list[Question]:
    found = [(place, qtype) for qtype in TYPES]
    labels = [address.replace(".", "-") for address in IPV4[:2]] + ["fd00-1--1", "fd00-1--0", *HOSTNAMES, "pod-a"]
    found += [(f"{label}.{place}", qtype) for label in labels for qtype in ("A", "AAAA", "SRV")]
    ports = ("_http._tcp", "http.tcp", "_http._udp", "_dns._udp", "_._tcp", "_http.tcp")
    found += [(f"{front}.{place}", qtype) for front in ports for qtype in ("SRV", "A")]
    zonal = ("z1.pin._zone", "z2.prefer._zone", "z1.other._zone", "a.b.prefer._zone")
    found += [(f"{front}.{place}", qtype) for front in zonal for qtype in ("A", "SRV", "TXT")]
    found += [
        (f"{front}.{place}", qtype) for front in ("h0.east", "10-1-0-1.west", "h1.east") for qtype in ("A", "SRV")
    ]
    return found
