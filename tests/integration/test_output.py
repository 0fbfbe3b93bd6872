# -*- test-case-name: tests.integration.test_output -*-
"""The log of a real process whose standard output is stuck, gone or never was: queries are answered, and every line is accounted for."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path
from time import monotonic
from urllib.request import urlopen

from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from kdns.tap.daemon import version_lines
from tests.integration.programs import PATIENCE, Program, ask, free_port

COREFILE = """\
.:{port} {{
    bind 127.0.0.1
    prometheus 127.0.0.1:{page}
    hosts {{
        192.0.2.1 www.example.org
    }}
    log {options}
}}
"""

AT_ONCE = 50
"""Queries under way at a time; fewer than any buffer of a socket holds."""

MANY = 20_000
"""Queries whose lines are more than a pipe and the queue behind it take."""


def query(name: str, ident: int) -> bytes:
    """A question for an address."""
    message = dns.Message(ident, recDes=1)
    message.addQuery(name.encode(), dns.A)
    return bytes(message.toStr())


class OutputTests(SynchronousTestCase):
    """One process each."""

    def setUp(self) -> None:
        self.port, self.page = free_port(), free_port()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def program(self, options: str = "", *flags: str, command: tuple[str, ...] = ("-m", "kdns")) -> Program:
        """kdns with one *log*."""
        corefile = self.folder / "Corefile"
        corefile.write_text(COREFILE.format(port=self.port, page=self.page, options=options))
        return Program([*command, "-conf", str(corefile), *flags])

    def ask_many(self, count: int, name: str = "www.example.org") -> float:
        """Ask as often, and return the longest time that :data:`AT_ONCE` queries took."""
        longest = 0.0
        octets = query(name, 0)[2:]
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", self.port))
            for begin in range(0, count, AT_ONCE):
                asked = {ident.to_bytes(2, "big") for ident in range(begin % 65536, begin % 65536 + AT_ONCE)}
                started = monotonic()
                for ident in asked:
                    client.send(ident + octets)
                while asked:
                    asked.remove(client.recv(512)[:2])
                longest = max(longest, monotonic() - started)
        return longest

    def metrics(self) -> dict[str, float]:
        """What the page says of the log."""
        with urlopen(f"http://127.0.0.1:{self.page}/metrics", timeout=PATIENCE) as reply:
            text = reply.read().decode()
        found = re.findall(r'^kdns_log_(\w+?)_lines_total(?:\{.*reason="(\w+)"\})? (\d+)$', text, re.MULTILINE)
        return {reason or kind: float(value) for kind, reason, value in found}

    def test_nobody_reads(self) -> None:
        """A pipe that nobody reads delays no answer and takes no memory without end; what was dropped is told when somebody reads again."""
        with self.program() as program:
            program.wait_for(version_lines()[1])
            self.ask_many(AT_ONCE)
            before = resident(program)
            longest = self.ask_many(MANY)
            self.assertTrue(longest < PATIENCE / 4, longest)  # on a busy machine; an idle one takes some milliseconds
            self.assertTrue(resident(program) - before < 16 << 20)
            self.assertTrue(self.metrics()["dropped"] > 1000)
            program.wait_for("log lines dropped")
            program.send(signal.SIGTERM)
            status, said, errors = program.end()
        told = sum(map(int, re.findall(r"^\[WARNING\] (\d+) log lines dropped", said, re.MULTILINE)))
        lines = len(
            re.findall(
                r'^\[INFO\] 127.0.0.1:\d+ - \d+ "A IN www.example.org. udp 33 false 512" NOERROR ', said, re.MULTILINE
            )
        )
        self.assertEqual((lines + told, status, errors), (MANY + AT_ONCE, 0, ""))

    def test_reader_goes(self) -> None:
        """When the reader is gone queries are answered, lines are counted, and nothing is said on standard error."""
        with self.program() as program:
            program.wait_for(version_lines()[1])
            self.ask_many(1000)
            assert program.process.stdout is not None
            program.process.stdout.close()
            self.ask_many(1000)
            self.ask_many(1000, "no.example.org")
            self.assertEqual(ask(self.port, "www.example.org").rCode, dns.OK)
            self.assertTrue(self.metrics()["dropped"] >= 1900)
            program.send(signal.SIGTERM)
            self.assertEqual(program.process.wait(PATIENCE), 0)
            assert program.process.stderr is not None
            self.assertEqual(program.process.stderr.read(), b"")

    def test_no_output_at_all(self) -> None:
        """With standard output closed from the start no socket gets its number, so no client is sent lines."""
        closed = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'kdns', *sys.argv[1:]])"
        with self.program(command=("-c", closed)) as program:
            end = monotonic() + PATIENCE
            while monotonic() < end:
                try:
                    self.metrics()
                    break
                except OSError:
                    continue
            self.ask_many(1000)
            program.send(signal.SIGTERM)
            self.assertEqual(program.end(), (0, "", ""))

    def test_every_query_is_accounted_for(self) -> None:
        """Lines, sampled and held back are what was asked, in the output and in the metrics; each line is an object."""
        with self.program("{\n sample 5\n budget 100\n }", "-log.format=json") as program:
            program.wait_for(version_lines()[1])
            self.ask_many(2000)
            self.ask_many(2000, "no.example.org")  # nobody knows it: an error, each
            counted = self.metrics()
            program.wait_for("lines held back in 1s")
            program.send(signal.SIGTERM)
            status, said, errors = program.end()
        lines = [json.loads(line) for line in said.splitlines()]
        queries = [line for line in lines if line.get("plugin") == "log" and "msg" not in line]
        self.assertEqual((status, errors, counted["dropped"]), (0, "", 0))
        self.assertEqual(len(queries) + counted["sample"] + counted["budget"], 4000)
        self.assertTrue(all(line["rcode"] == "NOERROR" for line in queries if line["name"] == "www.example.org."))
        self.assertTrue(counted["sample"] < 2000)
        self.assertEqual(counted["budget"], sum(line["held"] for line in lines if "held" in line))


def resident(program: Program) -> int:
    """Octets of memory that it has."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024
