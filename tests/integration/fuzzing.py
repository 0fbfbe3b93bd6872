# -*- test-case-name: tests.integration.test_fuzzed_packets -*-
"""A kdns in a process of its own, to be thrown damaged packets at."""

from __future__ import annotations

import os
import select
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from types import TracebackType

import dns.message

from tests.conformance.cases import CASES
from tests.integration.programs import Program, free_port

COREFILE = """.:{port} {{
    bind 127.0.0.1
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        manifests {manifests}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
    cache 30
    loadbalance
    whoami
}}
"""

OVER_TCP = 20
"""One packet of so many goes over TCP."""

PATIENCE = 10.0
"""Seconds in which a valid query must be answered."""


class LiveServer:
    """
    A context manager around the process.

    :ivar complaints: what it said or did that it should not.
    """

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.port = free_port()
        self._sent = 0
        self._socket = socket.socket(type=socket.SOCK_DGRAM)

    def __enter__(self) -> LiveServer:
        manifests = f"{CASES / 'every-cluster.yaml'} {CASES / 'cluster.yaml'}"
        handle, name = tempfile.mkstemp(suffix=".Corefile")
        self._corefile = Path(name)
        with os.fdopen(handle, "w") as file:
            file.write(COREFILE.format(port=self.port, manifests=manifests))
        self.program = Program(["-m", "kdns", "-conf", name])
        self.program.wait_for(f".:{self.port}")
        self._socket.connect(("127.0.0.1", self.port))
        self.check_alive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._look()
        self.program.__exit__(kind, error, trace)
        self._socket.close()
        self._corefile.unlink()

    def throw(self, packets: Iterable[bytes]) -> int:
        """Send packets without waiting for replies; returns how many."""
        count = 0
        for packet in packets:
            count += 1
            self._sent += 1
            if self._sent % OVER_TCP:
                try:
                    self._socket.send(packet)
                except OSError as error:
                    self.complaints.append(f"packet {self._sent}: {error}")
            else:
                self._throw_over_tcp(packet)
            if not self._sent % 50:
                self._drain()
        return count

    def _throw_over_tcp(self, packet: bytes) -> None:
        with socket.socket() as stream:
            stream.settimeout(PATIENCE)
            stream.connect(("127.0.0.1", self.port))
            whole = len(packet).to_bytes(2, "big") + packet
            stream.sendall(whole if self._sent % 3 else packet)

    def _drain(self) -> None:
        """Take the replies that came, so that the kernel does not have to drop any."""
        while select.select([self._socket], [], [], 0)[0]:
            self._socket.recv(65535)

    def check_alive(self) -> None:
        """A valid query is answered; what the process said meanwhile is looked through for tracebacks."""
        end = monotonic() + PATIENCE
        query = dns.message.make_query("web.prod.svc.cluster.local.", "A")
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", self.port))
            client.settimeout(1.0)
            while True:
                try:
                    client.send(query.to_wire())
                    reply = dns.message.from_wire(client.recv(65535))
                    break
                except OSError as error:
                    if monotonic() > end:
                        self.complaints.append(f"no answer after {self._sent} packets: {error}")
                        return
        answers = [str(rdata) for rrset in reply.answer for rdata in rrset]
        if answers != ["10.96.10.1"]:
            self.complaints.append(f"a wrong answer after {self._sent} packets: {reply}")
        self._look()

    def _look(self) -> None:
        stdout, process = self.program.process.stdout, self.program.process
        assert stdout is not None
        said = ""
        while select.select([stdout], [], [], 0)[0]:
            octets = os.read(stdout.fileno(), 65536)
            if not octets:
                break
            said += octets.decode("utf-8", "replace")
        if "Traceback" in said or "panic" in said:
            self.complaints.append(said)
        if process.poll() is not None:
            self.complaints.append(f"the process ended with {process.returncode}")

    @property
    def resident(self) -> int:
        """Octets of memory that the process has resident."""
        for line in Path(f"/proc/{self.program.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")
