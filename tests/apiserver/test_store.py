"""The store keeps objects in order, rolls back along its history, and forgets what lies before it."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver.resources import NAMESPACES, PODS, SERVICES, Json, Resource
from tests.apiserver.status import ApiError
from tests.apiserver.store import Entry, Store


def service(name: str, namespace: str = "prod", **more: object) -> Json:
    """An object as the store expects it."""
    return {"metadata": {"name": name, "namespace": namespace, "uid": "u", **more}, "spec": {"type": "ClusterIP"}}


def names(entries: list[Entry]) -> list[str]:
    """Which objects these are."""
    return [entry.key[1] for entry in entries]


class StoreTests(SynchronousTestCase):
    """Store."""

    def setUp(self) -> None:
        self.store = Store()

    def test_versions_grow(self) -> None:
        """Each change has a version of its own, across resources."""
        first = self.store.create(SERVICES, service("a")).version
        second = self.store.create(PODS, service("p")).version
        third = self.store.replace(SERVICES, service("a", labels={"x": "y"})).version
        last = self.store.delete(SERVICES, ("prod", "a")).version
        self.assertEqual([second, third, last], [first + 1, first + 2, first + 3])
        self.assertEqual(self.store.version, last)

    def test_no_change(self) -> None:
        """An update that changes nothing makes no version and no event."""
        entry = self.store.create(SERVICES, service("a"))
        self.assertIs(self.store.replace(SERVICES, service("a")), entry)
        self.assertEqual(self.store.version, entry.version)
        self.assertEqual(self.store.events_after(SERVICES, entry.version, 10), [])

    def test_bodies(self) -> None:
        """The three written forms differ in what they carry beside the metadata."""
        entry = self.store.create(SERVICES, service("a"))
        meta = {"name": "a", "namespace": "prod", "uid": "u", "resourceVersion": str(entry.version)}
        self.assertEqual(
            entry.decode(),
            {"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": {"type": "ClusterIP"}},
        )
        self.assertNotIn(b'"kind"', entry.body)
        self.assertIn(b'"PartialObjectMetadata"', entry.partial_body)
        self.assertNotIn(b"ClusterIP", entry.partial_body)

    def test_order_and_namespace(self) -> None:
        """Lists are ordered by namespace and name, and can be cut to one namespace."""
        for namespace, name in (("b", "z"), ("a", "x"), ("b", "a"), ("b-c", "k"), ("a", "b")):
            self.store.create(SERVICES, service(name, namespace))
        self.assertEqual(names(self.store.snapshot(SERVICES)), ["b", "x", "a", "z", "k"])
        self.assertEqual(names(self.store.snapshot(SERVICES, namespace="b")), ["a", "z"])
        self.assertEqual(names(self.store.snapshot(SERVICES, after=("a", "x"))), ["a", "z", "k"])
        self.assertEqual(names(self.store.snapshot(SERVICES, after=("b", "a"), namespace="b")), ["z"])

    def test_cluster_scoped(self) -> None:
        """Objects without a namespace are listed as well."""
        self.store.create(NAMESPACES, {"metadata": {"name": "prod"}})
        self.assertEqual(names(self.store.snapshot(NAMESPACES)), ["prod"])

    def test_name_taken(self) -> None:
        """A name can be created once."""
        self.store.create(SERVICES, service("a"))
        problem = self.assertRaises(ApiError, self.store.create, SERVICES, service("a"))
        self.assertEqual((problem.code, problem.status()["reason"]), (409, "AlreadyExists"))

    def test_missing(self) -> None:
        """What is not there is not found, also for a deletion."""
        for call in (self.store.get, self.store.delete):
            problem = self.assertRaises(ApiError, call, SERVICES, ("prod", "a"))
            self.assertEqual(str(problem), '404 NotFound: services "a" not found')

    def test_compaction(self) -> None:
        """After a compaction the past is gone, and the present can be listed and watched on."""
        old = self.store.create(SERVICES, service("a")).version
        new = self.store.create(SERVICES, service("b")).version
        self.store.compact()
        self.assertEqual(self.assertRaises(ApiError, self.store.snapshot, SERVICES, old).code, 410)
        problem = self.assertRaises(ApiError, self.store.events_after, SERVICES, old, 1)
        self.assertEqual((problem.code, problem.message), (410, f"too old resource version: {old} ({new})"))
        self.assertEqual(names(self.store.snapshot(SERVICES, new)), ["a", "b"])
        self.assertEqual(self.store.events_after(SERVICES, new, 1), [])

    def test_window(self) -> None:
        """The history is bounded, for each resource."""
        store = Store(window=8)
        first = store.create(PODS, service("p")).version
        for index in range(40):
            store.create(SERVICES, service(f"s{index:02d}"))
        self.assertRaises(ApiError, store.events_after, SERVICES, first, 1)
        self.assertEqual(len(store.events_after(SERVICES, store.version - 8, 100)), 8)
        self.assertEqual(store.events_after(PODS, first, 1), [])

    def test_listeners(self) -> None:
        """Those who subscribe are told of each change until they unsubscribe."""
        told: list[Resource] = []
        stop = self.store.subscribe(told.append)
        self.store.create(SERVICES, service("a"))
        stop()
        stop()
        self.store.create(SERVICES, service("b"))
        self.assertEqual(told, [SERVICES])

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32))
    def test_every_snapshot(self, seed: int) -> None:
        """Whatever happened, each earlier state can be listed as it was, and the events lead from one to the next."""
        rng, store = random.Random(seed), Store()
        states: dict[int, list[Entry]] = {store.version: []}
        for _ in range(30):
            key = ("prod", rng.choice("abcdef"))
            if store.find(SERVICES, key) is None:
                store.create(SERVICES, service(key[1]))
            elif rng.random() < 0.5:
                store.delete(SERVICES, key)
            else:
                store.replace(SERVICES, service(key[1], labels={"n": str(rng.random())}))
            states[store.version] = store.snapshot(SERVICES)
        for version, state in states.items():
            self.assertEqual(store.snapshot(SERVICES, version), state)
            replayed = {entry.key: entry for entry in state}
            for event in store.events_after(SERVICES, version, 100):
                if event.after is not None:
                    replayed[event.after.key] = event.after
                elif event.before is not None:
                    del replayed[event.before.key]
            self.assertEqual(sorted(replayed), [entry.key for entry in store.snapshot(SERVICES)])
