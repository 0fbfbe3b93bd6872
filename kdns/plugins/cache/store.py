# -*- test-case-name: tests.plugins.cache.test_store -*-
"""
The entries of one cache: one store with two budgets, one for answers and one for denials, so that a flood of names that do not exist
drives out no answer.

What is newly learned about a name replaces what was known, whichever budget it counts against; but a failure of the upstream never
replaces an answer that can still be served. A new configuration takes the store over if nothing about its block changed.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct
from twisted.internet.defer import Deferred

from kdns.core.answer import Answer
from kdns.core.deferred_free import DeferredFree
from kdns.core.stamps import stand
from kdns.plugin.seam import Resource
from kdns.plugins.cache.config import CacheConfig, Limits
from kdns.plugins.cache.entries import Entry, Key

SECOND_CHANCES = 64
"""Entries spared in one search for room because they were asked for; the search must end."""


class Stored(Struct, frozen=True, gc=False):
    """The outcome of storing."""

    entry: Entry | None
    """The new entry; None when it was not stored."""

    evicted: int = 0


class Budget:
    """
    The entries that count against one limit.

    When there is no room the oldest entry is evicted, unless it was asked for since it was last considered; then it is spared once.
    """

    def __init__(self, limits: Limits) -> None:
        self._most = limits.entries
        self._most_octets = limits.octets
        self.entries: OrderedDict[Key, Entry] = OrderedDict()
        self.octets = 0
        """What the entries weigh."""

    def __len__(self) -> int:
        return len(self.entries)

    def fits(self, entry: Entry) -> bool:
        """Whether there is room for the entry at all: one answer may take an eighth of the budget."""
        return entry.size <= self._most_octets // 8

    def put(self, key: Key, entry: Entry) -> int:
        """
        Store an entry that fits, in place of the one with the same key.

        :return: how many others were evicted.
        """
        self.drop(key)
        evicted = 0
        entries = self.entries
        while entries and (len(entries) >= self._most or self.octets + entry.size > self._most_octets):
            self._evict()
            evicted += 1
        entries[key] = entry
        self.octets += entry.size
        return evicted

    def drop(self, key: Key) -> bool:
        """Forget an entry; whether it was there."""
        entry = self.entries.pop(key, None)
        if entry is None:
            return False
        self.octets -= entry.size
        return True

    def clear(self, deferred_free: DeferredFree | None = None) -> None:
        """
        Forget all entries.

        :param deferred_free: frees them in slices; None: at once.
        """
        entries, self.entries = self.entries, OrderedDict()
        self.octets = 0
        if deferred_free is not None:
            deferred_free.take(entries)

    def _evict(self) -> None:
        entries = self.entries
        key, entry = entries.popitem(last=False)
        for _ in range(SECOND_CHANCES):
            if not entry.asked:
                break
            entry.asked = False
            entries[key] = entry
            key, entry = entries.popitem(last=False)
        self.octets -= entry.size


class CacheStore(Resource):
    """The entries of one cache, and the refreshes in flight for them."""

    def __init__(self, config: CacheConfig, deferred_free: DeferredFree | None = None) -> None:
        self._deferred_free = deferred_free
        self.success = Budget(config.success)
        self.denial = Budget(config.denial)
        self._most_age = config.stale.most_age if config.stale is not None else 0
        self._in_flight: set[Deferred[Answer]] = set()

    def find(self, key: Key, now: float) -> Entry | None:
        """The entry that may be served; one that died because its data changed is dropped."""
        for budget in (self.denial, self.success):
            entry = budget.entries.get(key)
            if entry is None:
                continue
            if entry.servable(now, self._most_age):
                entry.asked = True
                return entry
            if not stand(entry.answer.validity.stamps):
                budget.drop(key)
        return None

    def put(self, key: Key, entry: Entry) -> Stored:
        """Store a new entry, unless it does not fit or says less than what is there."""
        if entry.failure:
            known = self.find(key, entry.stored)
            if known is not None and not known.failure:
                return Stored(None)
        budget, other = (self.denial, self.success) if entry.denial else (self.success, self.denial)
        if not budget.fits(entry):
            return Stored(None)
        other.drop(key)
        return Stored(entry, budget.put(key, entry))

    def watch(self, refresh: Deferred[Answer]) -> None:
        """Own a refresh in the background until it is done."""
        self._in_flight.add(refresh)

        def done(result: Answer) -> Answer:
            self._in_flight.discard(refresh)
            return result

        refresh.addBoth(done)

    def stop(self) -> None:
        """Cancel the refreshes in flight, and free the entries, which a gauge may outlive."""
        for refresh in list(self._in_flight):
            refresh.cancel()
        self.success.clear(self._deferred_free)
        self.denial.clear(self._deferred_free)
