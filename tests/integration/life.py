# -*- test-case-name: tests.integration.test_life -*-
"""
The life of a kdns under load: good reloads and bad ones, a restart that hands the port over, and the end.

``python -m tests.integration.life`` goes through a hundred good reloads and ten bad ones at several thousand queries a second, and prints
what it found. The test goes through a few. ``--workers 2 --kills 20`` does the same with worker processes, and kills some.

The Corefile lies in a folder as Kubernetes mounts a ConfigMap: the files are links to ``..data``, and that is a link to a folder, which is
exchanged in one step. It imports another file, which lies there, too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import yaml

from tests.conformance.cases import CASES
from tests.integration.load import Found, LoadProgram, Wanted, worst
from tests.integration.programs import PATIENCE, Program, ask, free_port

COREFILE = """\
.:{port} {{
    bind 127.0.0.1
    errors
    health 127.0.0.1:{health} {{
        lameduck {lameduck}
    }}
    ready 127.0.0.1:{ready}
    prometheus 127.0.0.1:{metrics}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
    cache 30
    loadbalance
    reload 2s 0s
    import more
{lines}}}
{blocks}"""

NAMES = (
    "web.prod.svc.cluster.local. A",
    "web.prod.svc.cluster.local. AAAA",
    "db.prod.svc.cluster.local. A",
    "_http._tcp.web.prod.svc.cluster.local. SRV",
    "1.10.96.10.in-addr.arpa. PTR",
    "web.prod.svc.cluster.local.prod.svc.cluster.local. A",
    "*.prod.svc.cluster.local. A",
    "www.example.com. A",
    "*.example.com. A",
)
"""What is asked: out of the cluster and not there, from upstream and out of the cache."""

MOST_LOST = 0.05
"""Seconds of queries that may lie in the sockets of a worker that is killed."""

SLOW = "slow"
"""The upstream takes a second for names that begin so."""


class Upstream(threading.Thread):
    """A resolver that answers any name with one address, and takes its time for some."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.port: int = self.socket.getsockname()[1]

    def run(self) -> None:
        """Answer until the socket is closed."""
        while True:
            try:
                query, client = self.socket.recvfrom(4096)
            except OSError:
                return
            end = 12
            while query[end]:
                end += query[end] + 1
            head = query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
            record = b"\xc0\x0c\x00\x01\x00\x01" + struct.pack("!IH", 30, 4) + bytes((192, 0, 2, 1))
            reply = head + query[12 : end + 5] + record
            if query[13 : 13 + len(SLOW)] == SLOW.encode():
                threading.Timer(1.0, self.socket.sendto, (reply, client)).start()
            else:
                self.socket.sendto(reply, client)


@dataclass(slots=True)
class Reload:
    """One reload."""

    way: str
    begun: float
    ended: float


@dataclass(slots=True)
class Report:
    """What was found."""

    reloads: list[Reload] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    """What was said of the bad ones."""

    faults: list[str] = field(default_factory=list)
    """What is not as it should be."""

    load: Found = field(default_factory=Found)
    durations: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def check(self, met: bool, fault: str) -> None:
        """Note what is not as it should be."""
        if not met:
            self.faults.append(fault)


class ConfigMap:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = count(1)
        for name in ("Corefile", "more"):
            (folder / name).symlink_to(f"..data/{name}")

    @property
    def corefile(self) -> Path:
        """The Corefile, to be named to kdns."""
        return self.folder / "Corefile"

    def exchange(self, corefile: str, more: str) -> None:
        """A new version in the place of the old one, in one step."""
        version = self.folder / f"..{next(self._versions)}"
        version.mkdir()
        (version / "Corefile").write_text(corefile)
        (version / "more").write_text(more)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")


