"""Objects get what a cluster gives them, and go when their namespace goes."""

from __future__ import annotations

import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver.cluster import Cluster
from tests.apiserver.resources import NAMESPACES, PODS, SERVICE_IMPORTS, SERVICES
from tests.apiserver.status import ApiError
from tests.apiserver.store import Store

MANIFESTS = """
apiVersion: v1
kind: Namespace
metadata: {name: prod, labels: {team: blue}}
---
---
apiVersion: v1
kind: List
items:
- kind: Service
  apiVersion: v1
  metadata: {name: web, namespace: prod}
  spec: {clusterIP: 10.96.10.1, ports: [{port: 80}]}
- kind: Service
  apiVersion: v1
  metadata: {name: head, namespace: prod}
  spec: {clusterIP: None}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: prod}
status: {phase: Running, podIP: 10.244.5.2}
---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: {name: vip, namespace: prod}
spec: {type: ClusterSetIP, ips: [10.97.0.1]}
"""


class ClusterTests(SynchronousTestCase):
    """Cluster."""

    def setUp(self) -> None:
        self.cluster = Cluster(Store(), random.Random(1))
        self.cluster.boot(0.0)

    def service(self, name: str, **spec: Any) -> dict[str, Any]:
        """A Service applied; its spec as stored."""
        obj = {"kind": "Service", "metadata": {"name": name}, "spec": spec}
        found: dict[str, Any] = self.cluster.apply(obj, 0.0).decode()["spec"]
        return found

    def test_boot(self) -> None:
        """What any cluster has is there."""
        names = [entry.key[1] for entry in self.cluster.store.snapshot(NAMESPACES)]
        self.assertEqual(names, ["default", "kube-public", "kube-system"])
        (entry,) = self.cluster.store.snapshot(SERVICES)
        service = entry.decode()
        self.assertEqual((entry.key, service["spec"]["clusterIP"]), (("default", "kubernetes"), "10.96.0.1"))
        port = service["spec"]["ports"][0]
        self.assertEqual((port["name"], port["port"], port["protocol"]), ("https", 443, "TCP"))

    def test_load(self) -> None:
        """All documents of a text are applied, lists and status included."""
        loaded = self.cluster.load(MANIFESTS, 0.0)
        self.assertEqual([entry.resource.kind for entry in loaded].count("Service"), 2)
        namespace, web, head, pod, imported = (entry.decode() for entry in loaded)
        self.assertEqual(namespace["metadata"]["labels"], {"team": "blue", "kubernetes.io/metadata.name": "prod"})
        self.assertEqual(namespace["status"], {"phase": "Active"})
        self.assertEqual((web["spec"]["type"], web["spec"]["ipFamilies"]), ("ClusterIP", ["IPv4"]))
        self.assertEqual(head["spec"]["clusterIPs"], ["None"])
        self.assertEqual(pod["status"]["podIP"], "10.244.5.2")
        self.assertEqual(imported["metadata"]["generation"], 1)
        version = self.cluster.store.version
        self.cluster.load(MANIFESTS, 5.0)
        self.assertEqual(self.cluster.store.version, version)

    def test_what_the_server_adds(self) -> None:
        """Identity, time and book-keeping are the server's; what the client claims of them does not count."""
        meta = {"name": "a", "uid": "mine", "resourceVersion": "7", "creationTimestamp": "x"}
        entry = self.cluster.apply({"kind": "Service", "metadata": meta}, 86400.0)
        found = entry.decode()["metadata"]
        self.assertEqual(found["creationTimestamp"], "1970-01-02T00:00:00Z")
        self.assertEqual(found["resourceVersion"], str(entry.version))
        self.assertNotEqual(found["uid"], "mine")
        self.assertEqual(found["managedFields"][0]["fieldsType"], "FieldsV1")
        self.assertEqual(found["namespace"], "default")

    def test_cluster_ips(self) -> None:
        """Addresses are allocated once, kept over updates, and follow the kind of Service."""
        first, second = self.service("a"), self.service("b")
        self.assertEqual((first["clusterIP"], second["clusterIP"]), ("10.96.1.0", "10.96.1.1"))
        self.assertEqual(self.service("a", sessionAffinity="ClientIP")["clusterIP"], "10.96.1.0")
        self.service("c", clusterIP="10.96.1.2")
        self.assertEqual(self.service("d")["clusterIP"], "10.96.1.3")
        dual = self.service("e", clusterIPs=["10.96.9.9", "fd00:10:96::9"])
        self.assertEqual((dual["clusterIP"], dual["ipFamilies"]), ("10.96.9.9", ["IPv4", "IPv6"]))
        self.assertEqual(dual["ipFamilyPolicy"], "RequireDualStack")
        self.assertNotIn("clusterIP", self.service("f", type="ExternalName", externalName="x.test"))
        self.assertRaises(ApiError, self.service, "g", type="ExternalName")

    def test_update_of_dual_stack(self) -> None:
        """A client that does not know the second address does not lose it."""
        self.service("a", clusterIPs=["10.96.9.9", "fd00:10:96::9"])
        self.assertEqual(self.service("a", clusterIP="10.96.9.9")["clusterIPs"], ["10.96.9.9", "fd00:10:96::9"])

    def test_generated_name(self) -> None:
        """A prefix is made a name."""
        obj = {"metadata": {"generateName": "web-"}}
        entry = self.cluster.create(PODS, obj, "default", 0.0, "test")
        self.assertRegex(entry.key[1], r"^web-[a-z0-9]{5}$")

    def test_custom_generation(self) -> None:
        """The generation of a custom resource counts changes of its spec, not of its labels."""
        obj: dict[str, Any] = {"kind": "ServiceImport", "metadata": {"name": "a"}, "spec": {"ips": []}}
        self.cluster.apply(obj, 0.0)
        labelled = {**obj, "metadata": {"name": "a", "labels": {"x": "y"}}}
        self.assertEqual(self.cluster.apply(labelled, 0.0).decode()["metadata"]["generation"], 1)
        changed = {**labelled, "spec": {"ips": ["10.97.0.1"]}}
        self.assertEqual(self.cluster.apply(changed, 0.0).decode()["metadata"]["generation"], 2)

    def test_namespace_deleted(self) -> None:
        """A namespace is Terminating first, then its content goes, then it does."""
        self.cluster.load(MANIFESTS, 0.0)
        before = self.cluster.store.version
        self.cluster.delete_kind("ns", "", "prod", 0.0)
        events = self.cluster.store.events_after(NAMESPACES, before, 10)
        first, last = events
        assert first.after is not None
        self.assertEqual(first.after.phase, "Terminating")
        self.assertIsNone(last.after)
        for resource, count in ((SERVICES, 2), (PODS, 1), (SERVICE_IMPORTS, 1)):
            gone = self.cluster.store.events_after(resource, before, 10)
            self.assertEqual(len(gone), count)
            self.assertTrue(all(first.version < event.version < last.version for event in gone))
            self.assertEqual(self.cluster.store.snapshot(resource, namespace="prod"), [])

    def test_refused(self) -> None:
        """Kinds that are not here, namespaces that are not there."""
        self.assertEqual(self.assertRaises(ApiError, self.cluster.apply, {"kind": "Secret"}, 0.0).code, 404)
        orphan = {"kind": "Pod", "metadata": {"name": "a", "namespace": "nowhere"}}
        problem = self.assertRaises(ApiError, self.cluster.apply, orphan, 0.0)
        self.assertEqual(problem.message, 'namespaces "nowhere" not found')
        self.assertRaises(ApiError, self.cluster.delete_kind, "Secret", "default", "x", 0.0)
