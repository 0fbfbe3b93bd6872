# -*- test-case-name: tests.cluster.test_changes -*-
"""
Changes to what is known of the cluster, as plain values: what every source (API, manifests, snapshot) hands to the index.

They hold no reference to anything and can be written down or sent to another process with :func:`encode` and :func:`decode`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from kdns.cluster.objects import ClusterObject, Kind, kind_of


class Upsert(Struct, frozen=True, tag="upsert"):
    """An object appeared, or has these values from now on."""

    item: ClusterObject
    triggered: float | None = None
    """
    When the change that led to this one happened, in Unix seconds, if a slice tells it
    (``endpoints.kubernetes.io/last-change-trigger-time``). It is for the programming latency metric and not kept.
    """

    @property
    def kind(self) -> Kind:
        """The kind of the object."""
        return kind_of(self.item)

    @property
    def namespace(self) -> bytes:
        """The namespace of the object, empty for a namespace."""
        return self.item.namespace

    @property
    def name(self) -> bytes:
        """The name of the object."""
        return self.item.name


class Delete(Struct, frozen=True, tag="delete"):
    """An object is gone, or became one that DNS has no use for; that it was never known is fine."""

    kind: Kind
    namespace: bytes
    name: bytes
    triggered: float | None = None
    """As in :class:`Upsert`."""
    service: bytes | None = None
    """The service that a deleted slice belonged to, for that metric too."""


class Keep(Struct, frozen=True, tag="keep"):
    """An object is still there, and what is known of it (maybe nothing) stays as it is: pods that are being deleted."""

    kind: Kind
    namespace: bytes
    name: bytes


Change: TypeAlias = Upsert | Delete | Keep

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Change] = msgspec.msgpack.Decoder(Change)


def encode(change: Change) -> bytes:
    """A change as octets (MessagePack)."""
    return _encoder.encode(change)


def decode(octets: bytes) -> Change:
    """
    The change that :func:`encode` wrote.

    :raises ValueError: the octets are no change.
    """
    try:
        return _decoder.decode(octets)
    except msgspec.MsgspecError as problem:
        raise ValueError(f"no change: {problem}") from None
