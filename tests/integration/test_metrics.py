"""
The metrics page as Prometheus reads it: over HTTP from a kdns in a process of its own, that watches an API server and forwards.

The Corefile is the one of a cluster with its ports moved. Every metric of CoreDNS must be there, and every counter must say what was sent.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any
from urllib.request import urlopen

import dns.edns
import dns.message
import dns.rcode
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from kdns.testing.upstream import FakeUpstream, UpstreamServer
from tests.conformance.cases import CASES
from tests.conformance.test_metrics import golden, shown
from tests.integration.clusters import Api, shared
from tests.integration.programs import PATIENCE, ROOT, Program, free_port

RUNTIME = ("python_info", "python_gc_collections_total", "python_gc_objects_collected_total")
"""What stands in for ``go_*``."""

HTTP = {"name": "http", "port": 80, "protocol": "TCP"}

HOT = 5
"""How often each question is asked: the first is answered by plugins, the others from the answer table."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One query as it is sent, and what is counted of it."""

    name: str
    qtype: str
    proto: str = "udp"
    edns: str = ""
    """Empty for none, ``edns``, ``do``, or ``cookie``: a client cookie that is another one each time."""

    label: str = ""
    """What metrics call the type, if it is not its name."""

    def octets(self, chance: Random) -> bytes:
        """The message."""
        query = dns.message.make_query(self.name, self.qtype, use_edns=False, id=chance.getrandbits(16))
        if self.edns:
            options = (
                [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, chance.randbytes(8))]
                if self.edns == "cookie"
                else []
            )
            query.use_edns(0, 0x8000 if self.edns == "do" else 0, 1232, options=list(options))
        return query.to_wire()


@dataclass(slots=True)
class Sent:
    """What the page should have grown by."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By protocol and type."""

    rcodes: Counter[str] = field(default_factory=Counter)
    do: int = 0
    request_octets: Counter[str] = field(default_factory=Counter)
    """By protocol."""

    response_octets: Counter[str] = field(default_factory=Counter)
    protocols: Counter[str] = field(default_factory=Counter)

    def add(self, ask: Ask, query: bytes, reply: bytes) -> None:
        """A query got its reply."""
        self.requests[ask.proto, ask.label or ask.qtype] += 1
        self.rcodes[dns.rcode.to_text(dns.message.from_wire(reply).rcode())] += 1
        self.do += ask.edns == "do"
        self.request_octets[ask.proto] += len(query)
        self.response_octets[ask.proto] += uncompressed(reply)
        self.protocols[ask.proto] += 1


def uncompressed(reply: bytes) -> int:
    """Octets of a reply with every name written out, without the OPT that the server adds."""
    message = dns.message.from_wire(reply)
    size = 12 + sum(len(row.name.to_digestable()) + 4 for row in message.question)
    for section in (message.answer, message.authority, message.additional):
        for rrset in section:
            size += sum(len(rrset.name.to_digestable()) + 10 + len(rdata.to_digestable()) for rdata in rrset)
    return size


