"""From the API's JSON to changes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.objects import (
    Delete,
    Endpoint,
    EndpointSlice,
    ImportKind,
    Keep,
    Kind,
    Namespace,
    Pod,
    Port,
    Service,
    ServiceImport,
    ServiceKind,
    Upsert,
)
from kdns.cluster.projection import (
    INTERNED,
    Bookmark,
    Event,
    Failure,
    Options,
    ProjectionError,
    Projector,
    failure,
    versions,
)
from kdns.cluster.texts import packed

ALL = Options(endpoint_pod_names=True, zonal=True, multicluster=True, pod_labels=True)
HTTP = Port(b"http", 80, b"tcp")
OWNER = "kubernetes.io/service-name"
IMPORTED = "multicluster.kubernetes.io/service-name"
SOURCE = "multicluster.kubernetes.io/source-cluster"
TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"


def octets(spec: object = None, name: object = "web", namespace: object = "prod", **more: object) -> bytes:
    """An object as the server prints it, with things in it that are not read."""
    metadata = {
        "name": name,
        "namespace": namespace,
        "resourceVersion": "7",
        "managedFields": [{"fieldsV1": {"f:x": {}}}],
    }
    metadata.update(more.pop("metadata", {}))  # type: ignore[call-overload]  # a dict
    return json.dumps({"kind": "Some", "metadata": metadata, "spec": spec, **more}).encode()


def part(endpoints: object, labels: object = None, **more: object) -> bytes:
    """An EndpointSlice of prod/web."""
    metadata = {"labels": {OWNER: "web"} if labels is None else labels}
    metadata.update(more.pop("metadata", {}))  # type: ignore[call-overload]  # a dict
    more.setdefault("addressType", "IPv4")
    return octets(name="web-1", metadata=metadata, endpoints=endpoints, **more)


class Case(SynchronousTestCase):
    """Projects one object and looks at what is kept."""

    def kept(self, kind: Kind, data: bytes, options: Options | None = None) -> Any:
        """The object that is kept; Any, since each test knows which kind it is."""
        change = Projector(options).project(kind, data)
        assert isinstance(change, Upsert), change
        return change.item


class ServiceTests(Case):
    """Services."""

    def test_cluster_ip(self) -> None:
        """Addresses once each and in their order, ports in theirs, names in lower case."""
        spec = {
            "type": "NodePort",
            "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1", "FD00::1", "10.0.0.1"],
            "ports": [
                {"name": "HTTP", "port": 80, "protocol": "TCP", "nodePort": 31000},
                {"port": 53, "protocol": "UDP"},
            ],
        }
        expected = Service(
            b"prod",
            b"web",
            ServiceKind.CLUSTER_IP,
            (bytes((10, 0, 0, 1)), bytes.fromhex("fd00" + "00" * 13 + "01")),
            ports=(HTTP, Port(b"", 53, b"udp")),
            version=7,
        )
        self.assertEqual(self.kept(Kind.SERVICE, octets(spec, name="WEB")), expected)

    def test_kinds(self) -> None:
        """clusterIPs wins over clusterIP; None is headless; ExternalName is told by the type; nothing assigned is no address."""
        rows: list[tuple[dict[str, object], ServiceKind, int]] = [
            ({"clusterIP": "10.0.0.1"}, ServiceKind.CLUSTER_IP, 1),
            ({"clusterIP": "None", "clusterIPs": None}, ServiceKind.HEADLESS, 0),
            ({"clusterIP": "None", "clusterIPs": ["None"], "type": "ClusterIP"}, ServiceKind.HEADLESS, 0),
            ({"clusterIPs": ["10.0.0.1", "fd00::1"]}, ServiceKind.CLUSTER_IP, 2),
            ({"clusterIPs": [], "clusterIP": ""}, ServiceKind.CLUSTER_IP, 0),
            ({"clusterIPs": [None, ""], "clusterIP": "None"}, ServiceKind.HEADLESS, 0),
            ({"type": "ExternalName", "externalName": "a.b"}, ServiceKind.EXTERNAL_NAME, 0),
            ({}, ServiceKind.CLUSTER_IP, 0),
        ]
        for spec, kind, count in rows:
            service = self.kept(Kind.SERVICE, octets(spec))
            self.assertEqual((service.kind, len(service.addresses)), (kind, count), spec)

    def test_external_names(self) -> None:
        """Wire form, with or without the final dot; an address, the root or no name at all is nothing to point at."""
        for text, expected in (
            ("API.example.com", b"\x03api\x07example\x03com\x00"),
            ("api.example.com.", b"\x03api\x07example\x03com\x00"),
            ("192.0.2.9", None),
            ("192.0.2.9.", None),
            ("2001:db8::1", None),
            ("a..b", None),
            ("x" * 64 + ".example", None),
            (".", None),
            ("", None),
            (None, None),
        ):
            service = self.kept(Kind.SERVICE, octets({"type": "ExternalName", "externalName": text}))
            self.assertEqual(service.external_name, expected, text)

    def test_external_addresses(self) -> None:
        """External addresses, those of the load balancer, and its names."""
        status = {
            "loadBalancer": {"ingress": [{"ip": "203.0.113.5"}, None, {"hostname": "LB.example"}, {"hostname": "b..d"}]}
        }
        service = self.kept(
            Kind.SERVICE, octets({"clusterIP": "10.0.0.1", "externalIPs": ["203.0.113.7"]}, status=status)
        )
        self.assertEqual(service.external_addresses, (bytes((203, 0, 113, 7)), bytes((203, 0, 113, 5))))
        self.assertEqual(service.ingress_hostnames, (b"\x02lb\x07example\x00",))

    def test_what_cannot_be_used_is_left_out_and_counted(self) -> None:
        """Bad addresses and ports do not take the good ones with them."""
        ports = [
            {"port": 0},
            {"port": -1},
            {"port": 65536},
            {"port": 10**30},
            None,
            {"name": "http", "port": 80},
            {"name": "x" * 64, "port": 1},
        ]
        projector = Projector()
        change = projector.project(
            Kind.SERVICE, octets({"clusterIPs": ["10.0.0.256", "10.0.0.1", "fe80::1%eth0"], "ports": ports})
        )
        assert isinstance(change, Upsert) and isinstance(change.item, Service)
        self.assertEqual((change.item.addresses, change.item.ports), ((bytes((10, 0, 0, 1)),), (HTTP,)))
        self.assertEqual(projector.skipped, 8)

    def test_names_that_are_no_label(self) -> None:
        """A service whose name or namespace could never be asked for is an error that names it."""
        for name, namespace in (
            ("", "n"),
            (None, "n"),
            ("a.b", "n"),
            ("x" * 64, "n"),
            ("s", ""),
            ("s", "n.m"),
            ("s", None),
        ):
            self.assertRaises(
                ProjectionError, Projector().project, Kind.SERVICE, octets({}, name=name, namespace=namespace)
            )

    def test_wrong_types(self) -> None:
        """The error says which object and where in it."""
        error = self.assertRaises(
            ProjectionError, Projector().project, Kind.SERVICE, octets({"ports": [{"port": "80"}]})
        )
        self.assertEqual((error.kind, error.namespace, error.name), (Kind.SERVICE, b"prod", b"web"))
        self.assertEqual(str(error), "Service prod/web: Expected `int | null`, got `str` - at `$.spec.ports[0].port`")
        self.assertEqual(error.keep(), Keep(Kind.SERVICE, b"prod", b"web"))

    def test_errors_stay_on_one_line(self) -> None:
        """A name with control characters cannot forge a line of a log."""
        error = self.assertRaises(ProjectionError, Projector().project, Kind.SERVICE, octets(5, name="a\n[INFO] b"))
        self.assertEqual(str(error).splitlines(), [str(error)])


class SliceTests(Case):
    """EndpointSlices."""

    def test_ready_only(self) -> None:
        """Ready is true or absent; serving and terminating are not looked at."""
        endpoints = [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": True, "terminating": True}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": False, "serving": True}},
            {"addresses": ["10.0.0.3"], "conditions": {}},
            {"addresses": ["10.0.0.4"], "conditions": {"ready": None}},
            {"addresses": ["10.0.0.5"], "conditions": None},
            {"addresses": ["10.0.0.6"]},
            None,
            {"addresses": None},
        ]
        self.assertEqual([it[3] for it in self.kept(Kind.ENDPOINT_SLICE, part(endpoints)).addresses], [1, 3, 4, 5, 6])

    def test_columns(self) -> None:
        """Host names are kept always, pods and zones when asked for; one that is listed twice stands twice, as SRV weights want it."""
        one = {
            "addresses": ["10.0.0.1"],
            "hostname": "DB-0",
            "zone": "EU-1a",
            "targetRef": {"kind": "Pod", "name": "db-0"},
        }
        two = {"addresses": ["10.0.0.2", "::ffff:10.0.0.3"], "targetRef": {"name": "x" * 64}}
        data = part([one, two, one])
        addresses = tuple(bytes((10, 0, 0, last)) for last in (1, 2, 3, 1))
        lean = self.kept(Kind.ENDPOINT_SLICE, data)
        names = (b"db-0", None, None, b"db-0")
        self.assertEqual(lean, EndpointSlice(b"prod", b"web-1", b"web", addresses, names, version=7))
        full = self.kept(Kind.ENDPOINT_SLICE, data, ALL)
        self.assertEqual(full.endpoints[0], Endpoint(addresses[0], b"db-0", b"db-0", b"eu-1a"))
        self.assertEqual(full.endpoints[1:], (Endpoint(addresses[1]), Endpoint(addresses[2]), full.endpoints[0]))

    def test_one_address_with_two_names(self) -> None:
        """An address may stand twice when its names differ."""
        endpoints = [{"addresses": ["10.0.0.1"], "hostname": name} for name in ("a", "b")]
        self.assertEqual(self.kept(Kind.ENDPOINT_SLICE, part(endpoints)).hostnames, (b"a", b"b"))

    def test_ports(self) -> None:
        """A port without a number is kept as 0, one without a protocol is TCP."""
        ports = [{"name": "http", "port": 80}, {"name": "all", "port": None, "protocol": "SCTP"}, {"port": -5}]
        found = self.kept(Kind.ENDPOINT_SLICE, part([], ports=ports)).ports
        self.assertEqual(found, (HTTP, Port(b"all", 0, b"sctp")))

    def test_bad_host_names_are_none(self) -> None:
        """A host name that is no label gives way to the name made of the address."""
        for hostname in ("a.b", "x" * 64, ""):
            self.assertEqual(
                self.kept(Kind.ENDPOINT_SLICE, part([{"addresses": ["10.0.0.1"], "hostname": hostname}])).hostnames, ()
            )

    def test_no_use_for_dns(self) -> None:
        """Slices of names, of nobody, and (when not asked for) of other clusters: whatever was known of them is deleted."""
        gone = Delete(Kind.ENDPOINT_SLICE, b"prod", b"web-1")
        for data in (
            part([], addressType="FQDN"),
            part([], labels={}),
            part([], labels={OWNER: ""}),
            part([], labels={OWNER: "a.b"}),
            part([], labels={IMPORTED: "web"}),
        ):
            self.assertEqual(Projector().project(Kind.ENDPOINT_SLICE, data), gone)

    def test_multicluster(self) -> None:
        """The service of several clusters and the cluster are kept when a multicluster zone is served."""
        found = self.kept(Kind.ENDPOINT_SLICE, part([], labels={IMPORTED: "Web", SOURCE: "East"}), ALL)
        self.assertEqual((found.service, found.imported, found.cluster), (None, b"web", b"east"))
        found = self.kept(Kind.ENDPOINT_SLICE, part([], labels={OWNER: "x", IMPORTED: "web"}))
        self.assertEqual((found.service, found.imported, found.cluster), (b"x", None, None))

    def test_trigger_time(self) -> None:
        """The time of the change that led to this one is beside the object, for deletions too; what is no time is none."""
        for text, expected in (
            ("1970-01-01T00:01:00Z", 60.0),
            ("1970-01-01T00:01:00.123456789Z", 60.123456),
            ("1970-01-01T01:01:00+01:00", 60.0),
            ("1970-01-01T00:01:00", None),
            ("0001-01-01T00:00:00+23:59", None),
            ("soon", None),
            (None, None),
        ):
            data = part([], metadata={"annotations": {TRIGGER: text, "other": "x"}})
            for change in (
                Projector().project(Kind.ENDPOINT_SLICE, data),
                Projector().deletion(Kind.ENDPOINT_SLICE, data),
            ):
                assert not isinstance(change, Keep)
                if text != "0001-01-01T00:00:00+23:59":
                    self.assertEqual(change.triggered, expected, text)


class OtherKindsTests(Case):
    """Pods, namespaces and imports."""

    def test_pod(self) -> None:
        """All addresses, the first one first, and labels when metadata wants them."""
        status = {"phase": "Running", "podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}, None, {}]}
        data = octets(status=status, name="web.a", metadata={"labels": {"b": "2", "a": "1"}})
        pod = Pod(b"prod", b"web.a", bytes((10, 0, 0, 2)), (bytes.fromhex("fd00" + "00" * 13 + "02"),), (), 7)
        self.assertEqual(self.kept(Kind.POD, data), pod)
        self.assertEqual(self.kept(Kind.POD, data, ALL).labels, (("a", "1"), ("b", "2")))

    def test_pods_that_go(self) -> None:
        """One that is being deleted stays as it is known; one that ended or has no address is not kept."""
        running = {"phase": "Running", "podIP": "10.0.0.2"}
        leaving = octets(status=running, metadata={"deletionTimestamp": "2024-01-01T00:00:00Z"})
        self.assertEqual(Projector().project(Kind.POD, leaving), Keep(Kind.POD, b"prod", b"web"))
        for status in (
            {"phase": "Succeeded", "podIP": "10.0.0.2"},
            {"phase": "Failed"},
            {"phase": "Unknown"},
            {"phase": "Pending"},
            None,
        ):
            self.assertEqual(Projector().project(Kind.POD, octets(status=status)), Delete(Kind.POD, b"prod", b"web"))

    def test_namespace(self) -> None:
        """A namespace exists while it terminates, too."""
        data = octets(name="Prod", namespace="", status={"phase": "Terminating"})
        self.assertEqual(self.kept(Kind.NAMESPACE, data), Namespace(b"prod", 7))

    def test_import(self) -> None:
        """Addresses and ports of the clusterset service; a headless one has none."""
        spec = {
            "type": "ClusterSetIP",
            "ips": ["10.97.0.1"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }
        expected = ServiceImport(b"prod", b"web", ImportKind.CLUSTER_SET_IP, (bytes((10, 97, 0, 1)),), (HTTP,), 7)
        self.assertEqual(self.kept(Kind.SERVICE_IMPORT, octets(spec)), expected)
        self.assertEqual(self.kept(Kind.SERVICE_IMPORT, octets({"type": "Headless"})).kind, ImportKind.HEADLESS)


class StreamTests(SynchronousTestCase):
    """Lines of a watch and pages of a list."""

    def line(self, word: object, data: bytes) -> bytes:
        """A line of a watch."""
        return b'{"type":%s,"object":%s}' % (json.dumps(word).encode(), data)

    def test_events(self) -> None:
        """What came, changed or went, and where a watch goes on behind it."""
        projector = Projector()
        data = octets(name="n", namespace=None)
        for word in ("ADDED", "MODIFIED"):
            expected = Event(Upsert(Namespace(b"n", 7)), "7")
            self.assertEqual(projector.event(Kind.NAMESPACE, self.line(word, data)), expected)
        gone = Event(Delete(Kind.NAMESPACE, b"", b"n"), "7")
        self.assertEqual(projector.event(Kind.NAMESPACE, self.line("DELETED", data)), gone)

    def test_a_bad_object_is_an_event(self) -> None:
        """The stream goes on behind an object that cannot be used; a bad one that is deleted is deleted."""
        data = octets({"ports": 5})
        event = Projector().event(Kind.SERVICE, self.line("ADDED", data))
        assert isinstance(event, Event) and isinstance(event.change, ProjectionError)
        self.assertEqual((event.version, event.change.name), ("7", b"web"))
        gone = Projector().event(Kind.SERVICE, self.line("DELETED", data))
        self.assertEqual(gone, Event(Delete(Kind.SERVICE, b"prod", b"web"), "7"))

    def test_bookmarks(self) -> None:
        """Only the version counts, and whether the list at the beginning ends here."""
        for notes, ends in (({}, False), (None, False), ({"k8s.io/initial-events-end": "true"}, True)):
            data = json.dumps({"kind": "Service", "metadata": {"resourceVersion": "12746", "annotations": notes}})
            found = Projector().event(Kind.SERVICE, self.line("BOOKMARK", data.encode()))
            self.assertEqual(found, Bookmark("12746", ends))

    def test_errors(self) -> None:
        """The server says why the watch ends; what is no Status is told, too."""
        status = {
            "kind": "Status",
            "code": 410,
            "reason": "Expired",
            "message": "too old",
            "details": {"retryAfterSeconds": 3},
        }
        found = Projector().event(Kind.SERVICE, self.line("ERROR", json.dumps(status).encode()))
        self.assertEqual(found, Failure(410, "Expired", "too old", 3))
        self.assertEqual(failure(b"<html>").code, 0)

    def test_no_line_of_a_watch(self) -> None:
        """Anything else is an error without a name."""
        for line in (
            b"",
            b"{",
            b"[]",
            b'{"type":"ADDED"}',
            self.line("SHOUTED", b"{}"),
            self.line(5, b"{}"),
            b"\xff",
            b"null",
        ):
            error = self.assertRaises(ProjectionError, Projector().event, Kind.POD, line)
            self.assertIsNone(error.keep(), line)

    def test_page(self) -> None:
        """A bad item spoils no other; the token and the version go on."""
        items = [json.loads(octets({"clusterIP": "None"}, name=name)) for name in ("a", "b.b", "c")]
        data = {
            "kind": "ServiceList",
            "metadata": {"resourceVersion": "9", "continue": "more", "remainingItemCount": 5},
            "items": items,
        }
        projector = Projector()
        page = projector.page(Kind.SERVICE, json.dumps(data).encode())
        self.assertEqual((page.version, page.continue_token, page.remaining), ("9", "more", 5))
        found = list(projector.changes(Kind.SERVICE, page.items))
        self.assertEqual([type(change) for change in found], [Upsert, ProjectionError, Upsert])
        self.assertEqual(list(versions(page.items)), [(b"prod", name, 7) for name in (b"a", b"b.b", b"c")])

    def test_no_page(self) -> None:
        """An empty list is a list, other JSON is none."""
        empty = Projector().page(Kind.POD, b'{"metadata":{"resourceVersion":"1"},"items":null}')
        self.assertEqual((empty.items, empty.continue_token), ([], ""))
        for data in (b"{}", b"", b"[]", b'{"items":5}', b'{"items":[1', b'{"metadata":5,"items":[]}'):
            self.assertRaises(ProjectionError, Projector().page, Kind.POD, data)


class AddressTests(SynchronousTestCase):
    """Addresses from text."""

    def test_forms(self) -> None:
        """One address, one form; what has a zone, leading zeros or is none, is none."""
        self.assertEqual(packed("10.0.0.1"), bytes((10, 0, 0, 1)))
        self.assertEqual(packed("::FFFF:a00:1"), bytes((10, 0, 0, 1)))
        self.assertEqual(packed("fd00:0:0::1"), packed("FD00::0001"))
        for text in (
            "",
            "10.0.0.01",
            "10.0.0",
            "10.0.0.1/8",
            "fe80::1%0",
            "::ffff:1.2.3",
            "1.2.3.4 ",
            "\u0661.2.3.4",
            "x",
        ):
            self.assertIsNone(packed(text), text)


class InterningTests(SynchronousTestCase):
    """Equal values that many objects have are one object."""

    def test_shared(self) -> None:
        """Namespaces and ports of two services are the same objects."""
        projector = Projector()
        one, two = (
            projector.project(Kind.SERVICE, octets({"ports": [{"name": "http", "port": 80}]}, name=name))
            for name in ("a", "b")
        )
        assert isinstance(one, Upsert) and isinstance(one.item, Service)
        assert isinstance(two, Upsert) and isinstance(two.item, Service)
        self.assertIs(one.item.namespace, two.item.namespace)
        self.assertIs(one.item.ports, two.item.ports)

    def test_bounded(self) -> None:
        """The table does not grow with what passes by."""
        projector = Projector()
        for number in range(INTERNED + 100):
            projector.project(Kind.NAMESPACE, octets(name=f"n{number}"))
        self.assertLessEqual(len(projector._one), INTERNED)


KEYS = (
    "metadata name namespace resourceVersion labels annotations deletionTimestamp spec status type object items clusterIP clusterIPs"
    " externalName externalIPs ports port protocol loadBalancer ingress ip hostname endpoints addresses conditions ready targetRef zone"
    f" addressType podIP podIPs phase ips continue {OWNER} {IMPORTED} {SOURCE} {TRIGGER}"
).split()
WORDS = [
    "web",
    "None",
    "10.0.0.1",
    "::1",
    "ExternalName",
    "a.b",
    "",
    "ADDED",
    "DELETED",
    "BOOKMARK",
    "ERROR",
    "FQDN",
    "Running",
    "x" * 70,
]

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4), st.sampled_from(WORDS)
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)),
    max_leaves=25,
)
metadata = st.fixed_dictionaries(
    {"name": st.sampled_from(["web", "a.b"]), "namespace": st.just("prod")},
    optional={"labels": st.just({OWNER: "web", IMPORTED: "web"}), "resourceVersion": leaves, "annotations": values},
)
plausible = st.fixed_dictionaries(
    {"metadata": metadata}, optional=dict.fromkeys(("spec", "status", "endpoints", "ports"), values)
)


class HostileTests(SynchronousTestCase):
    """Whatever the server sends, the worst is a ProjectionError."""

    def project_all(self, data: bytes) -> None:
        """Everything that takes octets."""
        projector = Projector(ALL)
        for kind in Kind:
            for call in (projector.project, projector.deletion, projector.event, projector.page):
                try:
                    call(kind, data)
                except ProjectionError as error:
                    self.assertLess(len(str(error)), 600)
                else:
                    continue
        list(versions([data]))
        failure(data)

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.one_of(values, plausible))
    def test_any_json(self, value: object) -> None:
        """Any JSON with the right words in the wrong places."""
        self.project_all(json.dumps(value).encode())

    @settings(max_examples=50, deadline=None, derandomize=True)
    @given(st.binary(max_size=40))
    def test_any_octets(self, data: bytes) -> None:
        """Octets that are no JSON."""
        self.project_all(data)

    def test_extremes(self) -> None:
        """Nesting without end, surrogates, octets that are no UTF-8, huge numbers, names without end."""
        deep = b"[" * 100_000
        for data in (
            deep,
            b'{"metadata":%s' % deep,
            b'{"a":' * 50_000,
            octets({"x": 1}, name="\ud800"),
            b'{"metadata":{"name":"\xff","namespace":"n"}}',
            octets({"ports": [{"port": 10**400}]}),
            octets(name="n" * 100_000),
            b'{"metadata":{"name":"a","namespace":"b","resourceVersion":"%s"}}' % (b"9" * 5000),
            b'{"metadata":{"name":"a","name":5}}',
        ):
            self.project_all(data)
