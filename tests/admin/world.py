# -*- test-case-name: tests.admin -*-
"""A whole kdns on a network in memory, its admin commands, and a client that asks it."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any, cast

import dns.message

from kdns.admin.command_list import commands_of
from kdns.plugin.seam import ServerContext
from kdns.server.assembly import read_text
from kdns.server.service import KdnsService
from kdns.testing.memory import MemoryReactor
from tests.support import Datagrams

ROOT = Path(__file__).parents[2]

ENVIRONMENT = {
    "PORT": "1053",
    "HEALTH_PORT": "8080",
    "READY_PORT": "8181",
    "METRICS_PORT": "9153",
    "DEMO": str(ROOT / "conf" / "demo"),
}


class World:
    """
    A server that runs.

    :param corefile: the text; that of the demo by default.
    """

    def __init__(self, corefile: str = "") -> None:
        self.reactor = MemoryReactor(["127.0.0.1", "127.0.0.2"])
        self.reactor.advance(1_000_000.0)
        self.lines: list[str] = []
        self.context = ServerContext(
            self.reactor,
            clock=self.reactor.seconds,
            wall=self.reactor.seconds,
            random=Random(1),
            output=self.lines.append,
            environ=ENVIRONMENT,
            kernel_sockets=False,
        )
        text = corefile or (ROOT / "conf" / "demo" / "Corefile").read_text(encoding="utf-8")
        self.text = text
        self.may_miss: tuple[str, ...] = ()
        self.service = KdnsService(self.context, lambda: read_text(self.text, ENVIRONMENT, may_miss=self.may_miss))
        self.commands = commands_of(self.service)
        self.service.startService()
        running = self.service.when_running()
        self.until(lambda: running.called)
        assert self.service.configuration is not None, running

    def until(self, done: Any) -> None:
        """Let time pass until something is so."""
        for _ in range(2000):
            self.reactor.settle()
            if done():
                return
            self.reactor.advance(0.01)
        raise AssertionError("it never came")

    def stop(self) -> list[object]:
        """End; what is left in the reactor."""
        stopped = self.service.stopService()
        self.until(lambda: stopped.called)
        self.reactor.settle()
        return list(self.reactor.leftovers())

    def run(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The reply to a command."""
        asked = self.commands.run(json.dumps({"command": command, "arguments": arguments}).encode())
        self.until(lambda: asked.called)
        result: dict[str, Any] = json.loads(cast("bytes", asked.result))
        return result

    def explain(self, name: str, qtype: str = "A", **arguments: Any) -> dict[str, Any]:
        """The explanation of a question."""
        reply = self.run("explain", name=name, type=qtype, **arguments)
        assert "result" in reply, reply
        result: dict[str, Any] = reply["result"]
        return result

    def ask(self, name: str, qtype: str = "A", *, server: str = "127.0.0.1", edns: bool = False) -> dns.message.Message:
        """What the server says to a client."""
        client = Datagrams()
        port = self.reactor.listenUDP(0, client, "127.0.0.1")
        client.transport.write(dns.message.make_query(name, qtype, use_edns=edns).to_wire(), (server, 1053))
        self.until(lambda: client.received)
        port.stopListening()
        self.reactor.settle()
        return dns.message.from_wire(client.received[0])

    def metrics(self, prefix: str) -> list[str]:
        """The lines of metrics that begin so, without zeros."""
        self.context.tallies.fold()
        lines = "\n".join(self.context.registry.lines()).splitlines()
        return [line for line in lines if line.startswith(prefix) and not line.endswith(" 0")]
