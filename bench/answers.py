"""
Queries a second, and queries for a second of the server's processor time, over UDP on loopback: kdns beside a plain Twisted Names server.

The yardstick is ``twisted.names.server.DNSServerFactory`` with the same records, in the same run and in turn with kdns; the ratios are the
result. The processor time of the server process is read from /proc, so a client that competes for the same cores makes a run longer
and leaves the queries for a processor second nearly as they are. Run it as ``python -m bench.answers [--quick]``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.load import Run, load, query
from bench.processes import Program, answered, free_port, median, table, wait_for

SERVICES = 100
ENDPOINTS = 5
MISSES = 8000
"""Names of one run that nobody asked for before; a second's work for the slower server."""

ADDRESSES = [f"service-{number}.prod.svc.cluster.local A" for number in range(SERVICES)]
SEARCHED = [f"host-{number}.example.com.prod.svc.cluster.local A" for number in range(SERVICES)]
HEADLESS = [f"pods-{number}.prod.svc.cluster.local A" for number in range(SERVICES)]
FOREIGN = [f"host-{number}.example.com A" for number in range(SERVICES)]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of query."""

    name: str
    questions: Sequence[str]
    """What is asked over and over; empty: names that were never asked before."""

    server: str = "plain"
    """Which of the kdns configurations answers."""


CASES = (
    Case("cluster IP", ADDRESSES),
    Case("NXDOMAIN of a search path", SEARCHED),
    Case("headless, 5 addresses in turn", HEADLESS),
    Case("never asked before, NXDOMAIN", ()),
    Case("forwarded and cached", FOREIGN),
    Case("cluster IP, prometheus", ADDRESSES, "prometheus"),
    Case("cluster IP, prometheus and log", ADDRESSES, "log"),
)

QUICK = ("cluster IP", "never asked before, NXDOMAIN", "cluster IP, prometheus and log")
"""Cases of a quick run."""

OBSERVERS = {"plain": "", "prometheus": "prometheus 127.0.0.1:{page}", "log": "prometheus 127.0.0.1:{page}\n    log"}

COREFILE = """\
.:{port} {{
    bind 127.0.0.1
    errors
    kubernetes cluster.local {{
        manifests {manifests}
    }}
    {observers}
    forward . 127.0.0.1:{upstream}
    cache 30
    loadbalance
}}
"""


def cluster_ip(number: int) -> str:
    """The address of a service with one."""
    return f"10.96.{number >> 8}.{number & 255}"


def pod_ips(number: int) -> list[str]:
    """The addresses of a headless service."""
    return [f"10.{128 + (number >> 8)}.{number & 255}.{i}" for i in range(1, ENDPOINTS + 1)]


def manifests(services: int = SERVICES) -> str:
    """The cluster as YAML: so many services with an address, and so many without."""
    documents = ["apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n"]
    ports = "[{name: http, port: 80, protocol: TCP}]"
    service = "apiVersion: v1\nkind: Service\nmetadata: {{name: {0}, namespace: prod}}\nspec: {{clusterIP: {1}, ports: {2}}}\n"
    for number in range(services):
        documents.append(service.format(f"service-{number}", cluster_ip(number), ports))
        documents.append(service.format(f"pods-{number}", "None", ports))
        endpoints = ", ".join(f"{{addresses: [{address}]}}" for address in pod_ips(number))
        documents.append(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
            f"metadata: {{name: pods-{number}-x, namespace: prod, labels: {{kubernetes.io/service-name: pods-{number}}}}}\n"
            f"endpoints: [{endpoints}]\nports: {ports}\n"
        )
    return "---\n".join(documents)


def yardstick(port: int, upstream: int) -> None:
    """Serve the same records with Twisted Names, for ever: an authority, its cache, its client."""
    from twisted.internet import reactor
    from twisted.names import authority, cache, client, dns, server

    class Authority(authority.FileAuthority):
        soa: Any
        records: Any

        def loadFile(self, filename: str) -> None:
            start = dns.Record_SOA(
                b"ns.dns.cluster.local", b"hostmaster.cluster.local", 1, 7200, 1800, 86400, 30, ttl=30
            )
            self.soa = (b"cluster.local", start)
            self.records = {b"cluster.local": [start]}
            for number in range(SERVICES):
                name = f"service-{number}.prod.svc.cluster.local".encode()
                self.records[name] = [dns.Record_A(cluster_ip(number), 30)]
                name = f"pods-{number}.prod.svc.cluster.local".encode()
                self.records[name] = [dns.Record_A(address, 30) for address in pod_ips(number)]

    asking = client.Resolver(servers=[("127.0.0.1", upstream)])
    factory = server.DNSServerFactory([Authority("")], [cache.CacheResolver()], [asking])
    running: Any = reactor  # to mypy it is a module
    running.listenUDP(port, dns.DNSDatagramProtocol(factory), interface="127.0.0.1")
    running.run()


def upstream(port: int) -> None:
    """Answer every query with one A record, for ever."""
    import socket

    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", port))
    answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x01"
    while True:
        asked, asker = here.recvfrom(512)
        end = asked.index(0, 12) + 5
        here.sendto(asked[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + asked[12:end] + answer, asker)


class Contest:
    """The servers, and what was measured of them."""

    def __init__(self, servers: dict[str, tuple[int, Program]]) -> None:
        self._servers = servers
        self._fresh = 0
        self.wall: dict[tuple[str, str], list[float]] = {}
        self.processor: dict[tuple[str, str], list[float]] = {}

    def measure(self, case: Case, server: str, seconds: float) -> None:
        """One run of one case against one server."""
        port, program = self._servers[server]
        before = program.processor_seconds()
        run = self._run(case, port, seconds)
        spent = max(program.processor_seconds() - before, 0.01)
        key = (case.name, server)
        self.wall.setdefault(key, []).append(run.completed / run.seconds)
        self.processor.setdefault(key, []).append(run.completed / spent)

    def warm(self, case: Case, server: str) -> None:
        """Have everything asked that will be asked over and over."""
        if case.questions:
            self._run(case, self._servers[server][0], 1.0, once=True)

    def _run(self, case: Case, port: int, seconds: float, once: bool = False) -> Run:
        questions = case.questions
        if not questions:
            questions = [f"n{self._fresh + i}.prod.svc.cluster.local A" for i in range(MISSES)]
            self._fresh += MISSES
        return load(port, questions, seconds, once=once or not case.questions)


def start(stack: ExitStack, folder: Path) -> dict[str, tuple[int, Program]]:
    """Start all servers; each answers when this returns."""
    Path(folder, "cluster").mkdir()
    Path(folder, "cluster", "all.yaml").write_text(manifests())
    above = free_port()
    stack.enter_context(Program(["-m", "bench.answers", "upstream", str(above)]))
    servers: dict[str, tuple[int, Program]] = {}
    for name, observers in OBSERVERS.items():
        port = free_port()
        corefile = Path(folder, name)
        observing = observers.format(page=free_port())
        corefile.write_text(
            COREFILE.format(port=port, manifests=folder / "cluster", upstream=above, observers=observing)
        )
        servers[name] = (port, stack.enter_context(Program(["-m", "kdns", "-conf", str(corefile)])))
    port = free_port()
    servers["twisted.names"] = (
        port,
        stack.enter_context(Program(["-m", "bench.answers", "yardstick", str(port), str(above)])),
    )
    question = query("service-1.prod.svc.cluster.local")
    for name, (port, program) in servers.items():
        program.check()
        wait_for(f"an answer of {name}", lambda port=port: b"\x0a\x60\x00\x01" in answered(port, question))  # type: ignore[misc]  # mypy cannot infer defaults of lambdas
    return servers


def report(contest: Contest, cases: Iterable[Case]) -> None:
    """Print the medians and the ratios."""
    rows = []
    for case in cases:
        ours, theirs = (case.name, case.server), (case.name, "twisted.names")
        wall, processor = median(contest.wall[ours]), median(contest.processor[ours])
        wall_there, processor_there = median(contest.wall[theirs]), median(contest.processor[theirs])
        rows.append(
            (
                case.name,
                f"{wall:,.0f}",
                f"{processor:,.0f}",
                f"{1e6 / processor:.1f}",
                f"{wall_there:,.0f}",
                f"{processor_there:,.0f}",
                f"{processor / processor_there:.1f}",
            )
        )
    table(("query", "kdns q/s", "q/cpu s", "us cpu", "twisted q/s", "q/cpu s", "ratio of q/cpu s"), rows)


def main(arguments: Sequence[str]) -> None:
    """Measure every case in turn against both servers, several times, and print medians."""
    if arguments[:1] == ["upstream"]:
        upstream(int(arguments[1]))
    elif arguments[:1] == ["yardstick"]:
        yardstick(int(arguments[1]), int(arguments[2]))
    else:
        quick = "--quick" in arguments
        rounds = 1 if quick else 3
        cases = [case for case in CASES if case.name in QUICK] if quick else CASES
        with TemporaryDirectory() as name, ExitStack() as stack:
            contest = Contest(start(stack, Path(name)))
            for case in cases:
                for server in (case.server, "twisted.names"):
                    contest.warm(case, server)
                for _ in range(rounds):
                    for server in (case.server, "twisted.names"):
                        contest.measure(case, server, 1.0)
            report(contest, cases)


if __name__ == "__main__":
    main(sys.argv[1:])
