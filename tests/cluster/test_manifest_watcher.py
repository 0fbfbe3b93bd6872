"""Following a folder of manifests."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.manifest_watcher import BATCH, Follower, Reading, read_files
from kdns.cluster.objects import Kind
from kdns.core.slices import SLICE_SECONDS

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: n}\nspec: {clusterIP: %s}\n---\n"


class FollowerTests(SynchronousTestCase):
    """The index says what the files say."""

    def setUp(self) -> None:
        """A folder with two services in two files."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.write("a.yaml", SERVICE % ("a", "10.0.0.1"))
        self.write("b.yml", SERVICE % ("b", "10.0.0.2"))
        self.index, self.clock = ClusterIndex(), Clock()
        self.readings = 0
        self.follower = self.follow(self.aside)

    def aside(self, work: Callable[[], Reading]) -> Deferred[Reading]:
        """In place of a thread."""
        self.readings += 1
        return maybeDeferred(work)

    def follow(self, aside: Callable[[Callable[[], Reading]], Deferred[Reading]]) -> Follower:
        """A follower of the folder."""
        return Follower([str(self.folder)], self.index, self.clock, aside)

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
        self.follower.startService()
        self.addCleanup(self.follower.stopService)
        self.clock.pump([0] * 20)

    def look(self) -> None:
        """The time of the next look comes."""
        self.clock.pump([2.0] + [0] * 20)

    def test_first_reading(self) -> None:
        """All files are entered, and then it is in step."""
        self.write("notes.txt", "{")
        self.write("..data.yaml", "{")
        self.assertFalse(self.follower.synced)
        self.start()
        self.assertEqual((self.known(), self.follower.problems), ([b"a", b"b"], ()))
        self.assertTrue(self.follower.synced)

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
        self.assertEqual([problem.line for problem in self.follower.problems], [7])
        self.write("a.yaml", SERVICE % ("new", "10.0.0.3"))
        self.look()
        self.assertEqual((self.known(), self.follower.problems), ([b"new"], ()))

    def test_missing_path(self) -> None:
        """A file that is not there is a problem until it is."""
        path = str(self.folder / "none.yaml")
        self.follower = Follower([path], self.index, self.clock, self.aside)
        self.start()
        self.assertEqual([str(problem) for problem in self.follower.problems], [f"{path}: No such file or directory"])
        self.write("none.yaml", SERVICE % ("x", "10.0.0.1"))
        self.look()
        self.assertEqual((self.known(), self.follower.problems), ([b"x"], ()))

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
        self.follower = self.follow(self.aside)
        self.start()
        steps = [after - before for before, after in pairwise([0, *counts])]
        self.assertGreater(len(steps), 3)
        self.assertLessEqual(max(steps), BATCH)
        self.assertEqual(self.index.counts()[Kind.SERVICE], 3 * BATCH + 1)

    def test_a_change_during_a_reading(self) -> None:
        """Files that change while they are read are read again, and nothing is taken away meanwhile."""
        self.start()
        self.write("a.yaml", SERVICE % ("a2", "10.0.0.9"))

        def mixed(work: Callable[[], Reading]) -> Deferred[Reading]:
            reading = read_files([str(self.folder)])
            return maybeDeferred(lambda: Reading(reading.manifests, None))

        self.follower._aside = mixed
        self.look()
        self.assertEqual(self.known(), [b"a", b"a2", b"b"])
        self.follower._aside = self.aside
        self.look()
        self.assertEqual(self.known(), [b"a2", b"b"])

    def test_stop(self) -> None:
        """Nothing is left on the clock, and a reading that comes late is not entered."""
        late: Deferred[Reading] = Deferred()
        self.follower = self.follow(lambda work: late)
        self.follower.startService()
        self.follower.stopService()
        self.assertEqual((self.known(), self.clock.getDelayedCalls()), ([], []))
        self.follower = self.follow(self.aside)
        self.follower.startService()
        self.follower.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_reading_that_fails(self) -> None:
        """What was not foreseen is logged, and it is tried again at the next look."""

        def fails(work: Callable[[], Reading]) -> Deferred[Reading]:
            return fail(ZeroDivisionError())

        self.follower = self.follow(fails)
        self.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.follower._aside = self.aside
        self.look()
        self.assertEqual(self.known(), [b"a", b"b"])
