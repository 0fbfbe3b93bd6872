# -*- test-case-name: tests.plugins.kubernetes.test_lookup -*-
"""
What a look-up found: the Services and slices that a name stands for, and the steps that led there.

Nothing here depends on how many endpoints a Service has until records are made, and then only as many as a reply has room for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from itertools import chain, islice
from random import Random
from typing import Any, NamedTuple, TypeAlias

from msgspec import Struct

from kdns.cluster.objects import EndpointSlice
from kdns.core.stamps import StampRef
from kdns.plugins.kubernetes.names import address_label
from kdns.wire.names import MAX_NAME


class Fact(Enum):
    """A step of a look-up, with its values."""

    NAMESPACE_LEFT_OUT = auto()
    NO_NAMESPACE = auto()
    NAMESPACE = auto()
    PODS_DISABLED = auto()
    NO_ADDRESS = auto()
    POD_UNVERIFIED = auto()
    POD_SPELLED_OTHERWISE = auto()
    """The address."""
    NO_POD = auto()
    """The address."""
    POD = auto()
    """The pod."""
    NO_SERVICE = auto()
    SERVICE = auto()
    """The service; not one of the kinds below."""
    ALIAS = auto()
    """The service."""
    NO_ALIAS = auto()
    """The service, whose target is no domain name."""
    IN_FRONT_OF_ALIAS = auto()
    """The service."""
    NO_READY_ENDPOINT = auto()
    """The service is left out for it."""
    ONLY_HEADLESS_ZONAL = auto()
    NO_PORT = auto()
    """The ports there are."""
    ENDPOINTS_NOT_WATCHED = auto()
    SLICES = auto()
    """The slices of the service."""
    NO_ENDPOINT = auto()
    """The slices of the service."""
    TOPOLOGY = auto()
    NO_IMPORT = auto()
    IMPORT = auto()
    """The service import."""
    CLUSTER_MISSING = auto()
    CLUSTER_IP_OF = auto()
    """The service."""
    ENDPOINT_OF = auto()
    """The slice."""
    ADDRESS_LEFT_OUT = auto()
    """The address, of a namespace that is left out."""
    NOTHING_AT = auto()
    """The address."""


Reason: TypeAlias = tuple[Any, ...]
"""A fact and its values."""


class Group(Struct, frozen=True, gc=False):
    """Addresses of one Service or slice, each with the same ports."""

    addresses: tuple[bytes, ...]
    """Packed; all of the Service or slice."""

    ports: Sequence[int | None]
    """Numbers; None where there is no port, and so no SRV record."""

    place: bytes
    """Labels of the SRV target in wire form, without the zone: all of them, or those behind the endpoint's."""

    part: EndpointSlice | None = None
    """The slice; None when *place* is the whole target."""

    chosen: Sequence[int] | None = None
    """The selected rows of the slice; None means all."""

    @property
    def rows(self) -> Sequence[int]:
        """Indices of the addresses that the name selects."""
        return range(len(self.addresses)) if self.chosen is None else self.chosen

    def target(self, row: int) -> bytes:
        """Labels of the SRV target of an address."""
        return self.place if self.part is None else wire_label(endpoint_label(self.part, row)) + self.place


LARGE = 500
"""Pairs of address and port up to which a reply is made of all of them, whether they fit or not: that takes about a millisecond."""


class ReplyBudget(NamedTuple):
    """Limits on a reply for a name with more than :data:`LARGE` addresses."""

    size: int
    """Bytes."""

    over: int = 0
    """1 to ask for one record more than fits, so that UDP replies are truncated; else 0."""

    def records(self, size: int) -> int:
        """The number of records of that size to return."""
        return self.size // size + self.over


class Pair(NamedTuple):
    """An address and a port, for an SRV record."""

    target: bytes
    """Labels in wire form, without the zone."""

    port: int | None
    address: bytes


