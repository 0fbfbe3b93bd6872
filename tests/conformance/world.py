# -*- test-case-name: tests.conformance.test_in_memory -*-
"""A whole kdns in memory, with its cluster, its upstream and its clients: the world in which a golden case file is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.protocols.basic import Int16StringReceiver

from kdns.corefile.loader import Corefile
from kdns.plugin.seam import ServerContext
from kdns.server.assembly import read, read_text
from kdns.server.service import KdnsService
from kdns.testing.memory import MemoryReactor
from kdns.testing.upstream import FakeUpstream, UpstreamServer
from tests.apiserver.credentials import Login, write_kubeconfig
from tests.conformance.cases import CASES, CaseFile
from tests.conformance.client import is_whole_transfer
from tests.conformance.support import content
from tests.support import Datagrams

EPOCH = 1_700_000_000.0
"""Where the time of the memory reactor begins, so that serials are Unix times."""

SERVER = ("127.0.0.1", 1053)
UPSTREAM = ("127.0.0.1", 5300)

OWN_ADDRESS = "10.244.0.2"
"""The only address of the server that is not loopback: the pod ``kube-system/coredns-a``."""

STEP = 0.02
"""Seconds of the reactor's time between two looks whether a reply has come."""

PATIENCE = 12.0
"""Seconds of the reactor's time that a client waits for a reply."""


def filled(corefile: str, places: Mapping[str, str]) -> str:
    """A Corefile with each ``{{NAME}}`` replaced."""
    for name, value in places.items():
        corefile = corefile.replace("{{" + name + "}}", value)
    return corefile


class _Stream(Int16StringReceiver):
    transport: Any  # as above

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.received: list[bytes] = []
        self.port = 0

    def connectionMade(self) -> None:
        """Ask."""
        self.port = self.transport.getHost().port
        self.sendString(self.message)

    def stringReceived(self, string: bytes) -> None:
        """Keep it."""
        self.received.append(string)


class _Connect(ClientFactory[Protocol]):
    noisy = False

    def __init__(self, stream: _Stream) -> None:
        self.stream = stream

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """The one connection."""
        return self.stream


