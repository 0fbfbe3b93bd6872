"""Manifests as a source of cluster data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.invalidation import Serial
from kdns.cluster.manifests import (
    BATCH,
    INTERVAL,
    InThread,
    Manifests,
    ManifestSource,
    Problem,
    Reading,
    Selection,
    read,
    read_files,
)
from kdns.cluster.objects import Kind, Service
from kdns.cluster.projection import Options, Projector
from kdns.cluster.resources import Needs
from kdns.cluster.selectors import parse
from kdns.cluster.source import ChangeSink
from kdns.core.degraded import DegradedStates
from kdns.core.slices import SLICE_SECONDS

CONFORMANCE = Path(__file__).parent.parent / "conformance" / "cases"

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: prod, labels: {app: %s}}
spec: {clusterIP: 10.96.0.1}
"""


def places(found: Manifests) -> list[str]:
    """What was found, as text."""
    return [f"{change.kind.value} {change.namespace.decode()}/{change.name.decode()}" for change in found.changes]


class ReadTests(SynchronousTestCase):
    """Forms of files."""

    def test_the_example_cluster(self) -> None:
        """All of the example is understood, but what DNS has no use for: ended pods, and slices of names or of no service."""
        texts = [(name, (CONFORMANCE / name).read_text()) for name in ("cluster.yaml", "multicluster.yaml")]
        found = read(texts, Projector(Options(multicluster=True)))
        index = ClusterIndex()
        for change in found.changes:
            index.apply(change, 1.0)
        self.assertEqual(found.problems, ())
        expected = {"Namespace": 7, "Service": 53, "EndpointSlice": 29, "Pod": 12, "ServiceImport": 3}
        self.assertEqual({kind.value: count for kind, count in index.counts().items()}, expected)
        self.assertEqual(index.slices_of(b"edge", b"fqdn"), ())
        self.assertEqual(index.slices_by_address(bytes((10, 244, 3, 41))), ())
        self.assertEqual([len(part.addresses) for part in index.slices_of(b"edge", b"unready")], [0])
        self.assertIsNone(index.pod(b"edge", b"done"))

    def test_documents_lists_and_json(self) -> None:
        """Several documents, lists with and without kinds of their own, JSON with tabs."""
        item = {"metadata": {"name": "j", "namespace": "prod"}, "spec": {"clusterIP": "10.0.0.1"}}
        listed = json.dumps({"apiVersion": "v1", "kind": "ServiceList", "items": [item]}, indent="\t")
        nested = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
            "- " + SERVICE.replace("\n", "\n  ").rstrip() % (name, name) + "\n" for name in ("x", "y")
        )
        text = f"# a comment\n---\n{SERVICE % ('a', 'a')}---\n...\n---\n{nested}"
        found = read([("one.yaml", text), ("two.json", listed)])
        self.assertEqual(found.problems, ())
        self.assertEqual(places(found), ["Service prod/a", "Service prod/x", "Service prod/y", "Service prod/j"])

    def test_other_kinds_and_groups_are_passed_over(self) -> None:
        """A Deployment is nothing to DNS, nor is the Service of another API group."""
        text = "kind: Deployment\napiVersion: apps/v1\n---\nkind: Service\napiVersion: serving.example/v1\n---\njust text\n---\n- 1\n"
        self.assertEqual(read([("f", text)]), Manifests((), ()))

    def test_a_later_file_wins(self) -> None:
        """An object that is given twice is what it was last."""
        found = read([("a", SERVICE % ("a", "a")), ("b", (SERVICE % ("a", "a")).replace("10.96.0.1", "None"))])
        (change,) = found.changes
        assert isinstance(change.item, Service)
        self.assertEqual(change.item.addresses, ())

    def test_points_in_time_stay_texts(self) -> None:
        """YAML's own types do not get in the way of an annotation."""
        text = (
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s\n  namespace: n\n  labels:"
            " {kubernetes.io/service-name: w}\n  annotations: {endpoints.kubernetes.io/last-change-trigger-time: 1970-01-01T00:01:00Z}\n"
        )
        (change,) = read([("f", text)]).changes
        self.assertEqual(change.triggered, 60.0)