class Client:
    """Sends queries and waits for each reply."""

    def __init__(self, port: int) -> None:
        self._datagrams = socket.socket(type=socket.SOCK_DGRAM)
        self._datagrams.settimeout(PATIENCE)
        self._datagrams.connect(("127.0.0.1", port))
        self._stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._stream.makefile("rb")

    def close(self) -> None:
        """Send no more."""
        self._datagrams.close()
        self._file.close()
        self._stream.close()

    def ask(self, query: bytes, proto: str) -> bytes:
        """Send one and return the reply."""
        if proto == "udp":
            self._datagrams.send(query)
            return self._datagrams.recv(65535)
        self._stream.sendall(len(query).to_bytes(2, "big") + query)
        return self._file.read(int.from_bytes(self._file.read(2), "big"))

    def ask_many(self, queries: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Send datagrams at once, so that they are read in batches; each query with its reply."""
        for query in queries:
            self._datagrams.send(query)
        by_ident = {query[:2]: query for query in queries}
        for _ in queries:
            reply = self._datagrams.recv(65535)
            yield by_ident[reply[:2]], reply


class Page:
    """The page of a server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"

    def read(self) -> str:
        """The page, which may be a second old."""
        with urlopen(self._url, timeout=PATIENCE) as response:
            text: str = response.read().decode()
            return text

    def fresh(self) -> str:
        """A page that was begun after this was called: a finished one is given again for a second, and timers count meanwhile."""
        first = before = self.read()
        end = monotonic() + PATIENCE
        while before == first or _ticks(before) == _ticks(first):
            before = self.read()
            if monotonic() > end:
                raise AssertionError("the page does not change")
        return before


def _ticks(page: str) -> str:
    found = re.search(r"^kdns_reactor_lag_seconds_count (\d+)$", page, re.MULTILINE)
    assert found is not None, "no reactor lag"
    return found[1]


def samples(page: str) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """The values of a page by name, each with its labels."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


class Growth:
    """What a page grew by since another one."""

    def __init__(self, before: str, after: str) -> None:
        self._before, self._after = samples(before), samples(after)

    def by(self, name: str, *labels: str) -> Counter[Any]:
        """By some labels; what did not grow is left out."""
        found: Counter[Any] = Counter()
        for page, sign in ((self._after, 1), (self._before, -1)):
            for known, value in page.get(name, ()):
                key = tuple(known[label] for label in labels)
                found[key if len(key) != 1 else key[0]] += sign * int(value)
        return Counter({key: value for key, value in found.items() if value})

    def total(self, name: str) -> int:
        """All of it together."""
        return self.by(name).total()


def questions(namespace: str, address: str) -> tuple[Ask, ...]:
    """Questions for names of a cluster, that exist and that do not, and of the outside; *address* is the service's."""
    zone = f"{namespace}.svc.cluster.local."
    web, srv, reverse = f"web.{zone}", f"_http._tcp.web.{zone}", f"{ip_address(address).reverse_pointer}."
    missing = [f"no-{number}.{zone}" for number in range(6)]
    return (
        Ask(web, "A"),
        Ask(web.upper(), "A"),
        Ask(web, "A", edns="edns"),
        Ask(web, "A", edns="do"),
        Ask(web, "A", edns="cookie"),
        Ask(web, "A", "tcp"),
        Ask(web, "AAAA"),
        Ask(web, "AAAA", "tcp", "do"),
        Ask(f"db.{zone}", "A"),
        Ask(srv, "SRV"),
        Ask(srv, "SRV", "tcp", "edns"),
        Ask(reverse, "PTR"),
        Ask(reverse, "PTR", "tcp"),
        Ask(web, "MX"),
        Ask(web, "HINFO", label="other"),
        Ask(web, "TYPE4711", label="other"),
        *(Ask(name, "A") for name in missing),
        *(Ask(name, "AAAA", "tcp") for name in missing),
        *(Ask(name, "A", edns="do") for name in missing),
        *(Ask(name, "A", edns="cookie") for name in missing),
        Ask("api.example.com.", "A"),
        Ask("api.example.com.", "A", "tcp"),
        Ask("api.example.com.", "AAAA"),
        Ask("missing.example.com.", "A"),
        Ask("missing.example.com.", "A", "tcp"),
        *(Ask(f"missing-{number}.example.com.", "A", proto) for number in range(3) for proto in ("tcp", "udp")),
    )


def default_corefile(ports: Mapping[str, int], kubeconfig: Path) -> str:
    """The Corefile of a cluster, with ports that are free here, this cluster, and this upstream."""
    text = (ROOT / "conf" / "cluster" / "Corefile").read_text(encoding="utf-8")
    for old, new in (
        (".:53 {", f".:{ports['dns']} {{\n    bind 127.0.0.1"),
        ("health {", f"health 127.0.0.1:{ports['health']} {{"),
        ("lameduck 5s", "lameduck 0s"),
        ("ready\n", f"ready 127.0.0.1:{ports['ready']}\n"),
        ("pods insecure", f"pods insecure\n       kubeconfig {kubeconfig}"),
        ("prometheus :9153", f"prometheus 127.0.0.1:{ports['metrics']}"),
        ("/etc/resolv.conf", f"127.0.0.1:{ports['upstream']}"),
    ):
        assert text.count(old) == 1, f"{old!r} is in conf/cluster/Corefile {text.count(old)} times"
        text = text.replace(old, new)
    return text


class ScrapeTests(TestCase):
    """One server, from its first query on."""

    timeout = 120.0
    maxDiff = None

    def setUp(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        """Start it with its cluster and its upstream."""
        return Deferred.fromCoroutine(self._set_up())

    def tearDown(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        """End everything."""
        return Deferred.fromCoroutine(self._tear_down())

    async def _set_up(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        ports = {name: free_port() for name in ("dns", "health", "ready", "metrics")}
        self.upstream = UpstreamServer(FakeUpstream.from_json(CASES / "upstream.json"), self.reactor)
        _, ports["upstream"] = self.upstream.start()
        self.api = Api(reactor, shared())
        await self.api.open()
        self.namespace = await self.api.namespace()
        web = await self.api.create("Service", self.namespace, "web", spec={"ports": [HTTP]})
        self.address = str(web["spec"]["clusterIP"])
        await self.api.create("Service", self.namespace, "db", spec={"clusterIP": "None", "ports": [HTTP]})
        await self.make_slice("db-1", "10.77.1.1")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "Corefile").write_text(default_corefile(ports, shared()))
        self.program = Program(["-m", "kdns", "-conf", str(folder / "Corefile")])
        await deferToThread(self.program.wait_for, "twisted-")
        self.page = Page(ports["metrics"])
        self.client = Client(ports["dns"])

    async def _tear_down(self) -> None:
        self.client.close()
        self.program.__exit__(None, None, None)
        self.upstream.stop()
        await self.api.close()

    async def make_slice(self, name: str, address: str) -> None:
        """A slice of the headless service."""
        labels = {"kubernetes.io/service-name": "db", "endpointslice.kubernetes.io/managed-by": "tests.kdns"}
        endpoints = [{"addresses": [address], "conditions": {"ready": True}}]
        ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
        await self.api.create(
            "EndpointSlice", self.namespace, name, labels=labels, addressType="IPv4", endpoints=endpoints, ports=ports
        )

    def traffic(self) -> Sent:
        """Ask everything several times: one after another, then once more all at once."""
        chance = Random(4)
        sent = Sent()
        asks = questions(self.namespace, self.address)
        for _ in range(HOT):
            for ask in asks:
                query = ask.octets(chance)
                sent.add(ask, query, self.client.ask(query, ask.proto))
        by_query = {ask.octets(chance): ask for ask in asks if ask.proto == "udp"}
        distinct = {query[:2]: query for query in by_query}
        for query, reply in self.client.ask_many(list(distinct.values())):
            sent.add(by_query[query], query, reply)
        return sent

    async def test_counters(self) -> None:
        """Every counter grows by what was sent, exactly: cold and hot, over UDP and TCP, one by one and in batches."""
        before = await deferToThread(self.page.fresh)
        sent = await deferToThread(self.traffic)
        grew = Growth(before, await deferToThread(self.page.fresh))
        total = sent.protocols.total()
        self.assertGreater(total, 200)
        self.assertEqual(grew.by("coredns_dns_requests_total", "proto", "type"), sent.requests)
        self.assertEqual(grew.by("coredns_dns_responses_total", "rcode"), sent.rcodes)
        self.assertEqual(grew.total("coredns_dns_do_requests_total"), sent.do)
        for name, octets in (("request", sent.request_octets), ("response", sent.response_octets)):
            self.assertEqual(grew.by(f"coredns_dns_{name}_size_bytes_sum", "proto"), octets, name)
            self.assertEqual(grew.by(f"coredns_dns_{name}_size_bytes_count", "proto"), sent.protocols, name)
            last = grew.by(f"coredns_dns_{name}_size_bytes_bucket", "proto", "le")
            self.assertEqual({proto: last[proto, "+Inf"] for proto in sent.protocols}, sent.protocols, name)
        self.assertEqual(grew.total("coredns_dns_request_duration_seconds_count"), total)
        self.assertEqual(grew.total("coredns_cache_requests_total"), total)
        self.assertEqual(grew.total("coredns_cache_hits_total") + grew.total("coredns_cache_misses_total"), total)
        hits, misses = grew.by("kdns_answer_table_hits_total", "kind"), grew.total("kdns_answer_table_misses_total")
        self.assertEqual(hits.total() + misses, total)
        self.assertGreater(hits["reply"], misses)
        self.assertGreater(hits["made"], 0)
        self.assertEqual(grew.total("coredns_panics_total"), 0)

    async def test_shapes(self) -> None:
        """Every metric of CoreDNS is there, of the same type, with the same labels and bounds; Python's stand in for Go's."""
        await deferToThread(self.traffic)
        await self.make_slice("db-2", "10.77.1.2")
        # Rounded up: what was triggered before the start is not measured, and that may have been in this very second.
        triggered = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        dated = {"metadata": {"annotations": {"endpoints.kubernetes.io/last-change-trigger-time": triggered}}}
        endpoints = [{"addresses": ["10.77.1.3"], "conditions": {"ready": True}}]
        await self.api.change("EndpointSlice", self.namespace, "db-2", {**dated, "endpoints": endpoints})
        last = "coredns_kubernetes_dns_programming_duration_seconds"
        end = monotonic() + PATIENCE
        while f"{last}_count" not in (text := await deferToThread(self.page.fresh)):
            self.assertLess(monotonic(), end, f"no {last}")
        found = shown(text)
        wrong = [
            f"{name}: wanted {shape}, got {found.get(name, 'none')}"
            for name, shape in golden().items()
            if not name.startswith("go_") and found.get(name) != shape
        ]
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertEqual([name for name in RUNTIME if name not in found], [])

    async def test_own(self) -> None:
        """Every metric of kdns's own that has no labels is there, and every one that is there is documented."""
        found = shown(await deferToThread(self.page.fresh))
        documented = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        documented += "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "plugins").glob("*.md"))
        own = [name for name in found if name.startswith("kdns_")]
        self.assertGreater(len(own), 20)
        self.assertEqual([name for name in own if f"`{name}" not in documented], [])