class Life:
    """A kdns, its world, and what is done to it."""

    def __init__(self, folder: Path, stack: ExitStack, lameduck: str, command: Sequence[str]) -> None:
        self.folder = folder
        self.stack = stack
        self.report = Report()
        self._command = command
        self.upstream = Upstream()
        self.upstream.start()
        stack.callback(self.upstream.socket.close)
        self.api = stack.enter_context(ApiProgram(folder))
        ports: set[int] = set()
        while len(ports) < 6:
            ports.add(free_port())
        self.port, self.health, self.ready, self.metrics, self.other, self.third = sorted(ports)
        self.taken = socket.create_server(("127.0.0.1", 0))  # which does not share its port
        stack.callback(self.taken.close)
        self.lameduck = lameduck
        self.map = ConfigMap(folder)
        self.lines = ""
        self.blocks = ""
        self.restarted = 0.0, 0.0
        self.write()
        self.program = self.start()

    def start(self, *flags: str) -> Program:
        """A process that serves."""
        program = Program([*self._command, "-conf", str(self.map.corefile), *flags])
        self.stack.enter_context(program)
        program.wait_for("linux/")
        return program

    def texts(self, number: int = 0) -> tuple[str, str]:
        """The Corefile and what it imports."""
        corefile = COREFILE.format(
            port=self.port,
            health=self.health,
            ready=self.ready,
            metrics=self.metrics,
            kubeconfig=self.folder / "kubeconfig",
            lameduck=self.lameduck,
            lines=self.lines,
            blocks=self.blocks,
        )
        return (
            corefile,
            f"forward . 127.0.0.1:{self.upstream.port} {{\n    prefer_udp\n    max_concurrent {1000 + number}\n}}\n",
        )

    def write(self, number: int = 0) -> None:
        """A new version of the folder."""
        self.map.exchange(*self.texts(number))

    # Looking

    def page(self, port: int, path: str) -> tuple[int, str]:
        """Status and body of a page; 0 when nobody is there."""
        try:
            with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except URLError as error:
            return getattr(error, "code", 0), ""
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """The sum of a metric's cells."""
        _, page = self.page(self.metrics, "metrics")
        return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if re.match(rf"{name}[ {{]", line))

    def shows(self, name: str, wanted: Callable[[float], bool]) -> bool:
        """Whether a metric comes to be so; its page may be some seconds old."""
        end = monotonic() + 3
        while not (met := wanted(self.metric(name))) and monotonic() < end:
            sleep(0.1)
        return met

    def watches(self) -> set[int]:
        """The local ports of the program's connections to the API server."""
        return connections(self.program.process.pid, self.api)

    # Doing

    def good(self, number: int) -> None:
        """One good reload."""
        ways: tuple[tuple[str, Callable[[], None]], ...] = (
            ("SIGUSR1", self._by_signal),
            ("SIGUSR1, another port", self._other_port),
            ("SIGUSR1, other forwarding", self._by_import_signal),
            ("look: ..data", self._by_look),
            ("look: import", self._by_import),
        )
        # Looks take two seconds each, signals none.
        way, act = ways[number % 3 if number % 10 else 3 + number // 10 % 2]
        self.number = number
        before = self.program.said.count("[INFO] Reloading complete")
        begun = monotonic()
        act()
        self.wait_for("[INFO] Reloading complete", before + 1)
        self.report.reloads.append(Reload(way, begun, monotonic()))

    def _by_signal(self) -> None:
        self.lines = "" if self.lines else "    log . {\n        class error\n    }\n"
        self.write()
        self.program.send(signal.SIGUSR1)

    def _other_port(self) -> None:
        self.blocks = "" if self.blocks else f".:{self.other} {{\n    bind 127.0.0.1\n    whoami\n}}\n"
        self.write()
        self.program.send(signal.SIGUSR1)

    def _by_import_signal(self) -> None:
        self.write(self.number)
        self.program.send(signal.SIGUSR1)

    def _by_look(self) -> None:
        self.lines = "" if self.lines else "    debug\n"
        self.write()

    def _by_import(self) -> None:
        # The file alone, in place, as an editor writes it.
        _, more = self.texts(self.number)
        target = (self.folder / "..data").resolve() / "more"
        temporary = target.with_name("more.new")
        temporary.write_text(more)
        temporary.replace(target)

    def wait_for(self, text: str, times: int) -> None:
        """Wait until the program has said it so often."""
        end = monotonic() + PATIENCE
        while self.program.said.count(text) < times:
            if monotonic() > end:
                raise AssertionError(f"no {text!r}, the {times}. time, in {self.program.said[-2000:]!r}")
            self.program.hear(0.5)

    def bad(self, number: int) -> None:
        """One bad reload: it is named with file and line, changes nothing, and shows until it is mended."""
        corefile, more = self.texts()
        name, broken, broken_more, line = self._broken(corefile, more)[number % 6]
        failures, asked = self.metric("coredns_reload_failed_total"), len(self.program.said)
        self.map.exchange(broken, broken_more)
        if number % 10 == 9:
            self.wait_for("reload failed: starting", self.program.said.count("reload failed: starting") + 1)
        else:
            before = self.program.said.count("Restart failed")
            self.program.send(signal.SIGUSR1)
            self.wait_for("Restart failed", before + 1)
        said = self.program.said[asked:]
        file = self.folder / "more" if "more" in name else self.map.corefile
        wanted = f"{file}:{line} - "
        self.report.bad.append(f"{name}: " + next(text for text in said.splitlines() if "failed" in text))
        self.report.check(wanted in said, f"no {wanted!r} in {said!r}")
        counted = self.shows("coredns_reload_failed_total", lambda value: value > failures)
        self.report.check(counted, f"{name}: not counted")
        self.report.check(self.shows("kdns_reload_config_bad", lambda value: value == 1), f"{name}: does not show")
        self.report.check(ask(self.port, "web.prod.svc.cluster.local").rCode == 0, f"{name}: no answer")
        self.map.exchange(corefile, more)
        done = self.program.said.count("[INFO] Reloading complete")
        self.program.send(signal.SIGUSR1)
        self.wait_for("[INFO] Reloading complete", done + 1)
        self.report.check(self.shows("kdns_reload_config_bad", lambda value: value == 0), f"{name}: still shows")

    def _broken(self, corefile: str, more: str) -> list[tuple[str, str, str, int]]:
        """A name, both files, and the line that is at fault."""
        end = corefile.count("\n")
        held = self.taken.getsockname()[1]
        lines = corefile.splitlines()
        cache = next(i for i, text in enumerate(lines, 1) if "cache" in text)
        health = next(i for i, text in enumerate(lines, 1) if "health" in text)
        return [
            ("unknown directive", corefile.replace("loadbalance", "loadbalanc"), more, cache + 1),
            ("syntax", corefile + "extra {\n", more, end + 1),
            ("set-up", corefile.replace("cache 30", "cache 0"), more, cache),
            ("more: unknown property", corefile, more.replace("max_concurrent", "max_concurent"), 3),
            ("port taken", corefile + f".:{held} {{\n    bind 127.0.0.1\n    whoami\n}}\n", more, end + 1),
            ("page's port taken", corefile.replace(str(self.health), str(held)), more, health),
        ]

    def workers(self) -> list[int]:
        """The worker processes: children of the one that the program starts them with."""
        return [pid for fork in children(self.program.process.pid) for pid in children(fork)]

    def kill_worker(self) -> None:
        """Kill a worker, and wait until another has taken its place."""
        before = self.workers()
        os.kill(before[0], signal.SIGKILL)
        end = monotonic() + PATIENCE
        while len(set(self.workers()) - {before[0]}) < len(before) or not self.shows(
            "kdns_workers", lambda n: n == len(before)
        ):
            self.report.check(monotonic() < end, "no worker in the place of one that was killed")
            sleep(0.1)

    def set_cluster_ip(self, address: str) -> None:
        """Change the Service ``web`` in the API server."""
        patch = json.dumps({"spec": {"clusterIP": address, "clusterIPs": [address]}}).encode()
        url = f"{self.api}/api/v1/namespaces/prod/services/web"
        headers = {"Content-Type": "application/merge-patch+json"}
        with urlopen(Request(url, patch, headers, method="PATCH"), timeout=5) as response:
            response.read()

    def restart(self) -> None:
        """A successor on the same port, then the end of the first: what it took it answers, in good order and in time."""
        old = self.program
        successor = self.start("-takeover")
        slow: list[int] = []

        def ask_slowly() -> None:
            slow.append(ask(self.port, f"{SLOW}-{monotonic()}.example.com").rCode)

        old.send(signal.SIGTERM)
        begun = monotonic()
        while "lameduck mode" not in old.said:
            old.hear(0.5)
        sleep(parse_seconds(self.lameduck) * 0.8)
        asking = [threading.Thread(target=ask_slowly) for _ in range(20)]
        for thread in asking:
            thread.start()
        status, _, errors = old.end()
        took = monotonic() - begun
        self.restarted = begun, monotonic()
        for thread in asking:
            thread.join(10)
        self.report.check((status, errors) == (0, ""), f"it ended with {status}: {errors}")
        self.report.check(slow == [0] * 20, f"queries that waited at the end were answered {slow}")
        self.report.check(took < parse_seconds(self.lameduck) + 7, f"the end took {took:.1f} s")
        self.report.figures["seconds of the end, with lameduck"] = round(took, 2)
        self.program = successor

    def lame(self) -> None:
        """The end with nobody to take over: not ready, but answering, and not from the past."""
        self.program.send(signal.SIGTERM)
        while "lameduck mode" not in self.program.said:
            self.program.hear(0.5)
        ready, _ = self.page(self.ready, "ready")
        self.report.check(ready != 200, f"ready says {ready} while it ends")
        live, _ = self.page(self.health, "health")
        self.report.check(live == 200, f"health says {live} while it ends")
        self.set_cluster_ip("10.96.77.77")
        end = monotonic() + parse_seconds(self.lameduck) * 0.7
        address = ""
        while address != "10.96.77.77" and monotonic() < end:
            address = str(ask(self.port, "web.prod.svc.cluster.local").answers[0].payload.dottedQuad())  # type: ignore[union-attr]  # an A
            sleep(0.01)
        self.report.check(address == "10.96.77.77", f"a change during lameduck is not seen: {address}")
        status, _, errors = self.program.end()
        self.report.check((status, errors) == (0, ""), f"it ended with {status}: {errors}")


def parse_seconds(text: str) -> float:
    """``2s`` or ``500ms``."""
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])