class ProblemTests(SynchronousTestCase):
    """What is wrong is told with file and line, and spoils nothing else."""

    def test_broken_document(self) -> None:
        """The documents around it count."""
        text = f"{SERVICE % ('a', 'a')}---\nkind: Service\nmetadata: [\n---\n{SERVICE % ('b', 'b')}"
        found = read([("f.yaml", text)])
        self.assertEqual(places(found), ["Service prod/a", "Service prod/b"])
        (problem,) = found.problems
        self.assertEqual((problem.file, problem.line), ("f.yaml", 8))
        self.assertTrue(str(problem).startswith("f.yaml:8: while parsing a flow node"), str(problem))

    def test_unusable_object(self) -> None:
        """An object that DNS cannot use is named."""
        found = read([("f.yaml", SERVICE % ("a", "a") + "---\n" + SERVICE % ("a.b", "a"))])
        self.assertEqual(
            list(map(str, found.problems)), ["f.yaml:5: Service prod/a.b: 'a.b' cannot be a label of a name"]
        )

    def test_hostile_yaml(self) -> None:
        """Aliases, deep nesting, foreign tags, odd keys and control characters are problems or nothing, never an exception."""
        bomb = "a: &a [x,x]\nb: &b [*a,*a]\nkind: Service\n"
        for text in (
            bomb,
            "[" * 3000,
            "!!python/object/apply:os.system [x]",
            "? [a]\n: b",
            "\x00",
            "&",
            "{",
            "kind: Service\napiVersion: v1\n1: 2",
        ):
            found = read([("f", text + "\n---\n" + SERVICE % ("a", "a"))])
            self.assertEqual(places(found), ["Service prod/a"], text[:20])
        self.assertIn("aliases are not read", str(read([("f", bomb)]).problems[0]))

    def test_a_file_without_a_line(self) -> None:
        """A file that cannot be read has no line."""
        self.assertEqual(str(Problem("f", 0, "is gone")), "f: is gone")


class SelectionTests(SynchronousTestCase):
    """What the API server would leave out."""

    def test_labels(self) -> None:
        """Selectors for objects and for namespaces are two things."""
        text = (CONFORMANCE / "cluster.yaml").read_text()
        found = read([("f", text)], None, Selection(parse("app=web"), parse("team=blue")))
        self.assertEqual(
            places(found),
            [
                "Namespace /prod",
                "Service prod/web",
                "EndpointSlice prod/web-1",
                "Pod prod/web-a",
                "Pod prod/web-b",
                "Namespace /edge",
            ],
        )

    def test_imports_are_not_selected(self) -> None:
        """ServiceImports are watched without any selector."""
        text = (CONFORMANCE / "multicluster.yaml").read_text()
        found = read(
            [("f", text)], Projector(Options(multicluster=True)), Selection(parse("app=web"), parse("team=blue"))
        )
        self.assertEqual({change.kind for change in found.changes}, {Kind.SERVICE_IMPORT})


