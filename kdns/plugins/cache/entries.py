# -*- test-case-name: tests.plugins.cache.test_entries -*-
"""
Entries and the store that holds a bounded number of them: a core module of *cache*.

Decides how much an entry weighs, whether it may still be served, and which one goes when there is no room. What is stored, and for how
long, is :mod:`kdns.plugins.cache.policy`'s business.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from kdns.core.answer import Answer, Scope, Validity
from kdns.core.deferred_free import DeferredFree
from kdns.core.request import Request
from kdns.core.stamps import stand
from kdns.wire.constants import CD, DO, NOERROR, NXDOMAIN

ENTRY_OCTETS = 1100
"""What an entry weighs without its records: key, entry, answer, its place in the store (measured with tracemalloc)."""

RELAYED_RECORD_OCTETS = 230
"""What the place of one record in a relayed message weighs."""

RECORD_OCTETS = 250
"""What a record weighs without the octets of owner and rdata."""

STAMP_OCTETS = 200
"""What a stamp weighs that an entry depends on; more entries may share it."""

SECOND_CHANCES = 64
"""Entries that are spared in one search for room because they were asked for; the search must end."""

Key: TypeAlias = tuple[Hashable, ...]


def key_of(request: Request) -> Key:
    """What an entry for everybody is found by: name, type, class, DO and CD."""
    edns = request.edns
    do = edns is not None and edns.flags & DO != 0
    return (request.qname, request.qtype, request.qclass, do, request.flags & CD)


def key_for(request: Request, scope: Scope) -> Key:
    """What an entry of *scope* is found by: narrow ones hold only for who asks the same way again."""
    key = key_of(request)
    if scope is Scope.EVERYBODY:
        return key
    whom = (request.server.label, request.transport)
    return (*key, *whom) if scope is Scope.TRANSPORT else (*key, *whom, request.client)


class Entry(Struct, gc=False):
    """An answer in the cache."""

    answer: Answer
    """Without options, charges and turns; its records' own TTLs do not count any more."""

    stored: float
    """When, in seconds of the server's clock."""

    ttl: int
    """Whole seconds for which it was stored."""

    scope: Scope
    """For whom."""

    denial: bool
    """In which of the two stores."""

    wildcard: str | None = None
    """Metadata ``zone/wildcard`` that came with it."""

    hits: int = 0
    """For prefetching: hits without too long a gap."""

    last_hit: float = 0.0
    refreshing: bool = False
    retry_at: float = 0.0
    """No refresh before this."""

    asked: bool = False
    """Somebody asked for it since the store last looked for room."""

    size: int = 0
    """Octets of memory that it takes, about."""

    def __post_init__(self) -> None:
        self.size = weight(self.answer)

    @property
    def failure(self) -> bool:
        """Whether it says that the upstream could not, which is never served beyond its time."""
        return self.answer.rcode not in (NOERROR, NXDOMAIN)

    def left(self, now: float) -> int:
        """Whole seconds until it expires; zero and less once it has."""
        return self.ttl - int(now - self.stored)

    def servable(self, now: float, most_age: int) -> bool:
        """
        Whether it may be served at *now*, fresh or up to *most_age* seconds stale.

        What depends on data that changed since is never served, however young it is.
        """
        left = self.left(now)
        if left <= 0 and (self.failure or -left >= most_age):
            return False
        stamps = self.answer.validity.stamps
        return not stamps or stand(stamps)

    def hit(self, now: float, gap: float) -> None:
        """Count a hit; the count begins anew after *gap* seconds without one."""
        self.hits = self.hits + 1 if now - self.last_hit <= gap else 1
        self.last_hit = now


def stripped(answer: Answer) -> Answer:
    """What of an answer is kept: its records. An OPT belongs to one exchange (RFC 6891 section 6.2.1), and so do its options."""
    relayed = answer.relayed
    if answer.options is None and answer.denial is None and not (answer.ede or answer.charges or answer.turns):
        return answer  # what it holds for is read no more, but for the stamps
    if relayed is not None and relayed.opt is not None and relayed.opt.end == len(relayed.message):
        relayed = replace(relayed, message=relayed.message[: relayed.opt.start], opt=None)
    holds = Validity(stamps=answer.validity.stamps)
    return replace(answer, relayed=relayed, options=None, ede=(), validity=holds, charges=(), turns=())


