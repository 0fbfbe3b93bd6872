# -*- test-case-name: tests.plugins.etcd.test_resolver -*-
"""
From a question to the records of an answer: a core module of *etcd*.

What must be looked up through the server, because a name leads out of the zone, stands in the sections as :class:`Outside`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kdns.core.stamps import StampRef
from kdns.plugins.etcd.records import DEFAULT_TTL, WILDCARDS, Entry, Found, Path, RecordIndex, of_one_group
from kdns.wire.constants import AAAA, CNAME, IN, MX, NS, PTR, SRV, TXT, A
from kdns.wire.names import MAX_NAME, is_subdomain, labels_of
from kdns.wire.records import Record, a_or_aaaa, cname, ns, ptr, srv, txt

MOST_ALIASES = 10
"""CNAME records that follow one another inside etcd."""

MOST_FOLLOWED = 100
"""Names inside etcd that one question leads to: aliases of aliases may branch."""

SIZES = {A: 4, AAAA: 16}


@dataclass(frozen=True, slots=True)
class Outside:
    """Stands for the records that the server finds for a name outside the zone."""

    target: bytes
    qtype: int
    alias: Record | None = None
    """The CNAME that leads there."""


Item: TypeAlias = Record | Outside


@dataclass(slots=True)
class Made:
    """What etcd says to a question."""

    answer: list[Item] = field(default_factory=list)
    additional: list[Item] = field(default_factory=list)
    stamps: list[StampRef] = field(default_factory=list)
    exists: bool = True
    """Whether the name exists."""

    falls_through: bool = False
    """Whether a plugin with ``fallthrough`` passes the question on: there is nothing at or below the name."""

    failed: str = ""
    """Why there is no answer."""

    leased: bool = False
    """Whether a TTL counts down with a lease."""

    found: int = 0
    """Records of etcd that the name itself has, for an explanation."""


class Lookup:
    """
    Look names up.

    :param least, most: between these the TTL of a lease is kept, in seconds.
    """

    def __init__(self, index: RecordIndex, least: int, most: int) -> None:
        self._index = index
        self._least = least
        self._most = most

    def find(self, qname: bytes, spelled: bytes, qtype: int, zone: bytes, now: float) -> Made:
        """
        Answer a question.

        :param qname: in lower-case wire form, in *zone*.
        :param spelled: the owner to show.
        """
        return _Question(self, zone, qtype, now).ask(qname, spelled)

    def ttl(self, entry: Entry, now: float) -> int:
        """Seconds: the lower one of its own and its lease's."""
        lease = entry.lease
        if lease is None:
            return entry.ttl or DEFAULT_TTL
        left = min(max(int(lease.ends - now), self._least), self._most)
        return min(entry.ttl, left) if entry.ttl else left

    def entries(self, name: bytes, made: Made) -> Found:
        """The records at and below a name, or of the names that match its wildcards; notes the stamp."""
        path = path_of(name)
        for place, label in enumerate(path):
            if label in WILDCARDS:
                made.stamps.append(self._index.note(path[:place]))
                return self._index.matching(path)
        made.stamps.append(self._index.note(path))
        return self._index.below(path)

    def exact(self, name: bytes, made: Made) -> Found:
        """The record of a name alone; notes the stamp."""
        path = path_of(name)
        made.stamps.append(self._index.note(path))
        return self._index.exact(path)


def path_of(name: bytes) -> Path:
    """The path of a name."""
    return tuple(reversed(labels_of(name)))