class MemoryWorld:
    """
    A server that is started with a Corefile, and those it talks with.

    :ivar lines: what it printed for the operator.
    :ivar announced: the zones and addresses that it said it serves.
    """

    def __init__(
        self,
        corefile: str,
        manifests: tuple[Path, ...] = (),
        folder: Path | None = None,
        *,
        interfaces: tuple[str, ...] | None = None,
        environment: Mapping[str, str] | None = None,
        path: str = "",
        port: int = SERVER[1],
    ) -> None:
        """
        :param manifests: what is in the cluster; without them there is an API server that nobody can reach.
        :param folder: where to write a kubeconfig for that.
        :param interfaces: addresses of the machine; None: every address is one.
        :param path: a file to load the Corefile from in place of the text.
        :param port: where clients ask.
        """
        self.reactor = MemoryReactor(interfaces)
        self._port = port
        self.reactor.advance(EPOCH)
        self.lines: list[str] = []
        self.announced: list[str] = []
        self.upstream = UpstreamServer(FakeUpstream.from_json(CASES / "upstream.json"), self.reactor)
        self.upstream.start(*UPSTREAM)
        self.context = ServerContext(
            self.reactor,
            clock=self.reactor.seconds,
            wall=self.reactor.seconds,
            random=Random(1),
            output=self.lines.append,
            kernel_sockets=False,
            own_addresses=lambda: [OWN_ADDRESS],
        )
        places = {"PORT": str(SERVER[1]), "PORT2": str(SERVER[1] + 1), "UPSTREAM": f"{UPSTREAM[0]}:{UPSTREAM[1]}"}
        if manifests:
            paths = " ".join(str(path) for path in (CASES / "every-cluster.yaml", *manifests))
            corefile = corefile.replace("kubeconfig {{KUBECONFIG}}", f"manifests {paths}")
        elif folder is not None:
            # An API server that nobody has started: there is none in memory but what the test starts.
            kubeconfig = write_kubeconfig(folder / "kubeconfig", "http://127.0.0.1:6443", None, Login())
            places["KUBECONFIG"] = str(kubeconfig)
        self.corefile = filled(corefile, places)
        known = environment or {}

        def load() -> Corefile:
            return read(path, known) if path else read_text(self.corefile, known)

        self.service = KdnsService(self.context, load, self._announce)

    def _announce(self, line: str) -> None:
        (self.lines if "arning" in line or "[WARNING]" in line else self.announced).append(line)

    def start(self) -> None:
        """Start the server and wait until it answers; what prevents that is raised."""
        self.service.startService()
        failures: list[Exception] = []
        done: list[None] = []
        self.service.when_running().addCallbacks(done.append, lambda failure: failures.append(failure.value))
        self._wait(lambda: bool(done or failures), 60.0)
        if failures:
            raise failures[0]
        assert done, "the server does not start"

    def stop(self) -> list[str]:
        """End everything and return what is left behind."""
        done: list[object] = []
        self.service.stopService().addCallback(done.append)
        self._wait(lambda: bool(done), 60.0)
        assert done, "the server does not end"
        self.upstream.stop()
        self.reactor.settle()
        return self.reactor.leftovers()

    def ask(
        self, message: bytes, proto: str = "udp", source: str = "127.0.0.1", to: str = SERVER[0]
    ) -> tuple[bytes | None, int]:
        """Send a message to the server and return its reply, or None after some seconds, and the client's port."""
        if proto == "udp":
            return self._ask_datagram(message, source, to)
        return self._ask_stream(message, source, to)

    def _ask_datagram(self, message: bytes, source: str, to: str) -> tuple[bytes | None, int]:
        client = Datagrams()
        port = self.reactor.listenUDP(0, client, source, 65535)
        client.transport.write(message, (to, self._port))
        self._wait(lambda: bool(client.received), PATIENCE)
        number = port.getHost().port
        port.stopListening()
        self.reactor.settle()
        return (client.received[0] if client.received else None), number

    def _ask_stream(self, message: bytes, source: str, to: str) -> tuple[bytes | None, int]:
        client = _Stream(message)
        self.reactor.connectTCP(to, self._port, _Connect(client), bindAddress=(source, 0))
        self._wait(lambda: bool(client.received or (not client.connected and client.port)), PATIENCE)
        if client.connected:
            client.transport.loseConnection()
        self.reactor.settle()
        return (client.received[0] if client.received else None), client.port

    def ask_transfer(self, message: bytes, source: str = "127.0.0.1") -> list[bytes]:
        """Send a query over TCP and return all messages of the reply, the last one being a whole transfer's."""
        client = _Stream(message)
        self.reactor.connectTCP(SERVER[0], SERVER[1], _Connect(client), bindAddress=(source, 0))
        self._wait(lambda: is_whole_transfer(client.received), PATIENCE)
        client.transport.loseConnection()
        self.reactor.settle()
        return client.received

    def _wait(self, done: object, patience: float) -> None:
        assert callable(done)
        self.reactor.settle()
        steps = 0
        while not done() and steps * STEP < patience:
            self.reactor.advance(STEP)
            steps += 1


def placed(corefile: str, files: Mapping[str, str], folder: Path, later: Iterable[str] = ()) -> str:
    """
    Write the files of a case file, and return its Corefile with their paths.

    :param later: files that are written while the server runs.
    """
    write(files, folder)
    tops = {name.partition("/")[0] for name in files if "/" in name}
    for name in tops:
        corefile = re.sub(rf"(?m)^(\s*(?:root|directory) ){re.escape(name)}\b", rf"\g<1>{folder / name}", corefile)
    for name in (*files, *later):
        corefile = re.sub(rf"(?<![\w/.]){re.escape(name)}(?![\w/.])", str(folder / name), corefile)
    return corefile


def written_later(file: CaseFile) -> set[str]:
    """The files that cases write while the server runs."""
    return {name for case in file.cases for name in case.question.get("write_files", ())}


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write files into a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content(text))


def world_of(file: CaseFile, folder: Path) -> MemoryWorld:
    """The world in which a case file is asked; its own files go to *folder*."""
    corefile = placed(file.corefile, file.files, folder, written_later(file))
    if file.unreachable:
        return MemoryWorld(corefile, folder=folder)
    return MemoryWorld(corefile, file.manifests if "{{KUBECONFIG}}" in corefile else ())