def weight(answer: Answer) -> int:
    """Octets of memory that an entry with *answer* takes, about."""
    relayed = answer.relayed
    size = ENTRY_OCTETS
    if answer.validity.stamps:
        size += STAMP_OCTETS * len(answer.validity.stamps)
    if relayed is not None:
        return size + len(relayed.message) + RELAYED_RECORD_OCTETS * len(relayed.slots)
    for section in (answer.answer, answer.authority, answer.additional):
        for record in section:
            size += RECORD_OCTETS + len(record.owner) + len(record.rdata)
    return size


class Store:
    """
    Entries by key, as many as fit.

    When room is needed the oldest goes, unless somebody asked for it since it was last considered; then it is spared once.
    """

    def __init__(self, most: int, octets: int) -> None:
        self._most = most
        self._most_octets = octets
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._octets = 0
        self._narrow = 0

    def has(self, key: Key) -> bool:
        """Whether there may be an entry of *key*, of any scope."""
        return key in self._entries or self._narrow > 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def octets(self) -> int:
        """What the entries weigh."""
        return self._octets

    def find(self, key: Key, request: Request, now: float, most_age: int) -> Entry | None:
        """
        The entry that may be served for a request; one that died because its data changed is dropped.

        :param key: what :func:`key_of` says of the request.
        """
        entry = self._entries.get(key)
        if entry is not None:
            entry = self._servable(key, entry, now, most_age)
        if entry is None and self._narrow:
            for scope in (Scope.TRANSPORT, Scope.CLIENT):
                narrow = key_for(request, scope)
                entry = self._entries.get(narrow)
                if entry is not None:
                    entry = self._servable(narrow, entry, now, most_age)
                if entry is not None:
                    break
        return entry

    def _servable(self, key: Key, entry: Entry, now: float, most_age: int) -> Entry | None:
        if entry.servable(now, most_age):
            entry.asked = True
            return entry
        if not stand(entry.answer.validity.stamps):
            self.drop(key)
        return None

    def fits(self, entry: Entry) -> bool:
        """Whether there is room for the entry at all: one answer may take an eighth of the store."""
        return entry.size <= self._most_octets // 8

    def put(self, key: Key, entry: Entry) -> int:
        """
        Store an entry that fits, in place of the one with the same key.

        :return: how many others had to go.
        """
        entries = self._entries
        if key in entries:
            self.drop(key)
        evicted = 0
        while entries and (len(entries) >= self._most or self._octets + entry.size > self._most_octets):
            self._evict()
            evicted += 1
        entries[key] = entry
        self._octets += entry.size
        if entry.scope is not Scope.EVERYBODY:
            self._narrow += 1
        return evicted

    def drop(self, key: Key) -> bool:
        """Forget an entry; whether it was there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._forgotten(entry)
        return True

    def entries(self) -> list[tuple[Key, Entry]]:
        """All that are there now with their keys, served any more or not, for whoever looks through them in slices."""
        return list(self._entries.items())

    def clear(self, deferred_free: DeferredFree | None = None) -> None:
        """
        Forget all entries.

        :param deferred_free: lets go of them; None: at once.
        """
        entries, self._entries = self._entries, OrderedDict()
        self._octets = self._narrow = 0
        if deferred_free is not None:
            deferred_free.take(entries)

    def _evict(self) -> None:
        for _ in range(SECOND_CHANCES):
            key, entry = self._entries.popitem(last=False)
            if not entry.asked:
                self._forgotten(entry)
                return
            entry.asked = False
            self._entries[key] = entry
        _, entry = self._entries.popitem(last=False)
        self._forgotten(entry)

    def _forgotten(self, entry: Entry) -> None:
        self._octets -= entry.size
        if entry.scope is not Scope.EVERYBODY:
            self._narrow -= 1
