# -*- test-case-name: tests.plugins.cache.test_resolver -*-
"""The counters of *cache*; names and labels are those that dashboards for CoreDNS know."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

from kdns.core.metrics import Counter, Registry
from kdns.core.tally import Charge

LABELS = ("server", "zones", "view")
TYPED = ("server", "type", "zones", "view")


@dataclass(frozen=True, slots=True)
class Cells:
    """The counters of one cache for one listener; pairs are for success and denial."""

    requests: Counter
    misses: Counter
    drops: Counter
    prefetches: Counter
    hits: tuple[Counter, Counter]
    evictions: tuple[Counter, Counter]
    on_miss: tuple[Charge, ...]
    """What a repetition of a reply that was no hit charges."""

    on_hit: tuple[tuple[Charge, ...], tuple[Charge, ...]]
    on_stale: tuple[tuple[Charge, ...], tuple[Charge, ...]]
    served_stale: Counter


def cells(registry: Registry, server: str, zones: str, view: str, success: Sized, denial: Sized) -> Cells:
    """
    The counters for the listener *server*.

    :param zones: the zones of the cache, joined by commas.
    :param success: what the gauge of entries counts, as is *denial*.
    """
    plain = (server, zones, view)
    typed = ((server, "success", zones, view), (server, "denial", zones, view))

    def count(name: str, text: str) -> Counter:
        return registry.counter(f"coredns_cache_{name}_total", text, LABELS).counter(*plain)

    def count_both(name: str, text: str) -> tuple[Counter, Counter]:
        family = registry.counter(f"coredns_cache_{name}_total", text, TYPED)
        return family.counter(*typed[0]), family.counter(*typed[1])

    entries = registry.gauge("coredns_cache_entries", "Entries in the cache.", TYPED)
    entries.gauge(*typed[0], read=success.__len__)
    entries.gauge(*typed[1], read=denial.__len__)
    requests = count("requests", "Requests that the cache saw.")
    misses = count("misses", "Requests that the cache had no answer for.")
    served_stale = count("served_stale", "Replies from entries that had expired.")
    hits = count_both("hits", "Requests answered from the cache.")
    return Cells(
        requests,
        misses,
        count("drops", "Answers not kept because they were to another question."),
        count("prefetch", "Entries refreshed in the background."),
        hits,
        count_both("evictions", "Entries that made room for others."),
        (requests, misses),
        ((requests, hits[0]), (requests, hits[1])),
        ((requests, hits[0], served_stale), (requests, hits[1], served_stale)),
        served_stale,
    )
