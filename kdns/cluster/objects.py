# -*- test-case-name: tests.cluster.test_objects -*-
"""
What is kept of a Kubernetes object: the fields that DNS answers are made of, and nothing else.

Names are lower-case bytes, because that is what a question is compared with; addresses are packed (4 or 16 octets); domain names that
an object points at are in wire form. Whoever fills these values in (projection.py) has checked them: a name that has to stand as a label
of a DNS name is 1 to 63 octets without a dot.

These are msgspec Structs and not dataclasses, as values are elsewhere in kdns. Measured on CPython 3.11 (``bench/cluster_memory.py``
repeats it): 10,000 services take 2.3 MB, 10,000 slices of five endpoints 9.5 MB and 30,000 pods 9.1 MB of resident memory, look-ups
included. A Struct without garbage collector header takes 16 octets plus 8 for each field, 16 less than a dataclass with slots and 24 less
than a tuple; it compares, hashes and encodes itself in C; and 50,000 objects that the collector does not look at keep its full passes
short. The endpoints of a slice are kept in columns, since most have an address only: that saves 56 octets for each of 50,000 endpoints
against one object for each.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TypeAlias

from msgspec import Struct

Version: TypeAlias = int | str
"""
A resource version, to be compared for equality only (see :func:`pack_version`). Those that are decimal numbers are kept as int, which
takes half the memory; ``0`` is "none known".
"""

Address: TypeAlias = bytes
"""A packed address: 4 octets for IPv4 (IPv4-mapped ones too), 16 for IPv6."""


class Kind(Enum):
    """The kinds of objects that are kept, by the name the API gives them."""

    NAMESPACE = "Namespace"
    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    POD = "Pod"
    SERVICE_IMPORT = "ServiceImport"


class ServiceKind(IntEnum):
    """How the name of a service is answered."""

    CLUSTER_IP = 0
    """With the addresses of the service itself: ClusterIP, NodePort, LoadBalancer."""
    HEADLESS = 1
    """With the ready addresses of its slices."""
    EXTERNAL_NAME = 2
    """With a CNAME."""


class ImportKind(IntEnum):
    """How the name of a service of several clusters is answered."""

    CLUSTER_SET_IP = 0
    HEADLESS = 1


class Port(Struct, frozen=True, gc=False, array_like=True):
    """A port of a service or a slice."""

    name: bytes
    """Lower-case; empty for the unnamed port."""
    number: int
    """1 to 65535; 0 when a slice names none (that means all ports: there is no SRV for it)."""
    protocol: bytes
    """``tcp``, ``udp`` or ``sctp``."""


class Endpoint(Struct, frozen=True, gc=False, array_like=True):
    """A ready address of a slice, as :attr:`EndpointSlice.endpoints` presents it."""

    address: Address
    hostname: bytes | None = None
    pod: bytes | None = None
    """Name of the pod behind it when it can stand as a label; only kept when endpoints are named for their pods."""
    zone: bytes | None = None
    """Topology zone; only kept when zonal names are served."""


class Namespace(Struct, frozen=True, gc=False, array_like=True, tag="n"):
    """That a namespace exists, a terminating one too."""

    name: bytes
    version: Version = 0

    @property
    def namespace(self) -> bytes:
        """Namespaces are in no namespace."""
        return b""


class Service(Struct, frozen=True, gc=False, array_like=True, tag="s"):
    """A service."""

    namespace: bytes
    name: bytes
    kind: ServiceKind
    addresses: tuple[Address, ...] = ()
    """Cluster IPs, each once, in the order of the object; none for headless services and external names."""
    external_name: bytes | None = None
    """Target of an EXTERNAL_NAME, in wire form; None for an IP literal or what is no domain name: there is nothing to answer then."""
    ports: tuple[Port, ...] = ()
    external_addresses: tuple[Address, ...] = ()
    """``externalIPs``, then those of the load balancer."""
    ingress_hostnames: tuple[bytes, ...] = ()
    """Names of the load balancer, in wire form."""
    version: Version = 0


class EndpointSlice(Struct, frozen=True, gc=False, array_like=True, tag="e"):
    """
    The ready endpoints of a slice.

    The endpoints are columns of equal length; a column in which nothing stands is ``()``. :attr:`endpoints` puts the rows together.
    """

    namespace: bytes
    name: bytes
    service: bytes | None
    """The service of this cluster that it belongs to."""
    addresses: tuple[Address, ...] = ()
    hostnames: tuple[bytes | None, ...] = ()
    pods: tuple[bytes | None, ...] = ()
    zones: tuple[bytes | None, ...] = ()
    ports: tuple[Port, ...] = ()
    """None at all means that any address is found, but no port and no SRV."""
    imported: bytes | None = None
    """The service of several clusters that it belongs to; only kept when a multicluster zone is served."""
    cluster: bytes | None = None
    """The cluster that an imported one comes from."""
    version: Version = 0

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints one by one, in the order of the object."""
        nothing = (None,) * len(self.addresses)
        return tuple(
            map(
                Endpoint,
                self.addresses,
                self.hostnames or nothing,
                self.pods or nothing,
                self.zones or nothing,
            )
        )


