"""A kdns with two worker processes: a parent, a fake API server, and signals; everything over loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import Request, urlopen

from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.life import ApiProgram
from tests.integration.programs import PATIENCE, ROOT, Program, ask, free_port

COREFILE = """\
.:{port} {{
    bind 127.0.0.1
    errors
    ready 127.0.0.1:{ready}
    prometheus 127.0.0.1:{metrics}
    kubernetes cluster.local {{
        kubeconfig {kubeconfig}
    }}
    cache 30
    hosts {{
        {address} www.example.org
        fallthrough
    }}
{more}}}
"""

ASKED = 24
"""Clients that ask for one thing: the chance that one worker gets them all is one in eight million."""

WEB = "web.prod.svc.cluster.local"


class WorkersTests(SynchronousTestCase):
    """Two workers and their parent."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        api = ApiProgram(self.folder)
        self.addCleanup(api.__exit__)
        self.api = api.__enter__()
        self.port, self.ready, self.metrics = free_port(), free_port(), free_port()
        self.write()
        self.socket = f"@kdns-test-workers-{self.port}"
        words = ["-conf", str(self.folder / "Corefile"), "-workers", "2", "-admin.socket", self.socket]
        self.program = Program(["-m", "kdns", *words])
        self.addCleanup(self.program.__exit__, None, None, None)
        self.program.wait_for("twisted-")

    def write(self, address: str = "192.0.2.1", more: str = "", port: int | None = None) -> None:
        """The Corefile."""
        text = COREFILE.format(
            port=self.port if port is None else port,
            ready=self.ready,
            metrics=self.metrics,
            kubeconfig=self.folder / "kubeconfig",
            address=address,
            more=more,
        )
        (self.folder / "Corefile").write_text(text)

    def addresses(self, name: str, port: int | None = None, tcp: bool = False) -> set[str]:
        """What many clients are told; an rcode where there is no address."""
        found = set()
        for _ in range(ASKED):
            reply = ask(self.port if port is None else port, name, tcp=tcp)
            texts = [one.payload.dottedQuad() for one in reply.answers if isinstance(one.payload, dns.Record_A)]
            found.add(",".join(sorted(texts)) or f"rcode {reply.rCode}")
        return found

    def until(self, met: Callable[[], bool], what: str) -> None:
        """Wait for something that happens in another process."""
        end = monotonic() + PATIENCE
        while not met():
            self.program.hear(0.02)
            self.assertLess(monotonic(), end, f"{what}: {self.program.said}")

    def page(self, port: int, path: str) -> str:
        """An HTTP page; empty when it is not there or not well."""
        try:
            with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=PATIENCE) as reply:
                text: str = reply.read().decode()
                return text
        except URLError:
            return ""

    def metric(self, name: str, path: str = "metrics") -> list[float]:
        """The values of all series of a metric."""
        return [
            float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", self.page(self.metrics, path), re.M)
        ]

    def workers(self) -> list[int]:
        """The processes of the workers."""
        return [row["pid"] for row in self.command("status", "--json")["workers"] if row["pid"]]

    def command(self, name: str, *words: str, status: int = 0) -> dict[str, list[dict[str, int]]]:
        """What a command prints as JSON, and that it ends with *status*."""
        line = [sys.executable, "-m", "kdns", name, *words, "--socket", self.socket]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual((done.returncode, done.stderr), (status, ""))
        found: dict[str, list[dict[str, int]]] = json.loads(done.stdout)
        return found

    def change(self, address: str) -> None:
        """Give the Service another cluster IP, as only a new Service of its name has."""
        body = json.dumps({"spec": {"clusterIP": address, "clusterIPs": [address]}}).encode()
        url = f"{self.api}/api/v1/namespaces/prod/services/web"
        headers = {"Content-Type": "application/merge-patch+json"}
        with urlopen(Request(url, body, headers, method="PATCH"), timeout=PATIENCE) as response:
            self.assertEqual(response.status, 200)

    def test_change(self) -> None:
        """A change of the cluster is told by all workers at once, though they had the answer before in their tables."""
        self.assertEqual(self.addresses(WEB), {"10.96.10.1"})
        self.assertEqual(self.addresses(WEB, tcp=True), {"10.96.10.1"})
        for last in range(2, 6):
            self.change(f"10.96.99.{last}")
            sleep(0.2)
            self.assertEqual(self.addresses(WEB), {f"10.96.99.{last}"})

    def test_counters(self) -> None:
        """Every query is counted once, by the worker that answered it, and the sum stays after a worker was killed."""
        requests = "coredns_dns_requests_total"
        self.addresses(WEB)
        self.addresses("www.example.org", tcp=True)
        sleep(1.2)
        self.assertEqual(sum(self.metric(requests)), 2 * ASKED)
        apart = self.metric(requests, "metrics?worker=1")
        self.assertEqual(sum(apart), 2 * ASKED)
        self.assertGreater(len(apart), len(self.metric(requests)))
        victim = self.workers()[0]
        os.kill(victim, signal.SIGKILL)
        self.until(lambda: victim not in self.workers() and len(self.workers()) == 2, "a successor")
        self.assertEqual(sum(self.metric(requests)), 2 * ASKED)
        self.addresses(WEB)
        sleep(1.2)
        self.assertEqual(sum(self.metric(requests)), 3 * ASKED)
        self.assertEqual(self.metric("kdns_worker_restarts_total"), [1])

    def test_killed(self) -> None:
        """A killed worker is back within a second, knows what changed meanwhile, and the others answer until then."""
        victim = self.workers()[1]
        os.kill(victim, signal.SIGKILL)
        killed = monotonic()
        self.change("10.96.99.9")
        self.until(lambda: sum(self.metric("kdns_workers")) == 2 and victim not in self.workers(), "a successor")
        self.assertLess(monotonic() - killed, PATIENCE / 2)
        self.assertEqual(self.addresses(WEB), {"10.96.99.9"})
        self.assertEqual(self.page(self.ready, "ready"), "OK")
        self.assertIn("was killed by SIGKILL", self.program.said)

    def test_reload(self) -> None:
        """A good Corefile is taken over by all workers; one that cannot be served by any."""
        other = free_port()
        self.assertEqual(self.addresses("www.example.org"), {"192.0.2.1"})
        self.write("192.0.2.2", port=other)
        self.program.send(signal.SIGUSR1)
        self.until(lambda: "Reloading complete" in self.program.said, "a reload")
        self.assertEqual(self.addresses("www.example.org", other), {"192.0.2.2"})
        for bad in ("    nonsense\n", "    forward . /nowhere\n"):
            self.program.said = ""
            self.write("192.0.2.3", bad, other)
            self.program.send(signal.SIGUSR1)
            self.until(lambda: "Restart failed" in self.program.said, "a failed reload")
            self.assertEqual(self.addresses("www.example.org", other), {"192.0.2.2"})
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.program.said = ""
            self.write("192.0.2.3", port=taken.getsockname()[1])
            self.program.send(signal.SIGUSR1)
            self.until(lambda: "Restart failed" in self.program.said, "a failed reload")
            self.assertRegex(self.program.said, "Restart failed: .*Corefile:1 - Listen: listen tcp 127.0.0.1:")
        self.program.said = ""
        self.write("192.0.2.4", port=other)
        self.program.send(signal.SIGUSR1)
        self.until(lambda: "Reloading complete" in self.program.said, "another reload")
        self.assertEqual(self.addresses("www.example.org", other), {"192.0.2.4"})
        victim = self.workers()[0]
        os.kill(victim, signal.SIGKILL)
        self.until(lambda: victim not in self.workers() and len(self.workers()) == 2, "a successor")
        self.assertEqual(self.addresses("www.example.org", other), {"192.0.2.4"})

    def test_commands(self) -> None:
        """status tells of all workers, explain asks one, flush reaches all."""
        self.addresses(WEB)
        self.addresses(f"nope.{WEB}")
        status = self.command("status", "--json")
        self.assertEqual([row["number"] for row in status["workers"]], [1, 2])
        self.assertEqual(len({row["pid"] for row in status["workers"]} | {self.program.process.pid}), 3)
        self.assertIn(WEB, json.dumps(self.command("explain", "--json", WEB)))
        before = self.command("cache", "list", "--json")
        self.assertGreater(len(before["entries"]), 1)
        self.command("cache", "flush", "--all", "--json")
        self.assertEqual(self.command("cache", "list", "--json", status=1)["entries"], [])

    def test_end(self) -> None:
        """SIGTERM ends all in good order, with 0; SIGKILL of the parent ends its workers."""
        workers = self.workers()
        self.program.send(signal.SIGTERM)
        status, _, errors = self.program.end()
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual([pid for pid in workers if Path(f"/proc/{pid}").exists()], [])
        with Program(
            ["-m", "kdns", "-conf", str(self.folder / "Corefile"), "-workers", "2", "-admin.socket", self.socket]
        ) as program:
            program.wait_for("twisted-")
            workers = self.workers()
            program.send(signal.SIGKILL)
            program.process.wait()
            end = monotonic() + PATIENCE
            while any(Path(f"/proc/{pid}").exists() for pid in workers):
                self.assertLess(monotonic(), end)
                sleep(0.01)
