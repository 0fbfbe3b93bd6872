"""A source, a fake API server and the time between them: what the tests of the watch have in common."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.api_source import ApiSource, Limits
from kdns.cluster.credentials import at_endpoint
from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Change
from kdns.cluster.projection import Options, Projector
from kdns.cluster.resources import Needs, watched_for
from kdns.cluster.source import ChangeSink
from kdns.cluster.watch_states import State
from kdns.core.degraded import DegradedStates
from kdns.core.metrics import Registry
from kdns.testing.memory import MemoryReactor
from tests.apiserver import ApiServer, ServerOptions

EPOCH = 1_700_000_000.0
"""Unix seconds at the beginning of a test."""


def service(name: str, address: str, namespace: str = "default") -> dict[str, Any]:
    """A service with a cluster IP."""
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": address, "clusterIPs": [address], "ports": [{"name": "http", "port": 80}]},
    }


def endpoint_slice(name: str, of: str, *addresses: str, namespace: str = "default") -> dict[str, Any]:
    """A slice with ready addresses."""
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


class ApiWorld(SynchronousTestCase):
    """A test with a server on a network in memory; what is left behind at its end is an error."""

    server_options = ServerOptions()
    needs = Needs()
    options = Options()
    limits = Limits(qps=1000, burst=1000)

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.server = ApiServer(self.reactor, self.server_options)
        self.server.start()
        self.registry = Registry()
        self.degraded = DegradedStates()
        self.changes: list[tuple[Change, bool]] = []
        self.source = self.make_source()
        self.addCleanup(self._clean)

    def make_source(self) -> ApiSource:
        """A source for the server, with an empty index."""
        sink = ChangeSink(ClusterIndex(grace=0.0), self.reactor, self.wall)
        sink.listen(lambda change, changed: self.changes.append((change, changed)))
        return ApiSource(
            self.reactor,
            sink,
            at_endpoint(self.server.url, None),
            self.needs,
            self.options,
            registry=self.registry,
            limits=self.limits,
            chance=Random(3),
            degraded=self.degraded,
        )

    def wall(self) -> float:
        """Unix seconds of the test."""
        return EPOCH + self.reactor.seconds()

    def _clean(self) -> None:
        stopped = self.source.stop()
        gone = self.server.stop()
        self.reactor.settle()
        self.successResultOf(stopped)
        self.successResultOf(gone)
        self.assertEqual(self.reactor.leftovers(), [])

    # Acting

    def begin(self) -> None:
        """Start the source and let it sync."""
        self.source.start()
        self.reactor.advance(0.1)
        self.assertTrue(self.source.synced, self.source.why_not_ready())

    def until(self, condition: Callable[[], object], seconds: float = 120.0, step: float = 0.1) -> float:
        """Let time pass in steps until a condition holds; returns how much it was."""
        began = self.reactor.seconds()
        while not condition():
            if self.reactor.seconds() - began > seconds:
                self.fail(f"not within {seconds} s: {self.states()} {self.source.why_not_ready()}")
            self.reactor.advance(step)
        return self.reactor.seconds() - began

    # Looking

    @property
    def index(self) -> ClusterIndex:
        """The index of the source."""
        return self.source.index

    def states(self) -> dict[str, State]:
        """The state of each watch."""
        return {name: watch.state for name, watch in self.source.freshness.items()}

    def wanted(self) -> ClusterIndex:
        """An index that was made of what the server has now."""
        index, projector = ClusterIndex(grace=0.0), Projector(self.options)
        for watched in watched_for(self.needs):
            for item in self.server.objects(watched.kind.value):
                index.apply(projector.project(watched.kind, msgspec.json.encode(item)), self.wall())
        return index

    def same(self) -> bool:
        """Whether the index is as the server is."""
        return self.index.same_as(self.wanted())

    def assertSame(self) -> None:
        """The index is as the server is."""
        self.assertEqual(self.index.dump(), self.wanted().dump())

    def address_of(self, name: str, namespace: str = "default") -> str:
        """The first cluster IP of a service as the index has it; empty when it has none."""
        found = self.index.service(namespace.encode(), name.encode())
        return ".".join(map(str, found.addresses[0])) if found is not None and found.addresses else ""
