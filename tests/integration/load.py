# -*- test-case-name: tests.integration.test_life -*-
"""
Steady traffic on one server, over UDP and TCP, in a process of its own; each query is accounted for.

``python -m tests.integration.load`` reads a line of JSON with what to do (:class:`Wanted`) from standard input, and goes on until there is
another line. Then it waits for what is missing, writes when each query was sent and how long its answer took to a file, and prints a line
of JSON (:class:`Found`).

A query over TCP that was not answered when its connection ended is asked again on a new one: nothing tells its client whether it came
to be read. Those are counted apart.
"""

from __future__ import annotations

import json
import random
import select
import socket
import subprocess
import sys
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import dns.message
import dns.rcode

PATIENCE = 6.0
"""Seconds to wait for answers at the end: a server has 4.8 for one."""

SOME = 20
"""Examples of what went wrong."""

MOST_REFUSED = 50
"""How often a client tries again to connect."""

MOST = 100
"""Queries of one client under way: who asks more of a server that has no time measures queues."""

LATE = 0.1
"""Seconds without a look at the sockets after which the queries of that time are not made up for."""

TICK = 0.002
"""Seconds between two handfuls of queries."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask."""

    port: int
    samples: str
    """The file that gets a pair of numbers for each answer: seconds of the monotonic clock, and seconds that it took."""

    names: tuple[str, ...]
    """``NAME TYPE`` each; a ``*`` in a name stands for something new each time."""

    udp: float = 1000.0
    """Queries a second."""

    tcp: float = 100.0
    sockets: int = 24
    connections: int = 4


@dataclass(slots=True)
class Found:
    """What came of it."""

    sent: int = 0
    answered: int = 0
    lost: int = 0
    sent_tcp: int = 0
    answered_tcp: int = 0
    lost_tcp: int = 0
    asked_again: int = 0
    """Queries over TCP whose connection ended before they were answered."""

    connections: int = 0
    """How many were made."""

    twice: int = 0
    """Answers to what was answered already, or never asked."""

    refused: int = 0
    """Queries over UDP that no process took."""

    refused_tcp: int = 0
    """Connections that no process took, and that were tried again."""

    rcodes: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """Some questions that were answered with a failure, and when they were asked."""

    missing: list[str] = field(default_factory=list)
    """Some names that were not answered."""


class Datagrams:
    """One client's socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1", port))
        self.asked: dict[int, tuple[float, str]] = {}
        self.next = random.randrange(65536)


class Stream:
    """One client's connection, or the next one when it ends."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: dict[int, tuple[float, str, bytes]] = {}
        self.next = random.randrange(65536)
        self.connect()

    def connect(self) -> int:
        """Connect anew; returns how often that was refused before."""
        self.buffer = bytearray()
        for refused in count():
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
                break
            except ConnectionError:
                if refused == MOST_REFUSED:
                    raise
                sleep(TICK)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return refused


