"""Tests of the client against a server on the loopback, with real TLS, and of what an operator reads when it does not work."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kdns.cluster.api_source import ApiSource, Limits
from kdns.cluster.credentials import AccessOptions, Credentials, FileCredentials, Source, at_endpoint, parse_server
from kdns.cluster.index import ClusterIndex
from kdns.cluster.kubeconfig import find_credentials
from kdns.cluster.pacing import Limiter
from kdns.cluster.resources import Needs
from kdns.cluster.source import ChangeSink
from kdns.core.metrics import Registry
from kdns.testing.certificates import Authority, Identity
from kdns.testing.memory import MemoryReactor
from tests.apiserver import COREDNS, LIST_AND_WATCH, ApiServer, FaultKind, Login, ServerOptions, User
from tests.apiserver.credentials import write_exec_token
from tests.certificate_cases import ADDRESS, CASES, NAME
from tests.cluster.apiworld import ApiWorld, service

DNS = User(COREDNS, LIST_AND_WATCH)


class LoopbackTests(TestCase):
    """A source that has to prove itself to a real server."""

    timeout = 20.0
    scheme = "https"

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.server = ApiServer(self.reactor, ServerOptions(bookmark_interval=5.0))
        self.server.start(tls=self.scheme == "https")
        self.server.access.require = True
        self.addCleanup(self.server.stop)
        self.complaints: list[str] = []

    def source(self, credentials: Credentials) -> ApiSource:
        """A source that is stopped at the end."""
        made = ApiSource(
            self.reactor,
            ChangeSink(ClusterIndex(grace=0.0), self.reactor, time),
            credentials,
            Needs(),
            limits=Limits(1000, 1000),
            chance=Random(5),
        )
        self.addCleanup(made.stop)
        made.start()
        return made

    def find(self, wanted: AccessOptions, environ: dict[str, str] | None = None, account: str = "") -> Credentials:
        """The credentials that a configuration means."""
        return find_credentials(
            self.reactor,
            wanted,
            {**os.environ, **(environ or {})},
            service_account=account,
            complain=self.complaints.append,
        )

    def by_kubeconfig(self, login: Login, trust: bytes | None = None) -> Credentials:
        """The credentials of a kubeconfig."""
        return self.find(AccessOptions(kubeconfig=str(self.server.kubeconfig(self.folder / "config", login, trust))))

    async def until(self, condition: Any) -> None:
        """Wait until something holds; trial sets the limit."""
        while not condition():
            await deferLater(self.reactor, 0.01)

    async def see(self, source: ApiSource, name: str) -> None:
        """See that the watch tells of a service that is made now."""
        self.server.apply(service(name, f"10.96.7.{len(self.server.objects('Service')) + 1}"))
        await self.until(lambda: source.index.service(b"default", name.encode()) is not None)


class LoginTests(LoopbackTests):
    """Each way to prove oneself."""

    async def works(self, credentials: Credentials) -> None:
        """A source with these credentials syncs, and hears of changes."""
        source = self.source(credentials)
        await source.when_synced()
        await self.see(source, "web")
        self.assertEqual(source.why_not_ready(), "")

    async def test_in_cluster(self) -> None:
        """The token and the authority that are mounted into a pod."""
        self.server.access.tokens["pod-token"] = DNS
        pod = self.server.in_cluster(self.folder / "pod", "pod-token")
        await self.works(self.find(AccessOptions(), pod.environment, str(pod.folder)))

    async def test_token(self) -> None:
        """A token in a kubeconfig."""
        self.server.access.tokens["abc"] = DNS
        await self.works(self.by_kubeconfig(Login(token="abc")))

    async def test_token_file(self) -> None:
        """A token in a file that a kubeconfig names."""
        self.server.access.tokens["abc"] = DNS
        file = self.folder / "token"
        file.write_text("abc\n")
        await self.works(self.by_kubeconfig(Login(token_file=file.absolute())))

    async def test_password(self) -> None:
        """User name and password."""
        self.server.access.passwords["me", "secret"] = DNS
        await self.works(self.by_kubeconfig(Login(basic=("me", "secret"))))

    async def test_certificate(self) -> None:
        """A client certificate in a kubeconfig."""
        self.server.access.certificates["kdns"] = DNS
        await self.works(self.by_kubeconfig(Login(certificate=self.server.client_certificate("kdns"))))

    async def test_endpoint(self) -> None:
        """``endpoint`` with ``tls``."""
        self.server.access.certificates["kdns"] = DNS
        own = self.server.client_certificate("kdns")
        files = []
        for name, content in (
            ("cert", own.certificate_pem),
            ("key", own.key_pem),
            ("ca", self.server.authority.certificate_pem),
        ):
            (self.folder / name).write_bytes(content)
            files.append(str(self.folder / name))
        await self.works(self.find(AccessOptions(endpoint=self.server.url, tls=(files[0], files[1], files[2]))))

    async def test_program(self) -> None:
        """A program that prints a token; it runs once for all watches, and again when the token is refused."""
        self.server.access.tokens["one"] = DNS
        folder = self.folder.absolute()
        self.server.kubeconfig(folder / "config", Login(exec_token="one"))
        source = self.source(self.find(AccessOptions(kubeconfig=str(folder / "config"))))
        await source.when_synced()
        calls = folder / "exec-calls"
        self.assertEqual(calls.read_text().split(), ["call"])
        write_exec_token(folder, "two")
        self.server.access.rotate("one", "two")
        self.server.disturb(FaultKind.CUT)
        await self.see(source, "web")
        self.assertEqual(calls.read_text().split(), ["call", "call"])

    async def test_program_in_a_strange_folder(self) -> None:
        """Modules in the working directory are not imported by the child that runs the program."""
        self.server.access.tokens["one"] = DNS
        folder = self.folder.absolute()
        self.server.kubeconfig(folder / "config", Login(exec_token="one"))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        for name in ("json", "kdns", "kubernetes", "yaml"):
            Path(f"{name}.py").write_text("open('imported', 'w').close()\n")
        await self.source(self.find(AccessOptions(kubeconfig="config"))).when_synced()
        self.assertFalse(Path("imported").exists())

    async def test_unverified(self) -> None:
        """With ``insecure-skip-tls-verify`` anybody is believed."""
        self.server.access.tokens["abc"] = DNS
        path = self.server.kubeconfig(self.folder / "config", Login(token="abc"))
        lines = path.read_text().splitlines()
        kept = [line for line in lines if "certificate-authority-data" not in line]
        place = next(number for number, line in enumerate(kept) if "server:" in line)
        indent = kept[place][: len(kept[place]) - len(kept[place].lstrip())]
        kept.insert(place + 1, f"{indent}insecure-skip-tls-verify: true")
        path.write_text("\n".join(kept))
        await self.works(self.find(AccessOptions(kubeconfig=str(path))))

    async def test_server_name(self) -> None:
        """``tls-server-name`` is verified in place of the address."""
        self.server.access.tokens["abc"] = DNS
        self.server.rotate_certificate(("api.inside.test",))
        path = self.server.kubeconfig(self.folder / "config", Login(token="abc"))
        path.write_text(path.read_text().replace("    server:", "    tls-server-name: api.inside.test\n    server:"))
        await self.works(self.find(AccessOptions(kubeconfig=str(path))))


class RotationTests(LoopbackTests):
    """What is replaced while kdns runs."""

    async def begun(self) -> tuple[ApiSource, Any]:
        """A source in a pod that has synced, and the files of the pod."""
        self.server.access.tokens["first"] = DNS
        pod = self.server.in_cluster(self.folder / "pod", "first")
        source = self.source(self.find(AccessOptions(), pod.environment, str(pod.folder)))
        await source.when_synced()
        return source, pod

    async def test_token(self) -> None:
        """A token that is replaced is read at once when the old one is refused: no failure is counted."""
        source, pod = await self.begun()
        pod.write_token("second")
        self.server.access.rotate("first", "second")
        self.server.disturb(FaultKind.STATUS, code=410)
        await self.see(source, "web")
        self.assertEqual({dict(watch.errors).get("401") for watch in source.freshness.values()}, {None})
        codes = [request.code for request in self.server.requests]
        self.assertGreaterEqual(codes.count(401), 1)

    async def test_certificate(self) -> None:
        """A new certificate of the same authority is nothing special."""
        source, _ = await self.begun()
        self.server.rotate_certificate()
        self.server.disturb(FaultKind.STATUS, code=410)
        await self.see(source, "web")
        self.assertEqual(source.freshness["services"].errors, {})

    async def test_authority(self) -> None:
        """A new authority is read at once when the server is not trusted any more."""
        source, pod = await self.begun()
        self.server.rotate_authority()
        pod.write_authority(self.server.authority.certificate_pem)
        self.server.disturb(FaultKind.STATUS, code=410)
        await self.see(source, "web")
        self.assertEqual(source.freshness["services"].errors, {})


class RefusalTests(LoopbackTests):
    """What the operator reads."""

    async def problem_of(self, credentials: Credentials) -> str:
        """What is said about services."""
        source = self.source(credentials)
        await self.until(lambda: source.freshness["services"].problem)
        self.assertFalse(source.synced)
        return source.freshness["services"].problem

    async def test_wrong_authority(self) -> None:
        """A server whose certificate is not from the authority that is trusted."""
        stranger = Authority().certificate_pem
        problem = await self.problem_of(self.by_kubeconfig(Login(token="abc"), stranger))
        self.assertEqual(
            problem,
            f"{self.server.url}: TLS: certificate verify failed:"
            " the server's certificate is not signed by one of the kubeconfig, or has ended",
        )

    async def test_wrong_name(self) -> None:
        """A certificate for another name than that of the server."""
        self.server.rotate_certificate(("elsewhere.test",))
        problem = await self.problem_of(self.by_kubeconfig(Login(token="abc")))
        self.assertEqual(problem, f"{self.server.url}: TLS: the certificate is for elsewhere.test, not for 127.0.0.1")

    async def test_wrong_token(self) -> None:
        """A token that is not known."""
        self.server.access.tokens["abc"] = DNS
        problem = await self.problem_of(self.by_kubeconfig(Login(token="other")))
        self.assertEqual(
            problem,
            "the API server refuses the credentials of kdns (401 Unauthorized): the token or certificate is wrong or has ended",
        )

    async def test_no_permission(self) -> None:
        """Missing RBAC: resource and verb are named."""
        self.server.access.tokens["abc"] = User("somebody", frozenset({("list", "services")}))
        problem = await self.problem_of(self.by_kubeconfig(Login(token="abc")))
        self.assertIn('User "somebody" cannot watch resource "services"', problem)
        self.assertIn('kdns needs the verb "watch" on resource "services"', problem)

    async def test_program(self) -> None:
        """A program that fails: its own words are told."""
        folder = self.folder.absolute()
        self.server.kubeconfig(folder / "config", Login(exec_token="one"))
        (folder / "print-token").write_text("#!/bin/sh\necho 'no smartcard' >&2\nexit 3\n")
        problem = await self.problem_of(self.find(AccessOptions(kubeconfig=str(folder / "config"))))
        self.assertIn("exec plugin: exec: process returned 3. no smartcard", problem)

    async def test_nobody_there(self) -> None:
        """A port where nobody listens."""
        await self.server.begin_outage()
        problem = await self.problem_of(at_endpoint(self.server.url, None))
        self.assertIn(f"{self.server.url}: no connection: Connection was refused", problem)

    async def test_no_tls(self) -> None:
        """HTTP spoken to a server that wants TLS."""
        url = self.server.url.replace("https", "http")
        problem = await self.problem_of(at_endpoint(url, None))
        self.assertIn(f"{url}: no answer: ", problem)


class LimitTests(ApiWorld):
    """``apiserver_qps``, ``apiserver_burst`` and ``apiserver_max_inflight``."""

    limits = Limits(qps=1.0, burst=1)

    def test_rate(self) -> None:
        """With one request a second the three watches begin in three seconds."""
        self.source.start()
        self.reactor.advance(0.1)
        self.assertEqual(len(self.server.requests), 1)
        self.reactor.advance(1.0)
        self.assertEqual(len(self.server.requests), 2)
        self.reactor.advance(1.0)
        self.assertTrue(self.source.synced)
        lines = list(self.registry.lines())
        family = "coredns_kubernetes_rest_client_rate_limiter_duration_seconds"
        host = f"127.0.0.1:{self.server.port}"
        self.assertIn(f'{family}_bucket{{verb="GET",host="{host}",le="0.5"}} 1', lines)
        self.assertIn(f'{family}_count{{verb="GET",host="{host}"}} 3', lines)


class InFlightTests(ApiWorld):
    """``apiserver_max_inflight``."""

    limits = Limits(qps=100, burst=100, max_inflight=1)

    def test_one_at_a_time(self) -> None:
        """The next request waits until the one before is answered; a watch that runs is answered."""
        self.server.inject(FaultKind.DELAY, seconds=2.0)
        self.source.start()
        self.reactor.advance(1.9)
        self.assertEqual(len(self.server.requests), 1)
        self.reactor.advance(0.2)
        self.assertEqual(len(self.server.requests), 3)
        self.assertTrue(self.source.synced)


class MetricsTests(ApiWorld):
    """What is counted of requests."""

    def test_requests(self) -> None:
        """By code, method and host; failures without an answer too."""
        self.server.inject(FaultKind.STATUS, "services", code=500)
        self.server.inject(FaultKind.CUT, "namespaces")
        self.source.start()
        self.reactor.advance(5.0)
        host = f"127.0.0.1:{self.server.port}"
        lines = list(self.registry.lines())
        for code, count in (("200", 4), ("500", 1), ("<error>", 1)):
            row = f'coredns_kubernetes_rest_client_requests_total{{code="{code}",method="GET",host="{host}"}} {count}'
            self.assertIn(row, lines)
        self.assertIn(
            f'coredns_kubernetes_rest_client_request_duration_seconds_count{{verb="GET",host="{host}"}} 6', lines
        )

    def test_freshness(self) -> None:
        """Ages, relists by reason, errors by cause."""
        self.begin()
        self.reactor.advance(30.0)
        lines = list(self.registry.lines())
        self.assertIn('kdns_kubernetes_relists_total{resource="services",reason="start"} 1', lines)
        wanted = 'kdns_kubernetes_last_sync_age_seconds{resource="services"'
        age = next(line for line in lines if line.startswith(wanted))
        self.assertAlmostEqual(float(age.rpartition(" ")[2]), 30.1, places=1)


class TuningTests(SynchronousTestCase):
    """Connections that are watched by the kernel."""

    def test_keepalive(self) -> None:
        """Keep-alive after 30 seconds, and a limit on what is not acknowledged, on the socket itself."""
        import socket

        from kdns.cluster.connections import KEEPALIVE

        reactor = MemoryReactor()
        server = ApiServer(reactor)
        server.start()
        index = ClusterIndex()
        source = ApiSource(
            reactor, ChangeSink(index, reactor, time), at_endpoint(server.url, None), Needs(endpoints=False)
        )
        source.start()
        reactor.advance(0.1)
        clients = [
            s for s in reactor.network.sockets.values() if getattr(s, "remote", None) == ("127.0.0.1", server.port)
        ]
        self.assertEqual(len(clients), 2)
        for client in clients:
            self.assertEqual(client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
            for name, value in KEEPALIVE:
                self.assertEqual(client.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)), value)
        done: list[Deferred[Any]] = [source.stop(), server.stop()]
        reactor.settle()
        for each in done:
            self.successResultOf(each)
        self.assertEqual(reactor.leftovers(), [])


class CertificateTests(SynchronousTestCase):
    """Which certificates the API server may show: the token must not go to any other."""

    def accepts(self, identity: Identity, name: str) -> bool:
        """Whether a server with this certificate, which must be for *name*, gets a request."""
        files = FileCredentials(
            parse_server(self.server.url),
            token=Source(value=b"secret"),
            authority=Source(value=self.server.authority.certificate_pem),
            server_name=name,
        )
        self.server.show_certificate(identity)
        before = len(self.server.requests)
        source = ApiSource(
            self.reactor, ChangeSink(ClusterIndex(), self.reactor, time), files, Needs(), limits=Limits(1000, 1000)
        )
        source.start()
        self.reactor.advance(0.1)
        synced, asked = source.synced, len(self.server.requests) > before
        stopped = source.stop()
        self.reactor.settle()
        self.successResultOf(stopped)
        self.assertEqual(synced, asked)
        return asked

    def test_certificates(self) -> None:
        """Only one that is readably for the wanted name is sent a request."""
        self.reactor = MemoryReactor()
        self.server = ApiServer(self.reactor)
        self.server.start(tls=True)
        for case in CASES:
            identity = self.server.authority.server_with(case.names, case.common_name)
            self.assertEqual(self.accepts(identity, NAME), case.for_name, f"{case.text}: by name")
            self.assertEqual(self.accepts(identity, ADDRESS), case.for_address, f"{case.text}: by address")
        gone = self.server.stop()
        self.reactor.settle()
        self.successResultOf(gone)


class DefaultLimitTests(SynchronousTestCase):
    """Zero means the default."""

    def test_defaults(self) -> None:
        """Zero is what the configuration has when nothing is said."""
        self.assertEqual(Limits(), Limits(0.0, 0, 0))
        limiter = Limiter(MemoryReactor())
        self.assertEqual(sum(limiter.acquire().called for _ in range(20)), 10)


class RegistryTests(SynchronousTestCase):
    """One registry for several sources."""

    def test_shared(self) -> None:
        """Two sources of one process share the families."""
        registry, reactor = Registry(), MemoryReactor()
        for _ in range(2):
            ApiSource(
                reactor,
                ChangeSink(ClusterIndex(), reactor, time),
                at_endpoint("http://127.0.0.1:1", None),
                Needs(),
                registry=registry,
            )
        names = [family.name for family in registry.families()]
        self.assertEqual(len(names), len(set(names)))
