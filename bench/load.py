"""
The client side: queries over UDP as fast as they are answered, or at a rate, and how long each answer took.

dnsperf does it where it is installed. Otherwise a client of kdns's own does, which is slower than the server: the processor time of the
server for a query is a figure all the same.
"""

from __future__ import annotations

import re
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.processes import BenchError
from kdns.wire.constants import AAAA, IN, RD, SRV, A
from kdns.wire.names import from_text
from kdns.wire.query import HEADER

TYPES = {"A": A, "AAAA": AAAA, "SRV": SRV}
OUTSTANDING = 100
"""Queries under way at a time, when no rate is asked for."""

_COMPLETED = re.compile(r"Queries completed:\s+(\d+)")
_LOST = re.compile(r"Queries lost:\s+(\d+)")
_SECONDS = re.compile(r"Run time \(s\):\s+([\d.]+)")
_RCODES = re.compile(r"Response codes:\s+(.*)")
_LATENCY = re.compile(r"^> \S+ \S+ \S+ ([\d.]+)", re.MULTILINE)


@dataclass(slots=True)
class Run:
    """What came of it."""

    completed: int
    lost: int
    seconds: float
    codes: str = ""
    """How many replies had which rcode, in dnsperf's words; empty from the own client."""

    latencies: list[float] = field(default_factory=list)
    """Seconds, when they were asked for."""


def query(name: str, qtype: int = A, ident: int = 1) -> bytes:
    """A query as a stub resolver sends it."""
    head = HEADER.pack(ident, RD, 1, 0, 0, 0)
    return head + from_text(name) + qtype.to_bytes(2, "big") + IN.to_bytes(2, "big")


def load(
    port: int, questions: Sequence[str], seconds: float, *, rate: int = 0, once: bool = False, latencies: bool = False
) -> Run:
    """
    Ask *questions* (``NAME TYPE``) over and over.

    :param rate: queries a second; 0 means as many as are answered.
    :param once: ask each of them once and end, however long that takes.
    :param latencies: note how long each answer took.
    :raises BenchError: nothing was answered.
    """
    program = shutil.which("dnsperf")
    if program is None:
        run = _own(port, questions, seconds, rate, once)
    else:
        run = _dnsperf(program, port, questions, seconds, rate, once, latencies)
    if not run.completed:
        raise BenchError("no query was answered")
    return run


def _dnsperf(
    program: str, port: int, questions: Sequence[str], seconds: float, rate: int, once: bool, latencies: bool
) -> Run:
    with TemporaryDirectory() as folder:
        data = Path(folder, "questions")
        data.write_text("\n".join(questions) + "\n")
        command = [program, "-s", "127.0.0.1", "-p", str(port), "-d", str(data), "-q", str(OUTSTANDING), "-t", "2"]
        command += ["-n", "1"] if once else ["-l", str(max(1, round(seconds)))]
        if rate:
            command += ["-Q", str(rate)]
        if latencies:
            command.append("-v")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    completed, lost = _COMPLETED.search(done.stdout), _LOST.search(done.stdout)
    took, codes = _SECONDS.search(done.stdout), _RCODES.search(done.stdout)
    if completed is None or lost is None or took is None:
        raise BenchError(f"dnsperf: {done.stderr.strip() or done.stdout[-500:]}")
    found = [float(text) for text in _LATENCY.findall(done.stdout)] if latencies else []
    return Run(int(completed[1]), int(lost[1]), float(took[1]), codes[1] if codes else "", found)


def _own(port: int, questions: Sequence[str], seconds: float, rate: int, once: bool) -> Run:
    """One socket, as many queries under way as may be, each told by its identifier."""
    tails = []
    for question in questions:
        name, qtype = question.split()
        tails.append(query(name, TYPES[qtype])[2:])
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.connect(("127.0.0.1", port))
    asking.setblocking(False)
    sent: dict[int, float] = {}
    latencies: list[float] = []
    number = lost = 0
    began = now = time.perf_counter()
    end = began + (3600.0 if once else seconds)
    while now < end and (number < len(tails) or not once or sent):
        due = len(tails) if once else 1 << 62
        if rate:
            due = min(due, int((now - began) * rate))
        while len(sent) < OUTSTANDING and number < due:
            ident = number & 0xFFFF
            try:
                asking.send(ident.to_bytes(2, "big") + tails[number % len(tails)])
            except OSError:
                break
            sent[ident] = time.perf_counter()
            number += 1
        select.select([asking], [], [], 0.0005 if rate else 0.05)
        now = time.perf_counter()
        while sent:
            try:
                reply = asking.recv(65535)
            except OSError:
                break
            since = sent.pop(reply[0] << 8 | reply[1], None)
            if since is not None:
                latencies.append(now - since)
        for ident in [ident for ident, since in sent.items() if now - since > 2.0] if len(sent) == OUTSTANDING else []:
            del sent[ident]
            lost += 1
    asking.close()
    return Run(len(latencies), lost, now - began, "", latencies)
