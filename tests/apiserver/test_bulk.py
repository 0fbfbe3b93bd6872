"""Bulk objects are like those of a large cluster, and the same each time."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from kdns.testing.memory import MemoryReactor
from tests.apiserver.bulk import Bulk, churn, populate
from tests.apiserver.resources import ENDPOINT_SLICES, NAMESPACES, PODS, SERVICES
from tests.apiserver.server import ApiServer

BULK = Bulk(services=40, slices=80, endpoints=5, namespaces=4, pods=30)


class BulkTests(SynchronousTestCase):
    """populate and churn."""

    def setUp(self) -> None:
        self.api = ApiServer(MemoryReactor())
        self.store = self.api.cluster.store
        populate(self.api.cluster, BULK, 0.0)

    def test_numbers(self) -> None:
        """There is as much of everything as asked for, beside what any cluster has."""
        counts = [self.store.count(resource) for resource in (NAMESPACES, SERVICES, ENDPOINT_SLICES, PODS)]
        self.assertEqual(counts, [3 + 4, 1 + 40, 80, 30])

    def test_consistent(self) -> None:
        """Each slice belongs to a Service of its namespace, and no address occurs twice."""
        services = {entry.key for entry in self.store.snapshot(SERVICES)}
        addresses: list[str] = []
        for entry in self.store.snapshot(ENDPOINT_SLICES):
            self.assertIn((entry.key[0], entry.labels["kubernetes.io/service-name"]), services)
            addresses += [address for point in entry.decode()["endpoints"] for address in point["addresses"]]
        self.assertEqual(len(set(addresses)), 80 * 5)
        ips = [json.loads(entry.body)["spec"]["clusterIP"] for entry in self.store.snapshot(SERVICES)]
        real = [ip for ip in ips if ip != "None"]
        self.assertEqual(len(set(real)), len(real))
        self.assertIn("None", ips)

    def test_weight(self) -> None:
        """Objects weigh about what they weigh in a real cluster, book-keeping included."""
        for resource, least, most in ((SERVICES, 900, 2500), (ENDPOINT_SLICES, 1000, 3000), (PODS, 900, 4000)):
            entry = self.store.snapshot(resource)[0]
            self.assertTrue(least < len(entry.body) < most, (resource.kind, len(entry.body)))
            self.assertIn(b'"managedFields"', entry.meta)

    def test_same_each_time(self) -> None:
        """Another server with the same seed has the same objects, to the byte."""
        other = ApiServer(MemoryReactor())
        populate(other.cluster, BULK, 0.0)
        for resource in (SERVICES, ENDPOINT_SLICES, PODS):
            self.assertEqual(other.cluster.store.snapshot(resource), self.store.snapshot(resource))

    def test_churn(self) -> None:
        """Changes are updates of slices that keep their identity."""
        before = self.store.version
        identities = {entry.key: entry.decode()["metadata"]["uid"] for entry in self.store.snapshot(ENDPOINT_SLICES)}
        churn(self.api.cluster, BULK, 20, self.api.rng, 1.0, 1)
        events = self.store.events_after(ENDPOINT_SLICES, before, 100)
        self.assertTrue(0 < len(events) <= 20)
        for event in events:
            assert event.before is not None and event.after is not None
            self.assertNotEqual(event.before.rest, event.after.rest)
            self.assertEqual(event.after.decode()["metadata"]["uid"], identities[event.after.key])

    def test_by_the_server(self) -> None:
        """The server's own methods do the same, and each churn changes something else."""
        api = ApiServer(MemoryReactor())
        self.assertRaises(ValueError, api.churn, 1)
        api.populate(services=5, slices=5, namespaces=1)
        version = api.version
        api.churn(3)
        first = api.version
        api.churn(3)
        self.assertTrue(version < first < api.version)
