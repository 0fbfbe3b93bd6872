"""What a name below a cluster zone means, as far as its labels tell."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.kubernetes.names import (
    Parsed,
    Shape,
    Topology,
    address_label,
    parse_name,
    pod_address,
    pod_labels,
)
from kdns.plugins.kubernetes.result import wire_label
from kdns.wire.names import from_text

INVALID = Parsed(Shape.INVALID)


def taken_apart(name: str, multicluster: bool = False, zonal: bool = False) -> Parsed:
    """The labels left of the zone."""
    return parse_name(from_text(name)[:-1], multicluster, zonal)


def service(**parts: bytes | Topology | None) -> Parsed:
    """A name of the service ``web`` in ``prod``."""
    return replace(Parsed(Shape.SERVICE, b"prod", b"web"), **parts)


class ShapeTests(SynchronousTestCase):
    """Names by their shape."""

    def test_plain(self) -> None:
        """In a zone of one cluster."""
        for name, wanted in (
            ("", Parsed(Shape.APEX)),
            ("svc", Parsed(Shape.STRUCTURE)),
            ("pod", Parsed(Shape.STRUCTURE)),
            ("ns.dns", Parsed(Shape.NAME_SERVER)),
            ("dns-version", Parsed(Shape.VERSION)),
            ("dns", INVALID),
            ("x.ns.dns", INVALID),
            ("x.dns-version", INVALID),
            ("web.prod", INVALID),
            ("web.prod.foo", INVALID),
            ("prod.svc", Parsed(Shape.NAMESPACE, b"prod")),
            ("svc.svc", Parsed(Shape.NAMESPACE, b"svc")),
            ("pod.svc", Parsed(Shape.NAMESPACE, b"pod")),
            ("prod.pod", Parsed(Shape.POD_NAMESPACE, b"prod")),
            ("web.prod.svc", service()),
            ("e.web.prod.svc", service(endpoint=b"e")),
            ("_e.web.prod.svc", service(endpoint=b"_e")),
            ("_http._tcp.web.prod.svc", service(port=b"http", protocol=b"tcp")),
            ("http.tcp.web.prod.svc", service(port=b"http", protocol=b"tcp")),
            ("__http.tcp.web.prod.svc", service(port=b"_http", protocol=b"tcp")),
            ("_._tcp.web.prod.svc", service(port=b"", protocol=b"tcp")),
            ("a.b.c.web.prod.svc", INVALID),
            ("z.pin._zone.web.prod.svc", INVALID),
            ("1-2-3-4.prod.pod", Parsed(Shape.POD, b"prod", address=b"1-2-3-4")),
            ("x.1-2-3-4.prod.pod", Parsed(Shape.POD, b"prod", address=b"1-2-3-4")),
            ("x.y.1-2-3-4.prod.pod", Parsed(Shape.POD, b"prod", address=b"1-2-3-4")),
            ("x.y.z.1-2-3-4.prod.pod", INVALID),
        ):
            self.assertEqual(taken_apart(name), wanted, name)

    def test_zonal(self) -> None:
        """A zone of one or several labels, a word, and ``_zone``."""
        for name, wanted in (
            ("eu-1.pin._zone.web.prod.svc", service(topology=Topology(b"eu-1", prefer=False))),
            ("a.b.prefer._zone.web.prod.svc", service(topology=Topology(b"a.b", prefer=True))),
            ("eu-1.other._zone.web.prod.svc", INVALID),
            ("eu-1.pin.zone.web.prod.svc", INVALID),
            ("pin._zone.web.prod.svc", service(port=b"pin", protocol=b"zone")),
        ):
            self.assertEqual(taken_apart(name, zonal=True), wanted, name)
        self.assertEqual(taken_apart("eu-1.pin._zone.web.prod.svc", multicluster=True, zonal=True), INVALID)

    def test_multicluster(self) -> None:
        """Two labels are an endpoint of a cluster, unless one of them begins with an underscore."""
        for name, wanted in (
            ("h.east.web.prod.svc", service(endpoint=b"h", cluster=b"east")),
            ("_http._tcp.web.prod.svc", service(port=b"http", protocol=b"tcp")),
            ("_http.tcp.web.prod.svc", service(port=b"http", protocol=b"tcp")),
            ("http._tcp.web.prod.svc", service(port=b"http", protocol=b"tcp")),
            ("h.web.prod.svc", service(endpoint=b"h")),
        ):
            self.assertEqual(taken_apart(name, multicluster=True), wanted, name)

    @given(st.lists(st.binary(min_size=1, max_size=63), max_size=10), st.booleans(), st.booleans())
    def test_anything(self, labels: list[bytes], multicluster: bool, zonal: bool) -> None:
        """Any octets in any number of labels have a shape."""
        for more in ([], [b"svc"], [b"pod"]):
            front = b"".join(map(wire_label, [*labels, *more]))
            self.assertIsInstance(parse_name(front, multicluster, zonal), Parsed)


class AddressTests(SynchronousTestCase):
    """Addresses as labels."""

    def test_pod_address(self) -> None:
        """Dashes stand for dots when there are three single ones, else for colons."""
        for label, wanted in (
            ("1-2-3-4", "1.2.3.4"),
            ("fd00--1", "fd00::1"),
            ("--", "::"),
            ("--1", "::1"),
            ("fd00--0", "fd00::"),
            ("1-2-3-4-5-6-7-8", "1:2:3:4:5:6:7:8"),
            ("--ffff-102-304", "1.2.3.4"),
            ("01-2-3-4", None),
            ("256-1-1-1", None),
            ("1-2-3", None),
            ("1--2-3-4", "1::2:3:4"),
            ("1-2--3", "1:2::3"),
            ("-1-2-3", None),
            ("fd00-1", None),
            ("1-2-3-4-5-6-7-8-9", None),
            ("blah", None),
            ("", None),
            ("1.2.3.4", None),
            ("fe80--1%eth0", None),
        ):
            packed = None if wanted is None else ip_address(wanted).packed
            self.assertEqual(pod_address(label.encode()), packed, label)
        self.assertIsNone(pod_address(b"\xff\x00"))

    def test_address_label(self) -> None:
        """The label of an endpoint without a name; one that would end in a dash gets a zero."""
        for address, wanted in (
            ("10.244.1.21", b"10-244-1-21"),
            ("fd00:10:244:2::5", b"fd00-10-244-2--5"),
            ("fd00::", b"fd00--0"),
            ("::", b"--0"),
            ("::1", b"--1"),
        ):
            self.assertEqual(address_label(ip_address(address).packed), wanted)

    @given(st.ip_addresses())
    def test_labels_come_back(self, address: IPv4Address | IPv6Address) -> None:
        """Each label that spells an address is read as that address."""
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        wanted = (mapped or address).packed
        plain, endpoint = pod_labels(address.packed)
        self.assertEqual(plain.decode(), str(address).replace(".", "-").replace(":", "-"))
        if isinstance(address, IPv6Address) and b"." in str(address).encode():
            return
        self.assertEqual(pod_address(plain), wanted)
        self.assertEqual(pod_address(endpoint), wanted)
        self.assertEqual(endpoint, address_label(address.packed))

    @given(st.text(alphabet="0123456789abcdef-", max_size=45))
    def test_like_the_standard_library(self, label: str) -> None:
        """A label means the address that its text is with dots or colons, and nothing else."""
        four = label.count("-") == 3 and "--" not in label
        wanted: bytes | None
        try:
            address = ip_address(label.replace("-", "." if four else ":"))
            mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
            wanted = (mapped or address).packed
        except ValueError:
            wanted = None
        self.assertEqual(pod_address(label.encode()), wanted)

    @given(st.binary(max_size=63))
    def test_any_octets(self, label: bytes) -> None:
        """Any octets spell an address or none."""
        self.assertIn(len(pod_address(label) or b"1234"), (4, 16))
