"""The cluster on disk: when it is written, what is refused, and what a start without an API server makes of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Namespace, Service, ServiceKind, Upsert
from kdns.cluster.projection import Options
from kdns.cluster.snapshot import verify
from kdns.cluster.source import ChangeSink
from kdns.plugins.kubernetes.snapshots import INTERVAL, SLICE, SnapshotFile
from tests.apiserver import FaultKind
from tests.plugins.kubernetes.logs import Heard
from tests.plugins.kubernetes.world import EPOCH, World
from tests.support import a_house

PLAIN = Options()

SERVICE = "kubernetes.default.svc.cluster.local."


class Turns(Clock):
    """A clock that counts the turns in which work goes on, and looks at something in each."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.tick = 0.0
        """Seconds that each look at the clock takes."""

        self.look: Callable[[], object] = lambda: None

    def seconds(self) -> float:
        """The time, which goes on with each look."""
        self.rightNow += self.tick
        return self.rightNow

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        """Count those that mean the next turn."""
        if delay == 0:
            self.turns += 1
            self.look()
        return super().callLater(delay, callable, *args, **kw)


class KeeperTests(SynchronousTestCase):
    """One index and one file."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "cluster"
        self.clock = Turns()
        self.heard = Heard(self, self.clock.seconds)
        self.whole = True
        self.keeper, self.index = self.keep()

    def keep(self, path: Path | None = None, options: Options = PLAIN) -> tuple[SnapshotFile, ClusterIndex]:
        """A keeper of a new index."""
        index = ClusterIndex()
        self.context = context = a_house(self.clock)
        sink = ChangeSink(index, self.clock, context.wall)
        keeper = SnapshotFile(context, str(path or self.path), sink, options, self.aside, lambda: self.whole)
        return keeper, index

    def aside(self, work: Callable[[], Any]) -> Deferred[Any]:
        """Done at once; the last thing of each file."""
        self.asides = getattr(self, "asides", 0) + 1
        return execute(work)

    def fill(self, count: int, address: bytes = b"\x0a\x60\x00\x01") -> None:
        """Services."""
        self.index.apply(Upsert(Namespace(b"prod")), 1.0)
        for number in range(count):
            service = Service(b"prod", b"s%d" % number, ServiceKind.CLUSTER_IP, (address,))
            self.index.apply(Upsert(service), 1.0)

    def read(self, options: Options = PLAIN) -> ClusterIndex:
        """What a keeper that starts now makes of the file."""
        keeper, index = self.keep(options=options)
        keeper.read()
        self.assertEqual(keeper.written is None, index.same_as(ClusterIndex()))
        return index

    def test_round(self) -> None:
        """A change is in the file within half a minute, and is read by the next start."""
        self.keeper.read()
        self.assertEqual(self.heard.texts, [f"no snapshot at {self.path} yet"])
        self.keeper.start()
        self.fill(3)
        self.clock.advance(INTERVAL - 0.1)
        self.assertFalse(self.path.exists())
        self.clock.advance(0.1)
        self.assertTrue(self.read().same_as(self.index))
        self.assertEqual(self.heard.texts[-1], f"4 objects from snapshot {self.path}, 0 s old")

    def test_small_changes(self) -> None:
        """A change that leaves all counts and sizes as they were is written too, also one in the second of the last."""
        self.keeper.start()
        self.fill(3)
        self.clock.advance(INTERVAL)
        self.fill(3, b"\x0a\x60\x00\x02")
        self.clock.advance(INTERVAL)
        self.assertTrue(self.read().same_as(self.index))

    def test_unchanged(self) -> None:
        """Nothing new is nothing to write."""
        self.keeper.start()
        self.fill(1)
        self.clock.pump([INTERVAL] * 5)
        self.assertEqual(self.asides, 1)
        keeper, _ = self.keep()
        keeper.read()
        keeper.start()
        self.clock.pump([INTERVAL] * 2)
        self.assertEqual(self.asides, 1)

    def test_slices(self) -> None:
        """Many objects are written in many turns; the file of before stands under its name until the new one is complete."""
        self.keeper.start()
        self.fill(1)
        self.clock.advance(INTERVAL)
        old = verify(str(self.path))
        seen = []
        self.clock.look = lambda: seen.append(verify(str(self.path)))
        self.fill(3000)
        self.clock.turns, self.clock.tick = 0, SLICE
        self.clock.advance(INTERVAL)
        self.assertGreaterEqual(self.clock.turns, 3001 // 500)
        self.assertEqual({header.written for header in seen}, {old.written})
        self.assertGreaterEqual(verify(str(self.path)).written, old.written + INTERVAL)
        self.assertEqual(os.listdir(self.folder), ["cluster"])
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_half_a_cluster(self) -> None:
        """What is not whole is not written: after a restart all that was not there yet would be taken for missing."""
        self.whole = False
        self.keeper.start()
        self.fill(1)
        self.clock.advance(INTERVAL)
        self.assertFalse(self.path.exists())
        self.whole = True
        self.clock.advance(INTERVAL)
        self.assertTrue(self.path.exists())

    def test_damage(self) -> None:
        """A file that is not as it was written is refused as a whole, and it is said why."""
        self.keeper.start()
        self.fill(600)
        self.clock.advance(INTERVAL)
        octets = self.path.read_bytes()
        for damaged, reason in (
            (octets[:-1], "cut off"),
            (octets[:1000] + bytes((octets[1000] ^ 1,)) + octets[1001:], "damaged"),
            (octets + b"x", "follows its end"),
            (b"something else", "snapshot"),
            (b"", "snapshot"),
        ):
            self.path.write_bytes(damaged)
            self.heard.lines.clear()
            index = self.read()
            self.assertEqual(index.dump(), ClusterIndex().dump())
            ((_, level, text),) = self.heard.lines
            self.assertEqual(level, "error")
            self.assertTrue(text.startswith(f"snapshot {self.path} is not used: "), text)
            self.assertIn(reason, text)

    def test_other_options(self) -> None:
        """What was kept for another configuration is refused."""
        self.keeper.start()
        self.fill(1)
        self.clock.advance(INTERVAL)
        self.read(Options(zonal=True))
        self.assertIn("is not used", self.heard.texts[-1])

    def test_cannot_be_written(self) -> None:
        """A folder in which no file can be made is told of once, not each half minute; kdns goes on, and writes when it can."""
        away = self.folder / "missing" / "cluster"
        keeper, self.index = self.keep(away)
        keeper.start()
        self.fill(1)
        self.clock.pump([INTERVAL] * 4)
        wanted = f"snapshot {away} cannot be written: No such file or directory"
        self.assertEqual(self.heard.lines, [(INTERVAL, "error", wanted)])
        (state,) = self.context.degraded
        self.assertEqual((state.name, state.text), (f"snapshot {away}", "cannot be written: No such file or directory"))
        away.parent.mkdir()
        self.clock.advance(INTERVAL)
        self.assertTrue(away.exists())
        self.assertEqual(self.heard.lines[1:], [(INTERVAL * 5, "info", f"snapshot {away}: in order again after 120 s")])
        self.assertEqual(list(self.context.degraded), [])

    def test_stop(self) -> None:
        """Ending in the middle of a file leaves the one of before, and nothing in the reactor."""
        self.keeper.start()
        self.fill(3000)
        self.clock.look, self.clock.tick = self.keeper.stop, SLICE
        # The keeper is ended in the first turn of the file; the call for the next one is made after that.
        self.clock.advance(INTERVAL)
        self.keeper.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(os.listdir(self.folder), [])

    def test_stop_while_waiting_for_the_disk(self) -> None:
        """Nor does it complain of what it gave up itself."""
        waiting: Deferred[Any] = Deferred()
        index = ClusterIndex()
        sink = ChangeSink(index, self.clock, self.context.wall)
        keeper = SnapshotFile(self.context, str(self.path), sink, Options(), lambda work: waiting)
        keeper.start()
        index.apply(Upsert(Namespace(b"prod")), 1.0)
        self.clock.advance(INTERVAL)
        keeper.stop()
        self.assertEqual(self.heard.texts, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RestartTests(SynchronousTestCase):
    """A restart while the API server is away."""

    def world(self, *options: str) -> World:
        """A world that is ended with the test."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.snapshot = folder / "cluster"
        world = World(folder, [option.replace("FILE", str(self.snapshot)) for option in options])
        self.addCleanup(lambda: self.assertEqual(world.stop(), []))
        return world

    def extended_error(self, world: World, name: str) -> tuple[int, str] | None:
        """The extended DNS error in a reply."""
        (reply,) = world.ask_all([(name, "A")])
        assert reply is not None
        for option in dns.message.from_wire(reply).options:
            if int(option.otype) == 15:
                rdata = option.to_wire()
                return int.from_bytes(rdata[:2], "big"), rdata[2:].decode()
        return None

    def test_without(self) -> None:
        """Without a snapshot the start waits for its time-out, and names of the cluster are SERVFAIL."""
        world = self.world()
        world.start()
        world.end()
        world.api.begin_outage()
        self.assertAlmostEqual(world.start(), 5.0, 3)
        self.assertEqual(world.ask(SERVICE).rcode, "SERVFAIL")
        self.assertEqual(world.ask("www.example.com.").rcode, "NOERROR")

    def test_with(self) -> None:
        """With one it answers at once, and says how old it is until the API server has spoken."""
        world = self.world("snapshot FILE")
        world.start()
        world.reactor.advance(31.0)
        self.assertTrue(self.snapshot.exists())
        world.end()
        world.api.begin_outage()
        world.reactor.advance(3600.0)
        self.assertEqual(world.start(), 0.0)
        self.assertEqual(world.ask(SERVICE).rcode, "NOERROR")
        age = int(world.reactor.seconds() - EPOCH) - 30
        self.assertEqual(self.extended_error(world, SERVICE), (3, f"from a snapshot {age} s old"))
        missing = "nope.default.svc.cluster.local."
        self.assertEqual(world.ask(missing).rcode, "NXDOMAIN")
        self.assertEqual(self.extended_error(world, missing), (19, f"from a snapshot {age} s old"))
        self.assertIsNone(self.extended_error(world, "www.example.com."))
        world.api.end_outage()
        world.until(lambda: world.cluster.staleness() is None, step=0.01)
        self.assertIsNone(self.extended_error(world, SERVICE))
        self.assertIsNone(self.extended_error(world, missing))

    def test_what_went_meanwhile(self) -> None:
        """What is in the snapshot and not in the cluster any more goes with the first list."""
        world = self.world("snapshot FILE")
        spec = {"clusterIP": "10.96.5.5"}
        world.api.apply({"kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": spec})
        world.start()
        world.reactor.advance(31.0)
        world.end()
        world.api.delete("Service", "default", "web")
        world.api.inject(FaultKind.DELAY, "services", seconds=2.0)
        self.assertEqual(world.start(), 0.0)
        self.assertEqual(world.ask("web.default.svc.cluster.local.").rcode, "NOERROR")
        world.reactor.advance(2.0)
        self.assertEqual(world.ask("web.default.svc.cluster.local.").rcode, "NXDOMAIN")

    def test_never_whole(self) -> None:
        """A first start that never sees all of the cluster writes nothing."""
        world = self.world("snapshot FILE")
        world.api.inject(FaultKind.HANG, "endpointslices", times=None)
        world.start()
        world.reactor.advance(100.0)
        self.assertFalse(self.snapshot.exists())
