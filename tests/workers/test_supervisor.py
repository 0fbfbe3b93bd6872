"""A parent and its workers: starts, changes, reloads, deaths, counters and the end."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.objects import Delete, Kind, Service, ServiceKind, Upsert
from kdns.core.degraded import Fault
from kdns.corefile.errors import CorefileError
from kdns.plugins.kubernetes.cluster import LiveCluster
from kdns.plugins.kubernetes.followed import FollowedCluster
from kdns.workers.supervisor import MOST_BEHIND, STABLE
from tests.server import plugins
from tests.workers.support import Office, manifests

WEB, DB = "web.prod.svc.cluster.local.", "db.prod.svc.cluster.local."
REQUESTS = "coredns_dns_requests_total"


class SupervisorCase(SynchronousTestCase):
    """Two workers that serve a cluster from manifests."""

    def setUp(self) -> None:
        plugins.diary.clear()
        self.folder = Path(self.mktemp()).absolute()
        manifests(self.folder, "web", "db")
        self.office = Office(self.corefile("10.0.0.1"))
        self.office.start()
        self.addCleanup(self.end)

    def corefile(self, address: str, more: str = "", port: int = 1053) -> str:
        """One block; a host has the address."""
        return (
            f".:{port} {{\n bind 127.0.0.1\n errors\n prometheus 127.0.0.1:9153\n ready 127.0.0.1:8181\n"
            f" kubernetes cluster.local {{\n  manifests {self.folder}\n }}\n"
            f" hosts {{\n  {address} www.example.org\n  fallthrough\n }}\n{more}}}\n"
        )

    def end(self) -> None:
        """Stop; nothing is left of parent and workers."""
        if self.office.service.running:
            stopped = self.office.service.stopService()
            self.office.advance(1.0)
            self.successResultOf(stopped)
        self.assertEqual(self.office.reactor.leftovers(), [])
        for process in self.office.processes.values():
            self.assertTrue(process.ended)

    @property
    def cluster(self) -> LiveCluster:
        """The parent's."""
        assert self.office.service.configuration is not None
        (found,) = [one for one in self.office.service.configuration.resources if isinstance(one, LiveCluster)]
        return found

    def move(self, name: bytes, last: int) -> None:
        """Give a Service another address."""
        address = bytes((10, 96, 1, last))
        self.cluster.sink.apply(Upsert(Service(b"prod", name, ServiceKind.CLUSTER_IP, (address,))))
        self.office.settle()

    def ready(self) -> list[str]:
        """The names of the plugins that are not ready."""
        assert self.office.service.configuration is not None
        checks = self.office.supervisor.checks(self.office.service.configuration)
        return [check.name for check in checks if not check.ready()]


class StartTests(SupervisorCase):
    """From nothing to answers."""

    def test_answers(self) -> None:
        """Workers answer with the parent's data, and the parent answers nothing itself."""
        self.assertEqual(self.office.say(WEB), ["10.96.0.1", "10.96.0.1"])
        self.assertEqual(self.office.say("www.example.org."), ["10.0.0.1", "10.0.0.1"])
        self.assertEqual(self.office.service.endpoints, {})
        self.office.advance(0.3)
        self.assertEqual(self.ready(), [])

    def test_one_cannot(self) -> None:
        """The start fails when one worker ends during it, and ends the others."""
        self.end()
        office = self.office = Office(self.corefile("10.0.0.1"))
        office.broken.add(2)
        office.service.startService()
        running = office.service.when_running()
        office.settle()
        self.assertIn("worker 2 ended while it prepared", self.failureResultOf(running).getErrorMessage())
        self.assertIn(1, office.killed)


class ChangeTests(SupervisorCase):
    """What the parent learns."""

    def test_change(self) -> None:
        """A change reaches all workers, through their tables."""
        for last in (1, 2, 3):
            self.move(b"web", last)
            for _ in range(3):
                self.assertEqual(self.office.say(WEB), [f"10.96.1.{last}"] * 2)

    def test_gone(self) -> None:
        """What is deleted is denied by all."""
        self.office.say(WEB)
        self.cluster.sink.apply(Delete(Kind.SERVICE, b"prod", b"web"))
        self.office.settle()
        self.assertEqual(self.office.say(WEB), ["NXDOMAIN", "NXDOMAIN"])

    def test_nothing_new(self) -> None:
        """A list that says nothing new sends nothing."""
        self.office.advance(2.0)
        sent = [slot.channel.sent for slot in self.office.supervisor.slots if slot.channel is not None]
        self.cluster.sink.apply(Upsert(self.service(b"web")))
        after = [slot.channel.sent for slot in self.office.supervisor.slots if slot.channel is not None]
        self.assertEqual(after, sent)

    def service(self, name: bytes) -> Service:
        """As the index has it."""
        found = self.cluster.index.service(b"prod", name)
        assert found is not None
        return found

    def test_behind(self) -> None:
        """A worker that takes nothing any more is killed after a while, and its successor has what it missed."""
        self.office.pipes[2].stopped = True
        self.move(b"web", 7)
        self.assertEqual(self.office.say(WEB), ["10.96.1.7", "10.96.0.1"])
        self.office.advance(MOST_BEHIND - 1.0)
        self.assertEqual(self.office.killed, [])
        self.assertGreater(self.office.metric("kdns_worker_behind_seconds")["2",], MOST_BEHIND - 2.0)
        self.office.advance(2.0)
        self.assertEqual(set(self.office.killed), {2})
        self.assertEqual(self.office.say(WEB), ["10.96.1.7", "10.96.1.7"])


