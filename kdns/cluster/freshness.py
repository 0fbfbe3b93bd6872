# -*- test-case-name: tests.cluster.test_freshness -*-
"""The age of the data of one watch, and its failures: values, and metrics made from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from kdns.cluster.watch_states import State
from kdns.core.metrics import Gauge, Registry


@dataclass(slots=True)
class Freshness:
    resource: str
    """Plural."""
    state: State = State.STOPPED
    last_event: float | None = None
    """When the server said something last: an event, a bookmark, or a page of a list."""
    last_sync: float | None = None
    """When the whole state was entered last."""
    last_check: float | None = None
    """When the whole state was compared last without finding anything amiss."""
    entered: int = 0
    """Objects of the list that is being entered."""
    relists: Counter[str] = field(default_factory=Counter)
    """How often the whole state was asked for, by reason."""
    errors: Counter[str] = field(default_factory=Counter)
    """Requests and streams that failed, by cause."""
    bad_objects: int = 0
    """Objects and lines that could not be read."""
    drift_repaired: int = 0
    """Objects that were not what the server said, though no event had been missed as far as anybody could tell."""
    problem: str = ""
    """What failed last, while nothing has worked since."""

    @property
    def synced(self) -> bool:
        """Whether the whole state was entered once."""
        return self.last_sync is not None

    def event_age(self, now: float) -> float | None:
        """Seconds since the last message of the server; None: there was none."""
        return None if self.last_event is None else max(0.0, now - self.last_event)

    def sync_age(self, now: float) -> float | None:
        """Seconds since the whole state was entered; None: never."""
        return None if self.last_sync is None else max(0.0, now - self.last_sync)

    def why_not_ready(self) -> str:
        """Why the whole state is not known yet; empty when it is."""
        if self.synced:
            return ""
        if self.problem:
            return self.problem
        return f"{self.entered} objects so far" if self.entered else "no answer of the API server yet"


class FreshnessMetrics:
    """The metrics of all watches of a process."""

    def __init__(self, registry: Registry, now: Callable[[], float]) -> None:
        self._now = now
        self._event_age = registry.gauge(
            "kdns_kubernetes_last_event_age_seconds",
            "Seconds since the API server last said something about a resource, bookmarks included; +Inf: it never did.",
            ("resource",),
        )
        self._sync_age = registry.gauge(
            "kdns_kubernetes_last_sync_age_seconds",
            "Seconds since the whole state of a resource was last entered; +Inf: it never was.",
            ("resource",),
        )
        self._synced = registry.gauge(
            "kdns_kubernetes_synced", "1 when the whole state of a resource was entered once, else 0.", ("resource",)
        )
        self.relists = registry.counter(
            "kdns_kubernetes_relists_total",
            "How often the whole state of a resource was asked for, by reason.",
            ("resource", "reason"),
        )
        self.errors = registry.counter(
            "kdns_kubernetes_watch_errors_total",
            "Lists and watches that failed, by resource and cause.",
            ("resource", "cause"),
        )
        self.bad_objects = registry.counter(
            "kdns_kubernetes_bad_objects_total",
            "Objects and lines of the API that could not be read; what was known of them was kept.",
            ("resource",),
        )
        self.frozen = registry.counter(
            "kdns_kubernetes_frozen_watches_total",
            "Watches whose connection stayed open and passed nothing, by resource and proof.",
            ("resource", "proof"),
        )
        self.drift_repaired = registry.counter(
            "kdns_kubernetes_drift_repaired_total",
            "Objects that the periodic comparison with the API server found to differ and put right.",
            ("resource",),
        )
        self._gauges: dict[str, tuple[Gauge, ...]] = {}

    def show(self, watch: Freshness) -> None:
        """Make the cells of a watch; from now on its gauges read it."""
        resource = watch.resource
        event_age = self._event_age.gauge(resource, read=lambda: _or_never(watch.event_age(self._now())))
        sync_age = self._sync_age.gauge(resource, read=lambda: _or_never(watch.sync_age(self._now())))
        synced = self._synced.gauge(resource, read=lambda: float(watch.synced))
        self._gauges[resource] = (event_age, sync_age, synced)
        self.bad_objects.counter(resource)
        self.drift_repaired.counter(resource)

    def hide(self, watch: Freshness) -> None:
        families = (self._event_age, self._sync_age, self._synced)
        for family, gauge in zip(families, self._gauges.pop(watch.resource, ()), strict=False):
            # Another configuration may watch the same resource by now, with the same cell or another.
            if family.cells.get((watch.resource,)) is gauge:
                family.forget(watch.resource)


def _or_never(age: float | None) -> float:
    # An alert on an age that is too great must fire when there is none.
    return inf if age is None else age


def grouped(reasons: Iterable[tuple[str, str]]) -> str:
    """Pairs of resource and reason as one text, each reason once; resources without a reason are left out."""
    resources: dict[str, list[str]] = {}
    for resource, reason in reasons:
        if reason:
            resources.setdefault(reason, []).append(resource)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in resources.items())


class Complaints:
    """Rate limit for log lines: a repeated complaint is logged once in an interval, with the number of repetitions."""

    INTERVAL = 60.0
    """Seconds."""

    def __init__(self) -> None:
        self._text = ""
        self._said_at = 0.0
        self._unsaid = 0

    def hear(self, text: str, now: float) -> str:
        """The line to log; empty: none now."""
        if text == self._text and now - self._said_at < self.INTERVAL:
            self._unsaid += 1
            return ""
        unsaid, self._unsaid = self._unsaid, 0
        again = f" ({unsaid} times more since)" if unsaid and text == self._text else ""
        self._text, self._said_at = text, now
        return text + again

    def forget(self) -> None:
        """The trouble is over: the next complaint is a new one."""
        self._text, self._unsaid = "", 0
