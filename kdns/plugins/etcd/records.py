# -*- test-case-name: tests.plugins.etcd.test_records -*-
"""
Keys and values of etcd in SkyDNS's layout, and the index of them that names are answered from: a core module of *etcd*.

A key is a path and the labels of a name from the right: ``/skydns/test/s/www`` is ``www.s.test``. A value is a JSON object. The index is a
tree of labels; each change bumps the stamps of the name and of all names above it, because a name is answered with everything below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import TypeAlias

import msgspec

from kdns.core.stamps import StampBook, StampRef
from kdns.plugins.etcd.leases import Lease
from kdns.wire.names import BadName, from_labels, spelled_from_text

DEFAULT_TTL = 300
"""Seconds of a record that has neither a TTL nor a lease."""

DEFAULT_PRIORITY = 10

MOST_ENTRIES = 1000
"""Records of one look-up. A reply of 64 KB has no room for many more, and to collect them takes about two milliseconds."""

MOST_VISITED = 4000
"""Names that one look-up walks over; a wildcard may reject most of them."""

WILDCARDS = frozenset((b"*", b"any"))
"""Labels of a question that stand for any label."""

Path: TypeAlias = tuple[bytes, ...]
"""Labels of a name from the right."""


class BadRecord(ValueError):
    """A key or its value is no record."""


class _Value(msgspec.Struct):
    host: str | None = None
    port: int | None = None
    priority: int | None = None
    weight: int | None = None
    text: str | None = None
    mail: bool | None = None
    ttl: int | None = None
    targetstrip: int | None = None
    group: str | None = None


_DECODER = msgspec.json.Decoder(_Value)


@dataclass(slots=True, eq=False)
class Entry:
    """One record: a key with its value."""

    path: Path
    name: bytes
    """The name of the key, in wire form."""

    address: bytes | None
    """The packed address of ``host``."""

    target: bytes | None
    """The name of ``host``, in wire form with its spelling."""

    text: bytes
    port: int
    priority: int
    weight: int
    mail: bool
    ttl: int
    """Seconds; 0 where it has none."""

    strip: int
    group: str
    lease: Lease | None = None

    @property
    def alias(self) -> bytes | None:
        """The name that it is an alias of: ``host``, where it is a name and there is no text."""
        return self.target if not self.text else None

    @property
    def texts(self) -> list[bytes]:
        """Its character strings, where it is a text; a ``host`` that is an address makes it none."""
        if self.address is not None:
            return []
        return [self.text[at : at + 255] for at in range(0, len(self.text), 255)]

    def stripped(self, target: bytes) -> bytes:
        """A target without as many labels on its left as ``targetstrip`` says; the whole target where it has no more than that."""
        left = target
        for _ in range(self.strip):
            if len(left) <= 1:
                return target
            left = left[1 + left[0] :]
        return left if len(left) > 1 else target


def parse(path: Path, value: bytes) -> Entry:
    """
    Make a record of a key and its value.

    :raises BadRecord: they are none.
    """
    try:
        name = from_labels(path[::-1])
    except BadName as error:
        raise BadRecord(f"the key is no name: {error}") from None
    try:
        found = _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRecord(str(error)) from None
    numbers = []
    for word, most in (
        ("port", 65535),
        ("priority", 65535),
        ("weight", 65535),
        ("ttl", 0xFFFFFFFF),
        ("targetstrip", 255),
    ):
        number = getattr(found, word) or 0
        if not 0 <= number <= most:
            raise BadRecord(f"{word} {number} is not within 0 and {most}")
        numbers.append(number)
    port, priority, weight, ttl, strip = numbers
    text = (found.text or "").encode("utf-8", "replace")
    if len(text) > 60_000:
        raise BadRecord(f"a text of {len(text)} bytes")
    address, target = _host(found.host or "")
    return Entry(
        path,
        name,
        address,
        target,
        text,
        port,
        priority or DEFAULT_PRIORITY,
        weight,
        bool(found.mail),
        min(ttl, 0x7FFFFFFF),
        strip,
        found.group or "",
    )


def _host(host: str) -> tuple[bytes | None, bytes | None]:
    if not host:
        return None, None
    if "%" not in host:
        try:
            address = ip_address(host)
        except ValueError:
            pass
        else:
            if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
                return address.ipv4_mapped.packed, None
            return address.packed, None
    try:
        return None, spelled_from_text(host)
    except BadName as error:
        raise BadRecord(f"host is no name: {error}") from None


class Node:
    """A name in the tree."""

    __slots__ = ("broken", "children", "entry")

    def __init__(self) -> None:
        self.children: dict[bytes, Node] = {}
        self.entry: Entry | None = None
        self.broken = False
        """Whether its value could not be read."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing at or below the name."""
        return self.entry is None and not self.broken and not self.children


@dataclass(slots=True)
class Found:
    """What a look-up found."""

    entries: list[Entry]
    exists: bool
    """Whether there is a key at or below the name."""

    broken: bool = False
    """Whether a value that belongs to it could not be read."""


