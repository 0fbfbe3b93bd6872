# -*- test-case-name: tests.integration.test_programs -*-
"""Programs under test: started as an operator would, asked over real sockets on loopback, and ended."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType

from twisted.names import dns

ROOT = Path(__file__).parents[2]

PATIENCE = 20.0
"""Seconds to wait for a program that does not do what is wanted; one that does takes less than one."""


def free_port() -> int:
    """A port that is free for TCP and UDP on 127.0.0.1 now."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            try:
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def ask(port: int, name: str, qtype: int = dns.A, tcp: bool = False, address: str = "127.0.0.1") -> dns.Message:
    """Ask the server on an address of this machine one question."""
    query = dns.Message(4711, recDes=1)
    query.addQuery(name.encode(), qtype)
    octets = query.toStr()
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with socket.socket(type=kind) as client:
        client.settimeout(PATIENCE)
        client.connect((address, port))
        if tcp:
            client.sendall(len(octets).to_bytes(2, "big") + octets)
            with client.makefile("rb") as stream:
                reply = stream.read(int.from_bytes(stream.read(2), "big"))
        else:
            client.send(octets)
            reply = client.recv(65535)
    message = dns.Message()
    message.fromStr(reply)
    return message


class Program:
    """
    A running program; a context manager that kills it if the test has not ended it.

    :param environment: in addition to the process's own.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
        text: str | None = None,
    ) -> None:
        self.said = ""
        self.runtime = tempfile.TemporaryDirectory()  # its admin socket is its own, whatever else runs on this machine
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": self.runtime.name, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self.process.stdin is not None
        if text is not None:
            self.process.stdin.write(text.encode())
        self.process.stdin.close()
        self.process.stdin = None

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self.runtime.cleanup()

    def wait_for(self, text: str) -> str:
        """Everything it said until *text* came."""
        assert self.process.stdout is not None
        end = monotonic() + PATIENCE
        while text not in self.said:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - monotonic()))
            octets = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not octets:
                self.process.kill()
                _, errors = self.process.communicate()
                raise AssertionError(f"no {text!r} in {self.said!r}; errors: {errors.decode()}")
            self.said += octets.decode()
        return self.said

    def hear(self, patience: float) -> None:
        """Take in what it says, if it says anything within *patience* seconds."""
        assert self.process.stdout is not None
        if select.select([self.process.stdout], [], [], patience)[0]:
            octets = os.read(self.process.stdout.fileno(), 65536)
            if not octets:
                raise AssertionError(f"it ended; it said {self.said!r}")
            self.said += octets.decode()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit status, all that it said, and its errors."""
        try:
            rest, errors = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            rest, errors = self.process.communicate()
            raise AssertionError(f"it did not end; it said {self.said + rest.decode()!r}") from None
        return self.process.returncode, self.said + rest.decode(), errors.decode()
