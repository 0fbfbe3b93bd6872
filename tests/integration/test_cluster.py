"""
How kdns follows a cluster: real sockets, real time, and an API server that is another process.

By default that is the fake API server over TLS. ``KDNS_TEST_KUBECONFIG`` names the kubeconfig of a real cluster to run the same tests on;
its user must be able to make namespaces, and services, slices and pods in them.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from kdns.plugin.seam import ServerContext
from kdns.server.assembly import read_text
from kdns.server.service import KdnsService
from tests.integration.clusters import Api, Wire, shared

REAL = os.environ.get("KDNS_TEST_KUBECONFIG", "")
PATIENCE = 30.0 if REAL else 10.0
"""Seconds until a change must be seen; it takes some milliseconds, but machines that run tests are busy."""

COREFILE = """
.:0 {{
    bind 127.0.0.1
    cache 30
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods verified
        startup_timeout 60s
        apiserver_qps 50
    }}
}}
"""

Seen = tuple[str, frozenset[str]]
"""Response code and answer section without owners and TTLs."""


class _Client(DatagramProtocol):
    def __init__(self) -> None:
        self.waiting: dict[int, Deferred[bytes]] = {}

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """Hand it to who waits for it."""
        waiting = self.waiting.pop(int.from_bytes(datagram[:2], "big"), None)
        if waiting is not None:
            waiting.callback(datagram)


class ClusterTests(TestCase):
    """One behaviour each, in a namespace of its own."""

    timeout = 120.0

    def setUp(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        """A kdns that is synced, and a namespace."""
        return Deferred.fromCoroutine(self._set_up())

    def tearDown(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        """Nothing of it is left, in the cluster and here."""
        return Deferred.fromCoroutine(self._tear_down())

    async def _set_up(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.wire = Wire(reactor, shared(), folder)
        self.api = Api(reactor, shared())
        await self.api.open()
        self.namespace = await self.api.namespace()
        corefile = COREFILE.format(kubeconfig=self.wire.kubeconfig)
        self.service = KdnsService(ServerContext(reactor), lambda: read_text(corefile, {}), lambda line: None)
        self.service.startService()
        await self.service.when_running()
        ((_, opened),) = self.service.endpoints.items()
        self.server = ("127.0.0.1", opened.port)
        self.client = _Client()
        self.port = self.reactor.listenUDP(0, self.client, "127.0.0.1")

    async def _tear_down(self) -> None:
        await self.service.stopService()
        await self.api.close()
        await self.wire.stop()
        await self.port.stopListening()

    # Asking

    async def ask(self, name: str, qtype: str = "A") -> Seen:
        """Ask one question."""
        query = dns.message.make_query(name, qtype, use_edns=False)
        waiting: Deferred[bytes] = Deferred()
        self.client.waiting[query.id] = waiting
        transport: Any = self.client.transport
        transport.write(query.to_wire(), self.server)
        reply = dns.message.from_wire(await waiting.addTimeout(PATIENCE, self.reactor))
        records = frozenset(
            f"{dns.rdatatype.to_text(rrset.rdtype)} {rdata}" for rrset in reply.answer for rdata in rrset
        )
        return dns.rcode.to_text(reply.rcode()), records

    async def sees(self, name: str, wanted: set[str] | str, qtype: str = "A") -> None:
        """Ask until the answer is as wanted: records, or a response code without any."""
        expected = (wanted, frozenset()) if isinstance(wanted, str) else ("NOERROR", frozenset(wanted))
        end = self.reactor.seconds() + PATIENCE
        while (seen := await self.ask(name, qtype)) != expected:
            if self.reactor.seconds() > end:
                self.fail(f"{name} {qtype}: wanted {expected}, still {seen}")
            await deferLater(self.reactor, 0.02, _nothing)

    def name(self, front: str, kind: str = "svc") -> str:
        """A name in the namespace of the test."""
        return f"{front}.{self.namespace}.{kind}.cluster.local."

    # Making

    async def make_service(self, name: str, **spec: Any) -> list[str]:
        """A service, and the cluster IPs that it was given."""
        spec.setdefault("ports", [{"name": "http", "port": 80, "protocol": "TCP"}])
        made = await self.api.create("Service", self.namespace, name, spec=spec)
        found: list[str] = made["spec"].get("clusterIPs", [])
        return found

    async def make_slice(self, name: str, service: str, *endpoints: tuple[str, str]) -> None:
        """A slice with ready endpoints, each an address and a host name that may be empty."""
        await self.api.create(
            "EndpointSlice",
            self.namespace,
            name,
            labels={
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "tests.kdns",
            },
            addressType="IPv4",
            endpoints=_endpoints(*endpoints),
            ports=[{"name": "pg", "port": 5432, "protocol": "TCP"}],
        )

    # The tests

    async def test_cluster_ip(self) -> None:
        """A service with a cluster IP comes with addresses, SRV records and reverse name, and goes; NodePorts are the same."""
        await self.sees(self.name("web"), "NXDOMAIN")
        addresses = await self.make_service("web", ipFamilyPolicy="PreferDualStack")
        four = [address for address in addresses if ":" not in address]
        six = [address for address in addresses if ":" in address]
        if four:
            await self.sees(self.name("web"), {f"A {address}" for address in four})
            reverse = f"{ip_address(four[0]).reverse_pointer}."
            await self.sees(reverse, {f"PTR {self.name('web')}"}, "PTR")
        if six:
            await self.sees(self.name("web"), {f"AAAA {address}" for address in six}, "AAAA")
        await self.sees(self.name("_http._tcp.web"), {_srv(100 // len(addresses), 80, self.name("web"))}, "SRV")
        await self.api.delete("Service", self.namespace, "web")
        await self.sees(self.name("web"), "NXDOMAIN")
        if four:
            await self.sees(reverse, "NXDOMAIN", "PTR")
        port = await self.make_service("port", type="NodePort")
        kind = "AAAA" if ":" in port[0] else "A"
        await self.sees(self.name("port"), {f"{kind} {port[0]}"}, kind)

    async def test_update(self) -> None:
        """A changed port is seen."""
        await self.make_service("web")
        target = self.name("web")
        await self.sees(target, {_srv(100, 80, target)}, "SRV")
        ports = [{"name": "alt", "port": 8080, "protocol": "TCP"}]
        await self.api.change("Service", self.namespace, "web", {"spec": {"ports": ports}})
        await self.sees(target, {_srv(100, 8080, target)}, "SRV")
        await self.sees(self.name("_http._tcp.web"), "NXDOMAIN", "SRV")
        await self.sees(self.name("_alt._tcp.web"), {_srv(100, 8080, target)}, "SRV")

    async def test_headless(self) -> None:
        """The name of a headless service comes with its first ready endpoint, changes with them and goes with the last."""
        await self.make_service("db", clusterIP="None")
        await self.sees(self.name("db"), "NXDOMAIN")
        await self.make_slice("db-1", "db", ("10.77.1.1", "db-0"))
        await self.sees(self.name("db"), {"A 10.77.1.1"})
        await self.sees(self.name("db-0.db"), {"A 10.77.1.1"})
        await self.sees("1.1.77.10.in-addr.arpa.", {f"PTR {self.name('db-0.db')}"}, "PTR")
        await self.make_slice("db-2", "db", ("10.77.1.2", ""))
        await self.sees(self.name("db"), {"A 10.77.1.1", "A 10.77.1.2"})
        await self.sees(self.name("10-77-1-2.db"), {"A 10.77.1.2"})
        srv = {_srv(50, 5432, self.name(front)) for front in ("db-0.db", "10-77-1-2.db")}
        await self.sees(self.name("_pg._tcp.db"), srv, "SRV")
        unready = _endpoints(("10.77.1.1", "db-0"), ready=False)
        await self.api.change("EndpointSlice", self.namespace, "db-1", {"endpoints": unready})
        await self.sees(self.name("db"), {"A 10.77.1.2"})
        await self.sees(self.name("db-0.db"), "NXDOMAIN")
        await self.api.delete("EndpointSlice", self.namespace, "db-2")
        await self.sees(self.name("db"), "NXDOMAIN")

    async def test_selectorless(self) -> None:
        """Endpoints of a service with a cluster IP have names too."""
        addresses = await self.make_service("manual")
        await self.make_slice("manual-1", "manual", ("10.77.2.1", ""))
        await self.sees(self.name("10-77-2-1.manual"), {"A 10.77.2.1"})
        kind = "AAAA" if ":" in addresses[0] else "A"
        await self.sees(self.name("manual"), {f"{kind} {addresses[0]}"}, kind)

    async def test_external_name(self) -> None:
        """An external name is a CNAME; one inside the cluster is followed, and follows what it points at."""
        await self.make_service("ext", type="ExternalName", externalName=self.name("web").rstrip("."))
        await self.sees(self.name("ext"), set())
        await self.sees(self.name("ext"), {f"CNAME {self.name('web')}"}, "CNAME")
        address = (await self.make_service("web", ipFamilyPolicy="SingleStack"))[0]
        kind = "AAAA" if ":" in address else "A"
        await self.sees(self.name("ext"), {f"CNAME {self.name('web')}", f"{kind} {address}"}, kind)
        await self.api.change("Service", self.namespace, "ext", {"spec": {"externalName": "www.example.com"}})
        await self.sees(self.name("ext"), {"CNAME www.example.com."}, "CNAME")

    async def test_negative_answers_end(self) -> None:
        """A service that was missing a moment ago is there with the next question, through every cache of kdns."""
        names = [self.name(f"new-{number}") for number in range(5)]
        for name in names:
            for _ in range(3):
                self.assertEqual((await self.ask(name))[0], "NXDOMAIN")
        for number, name in enumerate(names):
            address = (await self.make_service(f"new-{number}"))[0]
            kind = "AAAA" if ":" in address else "A"
            await self.sees(name, {f"{kind} {address}"}, kind)

    async def test_pod(self) -> None:
        """A pod has a name when it has an address, in its own namespace, and none when it is gone."""
        container = {"name": "pause", "image": "registry.invalid/pause"}
        # Nothing schedules it, so nobody but this test gives it an address.
        spec = {"schedulerName": "tests.kdns", "containers": [container]}
        await self.api.create("Pod", self.namespace, "one", spec=spec)
        await self.sees(self.name("10-77-3-1", "pod"), "NXDOMAIN")
        status = {"phase": "Running", "podIP": "10.77.3.1", "podIPs": [{"ip": "10.77.3.1"}]}
        await self.api.change("Pod", self.namespace, "one", {"status": status}, "status")
        await self.sees(self.name("10-77-3-1", "pod"), {"A 10.77.3.1"})
        await self.sees("10-77-3-1.default.pod.cluster.local.", "NXDOMAIN")
        await self.api.delete("Pod", self.namespace, "one")
        await self.sees(self.name("10-77-3-1", "pod"), "NXDOMAIN")

    async def test_namespace(self) -> None:
        """A namespace has a name as long as it exists."""
        name = await self.api.namespace()
        await self.sees(f"{name}.svc.cluster.local.", set())
        await self.api.delete("Namespace", "", name)
        self.api.namespaces.remove(name)
        await self.sees(f"{name}.svc.cluster.local.", "NXDOMAIN")

    async def test_reconnection(self) -> None:
        """When all connections to the API server are cut, what is known serves, and what changes afterwards is seen."""
        before = (await self.make_service("before"))[0]
        kind = "AAAA" if ":" in before else "A"
        await self.sees(self.name("before"), {f"{kind} {before}"}, kind)
        connections = self.wire.made
        self.wire.cut()
        self.assertEqual(await self.ask(self.name("before"), kind), ("NOERROR", {f"{kind} {before}"}))
        after = (await self.make_service("after"))[0]
        await self.sees(self.name("after"), {f"{kind} {after}"}, kind)
        self.assertGreater(self.wire.made, connections)
        await self.api.delete("Service", self.namespace, "before")
        await self.sees(self.name("before"), "NXDOMAIN", kind)


def _nothing() -> None:
    """Time passes."""


def _srv(weight: int, port: int, target: str) -> str:
    return f"SRV 0 {weight} {port} {target}"


def _endpoints(*endpoints: tuple[str, str], ready: bool = True) -> list[dict[str, Any]]:
    return [
        {"addresses": [address], "conditions": {"ready": ready}, **({"hostname": hostname} if hostname else {})}
        for address, hostname in endpoints
    ]
