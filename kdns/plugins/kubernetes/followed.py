# -*- test-case-name: tests.workers.test_supervisor -*-
"""
The cluster as a worker process has it: an index of its own, filled by the parent process, which alone watches the API.

Whether the data is complete and up to date is the parent's word; until the parent has spoken nothing is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed

from kdns.cluster.freshness import Freshness
from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Change
from kdns.cluster.source import ChangeSink
from kdns.core.stamps import Stamp, StampRef
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.kubernetes.config import Source

SILENT = 3.0
"""Seconds without a word of the parent, which tells its state each second, after which changes may be missing."""


class FollowedCluster(Resource):
    """The index of one source in a worker process."""

    def __init__(self, context: ServerContext, source: Source) -> None:
        self.index = ClusterIndex()
        self.name = repr(source)
        self._context = context
        self._sink = ChangeSink(self.index, context.reactor, context.wall)
        self._fresh = Stamp()
        self._synced = self._copied = False
        self._from_snapshot: float | None = None
        self._why = "the parent process has not sent its data yet"
        self._pods_are_current = False
        self._freshness: Sequence[str] = ()
        self._heard = context.clock()
        self._waiting: Deferred[None] | None = None

    # What the plugin asks; see kdns.plugins.kubernetes.plugin.Cluster.

    @property
    def synced(self) -> bool:
        """Whether what is not in the index does not exist, as far as the parent knows."""
        return self._synced and self._copied

    def why_not_ready(self) -> str:
        """What is still missing, in words."""
        return self._why

    def staleness(self) -> tuple[str, StampRef] | None:
        """As :meth:`kdns.plugins.kubernetes.cluster.LiveCluster.staleness`."""
        if self._from_snapshot is None:
            return None
        age = max(0, int(self._context.wall() - self._from_snapshot))
        return f"from a snapshot {age} s old", self._fresh.ref()

    def pods_are_current(self) -> bool:
        """Whether the parent says so, and was heard of lately."""
        return self._pods_are_current and self._context.clock() - self._heard < SILENT

    def freshness(self) -> list[str]:
        """How the parent keeps each part of the data up to date, in words, and when it was heard of."""
        heard = self._context.clock() - self._heard
        return [*self._freshness, f"followed from the parent process, heard of {heard:.0f} s ago"]

    def watches(self) -> list[Freshness]:
        """The parent has them."""
        return []

    # Life

    def start(self) -> Deferred[None]:
        """Fires when the parent's data is here."""
        self._waiting = Deferred(self._forget)
        waiting = self._waiting
        self._context.parent.follow(self)
        return waiting

    def _forget(self, waiting: Deferred[None]) -> None:
        self._waiting = None

    def stop(self) -> Deferred[None]:
        """Follow no more."""
        self._context.parent.unfollow(self)
        self._sink.stop()
        return succeed(None)

    # What the parent sends.

    def changed(self, changes: Sequence[Change]) -> None:
        """Apply changes."""
        self._heard = self._context.clock()
        for change in changes:
            self._sink.apply(change)

    def copied(self) -> None:
        """The index holds all that the parent knows."""
        self._copied = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def told(self, state: Mapping[str, Any]) -> None:
        """Take over what the parent says of the data."""
        self._heard = self._context.clock()
        self._synced, self._why = state["synced"], state["why"]
        self._freshness = state["freshness"]
        self._pods_are_current = state["pods_are_current"]
        before, self._from_snapshot = self._from_snapshot, state["from_snapshot"]
        if before is not None and self._from_snapshot is None:
            self._fresh.bump()
