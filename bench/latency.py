# -*- test-case-name: tests.test_bench -*-
"""
How long answers take at 5,000 queries a second: idle, while slices change, everything is listed anew, metrics are read, and at reloads.

kdns has one core, and dnsperf, the fake API server and whoever else asks something of kdns the other. Where NSD is installed, it stands
beside: what it takes is what the machine and dnsperf take. Run it as ``python -m bench.latency [--quick] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import IO

from bench.cluster import Api, Kdns, Size, check_answers
from bench.load import Run, dnsperf, replay
from bench.machine import CLIENT_CORE, SERVER_CORE, describe, described, keep, on_core
from bench.names import hot, write
from bench.peers import start_nsd
from bench.processes import BenchError, median, page, percentile, table, wait_for

RATE = 5000
"""Queries a second."""

EVENTS = 200
"""Changed slices a second."""

EVERY = 1.0
"""Seconds from one reading of metrics, or one reload, to the next."""

BEHIND = 10
"""Niceness of the fake API server: a real one would not take the core from those who ask."""

RELOADED = b"Reloading complete"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is wanted, in milliseconds; 0 where nothing is."""

    average: float = 0.0
    p99: float = 0.0
    slowest: float = 0.0


NOTHING, IDLE, BUSY = Limits(), Limits(average=0.15, p99=1.0), Limits(p99=3.0, slowest=25.0)


def limits_of(situation: str) -> Limits:
    """What is wanted in a situation; what stands in brackets is there for comparison."""
    if situation.startswith("("):
        return NOTHING
    return IDLE if situation == "idle" else BUSY


@dataclass(slots=True)
class Figures:
    """What was measured in one situation, a value for each round, in milliseconds."""

    average: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    p999: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)
    lost: int = 0
    sent: int = 0
    events: int = 0
    """How often happened what happens meanwhile."""

    def note(self, run: Run, events: int) -> None:
        """A round."""
        self.average.append(run.average * 1e3)
        for share, values in ((0.5, self.p50), (0.99, self.p99), (0.999, self.p999)):
            values.append(percentile(run.latencies, share) * 1e3)
        self.slowest.append(run.slowest * 1e3)
        self.lost += run.lost
        self.sent += run.sent
        self.events += events


@dataclass(frozen=True, slots=True)
class Situation:
    """Something that goes on while somebody is asked."""

    name: str
    port: int
    meanwhile: Callable[[Event], int]
    """Is told when the load is over, and says how often it happened."""


class Stage:
    """The servers, and what can go on while kdns is asked."""

    def __init__(self, stack: ExitStack, folder: Path, seconds: float) -> None:
        self.seconds = seconds
        size = Size()
        self._api = stack.enter_context(Api(folder, size))
        os.setpriority(os.PRIO_PROCESS, self._api.program.pid, BEHIND)
        self._output: IO[bytes] = stack.enter_context((folder / "kdns.out").open("w+b"))
        with on_core(SERVER_CORE):
            self.kdns = stack.enter_context(Kdns(folder, self._api, output=self._output))
        self.kdns.wait_ready()
        check_answers(self.kdns, size)
        self._packets = write(folder / "packets", hot(size))
        replay(self.kdns.port, self._packets)
        self._nsd = start_nsd(folder, size.services)
        if self._nsd is not None:
            stack.enter_context(self._nsd[1])
            replay(self._nsd[0], self._packets)

    def situations(self) -> list[Situation]:
        """What goes on meanwhile."""
        port = self.kdns.port
        found = [
            Situation("idle", port, self._nothing),
            Situation(f"{EVENTS} slice events/s", port, self._churn),
            Situation("relists", port, self._relist),
            Situation("/metrics each second", port, self._scrape),
            Situation("reloads, one a second", port, self._reload),
        ]
        if self._nsd is not None:
            found.append(Situation("(NSD, idle)", self._nsd[0], self._nothing))
        return found

    def run(self, situation: Situation, figures: Figures) -> None:
        """One round."""
        over = Event()
        with ThreadPoolExecutor(1) as pool:
            going_on = pool.submit(situation.meanwhile, over)
            try:
                run = replay(situation.port, self._packets, self.seconds, rate=RATE, latencies=True)
            finally:
                over.set()
            figures.note(run, going_on.result())

    def _nothing(self, over: Event) -> int:
        return 0

    def _churn(self, over: Event) -> int:
        self._api.program.tell(f"churn {EVENTS} {self.seconds} 0")
        while True:
            said = self._api.hear()
            if "churned" in said:
                return int(said["churned"])

    def _relist(self, over: Event) -> int:
        done = 0
        while not over.is_set():
            self.kdns.relist(self._api)
            done += 1
        return done

    def _scrape(self, over: Event) -> int:
        done = 0
        while not over.wait(EVERY):
            if not page(self.kdns.metrics):
                raise BenchError("no page of metrics")
            done += 1
        return done

    def _reload(self, over: Event) -> int:
        before, asked = self._reloads(), 0
        while not over.wait(EVERY):
            self.kdns.program.signal(signal.SIGUSR1)
            asked += 1
        wait_for("all reloads", lambda: self._reloads() - before >= asked)
        return asked

    def _reloads(self) -> int:
        self._output.seek(0)
        return self._output.read().count(RELOADED)


def cell(value: float, limit: float, digits: int) -> str:
    """A figure, and what it may be at most."""
    if not limit:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} of {limit:g}{'' if value <= limit else ' MISSED'}"


def report(stage: Stage, found: dict[str, Figures]) -> None:
    """Print medians of the rounds, and the slowest answer of all."""
    print(described(describe()))
    print(
        f"kdns on core {SERVER_CORE}, everything else on core {CLIENT_CORE}; {RATE:,} q/s for {stage.seconds:.0f} s a round\n"
    )
    rows = []
    for situation in stage.situations():
        figures, limits = found[situation.name], limits_of(situation.name)
        rows.append(
            (
                situation.name,
                str(figures.events or ""),
                cell(median(figures.average), limits.average, 2),
                f"{median(figures.p50):.2f}",
                cell(median(figures.p99), limits.p99, 2),
                f"{median(figures.p999):.2f}",
                cell(max(figures.slowest), limits.slowest, 1),
                f"{figures.lost} of {figures.sent:,}",
            )
        )
    table(("meanwhile", "times", "avg ms", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "lost"), rows)


def main(arguments: Sequence[str]) -> int:
    """Measure all situations in turn, several times."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency")
    parser.add_argument("--quick", action="store_true", help="one short round: an impression")
    parser.add_argument("--json", metavar="FILE", default="", help="write all figures there too")
    options = parser.parse_args(arguments)
    rounds, seconds = (1, 4.0) if options.quick else (3, 10.0)
    try:
        dnsperf()
        with TemporaryDirectory() as name, ExitStack() as stack, on_core(CLIENT_CORE):
            stage = Stage(stack, Path(name), seconds)
            found = {situation.name: Figures() for situation in stage.situations()}
            for _ in range(rounds):
                for situation in stage.situations():
                    stage.run(situation, found[situation.name])
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    report(stage, found)
    keep(options.json, "latency", {what: asdict(figures) for what, figures in found.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