class Result:
    """The result of a look-up."""

    __slots__ = ("alias", "exists", "groups", "reasons", "stamps")

    def __init__(self, reasons: list[Reason] | None = None, exists: bool = False) -> None:
        self.exists = exists
        self.groups: list[Group] = []
        self.alias: bytes | None = None
        """Target of an external name, in wire form."""
        self.stamps: list[StampRef] = []
        self.reasons = reasons
        """The steps of the look-up; None unless requested."""

    def because(self, fact: Fact, *values: Any) -> None:
        """Record a step."""
        if self.reasons is not None:
            self.reasons.append((fact, *values))

    @property
    def pairs(self) -> int:
        """Number of pairs of address and port, repeated ones included."""
        count = 0
        for group in self.groups:
            count += len(group.rows) * len(group.ports)
        return count

    @property
    def weight(self) -> int:
        """The weight of SRV records: repeated pairs and those without a port count."""
        return max(1, 100 // max(1, self.pairs))

    def addresses(self, size: int, most: int, chance: Random) -> tuple[list[bytes], bool]:
        """
        The different addresses of *size* bytes, and whether they are only a share of all: when they are many, *most* of them.

        A share begins at a random place, so that each address is in it equally often.
        """
        groups = self.groups
        if len(groups) == 1 and groups[0].chosen is None:
            pool = [address for address in groups[0].addresses if len(address) == size]
        else:
            pool = []
            for group in groups:
                if group.chosen is None:
                    pool += [address for address in group.addresses if len(address) == size]
                else:
                    pool += [address for row in group.chosen if len(address := group.addresses[row]) == size]
        if len(pool) > LARGE and len(pool) > most:
            start = chance.randrange(len(pool))
            return list(dict.fromkeys(islice(chain(pool, pool), start, start + most))), True
        return (pool if len(pool) < 2 else list(dict.fromkeys(pool))), False

    def services(
        self, zone_length: int, room: ReplyBudget, chance: Random
    ) -> tuple[list[tuple[bytes, int]], list[tuple[bytes, bytes]], bool]:
        """
        The different targets with their ports, the different targets with their addresses, and whether they are only a share of all.

        :param zone_length: bytes that each target grows by; one that becomes too long for a name is left out.
        """
        total = self.pairs
        start, share, spent = 0, False, 0
        if total > LARGE:
            first = next(self.from_place(0))
            share = total * _service_size(len(first.target) + zone_length, room) > room.size
            start = chance.randrange(total) if share else 0
        targets: dict[tuple[bytes, int], None] = {}
        addresses: dict[tuple[bytes, bytes], None] = {}
        for target, port, address in self.from_place(start):
            length = len(target) + zone_length
            if port is None or length > MAX_NAME:
                continue
            if share:
                if spent > room.size:
                    break
                spent += _service_size(length, room)
                if spent > room.size and not room.over:
                    break
            targets[target, port] = None
            addresses[target, address] = None
        return list(targets), list(addresses), share

    def from_place(self, start: int) -> Iterator[Pair]:
        """All pairs of address and port in a circle, from the row with pair number *start* on."""
        groups = self.groups
        for number, first in enumerate(groups):
            size = len(first.rows) * len(first.ports)
            if start >= size:
                start -= size
                continue
            row = start // len(first.ports)
            yield from pairs_of(first, first.rows[row:])
            for group in groups[number + 1 :] + groups[:number]:
                yield from pairs_of(group, group.rows)
            yield from pairs_of(first, first.rows[:row])
            return


def _service_size(target: int, room: ReplyBudget) -> int:
    """Bytes of an SRV record with a compressed owner; where everything has to fit, with an address record for the target."""
    return 18 + target if room.over else 44 + 2 * target


def pairs_of(group: Group, rows: Sequence[int]) -> Iterator[Pair]:
    """The pairs of some rows of a group."""
    for row in rows:
        target, address = group.target(row), group.addresses[row]
        for port in group.ports:
            yield Pair(target, port, address)


def endpoint_label(part: EndpointSlice, row: int) -> bytes:
    """The label of an endpoint: its host name, its pod's name where kept, or its address."""
    return (
        (part.hostnames[row] if part.hostnames else None)
        or (part.pods[row] if part.pods else None)
        or address_label(part.addresses[row])
    )


def wire_label(label: bytes) -> bytes:
    """A label with its length in front."""
    return bytes((len(label),)) + label
