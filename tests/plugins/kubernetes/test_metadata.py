"""What ``metadata`` tells of a query for the cluster."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Delete, Kind, Pod, Upsert
from kdns.core.request import Metadata
from kdns.plugins.kubernetes import directive
from kdns.plugins.kubernetes.metadata import KubernetesMetadata
from tests.support import a_request, blocks_of

POD = Pod(b"prod", b"web-a", bytes((10, 1, 0, 9)), labels=(("app", "web"), ("tier", "front")))


class MetadataTests(SynchronousTestCase):
    """Labels that begin with ``kubernetes/``."""

    def setUp(self) -> None:
        self.index = ClusterIndex()
        self.index.apply(Upsert(POD), 0.0)

    def collected(self, name: str, options: str = "", client: str = "192.0.2.1") -> Mapping[str, object]:
        """What is collected for a question, without the prefix and without what is empty."""
        corefile = f"cluster.local set.local in-addr.arpa {{\n metadata\n kubernetes {{\n{options}\n }}\n}}\n"
        block, words = blocks_of(corefile, ("kubernetes", "metadata"))[0]
        metadata: Metadata = {}
        source = KubernetesMetadata(directive.parse(words["kubernetes"], block), self.index)
        source.collect(a_request(name, client=client, metadata=metadata))
        return {key.removeprefix("kubernetes/"): value for key, value in metadata.items() if value != ""}

    def test_names(self) -> None:
        """The parts of the name, in lower case."""
        of_web = {"kind": "svc", "namespace": "prod", "service": "web"}
        for name, wanted in (
            ("Web.prod.svc.cluster.local.", of_web),
            ("e.web.prod.svc.cluster.local.", of_web | {"endpoint": "e"}),
            ("_http._tcp.web.prod.svc.cluster.local.", of_web | {"port-name": "http", "protocol": "tcp"}),
            ("prod.svc.cluster.local.", {"kind": "svc", "namespace": "prod"}),
            ("1-2-3-4.prod.pod.cluster.local.", {"kind": "pod", "namespace": "prod", "service": "1-2-3-4"}),
            ("prod.pod.cluster.local.", {"kind": "pod", "namespace": "prod"}),
            ("a.b.c.web.prod.svc.cluster.local.", {"parse-error": "invalid query name"}),
            ("foo.cluster.local.", {"parse-error": "invalid query name"}),
            ("cluster.local.", {}),
            ("svc.cluster.local.", {}),
            ("1.0.96.10.in-addr.arpa.", {}),
            ("www.example.com.", {}),
        ):
            self.assertEqual(self.collected(name), wanted, name)

    def test_cluster_and_zone(self) -> None:
        """The cluster of an endpoint in a zone of several, the topology zone of a zonal name."""
        found = self.collected("h.east.web.prod.svc.set.local.", "multicluster set.local")
        self.assertEqual((found["endpoint"], found["cluster"]), ("h", "east"))
        found = self.collected("eu.1.pin._zone.web.prod.svc.cluster.local.", "zonal")
        self.assertEqual((found["service"], found["zone"]), ("web", "eu.1"))

    def test_client(self) -> None:
        """With verified pods, the pod that asks, whatever it asks for."""
        wanted = {
            "client-namespace": "prod",
            "client-pod-name": "web-a",
            "client-label/app": "web",
            "client-label/tier": "front",
        }
        self.assertEqual(self.collected("www.example.com.", "pods verified", "10.1.0.9"), wanted)
        self.assertEqual(self.collected("www.example.com.", "pods verified", "10.1.0.8"), {})
        self.assertEqual(self.collected("www.example.com.", "pods insecure", "10.1.0.9"), {})
        self.assertEqual(self.collected("www.example.com.", "pods verified", "no address"), {})
        self.index.apply(Delete(Kind.POD, b"prod", b"web-a"), 0.0)
        self.assertEqual(self.collected("www.example.com.", "pods verified", "10.1.0.9"), {})

    def test_octets(self) -> None:
        """Labels of any octets become text."""
        found = self.collected("\\255\\000.prod.svc.cluster.local.")
        self.assertEqual(found["service"], "\\xff\x00")

    def test_block_without_metadata(self) -> None:
        """Nobody asked."""
        block, words = blocks_of("a {\n kubernetes\n}\n", ("kubernetes",))[0]
        request = a_request("web.prod.svc.a.")
        KubernetesMetadata(directive.parse(words["kubernetes"], block), self.index).collect(request)
        self.assertIsNone(request.metadata)
