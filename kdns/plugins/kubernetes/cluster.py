# -*- test-case-name: tests.plugins.kubernetes.test_cluster -*-
"""
The cluster as a resource of the service: one index, the source that keeps it current, and the programming latency.

A start waits for the first sync, up to a timeout. After the timeout kdns answers from what it has; names that are not known yet are
SERVFAIL, not NXDOMAIN. A snapshot is served at once, marked as stale until the first sync.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, execute, succeed
from twisted.logger import Logger

from kdns.cluster.api_source import ApiSource, Limits
from kdns.cluster.credentials import AccessOptions
from kdns.cluster.freshness import Freshness
from kdns.cluster.index import ClusterIndex
from kdns.cluster.kubeconfig import find_credentials
from kdns.cluster.manifests import ManifestSource, Selection
from kdns.cluster.objects import Change, Delete, EndpointSlice, Keep, Kind, ServiceKind, Upsert
from kdns.cluster.projection import Options
from kdns.cluster.resources import Needs
from kdns.cluster.selectors import parse as parse_selector
from kdns.cluster.source import ChangeSink, ClusterSource
from kdns.cluster.threads import in_thread
from kdns.core.degraded import Fault
from kdns.core.metrics import Registry
from kdns.core.stamps import Stamp, StampRef
from kdns.plugin.capabilities import FeedsWorkers
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.kubernetes.config import Source
from kdns.plugins.kubernetes.snapshots import SnapshotFile

BUCKETS = tuple(0.001 * 2**n for n in range(20))
"""Seconds."""

_KINDS = {ServiceKind.CLUSTER_IP: "cluster_ip", ServiceKind.HEADLESS: "headless_with_selector"}


class ProgrammingLatency:
    """
    Observes changes of slices that say when they were triggered, deletions too.

    What was triggered before the start is left out: it would measure how long kdns was not there. So is a deletion that the index holds
    back for its grace.
    """

    def __init__(self, registry: Registry, index: ClusterIndex, wall: Callable[[], float]) -> None:
        self._metric = registry.histogram(
            "coredns_kubernetes_dns_programming_duration_seconds",
            "Seconds from the time a slice says its change was triggered to the time it was answered from.",
            BUCKETS,
            ["service_kind"],
        )
        self._index = index
        self._wall = wall
        self._since = wall()

    def __call__(self, change: Change, changed: bool) -> None:
        if not changed or isinstance(change, Keep) or change.kind is not Kind.ENDPOINT_SLICE:
            return
        if change.triggered is None or change.triggered < self._since:
            return
        name = change.service if isinstance(change, Delete) else _service_of(change)
        service = self._index.service(change.namespace, name) if name is not None else None
        label = _KINDS.get(service.kind) if service is not None else None
        if label is not None:
            self._metric.histogram(label).observe(max(0.0, self._wall() - change.triggered))


def _service_of(change: Upsert) -> bytes | None:
    return change.item.service if isinstance(change.item, EndpointSlice) else None


log = Logger(namespace="plugin/kubernetes")

DATA = "cluster data"
"""The name of the degraded state before the first sync."""

WAIT_NOTICE = 0.5
"""Seconds between two lines that say that the start still waits."""


class LiveCluster(Resource, FeedsWorkers):
    """
    The index of one source, shared by all blocks that read it.

    :raises kdns.cluster.credentials.CredentialsError: from the constructor, when there is no way to the API.
    """

    at_parent = True

    def __init__(self, context: ServerContext, source: Source, startup_timeout: float) -> None:
        self.index = ClusterIndex()
        self._context = context
        self._timeout = startup_timeout
        self._manifests = source.manifests
        self.followed_as = repr(source)
        sink = self.sink = ChangeSink(self.index, context.reactor, context.wall)
        sink.listen(ProgrammingLatency(context.registry, self.index, context.wall))
        self._source = source_for(context, source, sink)
        self._snapshot: SnapshotFile | None = None
        if source.snapshot:
            self._snapshot = SnapshotFile(
                context,
                source.snapshot,
                sink,
                projection_options(source),
                partial(run_blocking, context),
                lambda: self.synced,
            )
        self._fresh = Stamp()
        self._degraded = context.degraded.condition(Fault.CLUSTER_DATA, DATA)
        self._timers: list[Any] = []
        self._waiting: Deferred[None] | None = None
        self._syncing: Deferred[None] | None = None

    @property
    def synced(self) -> bool:
        """Whether the index is complete, so that a missing object does not exist."""
        return self._source.synced or (self._snapshot is not None and self._snapshot.written is not None)

    def staleness(self) -> tuple[str, StampRef] | None:
        """
        While answers come from a snapshot: how old it is, in words, and a stamp that moves when they do no longer.

        None as soon as the source has been seen whole.
        """
        if self._snapshot is None or self._snapshot.written is None or self._source.synced:
            return None
        age = max(0, int(self._context.wall() - self._snapshot.written))
        return f"from a snapshot {age} s old", self._fresh.ref()

    def pods_are_current(self) -> bool:
        """Whether pod changes arrive as they happen: the watch works, or the cluster comes from files."""
        watch = getattr(self._source, "freshness", {}).get("pods")
        return watch is None or (watch.synced and not watch.problem)

    def freshness(self) -> list[str]:
        """The age of each part of the data, in words."""
        counts = ", ".join(f"{count} {kind.value}" for kind, count in self.index.counts().items() if count)
        lines = [f"{counts or 'nothing'} known, {'synced' if self.synced else 'not synced'}"]
        now = self._context.reactor.seconds()
        for resource, watch in getattr(self._source, "freshness", {}).items():
            heard, synced = watch.event_age(now), watch.sync_age(now)
            lines.append(
                f"{resource}: {'never heard of' if heard is None else f'heard of {heard:.0f} s ago'},"
                f" {'never synced' if synced is None else f'synced {synced:.0f} s ago'}; {watch.state.value}"
                f"{'; ' if watch.problem else ''}{watch.problem}"
            )
        if self._manifests:
            lines.append(f"read from manifests: {', '.join(self._manifests)}; looked at every few seconds")
        return lines

    def cluster_state(self) -> dict[str, Any]:
        """See :class:`kdns.plugin.capabilities.FeedsWorkers`."""
        written = self._snapshot.written if self._snapshot is not None and not self._source.synced else None
        return {
            "synced": self.synced,
            "from_snapshot": written,
            "why": self.why_not_ready(),
            "pods_are_current": self.pods_are_current(),
            "freshness": self.freshness(),
        }

    def why_not_ready(self) -> str:
        """What is missing, in words."""
        return self._source.why_not_ready()

    def watches(self) -> list[Freshness]:
        """The state of each API watch; none for a cluster from files."""
        watches: dict[str, Freshness] = getattr(self._source, "freshness", {})
        return list(watches.values())

    def start(self) -> Deferred[None]:
        """Begin to read the cluster; fires at the first sync, with a snapshot, or at the timeout."""
        if self._snapshot is not None:
            self._snapshot.read()
            self._snapshot.start()
            if self.synced:
                self._begin_degraded("from a snapshot, until the first sync")
        self._source.start()
        self._syncing = self._source.when_synced()
        self._syncing.addCallbacks(self._came_in_sync, lambda _: None)
        if self.synced:
            return succeed(None)
        self._waiting = Deferred(lambda _: self._stop_waiting())
        reactor = self._context.reactor
        self._timers = [
            reactor.callLater(self._timeout, self._give_up),
            reactor.callLater(WAIT_NOTICE, self._notice),
        ]
        return self._waiting

    def _begin_degraded(self, text: str) -> None:
        self._degraded.begin(text, self._context.wall())

    def _came_in_sync(self, _: None) -> None:
        self._syncing = None
        self._degraded.end(self._context.wall(), log)
        self._fresh.bump()
        self._go_on()

    def _notice(self) -> None:
        log.info("waiting for Kubernetes API before starting server")
        self._timers[1] = self._context.reactor.callLater(WAIT_NOTICE, self._notice)

    def _give_up(self) -> None:
        log.warn("starting server with unsynced Kubernetes API")
        self._begin_degraded("incomplete: names that are not known yet are answered with SERVFAIL")
        self._go_on()

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, None
        self._stop_waiting()
        if waiting is not None:
            waiting.callback(None)

    def _stop_waiting(self) -> None:
        self._waiting = None
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._timers = []

    def stop(self) -> Deferred[None]:
        self._stop_waiting()
        self._degraded.forget()
        if self._syncing is not None:
            self._syncing.cancel()
        if self._snapshot is not None:
            self._snapshot.stop()
        return self._source.stop()


def source_for(context: ServerContext, source: Source, sink: ChangeSink) -> ClusterSource:
    """
    The source that a configuration names.

    :raises kdns.cluster.credentials.CredentialsError: it names none that could be reached.
    """
    options = projection_options(source)
    if source.manifests:
        selection = Selection(parse_selector(source.labels), parse_selector(source.namespace_labels))
        return ManifestSource(
            context.reactor,
            sink,
            source.manifests,
            partial(run_blocking, context),
            needs_of(source),
            options,
            selection,
            context.degraded,
        )
    wanted = AccessOptions(source.endpoint, source.tls, source.kubeconfig, source.context)
    credentials = find_credentials(context.reactor, wanted, context.environ, complain=_complain, wall=context.wall)
    return ApiSource(
        context.reactor,
        sink,
        credentials,
        needs_of(source),
        options,
        registry=context.registry,
        limits=Limits(source.qps, source.burst, source.max_inflight),
        chance=context.random,
        degraded=context.degraded,
    )


def _complain(text: str) -> None:
    log.warn("{text}", text=text)


def needs_of(source: Source) -> Needs:
    """The resources that a configuration needs."""
    return Needs(source.labels, source.namespace_labels, source.endpoints, source.pods, source.multicluster)


def projection_options(source: Source) -> Options:
    """The optional fields that a configuration needs."""
    return Options(
        endpoint_pod_names=source.pod_names,
        zonal=source.zones,
        multicluster=source.multicluster,
        pod_labels=source.pod_labels,
    )


def run_blocking(context: ServerContext, work: Callable[[], Any]) -> Deferred[Any]:
    """Run blocking work in a thread; at once where the network is in memory and there are no threads."""
    return in_thread(context.reactor, work) if context.kernel_sockets else execute(work)