class ApiProgram:
    """The fake API server with the golden cluster, as a program; gives its address."""

    def __init__(self, folder: Path) -> None:
        kubeconfig = folder / "kubeconfig"
        manifests = [str(CASES / "every-cluster.yaml"), str(CASES / "cluster.yaml")]
        words = ["-m", "tests.apiserver", "--kubeconfig-out", str(kubeconfig), "--manifests", *manifests]
        self._program = Program(words)
        self._kubeconfig = kubeconfig

    def __enter__(self) -> str:
        self._program.__enter__()
        self._program.wait_for("listening at ")
        return str(yaml.safe_load(self._kubeconfig.read_text())["clusters"][0]["cluster"]["server"])

    def __exit__(self, *about: object) -> None:
        self._program.__exit__(None, None, None)


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


def connections(pid: int, url: str) -> set[int]:
    """Local ports of the connections that a process has to a server on 127.0.0.1."""
    wanted = f"0100007F:{urlsplit(url).port:04X}"
    inodes = set()
    for link in os.scandir(f"/proc/{pid}/fd"):
        try:
            inodes.add(os.readlink(link.path))
        except FileNotFoundError:
            pass
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[2] == wanted and fields[3] == "01" and f"socket:[{fields[9]}]" in inodes:
            found.add(int(fields[1].partition(":")[2], 16))
    return found


