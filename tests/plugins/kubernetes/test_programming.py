"""How long it took from a change in the cluster to its answer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.changes import Delete, Keep, Upsert
from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import EndpointSlice, Kind, Namespace, Service, ServiceKind
from kdns.core.metrics import Histogram, Registry
from kdns.plugins.kubernetes.programming import BUCKETS, ProgrammingLatency, programming_duration

START = 1_700_000_000.0
ADDRESS = bytes((10, 0, 0, 1))


def part(service: bytes | None) -> EndpointSlice:
    """A slice of a service."""
    return EndpointSlice(b"prod", b"s-1", service, (ADDRESS,))


class ProgrammingTests(SynchronousTestCase):
    """``coredns_kubernetes_dns_programming_duration_seconds``."""

    def setUp(self) -> None:
        self.now = START
        self.index = ClusterIndex(grace=0.0)
        for name, kind in (
            (b"vip", ServiceKind.CLUSTER_IP),
            (b"headless", ServiceKind.HEADLESS),
            (b"ext", ServiceKind.EXTERNAL_NAME),
        ):
            self.index.apply(Upsert(Service(b"prod", name, kind)), START)
        self.registry = Registry()
        self.latency = ProgrammingLatency(self.registry, self.index, lambda: self.now)

    def observed(self) -> dict[str, tuple[int, float]]:
        """Count and sum by kind of service."""
        family = programming_duration(self.registry)
        found = {}
        for labels, cell in family.cells.items():
            assert isinstance(cell, Histogram)
            found[labels[0]] = (sum(cell.counts), cell.sum)
        return found

    def test_buckets(self) -> None:
        """From a millisecond, each twice the one before, to nine minutes."""
        self.assertEqual(len(BUCKETS), 20)
        self.assertEqual((BUCKETS[0], BUCKETS[1], BUCKETS[-1]), (0.001, 0.002, 524.288))

    def test_changes(self) -> None:
        """Seconds since the trigger, by the kind of the service; deletions are changes."""
        self.now = START + 10.5
        self.latency(Upsert(part(b"vip"), START + 10.0), True)
        self.latency(Upsert(part(b"headless"), START + 8.5), True)
        self.latency(Delete(Kind.ENDPOINT_SLICE, b"prod", b"s-1", START + 9.5, b"headless"), True)
        self.assertEqual(self.observed(), {"cluster_ip": (1, 0.5), "headless_with_selector": (2, 3.0)})

    def test_left_out(self) -> None:
        """What does not tell, what changed nothing, what is not of a known service, and what is older than this process."""
        self.now = START + 10.0
        for change in (
            Upsert(part(b"vip")),
            Upsert(part(b"vip"), START - 0.1),
            Upsert(part(b"unknown"), START + 1),
            Upsert(part(None), START + 1),
            Upsert(part(b"ext"), START + 1),
            Upsert(Namespace(b"prod"), START + 1),
            Delete(Kind.ENDPOINT_SLICE, b"prod", b"s-1", START + 1),
            Delete(Kind.SERVICE, b"prod", b"vip", START + 1, b"vip"),
            Keep(Kind.ENDPOINT_SLICE, b"prod", b"s-1"),
        ):
            self.latency(change, True)
        self.latency(Upsert(part(b"vip"), START + 1), False)
        self.assertEqual(self.observed(), {})

    def test_clock_behind(self) -> None:
        """A trigger from a clock that is ahead is no negative time."""
        self.latency(Upsert(part(b"vip"), START + 5), True)
        self.assertEqual(self.observed(), {"cluster_ip": (1, 0.0)})
