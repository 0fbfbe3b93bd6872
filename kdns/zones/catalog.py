# -*- test-case-name: tests.zones.test_catalog -*-
"""Catalog zones, version 2 (RFC 9432): which member zones a zone lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kdns.wire.constants import NS, PTR, TXT
from kdns.wire.names import to_text
from kdns.zones.keys import APEX
from kdns.zones.nodes import Datum, has_type, rrset
from kdns.zones.zone import BadZone, Zone


class Member(NamedTuple):
    """A zone of a catalog."""

    name: bytes
    """In lower-case wire form."""

    ident: bytes
    """The label that is unique in the catalog; a member whose label changes is to be fetched anew (section 5.6)."""

    owner: bytes | None
    """The catalog that this one may hand the member to (``coo``, section 4.3.1)."""


def members(zone: Zone) -> dict[bytes, Member]:
    """
    The members of a catalog by name.

    :raises BadZone: it is no catalog that can be used; nothing of it may be taken then (section 4.1).
    """
    shown = to_text(zone.origin)
    apex = zone.index.get(APEX) or b""
    if not has_type(apex, NS):
        raise BadZone(f"catalog zone {shown} has no NS record")
    versions = zone.rrset(b"version\x00", TXT)
    if len(versions) != 1:
        raise BadZone(f"catalog zone {shown} must have exactly one version TXT record")
    version = versions[0].rdata
    if version != b"\x012":
        text = version[1:].decode("ascii", "backslashreplace")
        raise BadZone(f'catalog zone {shown} has unsupported version "{text}"')
    found: dict[bytes, Member] = {}
    for ident, node, owners in _listed(zone):
        label = ident.decode("ascii", "backslashreplace")
        names = rrset(node, PTR)
        if len(names) != 1:
            raise BadZone(f"catalog member {label}.zones.{shown} must have exactly one PTR record")
        if len(owners) > 1:
            raise BadZone(f"catalog member {label} has more than one coo PTR record")
        name = names[0].rdata.lower()
        if name in found:
            other = found[name].ident.decode("ascii", "backslashreplace")
            raise BadZone(f"catalog member zone {to_text(name)} is listed by both {other} and {label}")
        found[name] = Member(name, ident, owners[0].rdata.lower() if owners else None)
    return found


def _listed(zone: Zone) -> Iterator[tuple[bytes, bytes, list[Datum]]]:
    """Labels directly below ``zones`` with their nodes and ``coo`` records."""
    for key, node in zone.index.items():
        parts = key.split(b"\x00")
        if len(parts) == 3 and parts[0] == b"zones":
            yield parts[1], node, zone.rrset(key + b"coo\x00", PTR)


__all__ = ["Member", "members"]
