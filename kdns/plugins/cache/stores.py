# -*- test-case-name: tests.plugins.cache.test_stores -*-
"""
The two stores of one cache with what is under way for them: what a new configuration takes over when nothing about its block changed.

Decides how the two stores stand to each other: what is newly learned about a name takes the place of what was known, in either store,
but a failure of the upstream never takes the place of an answer that can still be served.
"""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.defer import Deferred

from kdns.core.answer import Answer
from kdns.core.deferred_free import DeferredFree
from kdns.core.request import Request
from kdns.plugin.seam import Resource
from kdns.plugins.cache.config import CacheConfig
from kdns.plugins.cache.entries import Entry, Store, key_for, key_of


class Stored(NamedTuple):
    """What storing came to."""

    entry: Entry | None
    """The new entry; None when it was not stored."""

    evicted: int = 0


class CacheStores(Resource):
    """The entries of one cache."""

    def __init__(self, config: CacheConfig, deferred_free: DeferredFree | None = None) -> None:
        self._deferred_free = deferred_free
        self.success = Store(config.success.entries, config.success.octets)
        self.denial = Store(config.denial.entries, config.denial.octets)
        self._most_age = config.stale.most_age if config.stale is not None else 0
        self._under_way: set[Deferred[Answer]] = set()

    def find(self, request: Request, now: float) -> Entry | None:
        """The entry that may be served; denials are looked up first."""
        key = key_of(request)
        found = self.denial.find(key, request, now, self._most_age) if self.denial.has(key) else None
        return found if found is not None else self.success.find(key, request, now, self._most_age)

    def put(self, request: Request, entry: Entry) -> Stored:
        """Store a new entry, unless it does not fit or says less than what is there."""
        now = entry.stored
        if entry.failure:
            known = self.find(request, now)
            if known is not None and not known.failure:
                return Stored(None)
        store, other = (self.denial, self.success) if entry.denial else (self.success, self.denial)
        if not store.fits(entry):
            return Stored(None)
        key = key_for(request, entry.scope)
        if other.has(key):
            other.drop(key)
        return Stored(entry, store.put(key, entry))

    def watch(self, refresh: Deferred[Answer]) -> None:
        """Own a refresh in the background until it is done."""
        self._under_way.add(refresh)

        def done(result: Answer) -> Answer:
            self._under_way.discard(refresh)
            return result

        refresh.addBoth(done)

    def stop(self) -> None:
        """Cancel what is under way, nobody waits for it; and let go of the entries, which a gauge may outlive."""
        for refresh in list(self._under_way):
            refresh.cancel()
        self.success.clear(self._deferred_free)
        self.denial.clear(self._deferred_free)
