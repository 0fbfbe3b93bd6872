# -*- test-case-name: tests.plugins.hosts.test_table -*-
"""
Names and addresses of a hosts file: a core module of *hosts*.

Reading goes in steps, since a block list may have a hundred thousand lines; so does finding out what a new table changes. Who takes the
steps, and when, is :mod:`kdns.plugins.hosts.service`'s business.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from socket import AF_INET, AF_INET6, inet_pton
from typing import TypeAlias

from kdns.core.deferred_free import DeferredFree
from kdns.wire.names import ROOT, BadName, from_text, longest_zone, parent, read_name, reverse_name

LINES = 100
"""Lines that are read in one step: a few tenths of a millisecond."""

NAMES = 1000
"""Names that are compared in one step."""

MOST_BACK = 60_000
"""Bytes of names kept for one address: a block list gives one address to all its names, more than fit any reply."""

PARTS = 16
"""
Dictionaries that share the names. One that grows past 87,381 keys moves all of them in a step of 5 ms; a million names stay below that.
"""

_MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address in IPv6 form begins with (RFC 4291 section 2.5.5.2)."""

WILDCARD = b"\x01*"

_Parts: TypeAlias = tuple[dict[bytes, bytes], ...]


class HostTable:
    """
    Addresses by name and names by address.

    :param zones: names outside them are left out.
    :param reverse: whether addresses are looked up too.
    """

    def __init__(self, zones: frozenset[bytes], reverse: bool = True) -> None:
        self._zones = None if ROOT in zones else zones
        self._reverse = reverse
        # Values are joined bytes and not lists: garbage collection takes 50 ms for a hundred thousand lists.
        self._of_name = _parts()  # packed addresses, each with its length before it
        self._of_address = _parts()  # names, one after another
        self.entries = 0
        """Addresses of all names, and names of all addresses."""

    def read(self, lines: Iterable[bytes]) -> Iterator[None]:
        """Read lines, some at each step; invalid lines are skipped."""
        lines = iter(lines)
        while some := list(islice(lines, LINES)):
            for line in some:
                self._take(line)
            yield

    def _take(self, line: bytes) -> None:
        words = line.partition(b"#")[0].split()
        if len(words) < 2:
            return
        address = _packed(words[0])
        if address is None:
            return
        marked = bytes((len(address),)) + address
        back = b""
        for word in words[1:]:
            try:
                name = from_text(word)
            except BadName:
                continue
            if self._zones is not None and longest_zone(name, self._zones) is None:
                continue
            part = self._of_name[hash(name) % PARTS]
            known = part.get(name)
            part[name] = marked if known is None else known + marked
            self.entries += 1
            if self._reverse and not name.startswith(WILDCARD):
                back += name
                self.entries += 1
        if back:
            part = self._of_address[hash(address) % PARTS]
            known = part.get(address, b"")
            if len(known) + len(back) <= MOST_BACK:
                part[address] = known + back

    def addresses(self, name: bytes) -> list[bytes] | None:
        """The packed addresses of a name, both families in the order of the file; None when unknown."""
        joined = self._of_name[hash(name) % PARTS].get(name)
        if joined is None:
            return None
        found = []
        position = 0
        while position < len(joined):
            behind = position + 1 + joined[position]
            found.append(joined[position + 1 : behind])
            position = behind
        return found

    def names(self, address: bytes) -> list[bytes]:
        """The names of a packed address, without wildcards."""
        joined = self._of_address[hash(address) % PARTS].get(address, b"")
        found = []
        position = 0
        while position < len(joined):
            name, position = read_name(joined, position)
            found.append(name)
        return found

    def changes(self, newer: HostTable) -> Generator[bytes | None, None, None]:
        """Names (reverse names too) that differ in a newer table; None in between for each step without one."""
        yield from _changed(self._of_name, newer._of_name)
        for changed in _changed(self._of_address, newer._of_address):
            yield None if changed is None else reverse_name(changed)

    def free(self, deferred_free: DeferredFree) -> None:
        """Free the table; it must not be used any more."""
        for part in (*self._of_name, *self._of_address):
            deferred_free.take(part)

    @property
    def largest_part(self) -> int:
        """Names in the largest of the dictionaries."""
        return max(map(len, self._of_name))


def _parts() -> _Parts:
    return tuple({} for _ in range(PARTS))


def _changed(old: _Parts, new: _Parts) -> Iterator[bytes | None]:
    count = 0
    for part, other in zip(old, new, strict=True):
        for key in part:
            count += 1
            if part[key] != other.get(key):
                yield key
            elif not count % NAMES:
                yield None
    count = 0
    for part, other in zip(new, old, strict=True):
        for key in part:
            count += 1
            if key not in other:
                yield key
            elif not count % NAMES:
                yield None


def _packed(text: bytes) -> bytes | None:
    """The packed form of an address without its zone; IPv4-mapped as IPv4."""
    try:
        address = text.partition(b"%")[0].decode("ascii")
        if ":" not in address:
            return inet_pton(AF_INET, address)
        packed = inet_pton(AF_INET6, address)
    except (OSError, ValueError):
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def find(tables: Iterable[HostTable], name: bytes) -> list[bytes] | None:
    """The addresses of a name in all tables; a wildcard matches one label if no table has the name itself."""
    found = _find(tables, name)
    if found is None and name != ROOT:
        found = _find(tables, WILDCARD + parent(name))
    return found


def _find(tables: Iterable[HostTable], name: bytes) -> list[bytes] | None:
    found: list[bytes] | None = None
    for table in tables:
        addresses = table.addresses(name)
        if addresses is not None:
            found = addresses if found is None else found + addresses
    return found