class RecordIndex:
    """All records by name."""

    def __init__(self) -> None:
        self.stamps = StampBook()
        self._root = Node()
        self.records = 0
        """How many records can be read."""

    def put(self, entry: Entry) -> None:
        """Add a record, or replace the one of its name."""
        node = self._made(entry.path)
        if node.entry is None:
            self.records += 1
        node.entry, node.broken = entry, False
        self._bump(entry.path)

    def put_broken(self, path: Path) -> None:
        """There is a key whose value cannot be read."""
        node = self._made(path)
        if node.entry is not None:
            self.records -= 1
        node.entry, node.broken = None, True
        self._bump(path)

    def remove(self, path: Path) -> None:
        """Forget the record of a name; nothing happens where there is none."""
        way = [self._root]
        for label in path:
            below = way[-1].children.get(label)
            if below is None:
                return
            way.append(below)
        node = way[-1]
        if node.entry is not None:
            self.records -= 1
        node.entry, node.broken = None, False
        for label, above in zip(reversed(path), reversed(way[:-1]), strict=True):
            if not above.children[label].empty:
                break
            del above.children[label]
        self._bump(path)

    def entry(self, path: Path) -> Entry | None:
        """The record of exactly this name."""
        node = self._node(path)
        return None if node is None else node.entry

    def note(self, path: Path) -> StampRef:
        """The stamp of a name with everything below it; names that do not exist have one, too."""
        return self.stamps.note(path)

    def exact(self, path: Path) -> Found:
        """The record of a name, without those below."""
        node = self._node(path)
        if node is None:
            return Found([], False)
        return Found([] if node.entry is None else [node.entry], True, node.broken)

    def below(self, path: Path) -> Found:
        """What a name is answered with: all records below it or, where there are none, its own."""
        node = self._node(path)
        if node is None:
            return Found([], False)
        found = Found([], True)
        if node.children:
            _collect(found, _walk(node, skip=True))
        else:
            _collect(found, iter((node,)))
        return found

    def matching(self, path: Path) -> Found:
        """What a name with wildcards is answered with: the records of all names that match, and those below."""
        nodes = _matches(self._root, path, [MOST_VISITED])
        found = Found([], False)
        for node in nodes:
            found.exists = True
            _collect(found, _walk(node))
            if len(found.entries) >= MOST_ENTRIES:
                break
        if not found.exists:
            first = next(place for place, label in enumerate(path) if label in WILDCARDS)
            found.exists = self._node(path[:first]) is not None  # then no data, as in CoreDNS
        return found

    def _node(self, path: Path) -> Node | None:
        node: Node | None = self._root
        for label in path:
            assert node is not None
            node = node.children.get(label)
            if node is None:
                return None
        return node if node is not None and not node.empty else None

    def _made(self, path: Path) -> Node:
        node = self._root
        for label in path:
            below = node.children.get(label)
            if below is None:
                below = node.children[label] = Node()
            node = below
        return node

    def _bump(self, path: Path) -> None:
        for size in range(len(path) + 1):
            self.stamps.bump(path[:size])


def _walk(node: Node, skip: bool = False) -> Iterator[Node]:
    """
    A node and all below it, in the order of keys.

    :param skip: leave out the node itself.
    """
    if not skip:
        yield node
    for label in _labels(node):
        yield from _walk(node.children[label])


def _labels(node: Node) -> Iterable[bytes]:
    """The labels directly below a name, in order; more than a look-up takes are not sorted, which takes tens of milliseconds."""
    return sorted(node.children) if len(node.children) <= MOST_VISITED else node.children


def _matches(node: Node, path: Path, left: list[int]) -> Iterator[Node]:
    """
    The nodes whose labels match; their order is that of keys.

    :param left: how many nodes may still be looked at.
    """
    if not path:
        yield node
        return
    label, rest = path[0], path[1:]
    if label not in WILDCARDS:
        below = node.children.get(label)
        if below is not None:
            yield from _matches(below, rest, left)
        return
    for known in _labels(node):
        left[0] -= 1
        if left[0] < 0:
            return
        yield from _matches(node.children[known], rest, left)


def _collect(found: Found, nodes: Iterator[Node]) -> None:
    for node in islice(nodes, MOST_VISITED):
        if node.entry is not None:
            found.entries.append(node.entry)
            if len(found.entries) >= MOST_ENTRIES:
                return
        elif node.broken:
            found.broken = True


def of_one_group(entries: Sequence[Entry]) -> Sequence[Entry]:
    """
    The records that belong together.

    The group is that of the first record, or of one with a shorter key; a shorter key without a group ends the search. Records without a
    group stay, those of other groups go. Where records of equally short keys disagree, all stay.
    """
    if not any(entry.group for entry in entries):
        return entries
    group, depth = entries[0].group, len(entries[0].path)
    for entry in entries:
        if len(entry.path) < depth:
            if not entry.group:
                break
            group, depth = entry.group, len(entry.path)
    if not group:
        return entries
    kept = []
    for entry in entries:
        if entry.group and entry.group != group:
            if len(entry.path) == depth:
                return entries
            continue
        kept.append(entry)
    return kept
