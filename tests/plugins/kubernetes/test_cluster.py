"""The cluster as a resource: sync, snapshot, and the programming latency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Delete, EndpointSlice, Keep, Kind, Namespace, Service, ServiceKind, Upsert
from kdns.core.degraded import Fault
from kdns.core.metrics import Histogram, Registry
from kdns.plugins.kubernetes.cluster import BUCKETS, ProgrammingLatency
from kdns.server.assembly import read_text
from tests.apiserver import FaultKind
from tests.plugins.kubernetes.logs import Heard
from tests.plugins.kubernetes.world import EPOCH, World

WAITING = "waiting for Kubernetes API before starting server"
UNSYNCED = "starting server with unsynced Kubernetes API"


def namespace(name: str) -> dict[str, Any]:
    """A namespace."""
    return {"kind": "Namespace", "metadata": {"name": name}}


def alias(name: str, target: str) -> dict[str, Any]:
    """An external name."""
    spec = {"type": "ExternalName", "externalName": target}
    return {"kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


class ClusterTests(SynchronousTestCase):
    """A whole kdns and an API server."""

    def world(self, *options: str, **settings: Any) -> World:
        """A world that is ended with the test."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        world = World(folder, options, **settings)
        self.heard = Heard(self, lambda: world.reactor.seconds() - EPOCH)
        self.addCleanup(lambda: self.assertEqual(world.stop(), []))
        return world

    def waiting_lines(self) -> list[float]:
        """When it was said that the start waits."""
        return [when for when, level, text in self.heard.lines if (level, text) == ("info", WAITING)]

    def check(self, world: World) -> tuple[str, bool, str]:
        """What readiness is told."""
        assert world.service.configuration is not None
        (check,) = world.service.configuration.checks
        return check.name, check.ready(), check.why()

    def test_at_once(self) -> None:
        """An API server that answers is not waited for, and nothing is said."""
        world = self.world()
        self.assertEqual(world.start(), 0.0)
        self.assertEqual(self.heard.texts, [])
        self.assertEqual(self.check(world), ("kubernetes", True, ""))
        self.assertEqual(world.ask("kubernetes.default.svc.cluster.local.").rcode, "NOERROR")

    def test_slow(self) -> None:
        """One that takes a while is waited for, with a line each half second."""
        world = self.world()
        world.api.inject(FaultKind.DELAY, "endpointslices", seconds=1.2)
        self.assertAlmostEqual(world.start(), 1.2, 3)
        self.assertEqual(self.waiting_lines(), [0.5, 1.0])
        self.assertNotIn(UNSYNCED, self.heard.texts)
        world.reactor.advance(10.0)
        self.assertEqual(self.waiting_lines(), [0.5, 1.0])

    def test_timeout(self) -> None:
        """The start goes on after ``startup_timeout``: what is not known yet is SERVFAIL, the rest is answered."""
        world = self.world("startup_timeout 2s")
        world.api.inject(FaultKind.HANG, "services", times=None)
        self.assertAlmostEqual(world.start(), 2.0, 3)
        self.assertEqual(self.waiting_lines()[:3], [0.5, 1.0, 1.5])
        self.assertEqual([line for line in self.heard.lines if line[2] == UNSYNCED], [(2.0, "warn", UNSYNCED)])
        name, ready, why = self.check(world)
        self.assertEqual((name, ready), ("kubernetes", False))
        self.assertIn("services: ", why)
        self.assertEqual(world.ask("kubernetes.default.svc.cluster.local.").rcode, "SERVFAIL")
        self.assertEqual(world.ask("default.svc.cluster.local.").rcode, "NOERROR")
        self.assertEqual(world.ask("www.example.com.").rcode, "NOERROR")
        degraded = world.context.degraded
        self.assertEqual([state.kind for state in degraded], [Fault.CLUSTER_DATA])
        world.api.clear_faults()
        world.until(lambda: self.check(world)[1])
        self.assertEqual(list(degraded), [])
        self.assertTrue(any(text.startswith("cluster data: in order again") for text in self.heard.texts))
        self.assertEqual(world.ask("kubernetes.default.svc.cluster.local.").rcode, "NOERROR")
        self.assertEqual(world.ask("nope.default.svc.cluster.local.").rcode, "NXDOMAIN")

    def test_default_timeout(self) -> None:
        """Without the option it is five seconds."""
        world = self.world()
        world.api.inject(FaultKind.HANG, times=None)
        self.assertAlmostEqual(world.start(), 5.0, 3)

    def test_outage(self) -> None:
        """When the API server goes away later, the last data serves and readiness stays."""
        world = self.world()
        world.start()
        world.api.begin_outage()
        world.reactor.advance(600.0)
        self.assertEqual(world.ask("kubernetes.default.svc.cluster.local.").rcode, "NOERROR")
        self.assertEqual(world.ask("nope.default.svc.cluster.local.").rcode, "NXDOMAIN")
        self.assertEqual(self.check(world), ("kubernetes", True, ""))
        self.assertTrue(any(text.startswith("Failed to watch: failed to ") for text in self.heard.texts))

    def test_end_while_waiting(self) -> None:
        """A start that still waits can be ended, and leaves nothing behind."""
        world = self.world()
        world.api.inject(FaultKind.HANG, times=None)
        world.service.startService()
        world.reactor.advance(0.7)

    def test_reload(self) -> None:
        """A new configuration keeps the watch, unless it reads the cluster in another way."""
        world = self.world("ttl 5")
        world.start()
        first, requests = world.cluster, len(world.api.requests)
        for line, kept in (("ttl 7", True), ("ttl 7\n startup_timeout 1s", True), ("ttl 7\n pods verified", False)):
            corefile = world.corefile.replace("ttl 5", line)
            done: list[bool] = []
            world.service.reload(read_text(corefile, {})).addCallback(done.append)
            world.until(lambda done=done: done)  # type: ignore[misc]  # a default that binds it now
            self.assertEqual(done, [True])
            self.assertIs(world.cluster is first, kept)
            answer = world.ask("kubernetes.default.svc.cluster.local.").answer
            self.assertEqual(answer, {"kubernetes.default.svc.cluster.local. 7 A 10.96.0.1"})
        self.assertEqual(len(world.api.requests), requests + 4, "the four watches of the last")
        self.assertEqual(world.api.open_watches(), 4, "those of the first have ended")

    def test_shared(self) -> None:
        """Blocks that read one cluster in one way have one watch."""
        world = self.world()
        block = world.corefile
        world.corefile = block + block.replace(".:1053", "other.test:1053").replace("cluster.local", "other.test")
        world.start()
        self.assertEqual(world.api.open_watches(), 3)
        self.assertEqual(world.ask("kubernetes.default.svc.other.test.").rcode, "NOERROR")

    def test_aliases_across_zones(self) -> None:
        """External names of two zones that point at each other end after some rounds, and not in the end of the stack."""
        world = self.world(zones="a.test b.test")
        world.api.apply(alias("ping", "pong.default.svc.b.test"))
        world.api.apply(alias("pong", "ping.default.svc.a.test"))
        world.start()
        (reply,) = world.ask_all([("ping.default.svc.a.test.", "A")])
        assert reply is not None
        self.assertEqual(reply[3] & 0xF, 0)
        self.assertLess(int.from_bytes(reply[6:8], "big"), 15)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_programming_latency(self) -> None:
        """A slice that says when it was triggered is measured when it comes, not when it is listed."""
        world = self.world()
        world.start()
        metadata = {
            "name": "k-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2023-11-14T22:13:20.5Z"},
        }
        world.reactor.advance(2.0)
        world.api.apply(
            {
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.1.0.1"]}],
            }
        )
        world.reactor.advance(1.0)
        wanted = 'coredns_kubernetes_dns_programming_duration_seconds_sum{service_kind="cluster_ip"} 1.5'
        self.assertIn(wanted, list(world.context.registry.lines()))


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
        (family,) = self.registry.families()
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
