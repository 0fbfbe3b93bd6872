# -*- test-case-name: tests.cluster.test_manifest_source -*-
"""
A folder of manifests as a source: what :mod:`kdns.cluster.manifest_watcher` reads, as the API would show it to this configuration.

The API lists only what a configuration watches, so the rest is left out here. And a namespace that something is in exists: manifests of
services alone, as ``kubectl get services -o yaml`` prints them, are enough to answer from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from time import time
from typing import Any

from twisted.internet.defer import Deferred, succeed

from kdns.cluster.changes import Upsert
from kdns.cluster.index import ClusterIndex
from kdns.cluster.manifest_watcher import Follower, Reading
from kdns.cluster.manifests import Selection
from kdns.cluster.objects import EndpointSlice, Kind, Namespace
from kdns.cluster.projection import Options
from kdns.cluster.source import SyncWaiters
from kdns.cluster.timing import stop_timer
from kdns.cluster.watched import Needs

STEP = 0.1
"""Seconds between two looks at what the index holds back, and at whether all is read."""

Aside = Callable[[Callable[[], Reading]], Deferred[Reading]]


class ManifestSource:
    """
    A :class:`~kdns.cluster.source.ClusterSource` that follows files.

    :param aside: runs a function that blocks and returns a Deferred with its result.
    :param wall: Unix seconds, for the serials and for what the index holds back.
    """

    def __init__(
        self,
        reactor: Any,
        index: ClusterIndex,
        paths: Sequence[str],
        aside: Aside,
        needs: Needs,
        options: Options | None = None,
        selection: Selection | None = None,
        wall: Callable[[], float] = time,
    ) -> None:
        self._reactor = reactor
        self._index = index
        self._paths = tuple(paths)
        self._needs = needs
        self._imply = not needs.namespace_labels
        self._aside = aside
        self._follower = Follower(paths, index, reactor, self._read, options, selection, wall=wall)
        self._wall = wall
        self._waiters = SyncWaiters()
        self._timer: Any = None

    @property
    def synced(self) -> bool:
        """Whether the files were entered once."""
        return self._follower.synced

    def start(self) -> None:
        """Read the files, and follow them from then on."""
        self._follower.startService()
        self._tend()

    def stop(self) -> Deferred[None]:
        """Follow them no more."""
        stop_timer(self._timer)
        self._timer = None
        self._waiters.cancel()
        return self._follower.stopService() or succeed(None)

    def when_synced(self) -> Deferred[None]:
        """Fires when the files were entered; each caller may cancel its own."""
        return self._waiters.wait(self.synced)

    def why_not_ready(self) -> str:
        """Which files are still being read."""
        return "" if self.synced else f"manifests: reading {', '.join(self._paths)}"

    def _tend(self) -> None:
        now = self._wall()
        deadline = self._index.next_deadline()
        if deadline is not None and deadline <= now:
            self._index.expire(now)
        if self.synced:
            self._waiters.fire()
        self._timer = self._reactor.callLater(STEP, self._tend)

    def _read(self, read: Callable[[], Reading]) -> Deferred[Reading]:
        return self._aside(read).addCallback(self._watched)

    def _watched(self, reading: Reading) -> Reading:
        changes = tuple(change for change in reading.manifests.changes if self._wanted(change))
        if self._imply:
            changes += tuple(_implied(changes))
        return replace(reading, manifests=replace(reading.manifests, changes=changes))

    def _wanted(self, change: Upsert) -> bool:
        if change.kind is Kind.POD:
            return self._needs.pods
        if change.kind is Kind.SERVICE_IMPORT:
            return self._needs.multicluster
        if isinstance(change.item, EndpointSlice) and not self._needs.endpoints:
            return self._needs.multicluster and change.item.imported is not None
        return True


def _implied(changes: Iterable[Upsert]) -> list[Upsert]:
    """The namespaces that objects are in and that no manifest names."""
    named = {change.name for change in changes if change.kind is Kind.NAMESPACE}
    used = dict.fromkeys(change.namespace for change in changes if change.namespace)
    return [Upsert(Namespace(namespace)) for namespace in used if namespace not in named]
