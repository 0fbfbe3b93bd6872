# -*- test-case-name: tests.cluster.test_objects -*-
"""
The fields of Kubernetes objects that DNS answers are made of, and changes to them: the values that every source hands to the index.

Names are lower-case bytes, because they are compared with questions; addresses are packed (4 or 16 bytes); domain names that
an object points at are in wire form. projection.py has checked these values: a name that becomes a label is 1 to 63 bytes without a dot.

These are msgspec Structs and not dataclasses, as values are elsewhere in kdns. Measured on CPython 3.11 (``bench/cluster_memory.py``
repeats it): 10,000 services take 2.3 MB, 10,000 slices of five endpoints 9.5 MB and 30,000 pods 9.1 MB of resident memory, look-ups
included. A Struct without garbage collector header takes 16 bytes plus 8 for each field, 16 less than a dataclass with slots and 24 less
than a tuple; it compares, hashes and encodes itself in C; and 50,000 objects that the collector does not visit keep its full passes
short. The endpoints of a slice are columns, since most have only an address: that saves 56 bytes for each of 50,000 endpoints
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
"""A packed address: 4 bytes for IPv4 (and IPv4-mapped), 16 for IPv6."""


class Kind(Enum):
    """The kinds of objects, by their API names."""

    NAMESPACE = "Namespace"
    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    POD = "Pod"
    SERVICE_IMPORT = "ServiceImport"


class ServiceKind(IntEnum):
    CLUSTER_IP = 0
    """With the addresses of the service itself: ClusterIP, NodePort, LoadBalancer."""
    HEADLESS = 1
    """With the ready addresses of its slices."""
    EXTERNAL_NAME = 2
    """With a CNAME."""


class ImportKind(IntEnum):
    CLUSTER_SET_IP = 0
    HEADLESS = 1


class Port(Struct, frozen=True, gc=False, array_like=True):
    name: bytes
    """Lower-case; empty for the unnamed port."""
    number: int
    """1 to 65535; 0 when a slice has none (all ports; no SRV record)."""
    protocol: bytes
    """``tcp``, ``udp`` or ``sctp``."""


class Endpoint(Struct, frozen=True, gc=False, array_like=True):
    """A ready address of a slice; see :attr:`EndpointSlice.endpoints`."""

    address: Address
    hostname: bytes | None = None
    pod: bytes | None = None
    """Name of the pod if it is a valid label; only kept when endpoints are named for their pods."""
    zone: bytes | None = None
    """Topology zone; only kept when zonal names are served."""


class Namespace(Struct, frozen=True, gc=False, array_like=True, tag="n"):
    """A namespace; it exists while it is terminating, too."""

    name: bytes
    version: Version = 0

    @property
    def namespace(self) -> bytes:
        """Namespaces are in no namespace."""
        return b""


class Service(Struct, frozen=True, gc=False, array_like=True, tag="s"):
    namespace: bytes
    name: bytes
    kind: ServiceKind
    addresses: tuple[Address, ...] = ()
    """Cluster IPs, each once, in the order of the object; none for headless services and external names."""
    external_name: bytes | None = None
    """Target of an EXTERNAL_NAME in wire form; None for an IP literal or an invalid name: then there is no answer."""
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
    """Empty: addresses are found, but no port and no SRV."""
    imported: bytes | None = None
    """The service of several clusters that it belongs to; only kept when a multicluster zone is served."""
    cluster: bytes | None = None
    """The cluster that an imported one comes from."""
    version: Version = 0

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints as rows, in the order of the object."""
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
        return (self.address, *self.more)


class ServiceImport(Struct, frozen=True, gc=False, array_like=True, tag="i"):
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
    return KIND_OF[type(thing)]


def pack_version(text: str) -> Version:
    """The stored form of a resource version: equal exactly when the texts are (the empty one is 0, like "0")."""
    if not text:
        return 0
    # No server has versions of more than 64 bits, but a hostile text of a million digits must not become a number.
    if len(text) <= 20 and text.isascii() and text.isdigit() and (text[0] != "0" or text == "0"):
        return int(text)
    return text


def weight(thing: ClusterObject) -> int:
    """
    About how many bytes of memory an object takes, its places in the index included.

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


class Upsert(Struct, frozen=True, tag="upsert"):
    """An object appeared or changed."""

    item: ClusterObject
    triggered: float | None = None
    """
    When the change that led to this one happened, in Unix seconds, if a slice tells it
    (``endpoints.kubernetes.io/last-change-trigger-time``). It is for the programming latency metric and not kept.
    """

    @property
    def kind(self) -> Kind:
        return kind_of(self.item)

    @property
    def namespace(self) -> bytes:
        """Empty for a namespace."""
        return self.item.namespace

    @property
    def name(self) -> bytes:
        return self.item.name


class Delete(Struct, frozen=True, tag="delete"):
    """An object was deleted, or DNS has no use for it; it may never have been known."""

    kind: Kind
    namespace: bytes
    name: bytes
    triggered: float | None = None
    """As in :class:`Upsert`."""
    service: bytes | None = None
    """The service that a deleted slice belonged to, for that metric too."""


class Keep(Struct, frozen=True, tag="keep"):
    """An object still exists and its stored value, if any, stays: a pod that is being deleted."""

    kind: Kind
    namespace: bytes
    name: bytes


Change: TypeAlias = Upsert | Delete | Keep
