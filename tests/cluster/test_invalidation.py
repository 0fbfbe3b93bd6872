"""What a change of one object changes for DNS."""

from __future__ import annotations

from collections.abc import Hashable

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.invalidation import (
    Serial,
    address_key,
    effects,
    external_address_key,
    external_key,
    import_key,
    namespace_key,
    pod_key,
    serials_of,
    service_key,
)
from kdns.cluster.objects import (
    ClusterObject,
    EndpointSlice,
    ImportKind,
    Namespace,
    Pod,
    Port,
    Service,
    ServiceImport,
    ServiceKind,
    kind_of,
)
from kdns.wire.names import from_text

A, B, C = b"\n\0\0\1", b"\n\0\0\2", b"\n\0\0\3"
HTTP, PG = (Port(b"http", 80, b"tcp"),), (Port(b"pg", 5432, b"tcp"),)

WEB = Service(b"prod", b"web", ServiceKind.CLUSTER_IP, (A,), None, HTTP)
INSIDE, OUTSIDE = service_key(b"prod", b"web"), external_key(b"prod", b"web")
SLICE = EndpointSlice(b"prod", b"web-1", b"web", (A, B), (b"a", b"b"), ports=HTTP)
IMPORTED = EndpointSlice(b"mc", b"v-1", None, (A,), ports=HTTP, imported=b"v", cluster=b"east")
IMPORT = ServiceImport(b"mc", b"v", ImportKind.CLUSTER_SET_IP, (A,), HTTP)
POD = Pod(b"prod", b"p", A, (B,))

Row = tuple[str, ClusterObject | None, ClusterObject | None, set[Hashable], set[Serial]]

NOTHING: tuple[set[Hashable], set[Serial]] = (set(), set())
CLUSTER, MULTI, EXTERNAL = {Serial.CLUSTER}, {Serial.MULTICLUSTER}, {Serial.EXTERNAL}

