# -*- test-case-name: tests.test_bench -*-
"""
The table: kdns beside the yardstick (and NSD, Unbound), row by row: queries a second, their multiple, latency, processor time, memory.

Each server is asked as fast as it answers, turn about, itself on one core and dnsperf on another; what is printed are medians. Latency
is of a run of its own at a steady rate. Run it as ``python -m bench.rows [--quick] [--json FILE] [ROW...]``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TypeVar

from bench.cluster import Api, Kdns, Size, check_answers
from bench.load import Run, Stuck, dnsperf, replay
from bench.machine import CLIENT_CORE, SERVER_CORE, describe, described, keep, on_core
from bench.names import (
    OLD_DOMAIN,
    ext,
    hosts_of,
    hot,
    new_in_cluster,
    new_outside,
    under_old_domain,
    wide,
    with_opt,
    write,
    zone_file,
)
from bench.peers import start_nsd, start_unbound, start_upstream, start_yardstick
from bench.processes import BenchError, Program, median, percentile, table
from kdns.testing.certificates import Authority

SIZE = Size()

FASTEST = 150_000
"""Queries a second that no server here goes beyond: so many are prepared where each must be new."""

STEADY = 5_000
"""Queries a second while latency is measured."""

STEADY_ENCRYPTED = 200
"""The same over HTTPS and QUIC, whose client is slower than the server."""

RATES = (200, 1_000, 5_000, 20_000)
"""Queries a second of the rows that are asked less than they can answer: what a replica mostly sees."""

TOLERANCE = 0.005
"""Share of replies with another response code than was to be expected."""

T = TypeVar("T")
Packets = Callable[[int], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of query."""

    name: str
    packets: Packets
    """At most so many packets; fewer where they are asked over and over."""

    target: float
    """The multiple of the yardstick's queries a second that is wanted."""

    codes: Mapping[str, float]
    """The share that each response code should have, 0 to 1."""

    fresh: bool = False
    """Whether no packet is sent twice."""

    server: str = "kdns"
    connections: int = 0
    """TCP connections to kdns; 0 means UDP."""

    over: str = ""
    """The scheme of the server key that is asked, on so many connections; plain DNS without."""

    of_tcp: float = 0.0
    """How much processor time a query may take, as a multiple of the row ``tcp``."""

    rate: int = 0
    """Queries a second that are sent; 0 means as many as are answered."""

    cold: bool = False
    """Whether each name is asked once of a server that was just started; the yardstick keeps nothing anyway."""

    peer: str = ""
    """The other server that is asked."""

    peer_target: float = 0.0
    """How much processor time a query may take, as a multiple of the peer's."""


ZONE, FILE_ZONE = "example.org", "example.net"
"""What *template* and *file* answer."""

WORDS = {
    "kdns": (),
    "kdns+log": ("log",),
    "kdns+rewrite": (f"rewrite name suffix .{OLD_DOMAIN} .cluster.local answer auto",),
    "kdns+template": (f'template IN A {ZONE} {{\n        answer "{{{{ .Name }}}} 60 IN A 192.0.2.1"\n    }}',),
    "kdns+file": (f"file FOLDER/{FILE_ZONE}.zone {FILE_ZONE}",),
    "kdns+tls": ("tls FOLDER/server.pem FOLDER/server.key",),
    "kdns+acl": ("acl {\n        allow net 127.0.0.0/8\n        block\n    }",),
}
"""The servers, with what their Corefiles have besides what kubeadm writes."""

SCHEMES = {"kdns+tls": ("tls", "https", "quic")}
"""The servers with further server keys, and the schemes of these."""

MANY = 22_000
"""Names of a zone that are asked once each."""

HOT = {"NOERROR": 1700 / 2200, "NXDOMAIN": 500 / 2200}
FOUND = {"NOERROR": 1.0}


def cold(plugin: str, packets: Packets) -> Row:
    """The row of a plugin's first answers; its target is half as much again as the processor time of the row ``cold``."""
    return Row(f"{plugin} cold", packets, 1.6 / 1.5, FOUND, fresh=True, cold=True, server=f"kdns+{plugin}")


def encrypted(name: str, scheme: str, of_tcp: float) -> Row:
    """The row of a transport: as many connections as the row ``tcp`` has, whose target is divided by what the transport may cost."""
    return Row(
        name, lambda _: hot(SIZE), 5.0 / of_tcp, HOT, connections=8, server="kdns+tls", over=scheme, of_tcp=of_tcp
    )