def phases(
    report: Report, durations: list[tuple[float, float]], quiet: tuple[float, float], restarted: tuple[float, float]
) -> Iterator[tuple[str, Any]]:
    """Durations of answers while nothing happened, and of those that were asked around a reload."""
    yield "quiet", worst([took for sent, took in durations if quiet[0] <= sent < quiet[1]])
    yield "restart", worst([took for sent, took in durations if restarted[0] <= sent < restarted[1]])
    edges = sorted((reload.ended - 0.3, reload.ended + 0.1) for reload in report.reloads)
    near: list[float] = []
    i = 0
    for sent, took in sorted(durations):
        while i < len(edges) and edges[i][1] < sent:
            i += 1
        if i < len(edges) and edges[i][0] <= sent:
            near.append(took)
    yield "around a reload", worst(near)


def live(
    reloads: int,
    bad: int,
    *,
    udp: float,
    tcp: float,
    lameduck: str = "1s",
    pause: float = 0.0,
    kills: int = 0,
    command: Sequence[str] = ("-m", "kdns"),
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """
    Go through a whole life.

    :param reloads: how many good ones; each tenth is found by looking at the files, which takes two seconds.
    :param pause: seconds between two.
    :param kills: worker processes that are killed on the way. What lay in their sockets is lost.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="kdns-life-")))
        life = Life(folder, stack, lameduck, command)
        report = life.report
        wanted = Wanted(life.port, str(folder / "samples"), NAMES, udp, tcp)
        load = stack.enter_context(LoadProgram(wanted))
        quiet = monotonic() + 0.2, monotonic() + 1.0 + pause
        sleep(quiet[1] - monotonic())
        watches, hits = life.watches(), life.metric("coredns_cache_hits_total")
        report.check(len(watches) > 0, "there is no watch")
        for number in range(1, reloads + 1):
            life.good(number)
            sleep(pause)
            if number == 1:
                # Logging has no say in answers, so that the cache goes on.
                after = life.metric("coredns_cache_hits_total")
                report.check(after >= hits, f"counters begin anew: {hits} hits, then {after}")
                report.check(life.metric("coredns_cache_entries") > 0, "the cache is empty")
            if kills and number * kills // reloads > (number - 1) * kills // reloads:
                life.kill_worker()
            say(
                f"reload {number}: {report.reloads[-1].way}, {report.reloads[-1].ended - report.reloads[-1].begun:.2f} s"
            )
        for number in range(bad):
            life.bad(number)
            say(report.bad[-1])
        # All of them are still there; others may be open for a moment, which ask whether the watches are alive.
        report.check(watches <= life.watches(), f"watches were {watches}, then {life.watches()}")
        relists = life.metric("kdns_kubernetes_relists_total")
        report.figures["relists"] = relists
        say("restart")
        life.restart()
        sleep(0.3)
        report.load = found = load.end()
        report.durations = dict(phases(report, load.durations(), quiet, life.restarted))
        say("end")
        life.lame()
        report.figures |= {"workers killed": kills, "lost with them": [found.lost, found.lost_tcp]}
        for what in ("twice",) if kills else ("lost", "lost_tcp", "twice", "refused", "refused_tcp"):
            report.check(getattr(found, what) == 0, f"{what}: {getattr(found, what)} {found.missing[:5]}")
        report.check(not set(found.rcodes) - {"NOERROR", "NXDOMAIN"}, f"answers: {found.rcodes}")
        # Connections stay until the restart, and are made anew once then.
        report.check(kills > 0 or found.connections <= 2 * wanted.connections, f"{found.connections} connections")
        most = MOST_LOST * kills * (udp + tcp)
        report.check(found.lost + found.lost_tcp <= most, f"{found.lost} and {found.lost_tcp} lost")
        return report


def main(arguments: Sequence[str]) -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.life", description=__doc__)
    parser.add_argument("--reloads", type=int, default=100, help="good reloads (100)")
    parser.add_argument("--bad", type=int, default=10, help="bad ones (10)")
    parser.add_argument("--udp", type=float, default=4000, help="queries a second over UDP (4000)")
    parser.add_argument("--tcp", type=float, default=500, help="queries a second over TCP (500)")
    parser.add_argument("--lameduck", default="2s", help="as in the Corefile (2s)")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two reloads (0.2)")
    parser.add_argument("--workers", type=int, default=0, help="worker processes (none)")
    parser.add_argument("--kills", type=int, default=0, help="workers to kill on the way (none)")
    wanted = parser.parse_args(arguments)
    report = live(
        wanted.reloads,
        wanted.bad,
        udp=wanted.udp,
        tcp=wanted.tcp,
        lameduck=wanted.lameduck,
        pause=wanted.pause,
        kills=wanted.kills,
        command=("-m", "kdns", *(["-workers", str(wanted.workers)] if wanted.workers else [])),
        say=lambda text: print(text, flush=True),
    )
    print(report.load)
    for phase, about in report.durations.items():
        print(f"{phase}: {about}")
    print(report.figures)
    print(f"{len(report.reloads)} good reloads, {len(report.bad)} bad ones")
    for fault in report.faults:
        print(f"WRONG: {fault}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