class _Question:
    """One question, as far as it has been answered."""

    def __init__(self, lookup: Lookup, zone: bytes, qtype: int, now: float) -> None:
        self.lookup = lookup
        self.zone = zone
        self.qtype = qtype
        self.now = now
        self.made = Made()
        self.followed = 0

    def ask(self, qname: bytes, spelled: bytes) -> Made:
        made, qtype = self.made, self.qtype
        apex = qname == self.zone
        if qtype == NS and apex:
            found = self._name_servers(spelled)
        elif qtype in (CNAME, PTR):
            found = self._exact(qname, spelled)
        elif qtype in (SRV, MX):
            found = self._services(qname, spelled)
        elif qtype in (A, AAAA, TXT):
            found = self._found(qname, apex and qtype != TXT)
            made.answer = list(dict.fromkeys(self._follow(found, qname, spelled, qtype, ())))
        else:
            # SOA below the apex, or a type that etcd has no records of.
            found = self._found(qname, apex)
        made.found = len(found.entries)
        made.falls_through = not found.exists
        made.exists = found.exists or apex
        if found.broken and not found.entries:
            made.failed = "its value in etcd cannot be read"
        return made

    def _found(self, name: bytes, apex: bool = False) -> Found:
        """The records of a name; for addresses of the apex those of ``apex.dns`` below it, where there are any."""
        if apex:
            found = self.lookup.entries(b"\x04apex\x03dns" + name, self.made)
            if found.exists:
                return found
        return self.lookup.entries(name, self.made)

    def _ttl(self, entry: Entry) -> int:
        if entry.lease is not None:
            self.made.leased = True
        return self.lookup.ttl(entry, self.now)

    # Addresses, texts, and the aliases in front of them

    def _follow(self, found: Found, name: bytes, owner: bytes, qtype: int, aliases: tuple[bytes, ...]) -> list[Item]:
        items: list[Item] = []
        seen: set[bytes] = set()
        followed: set[bytes] = set()
        for entry in of_one_group(found.entries):
            if entry.alias is not None:
                if entry.alias.lower() not in followed:
                    followed.add(entry.alias.lower())
                    items += self._alias(entry, entry.alias, name, owner, qtype, aliases)
            elif qtype == TXT:
                if entry.texts and entry.text not in seen:
                    seen.add(entry.text)
                    items.append(txt(owner, self._ttl(entry), *entry.texts))
            elif entry.address is not None and len(entry.address) == SIZES.get(qtype) and entry.address not in seen:
                seen.add(entry.address)
                items.append(a_or_aaaa(owner, self._ttl(entry), entry.address))
        return items

    def _alias(
        self, entry: Entry, spelled: bytes, name: bytes, owner: bytes, qtype: int, aliases: tuple[bytes, ...]
    ) -> list[Item]:
        """A CNAME and what it leads to; nothing where that is nothing, or the name itself."""
        target = spelled.lower()
        if is_subdomain(target, name) or target in aliases or len(aliases) >= MOST_ALIASES:
            return []
        record = cname(owner, self._ttl(entry), spelled)
        if not is_subdomain(target, self.zone):
            return [Outside(spelled, qtype, record)]
        if self.followed >= MOST_FOLLOWED:
            return []
        self.followed += 1
        found = self._found(target, target == self.zone and qtype != TXT)
        behind = self._follow(found, target, spelled, qtype, (*aliases, target))
        return [record, *behind] if behind else []

    # Services

    def _services(self, qname: bytes, spelled: bytes) -> Found:
        made = self.made
        found = self.lookup.entries(qname, made)
        entries = [entry for entry in of_one_group(found.entries) if entry.address is not None or entry.alias]
        if self.qtype == MX:
            entries = [entry for entry in entries if entry.mail]
        weights: dict[int, int] = {}
        for entry in entries:
            weights[entry.priority] = weights.get(entry.priority, 0) + (entry.weight or 100)
        seen: set[Item] = set()
        targets: set[bytes] = set()
        for entry in entries:
            target = entry.stripped(entry.alias or entry.name)
            record: Item
            if self.qtype == SRV:
                weight = max(1, 100 * (entry.weight or 100) // weights[entry.priority])
                record = srv(spelled, self._ttl(entry), entry.priority, weight, entry.port, target)
            else:
                record = Record(spelled, MX, IN, self._ttl(entry), entry.priority.to_bytes(2, "big") + target)
            if record not in seen:
                seen.add(record)
                made.answer.append(record)
            if entry.address is not None:
                made.additional.append(a_or_aaaa(target, self._ttl(entry), entry.address))
            elif target.lower() not in targets:
                targets.add(target.lower())
                made.additional += self._addresses_of(target)
        made.additional = list(dict.fromkeys(made.additional))
        return found

    def _addresses_of(self, spelled: bytes) -> Sequence[Item]:
        target = spelled.lower()
        if not is_subdomain(target, self.zone):
            return [Outside(spelled, A), Outside(spelled, AAAA)]
        if self.followed >= MOST_FOLLOWED:
            return []
        self.followed += 1
        found = self._found(target, target == self.zone)
        return [item for qtype in (A, AAAA) for item in self._follow(found, target, spelled, qtype, (target,))]

    # Single records

    def _exact(self, qname: bytes, spelled: bytes) -> Found:
        found = self.lookup.exact(qname, self.made)
        for entry in found.entries:
            if entry.alias is not None:
                make = cname if self.qtype == CNAME else ptr
                self.made.answer.append(make(spelled, self._ttl(entry), entry.alias))
        return found

    def _name_servers(self, spelled: bytes) -> Found:
        made = self.made
        above = b"\x02ns\x03dns" + self.zone
        if len(above) > MAX_NAME:
            return Found([], False)
        found = self.lookup.entries(above, made)
        for entry in found.entries:
            if entry.address is None:
                made.failed = "a name server below ns.dns is no address"
                continue
            target = entry.stripped(entry.name)
            made.answer.append(ns(spelled, self._ttl(entry), target))
            made.additional.append(a_or_aaaa(target, self._ttl(entry), entry.address))
        return found


__all__ = ["Item", "Lookup", "Made", "Outside", "path_of"]