class DeathTests(SupervisorCase):
    """A worker dies."""

    def test_restarted(self) -> None:
        """It is restarted at once, with what changed meanwhile; readiness stays."""
        self.office.advance(STABLE + 1.0)
        self.office.die(1)
        self.move(b"db", 9)
        self.office.advance(0.5)
        self.assertEqual(self.office.say(DB), ["10.96.1.9", "10.96.1.9"])
        self.assertEqual(self.ready(), [])
        self.assertEqual(self.office.metric("kdns_worker_restarts_total"), {(): 1})

    def test_again_and_again(self) -> None:
        """One that dies at once is restarted twice a second, no more."""
        self.office.advance(STABLE + 1.0)
        self.office.broken.add(1)
        self.office.die(1)
        self.office.advance(5.0)
        restarts = self.office.metric("kdns_worker_restarts_total")[()]
        self.assertEqual(restarts, 12)  # two at once, since the first had lived long, then one each half second
        self.assertEqual(self.office.metric("kdns_workers"), {(): 1})
        self.office.broken.clear()
        self.office.advance(1.0)
        self.assertEqual(self.office.metric("kdns_workers"), {(): 2})

    def test_counters(self) -> None:
        """What it counted stays in the sum; its gauges go with it."""
        for _ in range(3):
            self.office.say(WEB)
        self.office.advance(1.5)
        self.assertEqual(sum(self.office.metric(REQUESTS).values()), 6)
        entries = self.office.metric("kdns_answer_table_entries")[()]
        self.office.die(2)
        self.assertEqual(sum(self.office.metric(REQUESTS).values()), 6)
        self.assertEqual(self.office.metric("kdns_answer_table_entries")[()], entries / 2)
        self.office.advance(1.0)
        self.office.say(WEB)
        self.office.advance(1.5)
        self.assertEqual(sum(self.office.metric(REQUESTS).values()), 8)

    def test_no_worker(self) -> None:
        """Without any worker the server is not ready."""
        self.office.advance(0.5)
        for number in (1, 2):
            self.office.broken.add(number)
            self.office.die(number)
        self.assertEqual(self.ready(), ["kubernetes"])
        self.office.broken.clear()
        self.office.advance(1.0)
        self.assertEqual(self.ready(), [])


