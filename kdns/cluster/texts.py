# -*- test-case-name: tests.cluster.test_projection -*-
"""Parse texts of API objects: addresses, labels, names."""

from __future__ import annotations

from ipaddress import IPv6Address

from kdns.cluster.objects import Address
from kdns.wire.names import MAX_LABEL

MAX_OBJECT_NAME = 253
"""Bytes of the name of a Kubernetes object."""

_MAPPED = bytes(10) + b"\xff\xff"

# An address of a large slice is read in 0.4 us with this, in 1.3 us by the ipaddress module; leading zeros are not in it.
_OCTET = {str(number): number for number in range(256)}


def packed(text: str) -> Address | None:
    """Parse an address, an IPv4-mapped one as IPv4; None when invalid."""
    if ":" not in text:
        try:
            first, second, third, fourth = text.split(".")
            return bytes((_OCTET[first], _OCTET[second], _OCTET[third], _OCTET[fourth]))
        except (KeyError, ValueError):
            return None
    # An address with a zone is valid on one host only.
    if "%" in text:
        return None
    try:
        data = IPv6Address(text).packed
    except ValueError:
        return None
    return data[12:] if data.startswith(_MAPPED) else data


def lower_bytes(text: str) -> bytes:
    """
    A text as it is compared: bytes in lower case.

    :raises ValueError: it has no bytes (half a surrogate pair).
    """
    return text.encode("utf-8").lower()


def label_of(text: str) -> bytes | None:
    """The text as a label of a name; None when it cannot be one."""
    label = lower_bytes(text)
    return label if 0 < len(label) <= MAX_LABEL and b"." not in label else None


def must_be_label(text: str | None) -> bytes:
    """
    A text without which an object cannot be asked for.

    :raises ValueError: it cannot be a label.
    """
    label = label_of(text or "")
    if label is None:
        raise ValueError(f"{(text or '')[:80]!r} cannot be a label of a name")
    return label


def must_be_name(text: str | None) -> bytes:
    """
    The name of an object that never becomes a label.

    :raises ValueError: there is none, or it is too long.
    """
    name = lower_bytes(text or "")
    if not 0 < len(name) <= MAX_OBJECT_NAME:
        raise ValueError(f"a name of {len(name)} bytes")
    return name
