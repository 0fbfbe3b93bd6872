# -*- test-case-name: tests.admin.test_service -*-
"""The socket with the client that ships: real Unix sockets, the client in a thread."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as running
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from kdns.admin import service
from kdns.admin.client import AdminError, NobodyAnswers, ask
from kdns.admin.commands import Arguments, Commands
from kdns.admin.service import MAX_CONNECTIONS, AdminSocket

reactor: Any = running


class SocketTests(TestCase):
    """A server of one command."""

    timeout = 30.0

    def setUp(self) -> None:
        """A folder, a command, and what is warned of."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "admin.sock")
        self.commands = Commands()
        self.commands.add("echo", dict)
        self.warnings: list[str] = []
        self.observer = cast("Any", self.note)
        globalLogPublisher.addObserver(self.observer)
        self.addCleanup(globalLogPublisher.removeObserver, self.observer)

    def note(self, event: LogEvent) -> None:
        """Keep what the admin socket logs."""
        if event.get("log_namespace") == "kdns.admin":
            self.warnings.append(event["log_format"].format(**event))

    def started(self, path: str | None = None) -> AdminSocket:
        """A socket that is open."""
        one = AdminSocket(reactor, self.commands, path if path is not None else self.path)
        one.start()
        self.addCleanup(one.stop)
        return one

    async def asked(self, path: str, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """What the client gets."""
        return await deferToThread(ask, path, command, arguments)

    async def test_there_and_back(self) -> None:
        """What is asked arrives whole, and what is said too, however large."""
        self.started()
        word = "x" * 10_000
        self.assertEqual(await self.asked(self.path, "echo", {"word": word}), {"word": word})
        self.commands.add("much", lambda arguments: {"much": "y" * 5_000_000})
        self.assertEqual(len((await self.asked(self.path, "much", {}))["much"]), 5_000_000)

    async def test_name(self) -> None:
        """It works with a name in place of a file."""
        path = f"@kdns-test-{os.getpid()}-{id(self)}"
        self.started(path)
        self.assertEqual(await self.asked(path, "echo", {"a": 1}), {"a": 1})

    async def test_stopped(self) -> None:
        """After the stop nobody answers, and who waits is hung up on."""
        one = self.started()
        waiting: Deferred[dict[str, Any]] = Deferred()
        begun: Deferred[None] = Deferred()

        def slow(arguments: Arguments) -> Deferred[dict[str, Any]]:
            reactor.callLater(0, begun.callback, None)
            return waiting

        self.commands.add("slow", slow)
        asked = Deferred.fromCoroutine(self.asked(self.path, "slow", {}))
        await begun
        one.stop()
        failure = await self.assertFailure(asked, AdminError)
        self.assertIn("hung up", str(failure))
        self.assertFalse(os.path.exists(self.path))
        await self.assertFailure(Deferred.fromCoroutine(self.asked(self.path, "echo", {})), NobodyAnswers)

    async def test_second_server(self) -> None:
        """A second server warns, has no socket, and leaves the first one's alone when it ends."""
        self.started()
        second = self.started()
        self.assertIsNone(second.path)
        self.assertEqual(len(self.warnings), 1)
        self.assertIn(f"another kdns answers at {self.path}", self.warnings[0])
        second.stop()
        self.assertEqual(await self.asked(self.path, "echo", {"a": 1}), {"a": 1})

    def test_impossible(self) -> None:
        """A socket that cannot be is a warning."""
        self.assertIsNone(self.started("/proc/kdns/admin.sock").path)
        self.assertEqual(len(self.warnings), 1)
        self.assertIn("/proc/kdns/admin.sock", self.warnings[0])

    def test_off(self) -> None:
        """Turned off it opens nothing and says nothing."""
        self.assertIsNone(self.started("off").path)
        self.assertIsNone(self.started("").path)
        self.assertEqual(self.warnings, [])

    async def test_other_users(self) -> None:
        """A process of another user is turned away; root never is."""
        self.started()
        self.patch(service, "peer_uid", lambda connection: os.geteuid() + 1)
        failure = await self.assertFailure(Deferred.fromCoroutine(self.asked(self.path, "echo", {})), AdminError)
        self.assertIn("only the user it runs as", str(failure))
        self.assertEqual(self.warnings, [f"The admin socket turned away a process of user {os.geteuid() + 1}"])
        self.patch(service, "peer_uid", lambda connection: 0)
        self.assertEqual(await self.asked(self.path, "echo", {"a": 1}), {"a": 1})

    async def test_many(self) -> None:
        """Connections that only hang there keep no more than their number from others, and no memory."""
        one = self.started()
        idle = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CONNECTIONS)]
        for connection in idle:
            self.addCleanup(connection.close)
            await deferToThread(connection.connect, self.path)
        failure = await self.assertFailure(Deferred.fromCoroutine(self.asked(self.path, "echo", {})), AdminError)
        self.assertIn("too many", str(failure))
        idle[0].close()
        while one.connections == MAX_CONNECTIONS:
            await deferLater(reactor, 0)
        self.assertEqual(await self.asked(self.path, "echo", {"a": 1}), {"a": 1})
        self.assertEqual(one.path, self.path)