class Load:
    """All clients."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.found = Found()
        self.samples = array("d")
        self.datagrams = [Datagrams(wanted.port) for _ in range(wanted.sockets)]
        self.streams = [Stream(wanted.port) for _ in range(wanted.connections if wanted.tcp else 0)]
        self.found.connections = len(self.streams)
        self.poll = select.poll()
        self.by_fd: dict[int, Any] = {}
        for client in (*self.datagrams, *self.streams):
            self._join(client)
        self._templates: dict[str, bytes] = {}
        self._counts: dict[int, int] = {}

    def _join(self, client: Any) -> None:
        self.by_fd[client.socket.fileno()] = client
        self.poll.register(client.socket.fileno(), select.POLLIN)

    def message(self, ident: int) -> tuple[bytes, str]:
        """A query, and its question."""
        text = random.choice(self.wanted.names)
        if "*" in text:
            text = text.replace("*", f"{random.getrandbits(40):010x}")
            octets = _query(text)
        else:
            octets = self._templates.get(text) or self._templates.setdefault(text, _query(text))
        return ident.to_bytes(2, "big") + octets[2:], text

    def run(self) -> None:
        """Ask until there is another line to read, then wait for what is missing."""
        stopped = False
        begun = monotonic()
        udp = tcp = 0
        until = 0.0
        read = begun
        while True:
            now = monotonic()
            if not stopped:
                while udp < (now - begun) * self.wanted.udp:
                    udp += 1
                    self.ask_datagram(random.choice(self.datagrams), now)
                while tcp < (now - begun) * self.wanted.tcp:
                    tcp += 1
                    self.ask_stream(random.choice(self.streams), now)
                if now - read > LATE:
                    begun += now - read  # the machine has no time for so many
                read = now
                if select.select([sys.stdin], [], [], 0)[0]:
                    stopped, until = True, now + PATIENCE
            elif now > until or not any(client.asked for client in self.by_fd.values()):
                break
            for fd, _ in self.poll.poll(TICK * 1000):
                client = self.by_fd[fd]
                if isinstance(client, Datagrams):
                    self.read_datagrams(client)
                else:
                    self.read_stream(client)
        self.count()

    def ask_datagram(self, client: Datagrams, now: float) -> None:
        """One query, if the client does not wait for many already."""
        if len(client.asked) >= MOST:
            return
        while client.next in client.asked:
            client.next = (client.next + 1) & 0xFFFF
        ident, client.next = client.next, (client.next + 1) & 0xFFFF
        octets, text = self.message(ident)
        client.asked[ident] = now, text
        self.found.sent += 1
        try:
            client.socket.send(octets)
        except OSError:
            # What the kernel reports is that an earlier one was refused; this one was not sent.
            self.found.refused += 1
            client.socket.send(octets)

    def read_datagrams(self, client: Datagrams) -> None:
        """All that has come."""
        while True:
            try:
                reply = client.socket.recv(65535)
            except BlockingIOError:
                return
            except OSError:
                self.found.refused += 1
                return
            asked = client.asked.pop(reply[0] << 8 | reply[1], None)
            self.note(reply, asked)
            self.found.answered += asked is not None

    def ask_stream(self, client: Stream, now: float) -> None:
        """One query, if the client does not wait for many already."""
        if len(client.asked) >= MOST:
            return
        ident, client.next = client.next, (client.next + 1) & 0xFFFF
        octets, text = self.message(ident)
        client.asked[ident] = now, text, octets
        self.found.sent_tcp += 1
        self.send_stream(client, octets)

    def send_stream(self, client: Stream, octets: bytes) -> None:
        """Send it; that the connection has ended shows when it is read."""
        try:
            client.socket.sendall(len(octets).to_bytes(2, "big") + octets)
        except OSError:
            pass

    def read_stream(self, client: Stream) -> None:
        """What has come; a connection that has ended is made anew, and what was not answered asked again."""
        try:
            octets = client.socket.recv(65536)
        except OSError:
            octets = b""
        if not octets:
            fd = client.socket.fileno()
            self.poll.unregister(fd)
            del self.by_fd[fd]
            client.socket.close()
            self.found.refused_tcp += client.connect()
            self._join(client)
            self.found.connections += 1
            self.found.asked_again += len(client.asked)
            for _, _, message in list(client.asked.values()):
                self.send_stream(client, message)
            return
        buffer = client.buffer
        buffer += octets
        while len(buffer) >= 2 and len(buffer) >= (end := 2 + (buffer[0] << 8 | buffer[1])):
            reply = bytes(buffer[2:end])
            del buffer[:end]
            asked = client.asked.pop(reply[0] << 8 | reply[1], None)
            self.note(reply, asked)
            self.found.answered_tcp += asked is not None

    def note(self, reply: bytes, asked: tuple[Any, ...] | None) -> None:
        """Remember a reply."""
        if asked is None:
            self.found.twice += 1
            return
        self.samples.extend((asked[0], monotonic() - asked[0]))
        rcode = reply[3] & 15
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) and len(self.found.failed) < SOME:
            took = monotonic() - asked[0]
            self.found.failed.append(
                f"{asked[0]:.3f} {asked[1]} {dns.rcode.to_text(dns.rcode.Rcode(rcode))} after {took:.3f} s"
            )
        self._counts[rcode] = self._counts.get(rcode, 0) + 1

    def count(self) -> None:
        """What is missing."""
        self.found.rcodes = {
            dns.rcode.to_text(dns.rcode.Rcode(rcode)): times for rcode, times in sorted(self._counts.items())
        }
        for client in self.datagrams:
            self.found.lost += len(client.asked)
            self.found.missing += [text for _, text in client.asked.values()][:5]
        for stream in self.streams:
            self.found.lost_tcp += len(stream.asked)
            self.found.missing += [text for _, text, _ in stream.asked.values()][:5]


def _query(text: str) -> bytes:
    name, qtype = text.split()
    return dns.message.make_query(name, qtype).to_wire()


class LoadProgram:
    """The process, and what it found; a context manager."""

    def __init__(self, wanted: Wanted) -> None:
        self._samples = Path(wanted.samples)
        self._process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(wanted)) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "asking\n", "the load did not begin"

    def __enter__(self) -> LoadProgram:
        return self

    def __exit__(self, *about: object) -> None:
        self._process.kill()
        self._process.communicate()

    def end(self) -> Found:
        """Ask no more, wait for the answers, and tell what was found."""
        said, _ = self._process.communicate("end\n", timeout=30.0)
        return Found(**json.loads(said))

    def durations(self) -> list[tuple[float, float]]:
        """When each answered query was sent, by the monotonic clock, and the seconds that it took; after the end."""
        samples = array("d", self._samples.read_bytes())
        return list(zip(samples[::2], samples[1::2], strict=True))


def worst(durations: list[float]) -> Mapping[str, float]:
    """Median, 99th percentile and maximum in milliseconds."""
    if not durations:
        return {}
    ordered = sorted(durations)
    return {
        "queries": len(ordered),
        "median": round(ordered[len(ordered) // 2] * 1000, 3),
        "p99": round(ordered[int(len(ordered) * 0.99)] * 1000, 3),
        "max": round(ordered[-1] * 1000, 3),
    }


def main() -> None:
    """Run as a program."""
    about = json.loads(sys.stdin.readline())
    wanted = Wanted(**{**about, "names": tuple(about["names"])})
    load = Load(wanted)
    print("asking", flush=True)
    load.run()
    Path(wanted.samples).write_bytes(load.samples.tobytes())
    print(json.dumps(asdict(load.found)))


if __name__ == "__main__":
    main()
