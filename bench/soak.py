# -*- test-case-name: tests.test_bench -*-
"""
A long run at half the most that kdns answers, with churn, reloads and scrapes: nothing lost, memory flat, every query counted.

The queries come over UDP and over TCP at once. At the end the counters of kdns are compared with what dnsperf sent and got, and with
what the system dropped because a socket was full. Run it as ``python -m bench.soak [--minutes N] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from bench.cluster import PAGE_AGE, Api, Kdns, Size, check_answers
from bench.latency import BEHIND
from bench.load import Run, dnsperf, replay
from bench.machine import CLIENT_CORE, SERVER_CORE, describe, described, keep, on_core
from bench.names import ext, hot, new_in_cluster, write
from bench.peers import start_upstream
from bench.processes import BenchError, page, percentile, table

EVENTS = 50
"""Changed slices a second."""

SCRAPES, RELOADS = 1.0, 10.0
"""Seconds from one reading of metrics, and from one reload, to the next."""

TCP_RATE, TCP_CONNECTIONS = 500, 8
"""Queries a second over TCP."""

SAMPLES = 20
"""Values of memory that are shown."""

FLAT = 1.1
"""How much larger resident memory may be at the end than after a fifth of the time, when all tables have filled."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What kdns says it was asked and answered, and what the system dropped before it or before dnsperf read it."""

    requests: int
    responses: int
    panics: int
    dropped: int


