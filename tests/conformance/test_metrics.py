"""The metrics page of a whole server against the names, types, labels and bounds that CoreDNS shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver import ApiServer
from tests.conformance.cases import CASES, case_file
from tests.conformance.client import query
from tests.conformance.world import MemoryWorld

NOT_KDNS = ("go_",)
"""The Go runtime's."""

NOT_HERE = {
    "coredns_local_localhost_requests_total": "the plugin local, which kdns does not have",
    "coredns_hosts_reload_timestamp_seconds": "shown by a Corefile with hosts",
}


CHANGED = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: db-changed
  namespace: prod
  labels: {kubernetes.io/service-name: db}
  annotations: {endpoints.kubernetes.io/last-change-trigger-time: "2023-11-14T22:13:20Z"}
addressType: IPv4
endpoints: [{addresses: [10.244.1.29], conditions: {ready: true}}]
ports: [{name: pg, port: 5432, protocol: TCP}]
"""
"""A change whose cause is dated: what the programming latency is measured by."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a dashboard depends on."""

    kind: str
    labels: tuple[str, ...]
    bounds: tuple[str, ...] = ()


def golden() -> dict[str, Shape]:
    """The metrics of the default Kubernetes Corefile, by name."""
    shapes = {}
    for line in (CASES / "metrics.txt").read_text(encoding="utf-8").partition("\n\n")[0].splitlines():
        if line.startswith("#"):
            continue
        name, kind, *rest = line.removesuffix(" *").split(" ")
        facts = dict(word.partition("=")[::2] for word in rest)
        labels = tuple(label for label in facts["labels"].split(",") if label != "-")
        bounds = tuple(bound for bound in facts.get("buckets", "").split(",") if bound)
        shapes[name] = Shape(kind, labels, bounds)
    return shapes


def shown(page: str) -> dict[str, Shape]:
    """The metrics of a page, by name."""
    shapes = {}
    for family in text_string_to_metric_families(page):
        labels: set[str] = set()
        bounds: dict[str, None] = {}
        for sample in family.samples:
            labels |= sample.labels.keys() - {"le"}
            if "le" in sample.labels:
                bounds[sample.labels["le"]] = None
        name = family.name + "_total" if family.type == "counter" else family.name
        shapes[name] = Shape(family.type, tuple(sorted(labels)), tuple(bounds))
    return shapes


class _Page(Protocol):
    transport: Any  # Twisted's own annotations cannot be called

    def __init__(self) -> None:
        self.octets = b""
        self.ended = False

    def connectionMade(self) -> None:
        """Ask for the page, and for nothing after it."""
        self.transport.write(b"GET /metrics HTTP/1.1\r\nHost: kdns\r\nConnection: close\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.octets += data

    def connectionLost(self, reason: Any = None) -> None:
        """That was all."""
        self.ended = True


class _Connect(ClientFactory[Protocol]):
    noisy = False

    def __init__(self, page: _Page) -> None:
        self.page = page

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """The one connection."""
        return self.page


def live_page(folder: Path) -> str:
    """
    Start the default Corefile on a cluster in memory, ask all its cases, and scrape.

    :param folder: where to write what the server reads.
    """
    file = case_file("default")
    world = MemoryWorld(file.corefile, folder=folder)
    api = ApiServer(world.reactor)
    api.start(6443)
    for manifest in (CASES / "every-cluster.yaml", *file.manifests):
        api.load(manifest.read_text(encoding="utf-8"))
    world.start()
    for case in file.cases:
        world.ask(query(case.question), case.question["proto"])
    for qname in ("one.example.com.", "two.example.com."):  # the second on the connection of the first
        world.ask(query({"qname": qname, "qtype": "A", "rd": True, "edns": None}), "tcp")
    api.load(CHANGED)
    world.reactor.advance(1.0)
    page = _Page()
    world.reactor.connectTCP("127.0.0.1", 9153, _Connect(page))
    for _ in range(100):
        world.reactor.advance(0.01)
    assert page.ended
    api.stop()
    left = world.stop()
    assert left == [], left
    head, _, body = page.octets.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head
    return body.decode()


class GoldenMetricsTests(SynchronousTestCase):
    """The page after all kinds of traffic."""

    maxDiff = None

    def page(self) -> str:
        """The page of a server of this test's own."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        return live_page(folder)

    def test_shapes(self) -> None:
        """Every metric of CoreDNS is there, of the same type, with the same labels and bounds."""
        found = shown(self.page())
        wrong = []
        for name, shape in golden().items():
            if name.startswith(NOT_KDNS) or name in NOT_HERE:
                continue
            if name not in found:
                wrong.append(f"{name}: missing")
            elif found[name] != shape:
                wrong.append(f"{name}: wanted {shape}, got {found[name]}")
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
