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
from kdns.cluster.change_sink import ChangeSink
from kdns.cluster.credentials import Credentials
from kdns.cluster.freshness import Freshness, FreshnessMetrics, grouped
from kdns.cluster.limiter import Limiter
from kdns.cluster.projection import Options, Projector
from kdns.cluster.reflector import Reflector, Surroundings
from kdns.cluster.source import SyncWaiters
from kdns.cluster.watched import Needs, watched_for
from kdns.core.degraded import DegradedStates
from kdns.core.metrics import Registry


@dataclass(frozen=True, slots=True)
class Limits:
    """How many requests the API server gets; 0 is the default of each."""

    qps: float = 0.0
    burst: int = 0
    max_inflight: int = 0


class ApiSource:
    """
    A :class:`~kdns.cluster.source.ClusterSource` that watches the API.

    :param sink: takes the changes.
    :param options: what is kept of the objects.
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
        around = Surroundings(
            self._api,
            Projector(options),
            sink,
            reactor,
            SystemRandom() if chance is None else chance,
            FreshnessMetrics(registry, reactor.seconds),
            DegradedStates() if degraded is None else degraded,
        )
        self._reflectors = [Reflector(watched, around, self._a_watch_synced) for watched in watched_for(needs)]
        self._synced = False
        self._waiters = SyncWaiters()

    @property
    def freshness(self) -> dict[str, Freshness]:
        """How each watch is doing, by its resource (plural)."""
        return {reflector.watched.plural: reflector.freshness for reflector in self._reflectors}

    @property
    def synced(self) -> bool:
        """Whether the whole state of every resource has been entered once."""
        return self._synced

    def start(self) -> None:
        """Begin all watches."""
        for reflector in self._reflectors:
            reflector.start()

    def stop(self) -> Deferred[None]:
        """End all watches; fires when nothing is left in the reactor. Who waits for :meth:`when_synced` is let go by cancelling."""
        stopping: list[Deferred[Any]] = [reflector.stop() for reflector in self._reflectors]
        self._sink.stop()
        self._waiters.cancel()
        stopping.append(self._api.stop())
        return DeferredList(stopping).addCallback(lambda _: None)

    def when_synced(self) -> Deferred[None]:
        """Fires when everything is entered; at once when it is. Each caller may cancel its own."""
        return self._waiters.wait(self.synced)

    def why_not_ready(self) -> str:
        """Why not everything is known, with the resources it concerns; empty when everything is."""
        return grouped((name, watch.why_not_ready()) for name, watch in self.freshness.items())

    def resync(self, reason: str = "asked") -> None:
        """Ask for the whole state of everything again; what is stored serves meanwhile."""
        for reflector in self._reflectors:
            reflector.resync(reason)

    def _a_watch_synced(self) -> None:
        self._synced = all(reflector.freshness.synced for reflector in self._reflectors)
        if self._synced:
            self._waiters.fire()
