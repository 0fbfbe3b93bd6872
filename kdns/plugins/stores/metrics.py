# -*- test-case-name: tests.plugins.stores.test_rest -*-
"""Metrics of a store: how much was read from it, and when it last answered."""

from __future__ import annotations

from kdns.core.metrics import Registry


class StoreMetrics:
    """
    The metrics of one store.

    :param plugin: its directive.
    :param store: its name: a path, a zone, an address.
    """

    def __init__(self, registry: Registry, plugin: str, store: str) -> None:
        entries = registry.gauge("kdns_store_records", "Records read from a store.", ["plugin", "store"], greatest=True)
        unreadable = registry.gauge(
            "kdns_store_unreadable_records",
            "Records of a store that cannot be read and are left out.",
            ["plugin", "store"],
            greatest=True,
        )
        last = registry.gauge(
            "kdns_store_last_success_timestamp_seconds",
            "Unix time at which a store last answered.",
            ["plugin", "store"],
            greatest=True,
        )
        failures = registry.counter(
            "kdns_store_failures_total", "Attempts to read or watch a store that failed.", ["plugin", "store"]
        )
        restarts = registry.counter(
            "kdns_store_watch_restarts_total", "Times that a watch of a store ended.", ["plugin", "store"]
        )
        self.entries = entries.gauge(plugin, store)
        self.unreadable = unreadable.gauge(plugin, store)
        self._last = last.gauge(plugin, store)
        self.failed = failures.counter(plugin, store)
        self.restarts = restarts.counter(plugin, store)

    def succeeded(self, now: float) -> None:
        """The store has answered, at *now* in Unix seconds."""
        self._last.set(int(now))
