"""
Programs under measurement: start them, wait until they can be asked, read their processor time and memory from /proc, and end them.

Everything listens on loopback, on ports that are free.
"""

from __future__ import annotations

import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

TICKS = os.sysconf("SC_CLK_TCK")
PORTS = range(20_000, 30_000)
"""Below 32768, where the ports that Linux gives to clients begin."""

PATIENCE = 60.0
"""Seconds for anything that is waited for."""


class BenchError(Exception):
    """Something that is measured does not do what it should, so there is nothing to measure."""


def free_port() -> int:
    """
    A port that is free for UDP and TCP on loopback.

    It is none of those that the system gives to clients: who asks such a port again and again until somebody listens there will at some
    time be given it as its own, and be connected to itself.
    """
    for port in random.sample(PORTS, 50):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as streams,
        ):
            try:
                datagrams.bind(("127.0.0.1", port))
                streams.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BenchError("no port is free")


def wait_for(what: str, met: Callable[[], bool], pause: float = 0.005) -> float:
    """
    Look until it is so.

    :return: the time then, of the monotonic clock.
    :raises BenchError: it did not become so.
    """
    limit = time.monotonic() + PATIENCE
    while not met():
        if time.monotonic() > limit:
            raise BenchError(f"waited {PATIENCE:.0f} s for {what}")
        time.sleep(pause)
    return time.monotonic()


def page(url: str) -> str:
    """The body of an HTTP answer; empty when there is none, or an error."""
    try:
        with urlopen(url, timeout=5) as response:
            text: str = response.read().decode()
            return text
    except (URLError, OSError, HTTPException):
        return ""


def answered(port: int, query: bytes, patience: float = 0.2) -> bytes:
    """The reply to one query over UDP; empty when none came in time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(patience)
        asking.connect(("127.0.0.1", port))
        try:
            asking.send(query)
            return asking.recv(65535)
        except OSError:
            return b""


@cache
def _byte_code() -> TemporaryDirectory[str]:
    """
    Where programs keep their compiled modules: a checkout, or the environment, may be set to keep none, an installed package has them.

    Made when the first program starts, and removed when this process ends. Measured programs that import this module are killed, so they
    must not make one.
    """
    return TemporaryDirectory(prefix="kdns-bench-")


class Program:
    """
    A program as a process: one of this checkout, or another.

    :param arguments: what follows ``python``.
    :param hand_down: a file descriptor that it gets.
    :param pipes: whether its standard input and output are wanted; otherwise what it prints goes to *output*.
    :param output: a file for what it prints; without one it goes nowhere.
    :param executable: which program; without a word, Python.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        pipes: bool = False,
        hand_down: int | None = None,
        output: IO[bytes] | None = None,
        executable: str = sys.executable,
    ) -> None:
        stream = subprocess.PIPE if pipes else subprocess.DEVNULL
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": _byte_code().name}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.began = time.monotonic()
        self._name = " ".join([Path(executable).name, *arguments])
        self._process: subprocess.Popen[str] = subprocess.Popen(
            [executable, *arguments],
            stdin=stream,
            stdout=stream if output is None else output,
            stderr=subprocess.PIPE if not pipes else None,
            cwd=Path(__file__).parent.parent,
            text=True,
            env=environment,
            pass_fds=() if hand_down is None else (hand_down,),
        )
        self.pid = self._process.pid

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None, "made with pipes"
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """
        The next line of its standard output.

        :raises BenchError: it has ended.
        """
        assert self._process.stdout is not None, "made with pipes"
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self._name} ended with {self._process.wait()}")
        return line.rstrip("\n")

    def check(self) -> None:
        """
        See that it runs.

        :raises BenchError: it has ended.
        """
        status = self._process.poll()
        if status is not None:
            told = self._process.stderr.read() if self._process.stderr else ""
            raise BenchError(f"{self._name} ended with {status}: {told.strip()}")

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        self._process.communicate()
        return self._process.returncode

    def processor_seconds(self) -> float:
        """Processor time that it and its children have used, user and system."""
        return sum(self.processor_times())

    def processor_times(self) -> tuple[float, float]:
        """The same apart: in its own code, and in the system's on its behalf."""
        user = system = 0
        for pid in self._family():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user += int(fields[11])
            system += int(fields[12])
        return user / TICKS, system / TICKS

    def _family(self) -> list[int]:
        found = [self.pid]
        for pid in found:  # grows meanwhile
            found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def resident(self) -> float:
        """Resident memory in MB, its own."""
        return self._status("VmRSS")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def peak(self) -> float:
        """The most resident memory in MB since the start or :meth:`forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Measure the peak from here on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, field: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
        raise BenchError(f"no {field} in /proc")

    def end(self) -> None:
        """End it, and wait until it is gone."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def median(values: Iterable[float]) -> float:
    """The median; 0 of nothing."""
    found = list(values)
    return statistics.median(found) if found else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value that *share* of all (0 to 1) do not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below a head, the first column to the left and the others to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for number, line in enumerate(lines):
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        print("  ".join(cells).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    sys.stdout.flush()