class ReloadTests(SupervisorCase):
    """Another configuration."""

    def test_good(self) -> None:
        """All take it over, with new ports; what did not change is kept."""
        self.assertTrue(self.office.reload(self.corefile("10.0.0.2", port=1054)))
        self.office.advance(0.5)
        self.assertEqual(self.office.say("www.example.org.", 1054), ["10.0.0.2", "10.0.0.2"])
        self.assertEqual(self.office.say("www.example.org."), [None, None])
        self.assertEqual(self.office.say(WEB, 1054), ["10.96.0.1", "10.96.0.1"])

    def test_bad(self) -> None:
        """One that no process can build changes nothing."""
        self.assertFalse(self.office.reload(self.corefile("10.0.0.2", " nonsense\n")))
        self.assertEqual(self.office.say("www.example.org."), ["10.0.0.1", "10.0.0.1"])

    def test_bad_in_one(self) -> None:
        """One that a single worker cannot serve is served by none, and the next one is."""
        taken = self.office.processes[2].reactor.listenTCP(1054, Factory(), 1, "127.0.0.1")
        self.assertFalse(self.office.reload(self.corefile("10.0.0.2", port=1054)))
        self.assertEqual(self.office.say("www.example.org."), ["10.0.0.1", "10.0.0.1"])
        self.assertEqual(self.office.ask(1, "www.example.org.", port=1054), None)
        assert self.office.service.reloads.last is not None
        self.assertIn("listen tcp 127.0.0.1:1054", self.office.service.reloads.last.error)
        taken.stopListening()
        self.office.settle()
        self.assertTrue(self.office.reload(self.corefile("10.0.0.2", port=1054)))
        self.assertEqual(self.office.say("www.example.org.", 1054), ["10.0.0.2", "10.0.0.2"])

    def test_death_during_it(self) -> None:
        """A worker that dies while it prepares fails the reload; its successor serves the old configuration."""
        self.office.corefile = self.corefile("10.0.0.2")
        done = self.office.service.reload()
        self.office.die(2)
        self.office.advance(1.0)
        self.assertFalse(self.successResultOf(done))
        self.assertEqual(self.office.say("www.example.org."), ["10.0.0.1", "10.0.0.1"])

    def test_another_cluster(self) -> None:
        """New data come before the new configuration serves; then the old data are followed no more."""
        other = Path(self.mktemp()).absolute()
        manifests(other, "db", "web")
        before = self.cluster
        self.folder = other
        self.assertTrue(self.office.reload(self.corefile("10.0.0.1")))
        self.assertEqual(self.office.say(WEB), ["10.96.0.2", "10.96.0.2"])
        self.office.advance(1.0)
        self.assertIsNot(self.cluster, before)
        for slot in self.office.supervisor.slots:
            self.assertEqual(list(slot.feeds), [self.cluster.followed_as])
        self.move(b"web", 5)
        self.assertEqual(self.office.say(WEB), ["10.96.1.5", "10.96.1.5"])


class StateTests(SupervisorCase):
    """What each side knows of the other."""

    def degraded(self) -> list[str]:
        """The parent's list."""
        return [state.name for state in self.office.context.degraded]

    def test_degraded(self) -> None:
        """What is wrong in workers stands once in the parent's list, as long as it is wrong in one."""
        conditions = []
        for process in self.office.processes.values():
            conditions.append(process.worker.context.degraded.condition(Fault.UPSTREAM, "upstream"))
            conditions[-1].begin("it is silent", 5.0)
        self.office.advance(0.2)
        self.assertEqual(self.degraded(), ["upstream"])
        conditions[0].forget()
        self.office.advance(0.2)
        self.assertEqual(self.degraded(), ["upstream"])
        self.office.die(2)
        self.assertEqual(self.degraded(), [])

    def test_silent_parent(self) -> None:
        """A worker that hears nothing of its parent does not claim that its pods are current."""
        worker = self.office.processes[1].worker
        assert worker.server.configuration is not None
        (cluster,) = [one for one in worker.server.configuration.resources if isinstance(one, FollowedCluster)]
        self.assertTrue(cluster.pods_are_current())
        self.office.pipes[1].stopped = True
        self.office.advance(4.0)
        self.assertFalse(cluster.pods_are_current())
        self.assertIn("heard of 4 s ago", cluster.freshness()[-1])
        self.office.pipes[1].stopped = False


class MetricsTests(SupervisorCase):
    """What all count."""

    def test_sum(self) -> None:
        """Counters add up; shares and settings do not; apart, each process has its own."""
        self.office.say(WEB)
        self.office.ask(1, WEB)
        self.office.advance(1.5)
        self.assertEqual(sum(self.office.metric(REQUESTS).values()), 3)
        apart = {labels[-1]: value for labels, value in self.office.metric(REQUESTS, apart=True).items()}
        self.assertEqual(apart, {"1": 2, "2": 1})
        self.assertEqual(set(self.office.metric("coredns_build_info").values()), {1})
        self.assertEqual(self.office.metric("coredns_hosts_entries"), {("/etc/hosts",): self.hosts_entries()})

    def hosts_entries(self) -> float:
        """As one worker has it."""
        (cell,) = [
            value
            for labels, value in self.office.metric("coredns_hosts_entries", apart=True).items()
            if labels[-1] == "1"
        ]
        return float(cell)


class EndTests(SupervisorCase):
    """The end."""

    def test_hanging(self) -> None:
        """A worker that does not end is killed."""
        self.office.pipes[1].stopped = True
        stopped: Deferred[None] = self.office.service.stopService()
        self.office.advance(5.0)
        self.assertNoResult(stopped)
        self.office.advance(5.0)
        self.successResultOf(stopped)
        self.assertEqual(self.office.killed, [1])

    def test_load_fails(self) -> None:
        """A Corefile that cannot be read ends the start before any worker is started."""
        self.end()
        office = self.office = Office("nonsense {")
        office.service.startService()
        self.failureResultOf(office.service.when_running(), CorefileError)
        self.assertEqual(office.processes, {})