ROWS: list[Row] = [
    ("a namespace comes", None, Namespace(b"n"), {namespace_key(b"n")}, set()),
    ("a namespace goes", Namespace(b"n"), None, {namespace_key(b"n")}, set()),
    ("a namespace is labelled", Namespace(b"n", 1), Namespace(b"n", 2), *NOTHING),
    ("a service comes", None, WEB, {INSIDE, OUTSIDE, address_key(A)}, CLUSTER),
    ("a service goes", WEB, None, {INSIDE, OUTSIDE, address_key(A)}, CLUSTER),
    ("only its version", WEB, replace(WEB, version=9), *NOTHING),
    ("its ports", WEB, replace(WEB, ports=PG), {INSIDE, OUTSIDE}, CLUSTER),
    ("a second address", WEB, replace(WEB, addresses=(A, C)), {INSIDE, OUTSIDE, address_key(C)}, CLUSTER),
    (
        "it becomes headless",
        WEB,
        replace(WEB, kind=ServiceKind.HEADLESS, addresses=()),
        {INSIDE, OUTSIDE, address_key(A)},
        CLUSTER,
    ),
    (
        "external address",
        WEB,
        replace(WEB, external_addresses=(C,)),
        {OUTSIDE, external_address_key(C)},
        EXTERNAL,
    ),
    ("name of the load balancer", WEB, replace(WEB, ingress_hostnames=(b"\x01l\x00",)), {OUTSIDE}, EXTERNAL),
    (
        "ports of an external one",
        replace(WEB, external_addresses=(C,)),
        replace(WEB, external_addresses=(C,), ports=PG),
        {INSIDE, OUTSIDE},
        CLUSTER | EXTERNAL,
    ),
    (
        "another target",
        Service(b"prod", b"web", ServiceKind.EXTERNAL_NAME, external_name=b"\x01a\x00"),
        Service(b"prod", b"web", ServiceKind.EXTERNAL_NAME, external_name=b"\x01b\x00"),
        {INSIDE, OUTSIDE},
        CLUSTER,
    ),
    ("a slice comes", None, SLICE, {INSIDE, address_key(A), address_key(B)}, CLUSTER),
    ("a slice goes", SLICE, None, {INSIDE, address_key(A), address_key(B)}, CLUSTER),
    ("an empty slice comes", None, replace(SLICE, addresses=(), hostnames=()), set(), CLUSTER),
    ("only the version of a slice", SLICE, replace(SLICE, version=9), *NOTHING),
    (
        "one endpoint of two",
        SLICE,
        replace(SLICE, addresses=(A, C)),
        {INSIDE, address_key(B), address_key(C)},
        CLUSTER,
    ),
    ("a host name", SLICE, replace(SLICE, hostnames=(b"a", b"x")), {INSIDE, address_key(B)}, CLUSTER),
    ("order", SLICE, replace(SLICE, addresses=(B, A), hostnames=(b"b", b"a")), {INSIDE}, CLUSTER),
    ("ports of a slice", SLICE, replace(SLICE, ports=PG), {INSIDE}, CLUSTER),
    ("zones", SLICE, replace(SLICE, zones=(b"z", b"z")), {INSIDE}, CLUSTER),
    ("a pod behind", SLICE, replace(SLICE, pods=(b"p", None)), {INSIDE, address_key(A)}, set()),
    (
        "a slice moves to another service",
        SLICE,
        replace(SLICE, service=b"db"),
        {INSIDE, service_key(b"prod", b"db"), address_key(A), address_key(B)},
        CLUSTER,
    ),
    ("imported slice comes", None, IMPORTED, {import_key(b"mc", b"v")}, MULTI),
    ("imported from elsewhere", IMPORTED, replace(IMPORTED, cluster=b"west"), {import_key(b"mc", b"v")}, MULTI),
    (
        "an empty one from elsewhere",
        replace(IMPORTED, addresses=()),
        replace(IMPORTED, addresses=(), cluster=b"w"),
        set(),
        MULTI,
    ),
    (
        "an empty one becomes an import",
        replace(SLICE, addresses=(), hostnames=()),
        replace(SLICE, addresses=(), hostnames=(), service=None, imported=b"v"),
        set(),
        CLUSTER | MULTI,
    ),
    (
        "a slice of both sorts",
        None,
        replace(IMPORTED, service=b"w"),
        {import_key(b"mc", b"v"), service_key(b"mc", b"w"), address_key(A)},
        CLUSTER | MULTI,
    ),
    ("an import comes", None, IMPORT, {import_key(b"mc", b"v")}, MULTI),
    ("only its version", IMPORT, replace(IMPORT, version=2), *NOTHING),
    ("an import becomes headless", IMPORT, replace(IMPORT, kind=ImportKind.HEADLESS), {import_key(b"mc", b"v")}, MULTI),
    ("a pod comes", None, POD, {pod_key(A), pod_key(B)}, CLUSTER),
    ("a pod goes", POD, None, {pod_key(A), pod_key(B)}, CLUSTER),
    ("only the version of a pod", POD, replace(POD, version=9), *NOTHING),
    ("an address of a pod", POD, replace(POD, more=(C,)), {pod_key(B), pod_key(C)}, CLUSTER),
    ("labels of a pod", POD, replace(POD, labels=(("a", "b"),)), {pod_key(A), pod_key(B)}, set()),
]


class EffectsTests(SynchronousTestCase):
    """The table of all rules."""

    def test_rules(self) -> None:
        """Each change kills the answers it changes and no others, and moves the serials it should."""
        for name, old, new, keys, serials in ROWS:
            one = new or old
            assert one is not None
            found = effects(kind_of(one), old, new)
            self.assertEqual((set(found.keys), set(found.serials)), (keys, serials), name)


class ArrivalTests(SynchronousTestCase):
    """What comes new moves the same serials, whether or not the keys are asked for."""

    def test_serials(self) -> None:
        """The short way agrees with the long one, for objects of every kind and shape."""
        addresses: tuple[tuple[bytes, ...], ...] = (
            (),
            (b"\x0a\x00\x00\x01",),
            (b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"),
        )
        things: list[ClusterObject] = [Namespace(b"shop")]
        for some in addresses:
            for names in ((), (from_text("lb.test"),)):
                things.append(
                    Service(
                        b"shop", b"web", ServiceKind.CLUSTER_IP, some, external_addresses=some, ingress_hostnames=names
                    )
                )
            for service, imported in ((b"web", None), (None, b"web"), (b"web", b"web")):
                things.append(EndpointSlice(b"shop", b"web-1", service, some, imported=imported))
            things.append(ServiceImport(b"shop", b"web", ImportKind.CLUSTER_SET_IP, some))
        things.append(Pod(b"shop", b"web-0", b"\x0a\x00\x00\x01"))
        for thing in things:
            self.assertEqual(list(serials_of(thing)), effects(kind_of(thing), None, thing).serials, thing)
