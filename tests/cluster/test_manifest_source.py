"""Tests of :mod:`kdns.cluster.manifest_source`."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.change_sink import ChangeSink
from kdns.cluster.index import ClusterIndex
from kdns.cluster.keys import Serial
from kdns.cluster.manifest_source import BATCH, INTERVAL, Aside, ManifestSource, Reading, read_files
from kdns.cluster.manifests import Selection
from kdns.cluster.objects import Kind
from kdns.cluster.selectors import parse
from kdns.cluster.watched import Needs
from kdns.core.degraded import DegradedStates
from kdns.core.slices import SLICE_SECONDS

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: n}\nspec: {clusterIP: %s}\n---\n"

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
        self.now = 1_700_000_000.0
        sink = ChangeSink(self.index, self.clock, lambda: self.now + self.clock.seconds())
        self.path = Path(self.mktemp())
        self.path.write_text(MANIFESTS)
        source = ManifestSource(self.clock, sink, [str(self.path)], aside, needs, None, selection)
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
        self.source(Needs())
        self.settle()
        with self.path.open("w") as file:
            file.write(MANIFESTS.split("---")[0])
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.index.slices_of(b"shop", b"db")), 1)
        self.clock.pump([0.01] * 60)
        self.assertEqual(self.index.slices_of(b"shop", b"db"), ())


class FollowingTests(SynchronousTestCase):
    """The index says what the files say."""

    def setUp(self) -> None:
        """A folder with two services in two files."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.write("a.yaml", SERVICE % ("a", "10.0.0.1"))
        self.write("b.yml", SERVICE % ("b", "10.0.0.2"))
        self.index, self.clock, self.degraded = ClusterIndex(), Clock(), DegradedStates()
        self.readings = 0
        self.source = self.make(self.aside)

    def aside(self, work: Callable[[], Reading | None]) -> Deferred[Reading | None]:
        """In place of a thread."""
        return maybeDeferred(self.counted, work)

    def counted(self, work: Callable[[], Reading | None]) -> Reading | None:
        """Do the work, and count it if the files were read."""
        reading = work()
        self.readings += reading is not None
        return reading

    def make(self, aside: Aside) -> ManifestSource:
        """A source over the folder."""
        return self.over(str(self.folder), aside)

    def over(self, path: str, aside: Aside) -> ManifestSource:
        """A source over a path."""
        sink = ChangeSink(self.index, self.clock, self.clock.seconds)
        return ManifestSource(self.clock, sink, [path], aside, Needs(), degraded=self.degraded)

    def write(self, name: str, text: str) -> None:
        """Put a file in its place, whole, with a time of change that is its own."""
        path = self.folder / name
        other = self.folder / ".new"
        other.write_text(text)
        os.replace(other, path)

    def known(self) -> list[bytes]:
        """The services that are known."""
        return [service.name for service in self.index.services()]

    def start(self) -> None:
        """Start, and have it end with the test."""
        self.source.start()
        self.addCleanup(self.source.stop)
        self.clock.pump([0] * 20)

    def look(self) -> None:
        """The time of the next look comes."""
        self.clock.pump([2.0] + [0] * 20)

    def test_first_reading(self) -> None:
        """All files are entered, and then it is in step."""
        self.write("notes.txt", "{")
        self.write("..data.yaml", "{")
        self.assertFalse(self.source.synced)
        self.start()
        self.assertEqual((self.known(), self.source.problems), ([b"a", b"b"], ()))
        self.assertTrue(self.source.synced)

    def test_changes(self) -> None:
        """A changed file, a new one and one that went are noticed at the next look; without a change nothing is read."""
        self.start()
        self.look()
        self.assertEqual(self.readings, 1)
        self.write("a.yaml", SERVICE % ("a2", "10.0.0.9"))
        self.write("c.json", '{"kind":"Service","apiVersion":"v1","metadata":{"name":"c","namespace":"n"}}')
        os.unlink(self.folder / "b.yml")
        self.assertEqual(self.known(), [b"a", b"b"])
        self.look()
        self.assertEqual((self.known(), self.readings), ([b"a2", b"c"], 2))

    def test_no_files_in_the_reactor(self) -> None:
        """Even whether files changed is looked up in a thread: a disk may be slow."""
        waiting: list[Callable[[], Reading | None]] = []

        def later(work: Callable[[], Reading | None]) -> Deferred[Reading | None]:
            waiting.append(work)
            return Deferred()

        self.source = self.over("/nowhere\0impossible", later)  # any look at this path would raise
        self.start()
        self.assertEqual(len(waiting), 1)

    def test_swapped_link(self) -> None:
        """A mounted ConfigMap changes by a link to another folder."""
        for name in ("one", "two"):
            (self.folder / name).mkdir()
            (self.folder / name / "m.yaml").write_text(SERVICE % (name, "10.0.1.1"))
        os.symlink("one", self.folder / "..data")
        os.symlink("..data/m.yaml", self.folder / "m.yaml")
        self.start()
        self.assertIn(b"one", self.known())
        os.symlink("two", self.folder / "..new")
        os.replace(self.folder / "..new", self.folder / "..data")
        self.look()
        self.assertEqual(self.known(), [b"a", b"b", b"two"])

    def test_a_broken_file_takes_nothing_away(self) -> None:
        """What is right is entered, what was known stays, and when all is right again it is as the files say."""
        self.start()
        self.write("a.yaml", SERVICE % ("new", "10.0.0.3") + "kind: [")
        os.unlink(self.folder / "b.yml")
        self.look()
        self.assertEqual(self.known(), [b"a", b"b", b"new"])
        self.assertEqual([problem.line for problem in self.source.problems], [7])
        (state,) = self.degraded
        self.assertEqual(state.name, f"manifests {self.folder}")
        self.assertEqual(state.text, f"{self.source.problems[0]}; nothing is taken away")
        self.write("a.yaml", SERVICE % ("new", "10.0.0.3"))
        with capturedLogs() as events:
            self.look()
        self.assertEqual((self.known(), self.source.problems, list(self.degraded)), ([b"new"], (), []))
        self.assertEqual(
            [formatEvent(event) for event in events], [f"manifests {self.folder}: in order again after 2 s"]
        )

    def test_missing_path(self) -> None:
        """A file that is not there is a problem until it is."""
        path = str(self.folder / "none.yaml")
        self.source = self.over(path, self.aside)
        self.start()
        self.assertEqual([str(problem) for problem in self.source.problems], [f"{path}: No such file or directory"])
        self.write("none.yaml", SERVICE % ("x", "10.0.0.1"))
        self.look()
        self.assertEqual((self.known(), self.source.problems), ([b"x"], ()))

    def test_many_objects_take_many_turns(self) -> None:
        """On a slow machine no turn of the reactor enters more than a batch."""
        self.write("a.yaml", "".join(SERVICE % (f"s{number}", "None") for number in range(3 * BATCH)))
        counts = []

        class Turns(Clock):
            """Notes at the end of each turn how much is known."""

            def seconds(clock) -> float:
                clock.rightNow += SLICE_SECONDS
                return clock.rightNow

            def callLater(clock, *args: Any, **kwargs: Any) -> Any:  # self is the test
                counts.append(len(self.known()))
                return super().callLater(*args, **kwargs)

        self.clock = Turns()
        self.source = self.make(self.aside)
        self.start()
        steps = [after - before for before, after in pairwise([0, *counts])]
        self.assertGreater(len(steps), 3)
        self.assertLessEqual(max(steps), BATCH)
        self.assertEqual(self.index.counts()[Kind.SERVICE], 3 * BATCH + 1)

    def test_a_change_during_a_reading(self) -> None:
        """Files that change while they are read are read again, and nothing is taken away meanwhile."""
        self.start()
        self.write("a.yaml", SERVICE % ("a2", "10.0.0.9"))

        def mixed(work: Callable[[], Reading | None]) -> Deferred[Reading | None]:
            return maybeDeferred(lambda: Reading(read_files([str(self.folder)]), None))

        self.source._aside = mixed
        self.look()
        self.assertEqual(self.known(), [b"a", b"a2", b"b"])
        self.source._aside = self.aside
        self.look()
        self.assertEqual(self.known(), [b"a2", b"b"])

    def test_stop(self) -> None:
        """Nothing is left on the clock, and a reading that comes late is not entered."""
        late: Deferred[Reading | None] = Deferred()
        self.source = self.make(lambda work: late)
        self.source.start()
        self.source.stop()
        self.assertEqual((self.known(), self.clock.getDelayedCalls()), ([], []))
        self.source = self.make(self.aside)
        self.source.start()
        self.source.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_reading_that_fails(self) -> None:
        """What was not foreseen is logged, and it is tried again at the next look."""

        def fails(work: Callable[[], Reading | None]) -> Deferred[Reading | None]:
            return fail(ZeroDivisionError())

        self.source = self.make(fails)
        self.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.source._aside = self.aside
        self.look()
        self.assertEqual(self.known(), [b"a", b"b"])
