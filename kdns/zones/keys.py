# -*- test-case-name: tests.zones.test_keys -*-
"""
Keys: names of a zone in a form whose byte order is the canonical order of DNSSEC (RFC 4034 section 6.1).

A key holds the labels of a name that are in front of the zone's own, the rightmost first, each ended by a zero byte. So names compare as
bytes do, a name's descendants begin with its key, and the zone's own labels, which all names share, take no memory. The apex is ``b""``.

    www.sub.example.org in example.org    b"sub\\0www\\0"

A zero byte inside a label is written 1 1, and a one byte 1 2, which keeps the order.
"""

from __future__ import annotations

from collections.abc import Iterator

from kdns.wire.names import labels_of

APEX = b""


def key_of(name: bytes, origin: bytes) -> bytes:
    """The key of *name*, which is in the zone *origin*; both lower-case wire form."""
    head = name[: len(name) - len(origin)]
    size = len(head)
    if not size:
        return APEX
    if head[0] + 1 == size:  # one label, which most names are
        label = head[1:]
        return (_escaped(label) if min(label) < 2 else label) + b"\x00"
    parts = labels_of(head + b"\x00")
    parts.reverse()
    return b"".join([(_escaped(label) if min(label) < 2 else label) + b"\x00" for label in parts])


def name_of(key: bytes, origin: bytes) -> bytes:
    """The name in wire form that has this key."""
    end = len(key) - 1
    if end < 0:
        return origin
    if key.find(b"\x00") == end and b"\x01" not in key:  # one label, which most names are
        return end.to_bytes(1, "big") + key[:end] + origin
    labels = key[:-1].split(b"\x00")
    if b"\x01" in key:
        labels = [_unescaped(label) for label in labels]
    labels.reverse()
    return b"".join([bytes((len(label),)) + label for label in labels]) + origin


def parent_key(key: bytes) -> bytes:
    """The key of the name without its leftmost label."""
    return key[: key.rfind(b"\x00", 0, len(key) - 1) + 1]


def ancestors(key: bytes) -> Iterator[bytes]:
    """The keys of the names above, from just below the apex down to the name itself."""
    end = key.find(b"\x00") + 1
    while end:
        yield key[:end]
        end = key.find(b"\x00", end) + 1


def wildcard_key(key: bytes) -> bytes:
    """The key of ``*`` directly below a name."""
    return key + b"*\x00"


def is_wildcard(key: bytes) -> bool:
    """Whether the leftmost label is ``*``."""
    return key.endswith(b"\x00*\x00") or key == b"*\x00"


def _escaped(label: bytes) -> bytes:
    return label.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01")


def _unescaped(label: bytes) -> bytes:
    return label.replace(b"\x01\x01", b"\x00").replace(b"\x01\x02", b"\x01")
