"""
A cluster on the fake API server, kdns beside it with the Corefile that clusters have, and what a benchmark does with the two.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.load import query
from bench.processes import BenchError, Program, answered, free_port, page, wait_for

COREFILE = """\
.:{port}{keys} {{
    errors
    health 127.0.0.1:{health} {{
        lameduck 1s
    }}
    ready 127.0.0.1:{ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods {pods}
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus 127.0.0.1:{metrics}
    forward . 127.0.0.1:{upstream}
    cache 30
    loop
    reload
    loadbalance{more}
}}
"""
"""What kubeadm writes, with the ports moved. Without an upstream of the benchmark's, the port of ``forward`` is a silent one."""


PAGE_AGE = 1.2
"""Seconds that a page of metrics is given again, and a bit."""


LOOK = 0.0002
"""Seconds between two looks at an answer that is about to change: what a figure may be too large by, at most."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the cluster is. A fiftieth more slices than services, as services with several are."""

    services: int = 10_000
    pods: int = 0

    @property
    def slices(self) -> int:
        """EndpointSlices, of five endpoints each."""
        return self.services * 51 // 50


class Api:
    """The fake API server, as a process that obeys."""

    def __init__(self, folder: Path, size: Size, streamed: bool = True) -> None:
        self.kubeconfig = folder / f"kubeconfig-{size.services}-{size.pods}-{streamed:d}"
        words = [str(self.kubeconfig), *map(str, (size.services, size.slices, size.pods, int(streamed)))]
        self.program = Program(["-m", "bench.api_driver", *words], pipes=True)
        self.url: str = self.hear()["url"]

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.end()

    def hear(self) -> dict[str, Any]:
        """The next thing it says."""
        said: dict[str, Any] = json.loads(self.program.hear())
        return said

    def relist(self) -> None:
        """End all watches so that everything must be listed anew."""
        self.program.tell("relist")
        self.hear()


class Kdns:
    """
    kdns as a process, watching an :class:`Api`.

    :param watch_turns: with a stopwatch inside, see inside.py.
    :param upstream: the port to forward to.
    :param more: further directives.
    :param output: a file for what it prints.
    :param schemes: of further server keys; :attr:`ports` has the port of each.
    """

    def __init__(
        self,
        folder: Path,
        api: Api,
        pods: str = "insecure",
        watch_turns: bool = False,
        upstream: int = 0,
        more: Sequence[str] = (),
        output: IO[bytes] | None = None,
        schemes: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.ports = {scheme: free_port() for scheme in schemes}
        ports = {name: free_port() for name in ("health", "ready", "metrics", "upstream")}
        ports["upstream"] = upstream or ports["upstream"]
        keys = "".join(f" {scheme}://.:{port}" for scheme, port in self.ports.items())
        lines = "".join(f"\n    {line}" for line in more)
        self.corefile = folder / f"Corefile-{self.port}"
        self.corefile.write_text(
            COREFILE.format(port=self.port, keys=keys, kubeconfig=api.kubeconfig, pods=pods, more=lines, **ports)
        )
        self._ready = f"http://127.0.0.1:{ports['ready']}/ready"
        self.metrics = f"http://127.0.0.1:{ports['metrics']}/metrics"
        words = ["-conf", str(self.corefile), "-admin.socket", "off"]
        self._control: socket.socket | None = None
        if watch_turns:
            self._control, theirs = socket.socketpair()
            with theirs:
                self.program = Program(
                    ["-m", "bench.inside", str(theirs.fileno()), *words], hand_down=theirs.fileno(), output=output
                )
        else:
            self.program = Program(["-m", "kdns", *words], output=output)

    def __enter__(self) -> Kdns:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.end()
        if self._control is not None:
            self._control.close()

    def wait_ready(self) -> float:
        """Wait until it says so; seconds since its start."""

        def ready() -> bool:
            self.program.check()
            return page(self._ready) == "OK"

        return wait_for("kdns to be ready", ready) - self.program.began

    def ask_inside(self, command: str) -> Any:
        """A command of inside.py. The turns are counted anew from then on."""
        assert self._control is not None, "made with watch_turns"
        self._control.sendall(command.encode())
        said = b""
        while not said.endswith(b"\n"):
            piece = self._control.recv(65536)
            if not piece:
                raise BenchError("kdns has ended")
            said += piece
        return json.loads(said)

    def sync_age(self) -> float:
        """Seconds since the resource that was listed longest ago was listed."""
        prefix = "kdns_kubernetes_last_sync_age_seconds{"
        ages = [float(line.split()[-1]) for line in page(self.metrics).splitlines() if line.startswith(prefix)]
        if not ages:
            raise BenchError("no page of metrics")
        return max(ages)

    def relist(self, api: Api) -> None:
        """Force a new list of everything, and wait for its end."""
        # A page of metrics, and the ages on it, may be a second old: none that is looked at may be from before.
        time.sleep(PAGE_AGE)
        since = time.monotonic()
        api.relist()
        time.sleep(PAGE_AGE)
        wait_for("the relist", lambda: self.sync_age() < time.monotonic() - since, 0.1)


class Prober:
    """
    Looks at one name after another as the API server announces changes, and notes when the answer is another.

    Each look is a thread with a socket of its own that asks every few hundred microseconds from the announcement on, some twenty
    milliseconds before the change.
    """

    def __init__(self, api: Api, port: int) -> None:
        self._api = api
        self._port = port
        self._seen: dict[int, float] = {}
        self._times: dict[int, tuple[float, float]] = {}
        self._threads: list[threading.Thread] = []

    def follow(self, until: str) -> tuple[list[float], list[float]]:
        """
        Look at every change that is announced until the API server says *until*.

        :return: seconds from the beginning of each change, and from its event's being in the socket, to the new answer.
        """
        while True:
            said = self._api.hear()
            if "soon" in said:
                thread = threading.Thread(
                    target=self._look, args=(said["soon"], query(said["name"]), said["addresses"])
                )
                thread.start()
                self._threads.append(thread)
            elif "done" in said:
                self._times[said["done"]] = (said["began"], said["sent"])
            if until in said:
                break
        for thread in self._threads:
            thread.join()
        missing = self._times.keys() - self._seen.keys()
        if missing:
            raise BenchError(f"{len(missing)} of {len(self._times)} changes were never answered")
        known = [number for number in self._seen if number in self._times]
        if not known:
            raise BenchError("no change was seen")
        began = [self._seen[number] - self._times[number][0] for number in known]
        sent = [max(0.0, self._seen[number] - self._times[number][1]) for number in known]
        return began, sent

    def _look(self, number: int, question: bytes, wanted: list[str]) -> None:
        coming = frozenset(map(socket.inet_aton, wanted))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(1.0)
            asking.connect(("127.0.0.1", self._port))
            limit = time.monotonic() + 20.0
            while time.monotonic() < limit:
                asking.send(question)
                try:
                    found = addresses(asking.recv(65535), question)
                except TimeoutError:
                    continue  # lost; the time goes on
                if coming <= found:  # some services have another slice
                    self._seen[number] = time.monotonic()
                    return
                time.sleep(LOOK)


def addresses(reply: bytes, question: bytes) -> frozenset[bytes]:
    """The addresses in an answer of A records whose owners are all spelled alike."""
    count = reply[6] << 8 | reply[7]
    records = reply[len(question) :]
    size = len(records) // count if count else 0
    return frozenset(records[i * size + size - 4 : i * size + size] for i in range(count))


def questions(size: Size, count: int = 1000) -> Sequence[str]:
    """Names as pods ask for them: most are services, some are what a search path makes of foreign names."""
    found = []
    for number in range(count):
        index = number * 7 % size.services
        name = f"service-{index:05d}.bulk-{index % 50:03d}.svc.cluster.local"
        found.append(f"{name if number % 4 else 'example.com.' + name.partition('.')[2]} A")
    return found


def check_answers(kdns: Kdns, size: Size) -> None:
    """
    See that kdns answers before anything is measured.

    :raises BenchError: it does not.
    """
    name = questions(size)[1].split()[0]
    reply = answered(kdns.port, query(name), 1.0)
    if len(reply) < 12 or reply[3] & 15 or not reply[7]:
        raise BenchError(f"{name} is not answered: {reply!r}")
