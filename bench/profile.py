# -*- test-case-name: tests.test_bench -*-
"""
Where the time of a row goes: by file, by function and by line, in microseconds a query, and the system calls a query takes.

The daemon is asked as in the row, with a sampler inside (see inside.py). System calls are counted by strace where it is installed, in a
run of its own. Run it as ``python -m bench.profile ROW [--seconds N] [--top N]``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.cluster import Api, Kdns, check_answers
from bench.load import dnsperf, replay
from bench.machine import CLIENT_CORE, HERE, SERVER_CORE, describe, described, on_core
from bench.names import write
from bench.peers import start_upstream
from bench.processes import BenchError, table, wait_for
from bench.rows import FASTEST, ROWS, SIZE, STEADY, Row

_CALL = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", re.MULTILINE)
"""A line of strace's summary: share, seconds, microseconds a call, calls, errors, name."""

_ABOVE = re.compile(r".*/site-packages/|.*/lib/python[\d.]+/")


def shorten(place: str) -> str:
    """A place in a file without what all files of a kind have in common."""
    path, _, rest = place.partition(" ")
    return f"{_ABOVE.sub('', path.removeprefix(f'{HERE}/'))} {rest}".rstrip()


def by_file(own: Mapping[str, int]) -> Counter[str]:
    """Samples of functions, added up."""
    found: Counter[str] = Counter()
    for place, count in own.items():
        found[place.partition(" ")[0]] += count
    return found


def ours(places: Mapping[str, int]) -> dict[str, int]:
    """Those that are kdns's own, but for what is under everything."""
    return {
        place: count
        for place, count in places.items()
        if place.startswith(f"{HERE}/kdns/") and not place.startswith(f"{HERE}/kdns/cli/")
    }


def calls(summary: str) -> dict[str, int]:
    """How often each system call was made, from strace's summary."""
    return {name: int(count) for count, name in _CALL.findall(summary) if name != "total"}


class Subject:
    """A daemon that is looked into while it is asked what a row asks."""

    def __init__(self, stack: ExitStack, folder: Path, row: Row, seconds: float) -> None:
        self._row = row
        self._seconds = seconds
        self._packets = folder / "packets"
        with on_core(CLIENT_CORE):
            api = stack.enter_context(Api(folder, SIZE))
        upstream, program = start_upstream()
        stack.enter_context(program)
        output = stack.enter_context((folder / "kdns.out").open("ab"))
        more = ("log",) if row.server == "kdns+log" else ()
        with on_core(SERVER_CORE):
            self.kdns = stack.enter_context(
                Kdns(folder, api, watch_turns=True, upstream=upstream, more=more, output=output)
            )
        self.kdns.wait_ready()
        check_answers(self.kdns, SIZE)
        self._prepare(STEADY)
        for _ in range(1 if row.fresh else 2):
            replay(self.kdns.port, self._packets, connections=row.connections)

    def _prepare(self, count: float) -> None:
        write(self._packets, self._row.packets(int(count)))

    def _load(self) -> int:
        run = replay(
            self.kdns.port, self._packets, self._seconds, once=self._row.fresh, connections=self._row.connections
        )
        return run.completed

    def sample(self) -> tuple[int, float, float, dict[str, Any]]:
        """Queries, seconds of its own and of the system's code, and where they went."""
        self._prepare(self._seconds * FASTEST)
        before = self.kdns.program.processor_times()
        self.kdns.ask_inside("sample")
        completed = self._load()
        found = self.kdns.ask_inside("samples")
        after = self.kdns.program.processor_times()
        return completed, after[0] - before[0], after[1] - before[1], found

    def trace(self) -> tuple[int, dict[str, int]] | None:
        """Queries, and how often each system call was made meanwhile; None without strace."""
        strace = shutil.which("strace")
        if strace is None:
            return None
        self._prepare(self._seconds * FASTEST)
        summary = self._packets.with_name("strace")
        pid = self.kdns.program.pid
        tracing = subprocess.Popen(
            [strace, "-c", "-f", "-o", str(summary), "-p", str(pid)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for("strace", lambda: traced(pid) or tracing.poll() is not None)
            completed = self._load()
        finally:
            tracing.send_signal(signal.SIGINT)
            tracing.wait()
        return completed, calls(summary.read_text() if summary.exists() else "")


def traced(pid: int) -> bool:
    """Whether somebody traces a process."""
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()


def print_samples(title: str, counts: Mapping[str, int], samples: int, each: float, top: int) -> None:
    """The largest *counts* as shares, and as microseconds of a query that takes *each*."""
    largest = sorted(counts.items(), key=lambda item: -item[1])[:top]
    print()
    table(
        (title, "share", "us a query"),
        [(shorten(place), f"{count / samples:.1%}", f"{each * count / samples:.2f}") for place, count in largest],
    )


def main(arguments: Sequence[str]) -> int:
    """Look into one row."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile")
    parser.add_argument("row", metavar="ROW", choices=[row.name for row in ROWS], nargs="?", default="hot")
    parser.add_argument("--quick", action="store_true", help="two seconds, and less to read")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--top", type=int, default=25, help="lines of each table")
    options = parser.parse_args(arguments)
    (row,) = (row for row in ROWS if row.name == options.row)
    seconds, top = (2.0, 10) if options.quick else (options.seconds, options.top)
    try:
        dnsperf()
        with TemporaryDirectory() as name, ExitStack() as stack:
            subject = Subject(stack, Path(name), row, seconds)
            completed, user, system, found = subject.sample()
            traced_run = subject.trace()
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    each = (user + system) / completed * 1e6
    print(described(describe()))
    print(
        f"{row.name}: {completed / seconds:,.0f} q/s; {each:.1f} us of processor time a query: {user / completed * 1e6:.1f} in Python and"
        f" libraries, {system / completed * 1e6:.1f} in the system; {found['samples']} samples"
    )
    samples = max(1, found["samples"])
    print_samples("file", by_file(found["own"]), samples, each, top)
    print_samples("function, itself", found["own"], samples, each, top)
    print_samples("line, itself", found["lines"], samples, each, top)
    print_samples("function, with what it calls", ours(found["with callees"]), samples, each, top)
    if traced_run is None:
        print("\nstrace is not installed: no system calls are counted")
    else:
        traced_count, made = traced_run
        print(f"\nsystem calls, in a run of {traced_count:,} queries that was slower for being traced")
        ordered = sorted(made.items(), key=lambda item: -item[1])[:top]
        table(
            ("call", "times", "a query"),
            [(name, f"{count:,}", f"{count / traced_count:.3f}") for name, count in ordered],
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