class Pod(Struct, frozen=True, gc=False, array_like=True, tag="p"):
    """A pod that has an address."""

    namespace: bytes
    name: bytes
    address: Address
    more: tuple[Address, ...] = ()
    """The other addresses of ``podIPs``; apart, since few pods have any and a tuple takes more than the address in it."""
    labels: tuple[tuple[str, str], ...] = ()
    """Labels as spelled, in order of their keys; only kept when metadata wants them."""
    version: Version = 0

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses of the pod."""
        return (self.address, *self.more)


class ServiceImport(Struct, frozen=True, gc=False, array_like=True, tag="i"):
    """A service of several clusters."""

    namespace: bytes
    name: bytes
    kind: ImportKind
    addresses: tuple[Address, ...] = ()
    ports: tuple[Port, ...] = ()
    version: Version = 0


ClusterObject: TypeAlias = Namespace | Service | EndpointSlice | Pod | ServiceImport

KIND_OF: dict[type, Kind] = {
    Namespace: Kind.NAMESPACE,
    Service: Kind.SERVICE,
    EndpointSlice: Kind.ENDPOINT_SLICE,
    Pod: Kind.POD,
    ServiceImport: Kind.SERVICE_IMPORT,
}


def kind_of(thing: ClusterObject) -> Kind:
    """The kind of an object."""
    return KIND_OF[type(thing)]


def pack_version(text: str) -> Version:
    """The form in which a resource version is kept; two are equal exactly when the texts were (the empty one is 0, as "0" is)."""
    if not text:
        return 0
    # No server has versions of more than 64 bits, but a hostile text of a million digits must not become a number.
    if len(text) <= 20 and text.isascii() and text.isdigit() and (text[0] != "0" or text == "0"):
        return int(text)
    return text


def weight(thing: ClusterObject) -> int:
    """
    About how many octets of memory an object takes, its places in the index included.

    The numbers are those of CPython 3.11 on 64 bits: 48 for a small bytes object, 16 + 8 a field for a Struct, 40 + 8 an item for a
    tuple, and 30 to 90 for a place in a dict that is between a third and two thirds full.
    """
    if isinstance(thing, EndpointSlice):
        columns = bool(thing.hostnames) + bool(thing.pods) + bool(thing.zones)
        row = 48 + 60 + 8 + columns * 56
        return 96 + 48 + len(thing.name) + 32 + 150 + (1 + columns) * 40 + len(thing.addresses) * row
    if isinstance(thing, Pod):
        return 64 + 48 + len(thing.name) + 32 + 150 + len(thing.addresses) * 108
    if isinstance(thing, Namespace):
        return 32 + 48 + len(thing.name) + 32 + 90
    size = 88 + 48 + len(thing.name) + 32 + 90 + len(thing.addresses) * 148
    if isinstance(thing, Service):
        size += len(thing.external_addresses) * 148 + sum(map(len, thing.ingress_hostnames))
        size += len(thing.external_name or b"")
    return size
