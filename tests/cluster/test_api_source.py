"""Tests of the source as its owner sees it."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from kdns.cluster.api_source import ApiSource
from kdns.cluster.credentials import at_endpoint
from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Upsert
from kdns.cluster.source import ChangeSink, ClusterSource
from kdns.cluster.watch_states import State
from tests.apiserver import FaultKind
from tests.cluster.apiworld import ApiWorld, endpoint_slice, service


class ApiSourceTests(ApiWorld):
    """Start, sync, stop."""

    def test_is_a_source(self) -> None:
        """It has what all sources have."""
        source: ClusterSource = self.source
        self.assertFalse(source.synced)

    def test_when_synced(self) -> None:
        """Every caller gets a Deferred of its own, also one that comes late; cancelling one leaves the others."""
        first, second = self.source.when_synced(), self.source.when_synced()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertNoResult(second)
        self.begin()
        self.assertIsNone(self.successResultOf(second))
        self.assertIsNone(self.successResultOf(self.source.when_synced()))

    def test_synced_means_all(self) -> None:
        """One resource that is missing is enough, and it is named."""
        self.server.inject(FaultKind.STATUS, "endpointslices", times=None, code=403, message="no")
        self.source.start()
        self.reactor.advance(5.0)
        self.assertFalse(self.source.synced)
        self.assertEqual(
            self.source.why_not_ready(),
            'endpointslices: no (403): kdns needs the verb "watch" on resource "endpointslices"'
            ' of API group "discovery.k8s.io"',
        )

    def test_never_reached(self) -> None:
        """A server that was never reached was never heard of, and the cause is told once."""
        gone = self.server.begin_outage()
        self.reactor.settle()
        self.successResultOf(gone)
        self.source.start()
        self.reactor.advance(7.0)
        why = self.source.why_not_ready()
        self.assertTrue(why.startswith(f"namespaces, services, endpointslices: {self.server.url}: no connection:"), why)
        self.assertEqual(why.count(self.server.url), 1)
        self.assertIsNone(self.source.freshness["services"].event_age(self.reactor.seconds()))
        lines = list(self.registry.lines())
        self.assertIn('kdns_kubernetes_last_event_age_seconds{resource="services"} +Inf', lines)

    def test_found_data_serves_before_sync(self) -> None:
        """What one watch has entered is there while another has not begun."""
        self.server.inject(FaultKind.HANG, "endpointslices")
        self.server.apply(service("web", "10.96.1.1"))
        self.source.start()
        self.reactor.advance(0.1)
        self.assertFalse(self.source.synced)
        self.assertEqual(self.address_of("web"), "10.96.1.1")

    def test_stop(self) -> None:
        """After a stop nothing is left, in whatever state it comes; what was entered stays, and waiters are let go."""
        for wait in (0.0, 0.05, 1.0, 40.0):
            for fault in (FaultKind.HANG, FaultKind.CUT, FaultKind.SILENT, FaultKind.DRIP, None):
                source = self.make_source()
                if fault is not None:
                    self.server.inject(fault, times=3, verb="watch")
                source.start()
                self.reactor.settle()
                self.reactor.advance(wait)
                waiting = source.when_synced()
                stopped = source.stop()
                self.reactor.settle()
                self.successResultOf(stopped)
                if not source.synced:
                    self.failureResultOf(waiting, CancelledError)
                self.assertEqual({watch.state for watch in source.freshness.values()}, {State.STOPPED})
                self.server.clear_faults()
                clients = [line for line in self.reactor.leftovers() if f"-> 127.0.0.1:{self.server.port}" in line]
                self.assertEqual(clients, [], (wait, fault))

    def test_stopped_before_started(self) -> None:
        """Stopping what never ran does nothing."""
        stopped = self.make_source().stop()
        self.reactor.settle()
        self.successResultOf(stopped)

    def test_told_of_changes(self) -> None:
        """Who wants it is told of each change, after it is entered."""
        self.begin()
        self.changes.clear()
        self.server.apply(service("web", "10.96.1.1"))
        self.reactor.settle()
        ((change, changed),) = self.changes
        self.assertTrue(changed)
        self.assertTrue(isinstance(change, Upsert) and change.name == b"web")

    def test_held_slices_go(self) -> None:
        """The last endpoints of a service outlive their slice by the grace of the index, and then go by themselves."""
        self.server.apply(service("web", "10.96.1.1"))
        self.server.apply(endpoint_slice("web-1", "web", "10.1.0.1"))
        source = ApiSource(
            self.reactor,
            ChangeSink(ClusterIndex(), self.reactor, self.wall),
            at_endpoint(self.server.url, None),
            self.needs,
        )
        source.start()
        self.reactor.advance(0.1)
        self.server.delete("EndpointSlice", "default", "web-1")
        self.reactor.advance(0.4)
        self.assertEqual(len(source.index.slices_of(b"default", b"web")), 1)
        self.reactor.advance(0.2)
        self.assertEqual(source.index.slices_of(b"default", b"web"), ())
        stopped = source.stop()
        self.reactor.settle()
        self.successResultOf(stopped)
