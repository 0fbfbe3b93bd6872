"""Objects from files."""

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.manifests import Manifests, Problem, Selection, read
from kdns.cluster.objects import Kind, Service
from kdns.cluster.projection import Options, Projector
from kdns.cluster.selectors import parse

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
