# -*- test-case-name: tests.plugins.file -*-
"""Zone files in a folder of a test, and servers in memory that read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kdns.wire.names import from_text
from kdns.wire.query import HEADER
from tests.conformance.client import tell, tell_transfer
from tests.conformance.world import MemoryWorld

HEAD = "$TTL 300\n@ SOA ns admin {serial} {refresh} {retry} {expire} 60\n@ NS ns\nns A 192.0.2.53\n"


def zone_text(serial: int = 5, *lines: str, refresh: int = 7200, retry: int = 1800, expire: int = 86400) -> str:
    """A zone file."""
    return HEAD.format(serial=serial, refresh=refresh, retry=retry, expire=expire) + "".join(
        f"{line}\n" for line in lines
    )


@implementer(ILogObserver)
class Lines:
    """What is logged."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        """A line."""
        self.seen.append(formatEvent(event))


class ZoneTestCase(SynchronousTestCase):
    """A folder for zone files, what is logged, and servers that end with the test."""

    def setUp(self) -> None:
        """Listen to the log."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        lines = Lines()
        self.lines = lines.seen
        publisher: Any = globalLogPublisher  # mypy knows nothing of zope's interfaces
        publisher.addObserver(lines)
        self.addCleanup(publisher.removeObserver, lines)

    def write(self, name: str, text: str) -> str:
        """Write a file; the result is its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    def logged(self, text: str) -> int:
        """How many lines of the log have this in them."""
        return sum(text in line for line in self.lines)

    def world(self, corefile: str) -> MemoryWorld:
        """A server with a Corefile; ``{{PORT}}``, ``{{PORT2}}`` and ``{{UPSTREAM}}`` stand for addresses, ``DIR`` for the folder."""
        world = MemoryWorld(corefile.replace("DIR", str(self.folder)))
        world.start()

        def stop() -> None:
            self.assertEqual(world.stop(), [], "what the server left behind")

        self.addCleanup(stop)
        return world

    @staticmethod
    def ask(world: MemoryWorld, name: str, qtype: int = 1, opcode: int = 0, source: str = "127.0.0.1") -> Any:
        """What a client of the server is told; None when it is told nothing."""
        question = from_text(name) + qtype.to_bytes(2, "big") + b"\x00\x01"
        message = HEADER.pack(1, opcode << 11, 1, 0, 0, 0) + question
        reply, _ = world.ask(message, source=source)
        return None if reply is None else tell(reply, 0, message).expect

    @staticmethod
    def transfer(world: MemoryWorld, name: str, serial: int | None = None, source: str = "127.0.0.1") -> Any:
        """What a secondary is told; *serial* makes it an IXFR."""
        qtype = 252 if serial is None else 251
        origin = from_text(name)
        message = (
            HEADER.pack(1, 0, 1, 0, 0 if serial is None else 1, 0) + origin + qtype.to_bytes(2, "big") + b"\x00\x01"
        )
        if serial is not None:
            numbers = b"".join(number.to_bytes(4, "big") for number in (serial, 0, 0, 0, 0))
            message += origin + b"\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00" + numbers
        return tell_transfer(world.ask_transfer(message, source))

    def wait(self, world: MemoryWorld, done: Callable[[], object], seconds: float = 5.0) -> None:
        """Let time pass until something is so."""
        for _ in range(int(seconds * 20)):
            if done():
                return
            world.reactor.advance(0.05)
        self.fail(f"not so after {seconds} s")
