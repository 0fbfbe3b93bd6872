# -*- test-case-name: tests.cluster.test_api_source -*-
"""What all sources of changes have in common: the Kubernetes API, a folder of manifests, a snapshot."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred, succeed


class ClusterSource(Protocol):
    """Something that fills an index, and keeps it right from start to stop."""

    @property
    def synced(self) -> bool:
        """Whether everything that is there has been entered once; it stays so, whatever happens to the source."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> Deferred[None]:
        """End; the Deferred fires when nothing is left in the reactor. What was entered stays."""
        ...

    def when_synced(self) -> Deferred[None]:
        """Fires when :attr:`synced` is true; each caller gets one of its own and may cancel it."""
        ...

    def why_not_ready(self) -> str:
        """What is waited for, for the operator; empty when nothing is."""
        ...


class SyncWaiters:
    """Those who wait until a source is synced."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def wait(self, synced: bool) -> Deferred[None]:
        """A Deferred of the caller's own, which it may cancel; it has fired already when the source is *synced*."""
        if synced:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def fire(self) -> None:
        """Let all go on."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def cancel(self) -> None:
        """Let all go by cancelling: the source ends."""
        for waiter in list(self._waiting):
            waiter.cancel()
