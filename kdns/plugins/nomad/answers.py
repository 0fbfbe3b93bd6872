# -*- test-case-name: tests.plugins.nomad.test_nomad -*-
"""What Nomad's HTTP API answers, as values. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple

import msgspec


class BadAnswer(ValueError):
    """Bytes are no answer of Nomad."""


class _Name(msgspec.Struct):
    ServiceName: str


class _Namespace(msgspec.Struct):
    Namespace: str
    Services: list[_Name] | None = None


class _Registration(msgspec.Struct):
    Address: str
    Port: int


class Registration(NamedTuple):
    """Where an instance of a service listens."""

    address: bytes
    """Packed."""

    port: int


_SERVICES = msgspec.json.Decoder(list[_Namespace] | None)
_REGISTRATIONS = msgspec.json.Decoder(list[_Registration] | None)

Names = Mapping[tuple[str, str], str]
"""Services as Nomad spells them, by namespace and name in lower case."""


def _decode(decoder: Any, body: bytes) -> Any:
    try:
        return decoder.decode(body) or []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"an answer that is not Nomad's: {error}") from None


def services(body: bytes) -> Names:
    """
    The services that exist, from ``/v1/services``.

    :raises BadAnswer: *body* is no such list.
    """
    return {
        (row.Namespace.lower(), name.ServiceName.lower()): name.ServiceName
        for row in _decode(_SERVICES, body)
        for name in row.Services or ()
    }


def registrations(body: bytes) -> tuple[list[Registration], list[str]]:
    """
    The instances of a service, from ``/v1/service/NAME``, and addresses that are none.

    :raises BadAnswer: *body* is no such list.
    """
    found: dict[Registration, None] = {}
    bad = []
    for row in _decode(_REGISTRATIONS, body):
        try:
            address = ip_address(row.Address)
        except ValueError:
            bad.append(row.Address)
            continue
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            found[Registration(address.ipv4_mapped.packed, row.Port & 0xFFFF)] = None
        else:
            found[Registration(address.packed, row.Port & 0xFFFF)] = None
    return list(found), bad
