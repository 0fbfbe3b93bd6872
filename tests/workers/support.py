# -*- test-case-name: tests.workers -*-
"""A parent and its workers without processes: real services on networks in memory, joined by pipes that a test can cut or stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from kdns.corefile.loader import Corefile
from kdns.server.assembly import read_text
from kdns.server.service import KdnsService
from kdns.testing.memory import MemoryReactor
from kdns.workers.channel import Channel
from kdns.workers.supervisor import COLLECT, Supervisor
from kdns.workers.worker import Worker
from tests.server.support import a_house
from tests.support import Datagrams

ADDRESS = "127.0.0.1"


class PipeEnd:
    """A transport of a channel."""

    def __init__(self, pipe: Pipe, other: Callable[[], Channel]) -> None:
        self.pipe = pipe
        self._other = other
        self._written = bytearray()
        self.bufferSize = 0

    def write(self, data: bytes) -> None:
        """Deliver it later."""
        self._written += data

    def deliver(self) -> bool:
        """Deliver what was written; whether that was anything."""
        data = bytes(self._written)
        self._written.clear()
        if data:
            self._other().dataReceived(data)
        return bool(data)

    def loseConnection(self) -> None:
        """Close after what was written is delivered."""
        self.pipe.closing = True

    abortConnection = loseConnection


class Pipe:
    """A connection of two channels."""

    def __init__(self, parent: Channel, worker: Channel) -> None:
        self.parent, self.worker = parent, worker
        self.ends = PipeEnd(self, lambda: worker), PipeEnd(self, lambda: parent)
        self.closing = self.closed = self.stopped = False
        parent.makeConnection(self.ends[0])
        worker.makeConnection(self.ends[1])

    def deliver(self) -> bool:
        """Deliver what is under way; whether that was anything."""
        if self.closed or self.stopped:
            return False
        delivered = [end.deliver() for end in self.ends]
        if not any(delivered) and self.closing:
            self.cut()
            return True
        return any(delivered)

    def cut(self) -> None:
        """One end is gone."""
        if not self.closed:
            self.closed = True
            for channel in (self.worker, self.parent):
                channel.connectionLost(Failure(ConnectionDone()))


class Process:
    """A worker "process"."""

    def __init__(self, number: int, office: Office) -> None:
        self.number = number
        self.reactor = MemoryReactor([ADDRESS])
        self.ended = self.reaped = False
        context = a_house(self.reactor)
        context.processes = 2
        self.worker = Worker(context, self._end)

    def _end(self) -> None:
        self.ended = True


class Office:
    """The parent, and all workers there ever were."""

    def __init__(self, corefile: str, workers: int = 2) -> None:
        self.corefile = corefile
        self.reactor = MemoryReactor([ADDRESS])
        self.context = a_house(self.reactor)
        self.service = KdnsService(self.context, self.load)
        self.processes: dict[int, Process] = {}
        self.pipes: dict[int, Pipe] = {}
        self.killed: list[int] = []
        self.broken: set[int] = set()
        """Numbers of workers that end as soon as they are started."""

        self.supervisor = Supervisor(self.service, workers, self.connect, self.kill)
        self.service.role = self.supervisor

    def load(self) -> Corefile:
        """What the Corefile says now."""
        return read_text(self.corefile, {})

    def connect(self, number: int, channel: Channel) -> None:
        """Start a worker."""
        process = self.processes[number] = Process(number, self)
        self.pipes[number] = Pipe(channel, process.worker.channel)
        process.worker.start()
        if number in self.broken:
            self.reactor.callLater(0, self.die, number)

    def kill(self, number: int) -> None:
        """End a worker at once."""
        self.killed.append(number)
        self.die(number)

    def die(self, number: int, status: int = 9) -> None:
        """A worker's process is gone."""
        pipe = self.pipes.get(number)
        if pipe is not None and not pipe.closed:
            pipe.closing, pipe.stopped = True, False
            self.processes[number].ended = self.processes[number].reaped = True
            pipe.cut()
            self.supervisor.ended(number, status)

    def _reap(self) -> None:
        for number, process in self.processes.items():
            if process.ended and not process.reaped:
                process.reaped = True
                self.supervisor.ended(number, 0)

    def settle(self) -> None:
        """Let everything happen that happens without time."""
        while True:
            for reactor in self._reactors():
                reactor.settle()
            delivered = [pipe.deliver() for pipe in list(self.pipes.values())]
            self._reap()
            if not any(delivered):
                break

    def advance(self, seconds: float, step: float = 0.05) -> None:
        """Let time pass for all."""
        for _ in range(round(seconds / step)):
            for reactor in self._reactors():
                reactor.advance(step)
            self.settle()

    def _reactors(self) -> list[MemoryReactor]:
        return [self.reactor, *(process.reactor for process in self.processes.values() if not process.ended)]

    def start(self) -> None:
        """Start, and wait."""
        self.service.startService()
        self.settle()

    def reload(self, corefile: str) -> bool:
        """Reload, and wait for the outcome."""
        self.corefile = corefile
        outcome: list[bool] = []
        self.service.reload().addCallback(outcome.append)
        self.advance(0.5)
        return outcome[0]

    def ask(self, number: int, name: str, qtype: str = "A", port: int = 1053) -> str | None:
        """What a worker says: the last word of the first record, or the rcode; None when nobody is there."""
        reactor = self.processes[number].reactor
        client = Datagrams()
        mine = reactor.listenUDP(0, client, ADDRESS)
        client.transport.write(dns.message.make_query(name, qtype).to_wire(), (ADDRESS, port))
        self.settle()
        mine.stopListening()
        self.settle()
        if not client.received:
            return None
        reply = dns.message.from_wire(client.received[0])
        return str(reply.answer[0]).rpartition(" ")[2].strip('"') if reply.answer else dns.rcode.to_text(reply.rcode())

    def say(self, name: str, port: int = 1053) -> list[str | None]:
        """What each worker says."""
        return [self.ask(number, name, port=port) for number in sorted(self.processes)]

    def metric(self, name: str, apart: bool = False) -> dict[tuple[str, ...], Any]:
        """The cells of a metric of all processes."""
        found: list[Any] = []
        self.supervisor.combined(apart).addCallback(found.append)
        if not found:
            self.advance(COLLECT + 0.1)
        (family,) = [family for family in found[0].families() if family.name == name]
        return {labels: cell.value for labels, cell in family.cells.items()}


def manifests(folder: Path, *names: str) -> Path:
    """A folder with Services, each with an address of its own."""
    folder.mkdir()
    parts = ["apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n"]
    for last, name in enumerate(names, 1):
        spec = f"{{clusterIP: 10.96.0.{last}, clusterIPs: [10.96.0.{last}], ports: [{{port: 80}}]}}"
        parts.append(f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: prod}}\nspec: {spec}\n")
    (folder / "all.yaml").write_text("---\n".join(parts))
    return folder
