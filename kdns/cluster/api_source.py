# -*- test-case-name: tests.cluster.test_api_source -*-
"""
The Kubernetes API as a source: one watch for each resource that the configuration needs, through one client.

::

    source = ApiSource(reactor, ChangeSink(index, reactor, time), credentials, Needs(pods=True), registry=registry)
    source.start()
    await source.when_synced()
    ...
    await source.stop()
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from kdns.cluster.api import ApiClient
from kdns.cluster.credentials import Credentials
from kdns.cluster.freshness import Freshness, FreshnessMetrics, grouped
from kdns.cluster.pacing import Limiter
from kdns.cluster.projection import Options, Projector
from kdns.cluster.reflector import Reflector, WatchContext
from kdns.cluster.resources import Needs, watched_for
from kdns.cluster.source import ChangeSink, SyncWaiters
from kdns.core.degraded import DegradedStates
from kdns.core.metrics import Registry


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on requests to the API server; 0 means the default."""

    qps: float = 0.0
    burst: int = 0
    max_inflight: int = 0


class ApiSource:
    """
    A :class:`~kdns.cluster.source.ClusterSource` that watches the API.

    :param sink: takes the changes.
    :param options: the optional fields to keep.
    :param degraded: where watches that fail are listed.
    """

    def __init__(
        self,
        reactor: Any,
        sink: ChangeSink,
        credentials: Credentials,
        needs: Needs,
        options: Options | None = None,
        *,
        registry: Registry | None = None,
        limits: Limits = Limits(),
        chance: Random | None = None,
        degraded: DegradedStates | None = None,
    ) -> None:
        registry = Registry() if registry is None else registry
        limiter = Limiter(reactor, limits.qps, limits.burst, limits.max_inflight)
        self.index = sink.index
        self._sink = sink
        self._reactor = reactor
        self._api = ApiClient(reactor, credentials, limiter, registry)
        context = WatchContext(
            self._api,
            Projector(options),
            sink,
            reactor,
            SystemRandom() if chance is None else chance,
            FreshnessMetrics(registry, reactor.seconds),
            DegradedStates() if degraded is None else degraded,
        )
        self._reflectors = [Reflector(watched, context, self._a_watch_synced) for watched in watched_for(needs)]
        self._synced = False
        self._waiters = SyncWaiters()

    @property
    def freshness(self) -> dict[str, Freshness]:
        """The state of each watch by its resource (plural)."""
        return {reflector.watched.plural: reflector.freshness for reflector in self._reflectors}

    @property
    def synced(self) -> bool:
        """Whether the whole state of every resource has been entered once."""
        return self._synced

    def start(self) -> None:
        for reflector in self._reflectors:
            reflector.start()

    def stop(self) -> Deferred[None]:
        """End all watches and cancel the Deferreds of :meth:`when_synced`; fires when nothing is left in the reactor."""
        stopping: list[Deferred[Any]] = [reflector.stop() for reflector in self._reflectors]
        self._sink.stop()
        self._waiters.cancel()
        stopping.append(self._api.stop())
        return DeferredList(stopping).addCallback(lambda _: None)

    def when_synced(self) -> Deferred[None]:
        """Fires when everything is entered, at once if it is already; each caller may cancel its own Deferred."""
        return self._waiters.wait(self.synced)

    def why_not_ready(self) -> str:
        """Which resources are not complete, and why; empty when all are."""
        return grouped((name, watch.why_not_ready()) for name, watch in self.freshness.items())

    def resync(self, reason: str = "asked") -> None:
        """List everything again; the stored objects serve meanwhile."""
        for reflector in self._reflectors:
            reflector.resync(reason)

    def _a_watch_synced(self) -> None:
        self._synced = all(reflector.freshness.synced for reflector in self._reflectors)
        if self._synced:
            self._waiters.fire()
