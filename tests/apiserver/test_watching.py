"""A watch tells each client what it must know to keep its selection right, and costs nothing while it is not read."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver.resources import SERVICES, Json
from tests.apiserver.selectors import label_selector
from tests.apiserver.status import ApiError
from tests.apiserver.store import Store
from tests.apiserver.watching import INITIAL_EVENTS_END, Filter, Line, Watch


def service(name: str, namespace: str = "prod", **labels: str) -> Json:
    """A Service with labels."""
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}}


def told(lines: list[Line]) -> list[tuple[str, str]]:
    """What the lines say: type and name."""
    events = [json.loads(line.data) for line in lines]
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


class WatchTests(SynchronousTestCase):
    """Watch."""

    def setUp(self) -> None:
        self.store = Store()

    def watch(self, chosen: Filter | None = None) -> Watch:
        """A watch from now on."""
        return Watch(self.store, chosen or Filter(SERVICES), self.store.version)

    def test_life_of_an_object(self) -> None:
        """Creation, change and deletion are told in order, each line a JSON object with kind and version."""
        watch = self.watch()
        self.store.create(SERVICES, service("a"))
        self.store.replace(SERVICES, service("a", x="y"))
        last = self.store.delete(SERVICES, ("prod", "a"))
        lines = watch.take(10)
        self.assertEqual(told(lines), [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")])
        self.assertTrue(all(line.data.endswith(b"\n") and line.data.count(b"\n") == 1 for line in lines))
        gone = json.loads(lines[-1].data)["object"]
        self.assertEqual((gone["kind"], gone["apiVersion"]), ("Service", "v1"))
        self.assertEqual(gone["metadata"]["resourceVersion"], str(last.version))
        self.assertEqual(watch.take(10), [])

    def test_selection(self) -> None:
        """An object that starts to match is ADDED, one that ceases to match is DELETED with its last matching state."""
        watch = self.watch(Filter(SERVICES, labels=label_selector("tier=front")))
        self.store.create(SERVICES, service("a", tier="back"))
        self.assertEqual(watch.take(10), [])
        self.store.replace(SERVICES, service("a", tier="front"))
        self.store.replace(SERVICES, service("a", tier="front", more="1"))
        left = self.store.replace(SERVICES, service("a", tier="back"))
        self.store.replace(SERVICES, service("a", tier="side"))
        self.store.delete(SERVICES, ("prod", "a"))
        lines = watch.take(10)
        self.assertEqual(told(lines), [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")])
        meta = json.loads(lines[-1].data)["object"]["metadata"]
        self.assertEqual(meta["labels"], {"tier": "front", "more": "1"})
        self.assertEqual(meta["resourceVersion"], str(left.version))

    def test_namespace(self) -> None:
        """A watch of one namespace does not see another."""
        watch = self.watch(Filter(SERVICES, "prod"))
        self.store.create(SERVICES, service("a", "test"))
        self.store.create(SERVICES, service("b", "prod"))
        self.assertEqual(told(watch.take(10)), [("ADDED", "b")])

    def test_initial_state(self) -> None:
        """A streamed list is the state, its end mark at the version of the state, then what happened since."""
        for name in "abc":
            self.store.create(SERVICES, service(name))
        version = self.store.version
        watch = self.watch()
        watch.initial, watch.mark_initial_end = iter(self.store.snapshot(SERVICES)), True
        self.store.create(SERVICES, service("d"))
        self.assertEqual(told(watch.take(2)), [("ADDED", "a"), ("ADDED", "b")])
        self.assertIsNone(watch.bookmark())
        lines = watch.take(10)
        self.assertEqual(told(lines), [("ADDED", "c"), ("BOOKMARK", ""), ("ADDED", "d")])
        meta = json.loads(lines[1].data)["object"]["metadata"]
        self.assertEqual(meta["annotations"], {INITIAL_EVENTS_END: "true"})
        self.assertEqual(meta["resourceVersion"], str(version))

    def test_bookmark(self) -> None:
        """A bookmark moves the client past versions that do not concern it, never past an event it has not seen."""
        watch = self.watch(Filter(SERVICES, "prod"))
        self.store.create(SERVICES, service("a", "test"))
        self.assertIsNone(watch.bookmark())
        self.assertEqual(watch.take(10), [])
        line = watch.bookmark()
        assert line is not None
        event = json.loads(line.data)
        self.assertEqual((event["type"], event["object"]["kind"]), ("BOOKMARK", "Service"))
        self.assertEqual(event["object"]["metadata"]["resourceVersion"], str(self.store.version))

    def test_metadata_only(self) -> None:
        """A watch of the metadata carries no more than that."""
        watch = self.watch(Filter(SERVICES, partial=True))
        self.store.create(SERVICES, {**service("a"), "spec": {"type": "ClusterIP"}})
        (line,) = watch.take(10)
        obj = json.loads(line.data)["object"]
        self.assertEqual(obj["kind"], "PartialObjectMetadata")
        self.assertNotIn("spec", obj)

    def test_fallen_behind(self) -> None:
        """A watch that the history has moved past cannot go on."""
        watch = self.watch()
        self.store.create(SERVICES, service("a"))
        self.store.compact()
        self.assertEqual(self.assertRaises(ApiError, watch.take, 10).code, 410)

    def test_in_batches(self) -> None:
        """Lines are handed out a few at a time, and none is lost between."""
        watch = self.watch(Filter(SERVICES, labels=label_selector("odd")))
        for index in range(20):
            self.store.create(SERVICES, service(f"s{index:02d}", **({"odd": "1"} if index % 2 else {})))
        found: list[tuple[str, str]] = []
        while lines := watch.take(3):
            self.assertLessEqual(len(lines), 3)
            found += told(lines)
        self.assertEqual(found, [("ADDED", f"s{index:02d}") for index in range(1, 20, 2)])

    def test_stale_replica(self) -> None:
        """A replica that stands still at a version tells nothing newer."""
        self.store.create(SERVICES, service("a"))
        watch = Watch(self.store, Filter(SERVICES), 1, ceiling=self.store.version)
        self.store.create(SERVICES, service("b"))
        self.assertEqual(told(watch.take(10)), [("ADDED", "a")])
        self.assertEqual(watch.take(10), [])