ROWS = (
    Row("hot", lambda _: hot(SIZE), 6.5, HOT, peer="nsd", peer_target=1.5),
    Row("wide", lambda _: wide(SIZE), 5.0, {"NOERROR": 1.0}),
    Row("nx", new_in_cluster, 4.0, {"NXDOMAIN": 1.0}, fresh=True, peer="nsd", peer_target=2.0),
    Row("ext", lambda _: ext(), 5.5, {"NOERROR": 1.0}, peer="unbound", peer_target=1.5),
    Row("miss", new_outside, 1.3, {"NOERROR": 1.0}, fresh=True, peer="unbound", peer_target=1.5),
    Row("tcp", lambda _: hot(SIZE), 5.0, HOT, connections=8),
    encrypted("dot", "tls", 1.6),
    encrypted("doh2", "https", 4.0),
    encrypted("doq", "quic", 8.0),
    Row("hot+log", lambda _: hot(SIZE), 4.0, HOT, server="kdns+log"),
    Row("hot+EDNS", lambda count: with_opt(hot(SIZE), count), 4.0, HOT, fresh=True),
    Row("cold", lambda _: wide(SIZE), 1.6, {"NOERROR": 1.0}, fresh=True, cold=True),
    Row("rewrite", lambda _: under_old_domain(hot(SIZE)), 6.0, HOT, server="kdns+rewrite"),
    Row("template", lambda _: hosts_of(ZONE, 1000), 6.0, FOUND, server="kdns+template"),
    Row("file", lambda _: hosts_of(FILE_ZONE, 1000), 6.0, FOUND, server="kdns+file"),
    Row("acl", lambda _: hot(SIZE), 6.0, HOT, server="kdns+acl"),
    cold("rewrite", lambda _: under_old_domain(wide(SIZE))),
    cold("template", lambda _: hosts_of(ZONE, MANY)),
    cold("file", lambda _: hosts_of(FILE_ZONE, MANY)),
    cold("acl", lambda _: wide(SIZE)),
    *(Row(f"rate {rate}", lambda _: hot(SIZE), 1.0, HOT, rate=rate, peer="nsd", peer_target=1.5) for rate in RATES),
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often."""

    seconds: float
    rounds: int
    steady: float
    """Seconds of the run at a steady rate."""


FULL, QUICK = Pace(3.0, 5, 6.0), Pace(2.0, 1, 3.0)


@dataclass(slots=True)
class Figures:
    """What was measured of one server in one row, a value for each round."""

    rates: list[float] = field(default_factory=list)
    """Queries a second."""

    each: list[float] = field(default_factory=list)
    """Microseconds of processor time a query."""

    busy: list[float] = field(default_factory=list)
    """Share of its core that the server used, 0 to 1; where it is well below 1, the client or the machine was the limit."""

    lost: int = 0
    resident: float = 0.0
    """MB."""

    average: float = 0.0
    p99: float = 0.0
    slowest: float = 0.0
    """Milliseconds, at the steady rate."""

    trouble: str = ""


@dataclass(slots=True)
class Server:
    """One that can be asked."""

    port: int
    program: Program
    log: IO[bytes] | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    """Ports of encrypted listeners, by scheme."""


class Contest:
    """The servers that some rows need, and what was measured of them."""

    def __init__(self, stack: ExitStack, folder: Path, rows: Sequence[Row], pace: Pace) -> None:
        self._folder = folder
        self._pace = pace
        self._servers: dict[str, Server] = {}
        self._api: Api
        self._upstream = 0
        self.rows: list[Row] = []
        """Those that were measured to the end."""

        self.found: dict[tuple[str, str], Figures] = {}
        with on_core(CLIENT_CORE):
            api = stack.enter_context(Api(folder, SIZE))
        self._api = api
        upstream, program = start_upstream()
        self._upstream = upstream
        stack.enter_context(program)
        (folder / f"{FILE_ZONE}.zone").write_text(zone_file(FILE_ZONE, MANY), encoding="ascii")
        identity = Authority().server("127.0.0.1")
        (folder / "server.pem").write_bytes(identity.certificate_pem)
        (folder / "server.key").write_bytes(identity.key_pem)
        for name in {row.server for row in rows}:
            self._servers[name] = self._kdns(stack, api, upstream, name)
        self._add(stack, "yardstick", start_yardstick())
        peers = {row.peer for row in rows}
        if "nsd" in peers:
            self._add(stack, "nsd", start_nsd(folder, SIZE.services))
        if "unbound" in peers:
            self._add(stack, "unbound", start_unbound(folder, upstream))

    def _kdns(self, stack: ExitStack, api: Api, upstream: int, name: str) -> Server:
        output = stack.enter_context((self._folder / f"{name}.out").open("ab"))
        more = [word.replace("FOLDER", str(self._folder)) for word in WORDS[name]]
        with on_core(SERVER_CORE):
            schemes = SCHEMES.get(name, ())
            started = Kdns(self._folder, api, upstream=upstream, more=more, output=output, schemes=schemes)
            kdns = stack.enter_context(started)
        kdns.wait_ready()
        check_answers(kdns, SIZE)
        return Server(kdns.port, kdns.program, output, kdns.ports)

    def _add(self, stack: ExitStack, name: str, started: tuple[int, Program] | None) -> None:
        if started is not None:
            port, program = started
            self._servers[name] = Server(port, stack.enter_context(program))

    def asked(self, row: Row) -> list[str]:
        """The servers of a row, kdns first."""
        names = [row.server, "yardstick", row.peer]
        return [name for name in names if name in self._servers]

    def measure(self, row: Row) -> None:
        """All rounds of a row."""
        for name in self.asked(row):
            self.found[row.name, name] = Figures()
            if not row.cold:
                self._warm(row, name)
        packets = self._packets(row, self._pace.seconds * FASTEST)
        for number in range(self._pace.rounds):
            if number and row.fresh:
                packets = self._packets(row, self._pace.seconds * FASTEST)
            for name in self.asked(row):
                if row.cold and name == row.server:
                    with ExitStack() as stack:
                        warm, self._servers[name] = (
                            self._servers[name],
                            self._kdns(stack, self._api, self._upstream, name),
                        )
                        self._run(row, name, packets)
                        self._servers[name] = warm
                else:
                    self._run(row, name, packets)
        if not row.cold:
            self._steady(row)

    def _packets(self, row: Row, count: float) -> Path:
        return write(self._folder / "packets", row.packets(int(count)))

    def _connections(self, row: Row, name: str) -> int:
        return row.connections if name == row.server else 0

    def _target(self, row: Row, name: str) -> tuple[int, str]:
        """The port to ask, and over what; other servers are asked over UDP."""
        server = self._servers[name]
        return (server.ports[row.over], row.over) if row.over and name == row.server else (server.port, "")

    def _warm(self, row: Row, name: str) -> None:
        """Have everything asked that will be asked over and over, more than once."""
        packets = self._packets(row, STEADY)
        port, over = self._target(row, name)
        for _ in range(1 if row.fresh else 2):
            again(lambda: replay(port, packets, connections=self._connections(row, name), over=over))

    def _run(self, row: Row, name: str, packets: Path) -> None:
        server, figures = self._servers[name], self.found[row.name, name]

        def measured() -> tuple[float, Run]:
            before = server.program.processor_seconds()
            connections = self._connections(row, name)
            port, over = self._target(row, name)
            run = replay(
                port, packets, self._pace.seconds, rate=row.rate, once=row.fresh, connections=connections, over=over
            )
            return max(server.program.processor_seconds() - before, 0.01), run

        spent, run = again(measured)
        figures.rates.append(run.completed / run.seconds)
        figures.each.append(spent / run.completed * 1e6)
        figures.busy.append(spent / run.seconds)
        figures.lost += run.lost
        figures.resident = server.program.resident()
        if name == row.server:
            figures.trouble = figures.trouble or unexpected(row, run)
        if server.log is not None:
            server.log.truncate(0)

    def _steady(self, row: Row) -> None:
        """How long answers of kdns take when it is not asked as much as it can answer."""
        figures = self.found[row.name, row.server]
        packets = self._packets(row, self._pace.steady * STEADY)
        port, over = self._target(row, row.server)
        rate = row.rate or (STEADY_ENCRYPTED if over in ("https", "quic") else STEADY)
        run = again(
            lambda: replay(
                port,
                packets,
                self._pace.steady,
                rate=rate,
                once=row.fresh,
                connections=row.connections,
                latencies=True,
                over=over,
            )
        )
        figures.average = run.average * 1e3
        figures.p99 = percentile(run.latencies, 0.99) * 1e3
        figures.slowest = run.slowest * 1e3
        figures.lost += run.lost


def again(measure: Callable[[], T]) -> T:
    """What is measured, or is when it is tried once more after dnsperf got stuck."""
    try:
        return measure()
    except Stuck:
        return measure()


def unexpected(row: Row, run: Run) -> str:
    """What is wrong with the replies of a run; empty when nothing is."""
    for code, share in row.codes.items():
        if abs(run.share(code) - share) > TOLERANCE + 2200 / run.completed:
            return f"{row.name}: {code} should be {share:.0%} of the replies; there were {run.codes}"
    return ""


HEAD = (
    *("row", "yardstick q/s", "kdns q/s", "multiple", "by cpu", "target"),
    *("avg ms", "p99 ms", "max ms", "lost"),
    *("kdns us", "yardstick us", "peer us", "of peer's", "target", "core busy", "MB"),
)


def line(contest: Contest, row: Row) -> list[str]:
    """A row as it is printed."""
    ours, theirs = contest.found[row.name, row.server], contest.found[row.name, "yardstick"]
    peer = contest.found.get((row.name, row.peer))
    each = median(ours.each)
    cells = [
        row.name,
        f"{median(theirs.rates):,.0f}",
        f"{median(ours.rates):,.0f}",
        f"{median(ours.rates) / median(theirs.rates):.2f}",
        f"{median(theirs.each) / each:.2f}",
        f"{row.target:.1f}",
        f"{ours.average:.2f}",
        f"{ours.p99:.2f}",
        f"{ours.slowest:.1f}",
        str(ours.lost),
        f"{each:.1f}",
        f"{median(theirs.each):.1f}",
    ]
    if peer is None:
        cells += ["", "", ""]
    else:
        cells += [f"{row.peer} {median(peer.each):.1f}", f"{each / median(peer.each):.2f}", f"{row.peer_target:.1f}"]
    return [*cells, f"{median(ours.busy):.0%}", f"{ours.resident:.0f}"]


def of_tcp(contest: Contest, row: Row) -> float:
    """The processor time of a query as a multiple of the row ``tcp``; 0 where that was not measured."""
    tcp = contest.found.get(("tcp", "kdns"))
    return median(contest.found[row.name, row.server].each) / median(tcp.each) if tcp is not None else 0.0


def report(contest: Contest) -> None:
    """Print the table."""
    print(described(describe()))
    print(f"servers on core {SERVER_CORE}, dnsperf and upstream on core {CLIENT_CORE}; latency at {STEADY:,} q/s\n")
    table(HEAD, [line(contest, row) for row in contest.rows])
    for row in contest.rows:
        if row.of_tcp and (times := of_tcp(contest, row)):
            print(f"{row.name}: {times:.2f} of the processor time of tcp, target {row.of_tcp:.1f}")
    for (_, server), figures in contest.found.items():
        if figures.trouble:
            print(f"WRONG: {server}, {figures.trouble}")


def figures_of(contest: Contest) -> dict[str, object]:
    """The same, and every round, for a file."""
    return {
        row.name: {
            "target": row.target,
            "peer": row.peer,
            "peer target": row.peer_target,
            **{
                ("kdns" if name == row.server else name): asdict(contest.found[row.name, name])
                for name in contest.asked(row)
            },
        }
        for row in contest.rows
    }


def main(arguments: Sequence[str]) -> int:
    """Measure the rows that are asked for and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.rows", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument(
        "rows", metavar="ROW", nargs="*", help=f"of {', '.join(row.name for row in ROWS)}; all by default"
    )
    parser.add_argument("--quick", action="store_true", help="one short round: an impression")
    parser.add_argument("--json", metavar="FILE", default="", help="write all figures there too")
    options = parser.parse_args(arguments)
    known = {row.name: row for row in ROWS}
    for name in options.rows:
        if name not in known:
            parser.error(f"no row {name}; there are {', '.join(known)}")
    rows = [known[name] for name in options.rows or known]
    failed = False
    try:
        dnsperf()
        with TemporaryDirectory() as name, ExitStack() as stack:
            contest = Contest(stack, Path(name), rows, QUICK if options.quick else FULL)
            for row in rows:
                print(f"{row.name} ...", file=sys.stderr, flush=True)
                try:
                    contest.measure(row)
                except BenchError as error:
                    print(f"{row.name}: {error}", file=sys.stderr)
                    failed = True
                else:
                    contest.rows.append(row)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    report(contest)
    keep(options.json, "rows", figures_of(contest))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
