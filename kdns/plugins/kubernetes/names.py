# -*- test-case-name: tests.plugins.kubernetes.test_names -*-
"""
What a name below a cluster zone means, as far as its labels tell; what is really there is :mod:`.lookup`'s business.

The labels are read from the right: ``svc`` or ``pod``, namespace, service or address, and in front of a service an endpoint, or port and
protocol (DNS-Based Service Discovery for Kubernetes, version 1.1.0, section 2).
"""

from __future__ import annotations

from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, inet_pton
from typing import NamedTuple

from msgspec import Struct


class Shape(Enum):
    """What kind of name it is."""

    APEX = auto()
    """The zone itself."""

    STRUCTURE = auto()
    """``svc`` or ``pod`` alone."""

    NAMESPACE = auto()
    """``NS.svc``."""

    POD_NAMESPACE = auto()
    """``NS.pod``."""

    SERVICE = auto()
    """A service, or something in front of one."""

    POD = auto()
    """``IP.NS.pod``."""

    NAME_SERVER = auto()
    """``ns.dns``."""

    VERSION = auto()
    """``dns-version``."""

    INVALID = auto()
    """Nothing that could be in a cluster."""


class Topology(NamedTuple):
    """``ZONE.pin._zone`` or ``ZONE.prefer._zone`` in front of a service."""

    zone: bytes
    prefer: bool


class Parsed(Struct, frozen=True, gc=False):
    """A name below a zone, parsed; all labels in lower case."""

    shape: Shape
    namespace: bytes = b""
    service: bytes = b""
    endpoint: bytes | None = None
    cluster: bytes | None = None
    port: bytes | None = None
    """Without its underscore; None when no port and protocol are asked for."""

    protocol: bytes = b""
    address: bytes = b""
    """The label that spells the address of a pod."""

    topology: Topology | None = None

    @property
    def bare(self) -> bool:
        """Whether there are no labels in front of the service."""
        return self.endpoint is None and self.port is None and self.topology is None


_INVALID = Parsed(Shape.INVALID)

_FIXED = {
    (): Parsed(Shape.APEX),
    (b"svc",): Parsed(Shape.STRUCTURE),
    (b"pod",): Parsed(Shape.STRUCTURE),
    (b"ns", b"dns"): Parsed(Shape.NAME_SERVER),
    (b"dns-version",): Parsed(Shape.VERSION),
}


def parse_name(front: bytes, multicluster: bool, zonal: bool) -> Parsed:
    """
    Take a name apart.

    :param front: the labels left of the zone, in wire form and lower case.
    :param multicluster: whether the zone is one of several clusters.
    :param zonal: whether zonal names are served.
    """
    labels: list[bytes] = []
    position, end = 0, len(front)
    while position < end:
        behind = position + 1 + front[position]
        labels.append(front[position + 1 : behind])
        position = behind
    if len(labels) <= 2:
        fixed = _FIXED.get(tuple(labels))
        if fixed is not None:
            return fixed
    if len(labels) < 2:
        return _INVALID
    kind, namespace = labels[-1], labels[-2]
    if kind == b"svc":
        if len(labels) == 2:
            return Parsed(Shape.NAMESPACE, namespace)
        return _parse_service(labels[:-3], namespace, labels[-3], multicluster, zonal)
    if kind == b"pod":
        if len(labels) == 2:
            return Parsed(Shape.POD_NAMESPACE, namespace)
        if len(labels) > 5:
            return _INVALID
        return Parsed(Shape.POD, namespace, address=labels[-3])
    return _INVALID


def _parse_service(front: list[bytes], namespace: bytes, service: bytes, multicluster: bool, zonal: bool) -> Parsed:
    if not front:
        return Parsed(Shape.SERVICE, namespace, service)
    if len(front) == 1:
        return Parsed(Shape.SERVICE, namespace, service, endpoint=front[0])
    if len(front) == 2:
        first, second = front
        if multicluster and not first.startswith(b"_") and not second.startswith(b"_"):
            return Parsed(Shape.SERVICE, namespace, service, endpoint=first, cluster=second)
        return Parsed(Shape.SERVICE, namespace, service, port=_stripped(first), protocol=_stripped(second))
    if zonal and not multicluster and front[-1] == b"_zone" and front[-2] in (b"pin", b"prefer"):
        topology = Topology(b".".join(front[:-2]), front[-2] == b"prefer")
        return Parsed(Shape.SERVICE, namespace, service, topology=topology)
    return _INVALID


def _stripped(label: bytes) -> bytes:
    # An underscore is not asked for: "https.tcp" is understood like "_https._tcp".
    return label[1:] if label.startswith(b"_") else label


_ADDRESS_BYTES = b"0123456789abcdefABCDEF-."


def pod_address(label: bytes) -> bytes | None:
    """
    The packed address that a pod's label spells: dashes for the dots of an IPv4 or the colons of an IPv6 address.

    An IPv4-mapped IPv6 address is taken for the IPv4 address.

    :return: None when it spells none.
    """
    # Most labels that come here are no addresses, and ipaddress takes microseconds to say so.
    if label.translate(None, _ADDRESS_BYTES) or label.count(b"-") < 2:
        return None
    text = label.decode("ascii")
    try:
        if text.count("-") == 3 and "--" not in text:
            return inet_pton(AF_INET, text.replace("-", "."))
        address = IPv6Address(text.replace("-", ":"))
    except (OSError, ValueError):
        return None
    mapped = address.ipv4_mapped
    return address.packed if mapped is None else mapped.packed


def pod_labels(address: bytes) -> tuple[bytes, bytes]:
    """The labels for an address in canonical form (RFC 5952): with dashes, and as an endpoint's label."""
    text = IPv6Address(address).compressed if len(address) == 16 else str(IPv4Address(address))
    return text.replace(":", "-").replace(".", "-").encode(), address_label(address)


def address_label(address: bytes) -> bytes:
    """The label of an endpoint without a name: its address with dashes."""
    if len(address) == 4:
        return b"%d-%d-%d-%d" % tuple(address)
    text = IPv6Address(address).compressed.replace(":", "-")
    return (text + "0" if text.endswith("-") else text).encode()