SERVICE_FILE = "apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: n}\nspec: {clusterIP: %s}\n---\n"

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
        in_thread = at_once if until is None else lambda work: until.addCallback(lambda _: work())
        self.clock = Clock()
        self.index = ClusterIndex()
        self.now = 1_700_000_000.0
        sink = ChangeSink(self.index, self.clock, lambda: self.now + self.clock.seconds())
        self.path = Path(self.mktemp())
        self.path.write_text(MANIFESTS)
        source = ManifestSource(self.clock, sink, [str(self.path)], in_thread, needs, None, selection)
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
        self.write("a.yaml", SERVICE_FILE % ("a", "10.0.0.1"))
        self.write("b.yml", SERVICE_FILE % ("b", "10.0.0.2"))
        self.index, self.clock, self.degraded = ClusterIndex(), Clock(), DegradedStates()
        self.readings = 0
        self.source = self.make(self.in_thread)

    def in_thread(self, work: Callable[[], Reading | None]) -> Deferred[Reading | None]:
        """In place of a thread."""
        return maybeDeferred(self.counted, work)

    def counted(self, work: Callable[[], Reading | None]) -> Reading | None:
        """Do the work, and count it if the files were read."""
        reading = work()
        self.readings += reading is not None
        return reading

    def make(self, in_thread: InThread) -> ManifestSource:
        """A source over the folder."""
        return self.over(str(self.folder), in_thread)

    def over(self, path: str, in_thread: InThread) -> ManifestSource:
        """A source over a path."""
        sink = ChangeSink(self.index, self.clock, self.clock.seconds)
        return ManifestSource(self.clock, sink, [path], in_thread, Needs(), degraded=self.degraded)

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
        self.write("a.yaml", SERVICE_FILE % ("a2", "10.0.0.9"))
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
            (self.folder / name / "m.yaml").write_text(SERVICE_FILE % (name, "10.0.1.1"))
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
        self.write("a.yaml", SERVICE_FILE % ("new", "10.0.0.3") + "kind: [")
        os.unlink(self.folder / "b.yml")
        self.look()
        self.assertEqual(self.known(), [b"a", b"b", b"new"])
        self.assertEqual([problem.line for problem in self.source.problems], [7])
        (state,) = self.degraded
        self.assertEqual(state.name, f"manifests {self.folder}")
        self.assertEqual(state.text, f"{self.source.problems[0]}; nothing is taken away")
        self.write("a.yaml", SERVICE_FILE % ("new", "10.0.0.3"))
        with capturedLogs() as events:
            self.look()
        self.assertEqual((self.known(), self.source.problems, list(self.degraded)), ([b"new"], (), []))
        self.assertEqual(
            [formatEvent(event) for event in events], [f"manifests {self.folder}: in order again after 2 s"]
        )

    def test_missing_path(self) -> None:
        """A file that is not there is a problem until it is."""
        path = str(self.folder / "none.yaml")
        self.source = self.over(path, self.in_thread)
        self.start()
        self.assertEqual([str(problem) for problem in self.source.problems], [f"{path}: No such file or directory"])
        self.write("none.yaml", SERVICE_FILE % ("x", "10.0.0.1"))
        self.look()
        self.assertEqual((self.known(), self.source.problems), ([b"x"], ()))

    def test_many_objects_take_many_turns(self) -> None:
        """On a slow machine no turn of the reactor enters more than a batch."""
        self.write("a.yaml", "".join(SERVICE_FILE % (f"s{number}", "None") for number in range(3 * BATCH)))
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
        self.source = self.make(self.in_thread)
        self.start()
        steps = [after - before for before, after in pairwise([0, *counts])]
        self.assertGreater(len(steps), 3)
        self.assertLessEqual(max(steps), BATCH)
        self.assertEqual(self.index.counts()[Kind.SERVICE], 3 * BATCH + 1)

    def test_a_change_during_a_reading(self) -> None:
        """Files that change while they are read are read again, and nothing is taken away meanwhile."""
        self.start()
        self.write("a.yaml", SERVICE_FILE % ("a2", "10.0.0.9"))

        def mixed(work: Callable[[], Reading | None]) -> Deferred[Reading | None]:
            return maybeDeferred(lambda: Reading(read_files([str(self.folder)]), None))

        self.source._in_thread = mixed
        self.look()
        self.assertEqual(self.known(), [b"a", b"a2", b"b"])
        self.source._in_thread = self.in_thread
        self.look()
        self.assertEqual(self.known(), [b"a2", b"b"])

    def test_stop(self) -> None:
        """Nothing is left on the clock, and a reading that comes late is not entered."""
        late: Deferred[Reading | None] = Deferred()
        self.source = self.make(lambda work: late)
        self.source.start()
        self.source.stop()
        self.assertEqual((self.known(), self.clock.getDelayedCalls()), ([], []))
        self.source = self.make(self.in_thread)
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
        self.source._in_thread = self.in_thread
        self.look()
        self.assertEqual(self.known(), [b"a", b"b"])