@dataclass(slots=True)
class Course:
    """What was seen meanwhile."""

    memory: list[float]
    """MB, once a scrape."""

    reloads: int = 0
    scrapes: int = 0
    slowest_scrape: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A thing that should hold, and whether it does."""

    what: str
    found: str
    holds: bool


def counts(text: str, dropped: int) -> Counts:
    """The sums of a page of metrics."""

    def total(name: str) -> int:
        return sum(round(float(value)) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)", text, re.MULTILINE))

    return Counts(
        total("coredns_dns_requests_total"),
        total("coredns_dns_responses_total"),
        total("coredns_panics_total"),
        dropped,
    )


def drops() -> int:
    """UDP datagrams that found a full buffer, anywhere on this machine since it started."""
    head, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:"))
    fields = dict(zip(head[1:], map(int, values[1:]), strict=True))
    return fields["RcvbufErrors"] + fields["SndbufErrors"]


def judge(before: Counts, after: Counts, runs: Sequence[Run], memory: Sequence[float]) -> list[Verdict]:
    """What holds of a soak. What the system dropped was not accepted, so as much may be lost or uncounted, and no more."""
    sent, completed, lost = (sum(values) for values in zip(*((r.sent, r.completed, r.lost) for r in runs), strict=True))
    asked, answered = after.requests - before.requests, after.responses - before.responses
    dropped = after.dropped - before.dropped
    settled, last = median_of(memory, 0.2), median_of(memory, 1.0)
    return [
        Verdict(
            "lost, beyond what a full buffer dropped", f"{lost:,} of {sent:,}; {dropped:,} dropped", lost <= dropped
        ),
        Verdict("requests counted = sent", f"{asked:,} of {sent:,}", 0 <= sent - asked <= dropped),
        Verdict("responses counted = requests counted", f"{answered:,}", answered == asked),
        Verdict("responses counted = received", f"{completed:,}", 0 <= answered - completed <= dropped),
        Verdict("panics", str(after.panics - before.panics), after.panics == before.panics),
        Verdict(f"memory at the end, {FLAT} x at most", f"{settled:.1f} to {last:.1f} MB", last <= FLAT * settled),
    ]


def median_of(values: Sequence[float], share: float) -> float:
    """The middle value of the tenth of *values* that ends after a *share* of them."""
    end = max(1, round(len(values) * share))
    return percentile(values[max(0, end - max(1, len(values) // 10)) : end], 0.5)


def go_along(kdns: Kdns, over: Event) -> Course:
    """Scrape, reload and note memory until it is over."""
    course = Course([])
    reloaded = time.monotonic()
    while not over.wait(SCRAPES):
        began = time.monotonic()
        if not page(kdns.metrics):
            raise BenchError("no page of metrics")
        course.slowest_scrape = max(course.slowest_scrape, time.monotonic() - began)
        course.scrapes += 1
        course.memory.append(kdns.program.resident())
        if began - reloaded >= RELOADS:
            kdns.program.signal(signal.SIGUSR1)
            course.reloads += 1
            reloaded = began
    return course


def look(kdns: Kdns) -> Counts:
    """The counters as they are now: a page may be given again for a second."""
    time.sleep(PAGE_AGE)
    return counts(page(kdns.metrics), drops())


def soak(folder: Path, seconds: float) -> tuple[list[Verdict], Course, list[Run], int]:
    """All of it; what holds, what was seen, what dnsperf said, and the rate."""
    with ExitStack() as stack, on_core(CLIENT_CORE):
        size = Size()
        api = stack.enter_context(Api(folder, size))
        os.setpriority(os.PRIO_PROCESS, api.program.pid, BEHIND)
        upstream, program = start_upstream()
        stack.enter_context(program)
        with on_core(SERVER_CORE):
            kdns = stack.enter_context(Kdns(folder, api, upstream=upstream))
        kdns.wait_ready()
        check_answers(kdns, size)
        # Mostly what is asked again and again; a tenth are new names of a search path, and some come from outside.
        packets = write(folder / "packets", [*(hot(size) * 20), *new_in_cluster(5_000), *(ext() * 2)])
        over_tcp = write(folder / "tcp", hot(size))
        replay(kdns.port, over_tcp)
        rate = round(replay(kdns.port, packets, 5.0).completed / 5.0 / 2)
        before = look(kdns)
        api.program.tell(f"churn {EVENTS} {seconds} 0")
        over = Event()
        with ThreadPoolExecutor(3) as pool:
            along = pool.submit(go_along, kdns, over)
            datagrams = pool.submit(replay, kdns.port, packets, seconds, rate=rate)
            streams = pool.submit(replay, kdns.port, over_tcp, seconds, rate=TCP_RATE, connections=TCP_CONNECTIONS)
            try:
                runs = [datagrams.result(), streams.result()]
            finally:
                over.set()
            course = along.result()
        return judge(before, look(kdns), runs, course.memory), course, runs, rate


def main(arguments: Sequence[str]) -> int:
    """Soak, print what holds; the exit status is 1 when something does not."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long; 10 by default")
    parser.add_argument("--quick", action="store_true", help="a third of a minute")
    parser.add_argument("--json", metavar="FILE", default="", help="write all figures there too")
    options = parser.parse_args(arguments)
    seconds = round(20.0 if options.quick else options.minutes * 60)
    try:
        dnsperf()
        with TemporaryDirectory() as name:
            verdicts, course, runs, rate = soak(Path(name), seconds)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print(described(describe()))
    print(
        f"{seconds} s at {rate:,} q/s over UDP and {TCP_RATE} over TCP, {EVENTS} slice events/s, {course.reloads} reloads,"
        f" {course.scrapes} scrapes (the slowest took {course.slowest_scrape * 1e3:.0f} ms)"
    )
    for transport, run in zip(("UDP", "TCP"), runs, strict=True):
        print(f"{transport}: {run.codes}; average {run.average * 1e3:.2f} ms, slowest {run.slowest * 1e3:.1f} ms")
    every = max(1, len(course.memory) // SAMPLES)
    print(f"resident MB: {' '.join(f'{value:.1f}' for value in course.memory[::every])}\n")
    table(("what should hold", "found", "holds"), [(v.what, v.found, "yes" if v.holds else "NO") for v in verdicts])
    keep(options.json, "soak", {"rate": rate, "course": asdict(course), "verdicts": [asdict(v) for v in verdicts]})
    return 0 if all(verdict.holds for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
