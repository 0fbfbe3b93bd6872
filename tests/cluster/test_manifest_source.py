"""Tests of :mod:`kdns.cluster.manifest_source`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.changes import Delete
from kdns.cluster.index import ClusterIndex
from kdns.cluster.keys import Serial
from kdns.cluster.manifest_source import ManifestSource
from kdns.cluster.manifests import Selection
from kdns.cluster.objects import Kind
from kdns.cluster.selectors import parse
from kdns.cluster.watched import Needs

MANIFESTS = """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, ports: [{port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1]}]
ports: [{port: 5432}]
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop}
status: {phase: Running, podIP: 10.0.0.1}
"""


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    """Run what would be a thread's."""
    return execute(work)


class ManifestSourceTests(SynchronousTestCase):
    """What a folder of manifests makes of an index."""

    def source(
        self, needs: Needs, selection: Selection | None = None, until: Deferred[None] | None = None
    ) -> ManifestSource:
        """
        A started source over one file.

        :param until: the files are read when this fires; None: at once.
        """
        aside = at_once if until is None else lambda work: until.addCallback(lambda _: work())
        self.clock = Clock()
        self.index = ClusterIndex()
        self.path = Path(self.mktemp())
        self.path.write_text(MANIFESTS)
        source = ManifestSource(
            self.clock, self.index, [str(self.path)], aside, needs, None, selection, lambda: 1_700_000_000.0
        )
        source.start()
        self.addCleanup(source.stop)
        return source

    def settle(self) -> None:
        """Let the source enter what it read."""
        self.clock.pump([0.05] * 10)

    def test_namespace_implied(self) -> None:
        """A namespace that something is in exists, though no manifest names it."""
        self.source(Needs())
        self.settle()
        self.assertTrue(self.index.has_namespace(b"shop"))

    def test_namespace_not_implied_with_selector(self) -> None:
        """With ``namespace_labels`` nothing is known of such a namespace's labels, so it is not there."""
        self.source(Needs(namespace_labels="team=blue"), Selection(namespace_labels=parse("team=blue")))
        self.settle()
        self.assertFalse(self.index.has_namespace(b"shop"))

    def test_only_what_is_needed(self) -> None:
        """Pods are left out unless they are wanted, slices with ``noendpoints``, as the API would not have been asked."""
        self.source(Needs(endpoints=False))
        self.settle()
        self.assertEqual(self.index.counts()[Kind.POD], 0)
        self.assertEqual(self.index.counts()[Kind.ENDPOINT_SLICE], 0)
        self.assertIsNotNone(self.index.service(b"shop", b"db"))

    def test_pods(self) -> None:
        """Pods are entered when they are wanted."""
        self.source(Needs(pods=True))
        self.settle()
        self.assertEqual(self.index.counts()[Kind.POD], 1)

    def test_synced(self) -> None:
        """Each caller hears when the files are entered; until then the source says what it reads."""
        reading: Deferred[None] = Deferred()
        source = self.source(Needs(), until=reading)
        waiting = source.when_synced()
        given_up = source.when_synced()
        given_up.cancel()
        self.failureResultOf(given_up)
        self.assertIn(str(self.path), source.why_not_ready())
        self.assertNoResult(waiting)
        reading.callback(None)
        self.settle()
        self.successResultOf(waiting)
        self.successResultOf(source.when_synced())
        self.assertEqual(source.why_not_ready(), "")

    def test_serial(self) -> None:
        """Serials are Unix seconds, not those of the reactor's clock."""
        self.source(Needs())
        self.settle()
        self.assertEqual(self.index.serial(Serial.CLUSTER), 1_700_000_000)

    def test_stop(self) -> None:
        """A stopped source leaves no delayed call, and who waited hears so."""
        source = self.source(Needs(), until=Deferred())
        waiting = source.when_synced()
        self.successResultOf(source.stop())
        self.failureResultOf(waiting)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_grace(self) -> None:
        """A slice that is held back when it goes is let go in the end."""
        source = self.source(Needs())
        self.settle()
        now = [1_700_000_000.0]
        source._wall = lambda: now[0]
        self.index.apply(Delete(Kind.ENDPOINT_SLICE, b"shop", b"db-1"), now[0])
        self.assertEqual(len(self.index.slices_of(b"shop", b"db")), 1)
        now[0] += 1
        self.clock.advance(0.2)
        self.assertEqual(self.index.slices_of(b"shop", b"db"), ())
