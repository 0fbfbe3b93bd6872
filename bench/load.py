"""
The client side: queries over UDP as fast as they are answered, or at a rate, and how long each answer took.

dnsperf does it where it is installed. Otherwise a client of kdns's own does, which is slower than the server: the processor time of the
server for a query is a figure all the same.
"""

from __future__ import annotations

import json
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from bench.machine import CLIENT_CORE, on_core
from bench.processes import BenchError
from kdns.wire.constants import AAAA, IN, RD, SRV, A, rcode_text
from kdns.wire.names import from_text
from kdns.wire.query import HEADER

TYPES = {"A": A, "AAAA": AAAA, "SRV": SRV}
MODES = {"": "tcp", "tls": "dot"}
"""dnsperf's names of transports with connections, by the scheme of a server key."""

OUTSTANDING = 100
"""Queries under way at a time, when no rate is asked for."""

GRACE = 30.0
"""Seconds that dnsperf may take to end when its time is over, or for a file that is sent once."""

_COMPLETED = re.compile(r"Queries completed:\s+(\d+)")
_LOST = re.compile(r"Queries lost:\s+(\d+)")
_SECONDS = re.compile(r"Run time \(s\):\s+([\d.]+)")
_RCODES = re.compile(r"Response codes:\s+(.*)")
_LATENCY = re.compile(r"^> \S+ \S+ \S+ ([\d.]+)", re.MULTILINE)
_SENT = re.compile(r"Queries sent:\s+(\d+)")
_AVERAGE = re.compile(r"Average Latency \(s\):\s+([\d.]+) \(min [\d.]+, max ([\d.]+)\)")


class Stuck(BenchError):
    """dnsperf did not come to its end: over TCP it sometimes waits for ever, and somebody may have ended it."""


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

    sent: int = 0
    average: float = 0.0
    slowest: float = 0.0
    """Seconds, of all that were answered; from dnsperf only, as is *sent*."""

    def share(self, code: str) -> float:
        """Which part of the replies, 0 to 1, had a response code."""
        found = re.search(rf"\b{code} (\d+)", self.codes)
        return int(found[1]) / self.completed if found and self.completed else 0.0


def dnsperf() -> str:
    """
    The path of dnsperf.

    :raises BenchError: it is not installed.
    """
    found = shutil.which("dnsperf")
    if found is None:
        raise BenchError(
            "dnsperf is not installed, and nothing else loads a server fast enough: apt-get install dnsperf"
        )
    return found


def replay(
    port: int,
    packets: Path,
    seconds: float = 0.0,
    *,
    rate: int = 0,
    once: bool = False,
    connections: int = 0,
    latencies: bool = False,
    over: str = "",
) -> Run:
    """
    Have dnsperf send the packets of a file that :func:`bench.names.write` wrote, on the client's core.

    :param seconds: how long; 0 means to the end of the file, which then is sent once.
    :param rate: queries a second; 0 means as many as are answered.
    :param once: end at the end of the file, even if there is time left.
    :param connections: over so many TCP connections; 0 means UDP.
    :param latencies: note how long each answer took.
    :param over: ``tls``, ``https`` or ``quic``, the transport of the connections; TCP without. A client of kdns's own asks the last two.
    :raises Stuck: dnsperf did not come to its end.
    :raises BenchError: nothing was answered.
    """
    if over in ("quic", "https"):
        return _encrypted(over, port, packets, seconds, rate, once, connections)
    command = [
        dnsperf(),
        "-s",
        "127.0.0.1",
        "-p",
        str(port),
        "-B",
        "-d",
        str(packets),
        "-q",
        str(OUTSTANDING),
        "-t",
        "2",
    ]
    if seconds:
        command += ["-l", f"{seconds:.0f}"]
    if once or not seconds:
        command += ["-n", "1"]
    if rate:
        command += ["-Q", str(rate)]
    if connections:
        command += ["-m", MODES[over], "-c", str(connections)]
    if latencies:
        command.append("-v")
    with TemporaryFile("w+") as output, on_core(CLIENT_CORE):
        # A pipe would wake this process for each line, on the very core that asks.
        try:
            done = subprocess.run(
                command, stdout=output, stderr=subprocess.PIPE, text=True, check=False, timeout=seconds + GRACE
            )
        except subprocess.TimeoutExpired:
            raise Stuck(f"dnsperf did not end: {' '.join(command)}") from None
        if done.returncode < 0:
            raise Stuck(f"dnsperf was ended by signal {-done.returncode}")
        output.seek(0)
        run = said(output.read(), done.stderr)
    if not run.completed:
        raise BenchError("no query was answered")
    return run


def _encrypted(over: str, port: int, packets: Path, seconds: float, rate: int, once: bool, connections: int) -> Run:
    words = [over, str(port), str(packets), str(seconds), str(rate), str(int(once or not seconds)), str(connections)]
    with on_core(CLIENT_CORE):
        done = subprocess.run(
            [sys.executable, "-m", "bench.encrypted_load", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + GRACE,
        )
    if done.returncode:
        raise BenchError(f"bench.encrypted_load: {done.stderr.strip()[-500:]}")
    said = json.loads(done.stdout)
    if not said["completed"]:
        raise BenchError("no query was answered")
    codes = ", ".join(f"{rcode_text(int(code))} {count} (" for code, count in said["codes"].items())
    latencies = said["latencies"]
    average = sum(latencies) / len(latencies)
    return Run(
        said["completed"], said["lost"], said["seconds"], codes, latencies, said["sent"], average, max(latencies)
    )


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
    return said(done.stdout, done.stderr)


def said(text: str, errors: str) -> Run:
    """What dnsperf said of a run."""
    sent, completed, lost = _SENT.search(text), _COMPLETED.search(text), _LOST.search(text)
    took, codes, average = _SECONDS.search(text), _RCODES.search(text), _AVERAGE.search(text)
    if sent is None or completed is None or lost is None or took is None:
        raise BenchError(f"dnsperf: {errors.strip() or text[-500:]}")
    return Run(
        int(completed[1]),
        int(lost[1]),
        float(took[1]),
        codes[1] if codes else "",
        [float(latency) for latency in _LATENCY.findall(text)],
        int(sent[1]),
        float(average[1]) if average else 0.0,
        float(average[2]) if average else 0.0,
    )


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
