# -*- test-case-name: tests.plugins.kubernetes.test_cluster -*-
"""
The cluster as a resource of the service: one index, and the source that keeps it up to date.

A start waits for the first sync, but not for ever: after the time-out the server answers what it can, and what it does not know yet is
SERVFAIL, not NXDOMAIN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from kdns.cluster.follow import Follower
from kdns.cluster.index import ClusterIndex
from kdns.cluster.manifests import Selection
from kdns.cluster.projection import Options
from kdns.cluster.selectors import parse as parse_selector
from kdns.plugins.kubernetes.config import Source
from kdns.plugins.seam import House, Resource

log = Logger(namespace="plugin/kubernetes")

WAIT_STEP = 0.1
"""Seconds between two looks whether everything is synced."""

WAIT_NOTICE = 0.5
"""Seconds between two lines that say that the start still waits."""

GRACE_STEP = 0.1
"""Seconds between two looks for slices whose grace is over."""


class ClusterSource(Protocol):
    """Something that keeps an index up to date."""

    @property
    def synced(self) -> bool:
        """Whether everything was seen whole at least once."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> Deferred[None] | None:
        """End, and leave nothing behind."""

    def why_not_ready(self) -> str:
        """What is still missing; empty when nothing is."""


class ManifestSource:
    """A folder of YAML in place of the API."""

    def __init__(self, house: House, source: Source, index: ClusterIndex) -> None:
        selection = Selection(
            parse_selector(source.labels),
            parse_selector(source.namespace_labels),
        )
        self._source = source
        self._follower = Follower(
            source.manifests, index, house.reactor, partial(_aside, house), projection_options(source), selection
        )

    @property
    def synced(self) -> bool:
        """Whether the files were entered once."""
        return self._follower.synced

    def start(self) -> None:
        """Read the files and follow them."""
        self._follower.startService()

    def stop(self) -> Deferred[None] | None:
        """Follow them no more."""
        return self._follower.stopService()

    def why_not_ready(self) -> str:
        """Which files are still being read."""
        return "" if self.synced else f"reading manifests: {', '.join(self._source.manifests)}"


def _aside(house: House, work: Callable[[], Any]) -> Deferred[Any]:
    """Run what blocks in a thread; on a reactor without threads, here and now."""
    if not house.kernel_sockets:
        from twisted.internet.defer import execute

        return execute(work)
    return deferToThreadPool(house.reactor, house.reactor.getThreadPool(), work)


def projection_options(source: Source) -> Options:
    """What is kept of objects for a configuration."""
    return Options(
        endpoint_pod_names=source.pod_names,
        zonal=source.zones,
        multicluster=source.multicluster,
        pod_labels=source.pod_labels,
    )


class LiveCluster(Resource):
    """The index of one source, shared by all blocks that read it."""

    def __init__(self, house: House, source: Source, startup_timeout: float) -> None:
        self.index = ClusterIndex()
        self._house = house
        self._source = source_for(house, source, self.index)
        self._timeout = startup_timeout
        self._waiting: Deferred[None] | None = None
        self._wait_timer: Any = None
        self._grace_timer: Any = None

    @property
    def synced(self) -> bool:
        """Whether everything that is watched has been seen whole."""
        return self._source.synced

    def why_not_ready(self) -> str:
        """What is still missing, in words."""
        return self._source.why_not_ready()

    def start(self) -> Deferred[None]:
        """Begin to read the cluster; fires when it is synced or the time-out is over."""
        self._source.start()
        self._tend()
        self._waiting = Deferred(lambda _: self._stop_waiting())
        reactor = self._house.reactor
        self._wait(reactor.seconds() + self._timeout, reactor.seconds())
        return self._waiting

    def _wait(self, until: float, notice: float) -> None:
        reactor = self._house.reactor
        now = reactor.seconds()
        self._wait_timer = None
        if self.synced or now >= until:
            if not self.synced:
                log.warn("starting server with unsynced Kubernetes API")
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting.callback(None)
            return
        if now - notice >= WAIT_NOTICE:
            notice = now
            log.info("waiting for Kubernetes API before starting server")
        self._wait_timer = reactor.callLater(min(WAIT_STEP, until - now), self._wait, until, notice)

    def _stop_waiting(self) -> None:
        if self._wait_timer is not None:
            self._wait_timer.cancel()
            self._wait_timer = None
        self._waiting = None

    def _tend(self) -> None:
        """Let go of slices that were held while their replacement was awaited."""
        deadline = self.index.next_deadline()
        now = self._house.reactor.seconds()
        if deadline is not None and deadline <= now:
            self.index.expire(now)
        self._grace_timer = self._house.reactor.callLater(GRACE_STEP, self._tend)

    def stop(self) -> Deferred[None] | None:
        """Read no more."""
        self._stop_waiting()
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None
        return self._source.stop()


def source_for(house: House, source: Source, index: ClusterIndex) -> ClusterSource:
    """The source that a configuration names."""
    if source.manifests:
        return ManifestSource(house, source, index)
    raise AssertionError("API source")
