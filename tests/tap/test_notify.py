# -*- test-case-name: tests.tap.test_notify -*-
"""What the service manager is told, over a real socket as systemd has one."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from time import CLOCK_MONOTONIC, clock_gettime_ns

from twisted.logger import Logger, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.seam import ServerContext
from kdns.server.assembly import read_text
from kdns.tap.daemon import Daemon
from kdns.tap.notify import ServiceManager
from kdns.testing.memory import MemoryReactor

WHOAMI = ".:1053 {\n bind 127.0.0.1\n whoami\n}\n"


class NotifyTests(SynchronousTestCase):
    """The messages of one process."""

    def setUp(self) -> None:
        """A socket of a manager, and a network in memory."""
        self.reactor = MemoryReactor()
        folder = Path("/tmp") / f"kdns-{os.getpid()}"  # the path of a socket must be short
        folder.mkdir(exist_ok=True)
        self.path = folder / "notify"
        self.manager = self.listening(str(self.path))
        self.addCleanup(folder.rmdir)
        self.addCleanup(self.path.unlink)

    def listening(self, address: str) -> socket.socket:
        """A manager's socket."""
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(manager.close)
        manager.bind(address)
        return manager

    def told(self) -> list[str]:
        """The messages that have come."""
        messages = []
        while True:
            try:
                messages.append(self.manager.recv(4096).decode())
            except BlockingIOError:
                return messages

    def daemon(self, text: list[str], **environ: str) -> Daemon:
        """A daemon whose Corefile is the last of *text*."""
        context = ServerContext(
            self.reactor,
            clock=self.reactor.seconds,
            kernel_sockets=False,
            environ={"NOTIFY_SOCKET": str(self.path), **environ},
        )
        said: list[str] = []
        daemon = Daemon(
            self.reactor, lambda: read_text(text[-1], {}), context=context, output=said.append, complain=said.append
        )
        self.reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
        self.addCleanup(daemon.signals.restore)
        return daemon

    def test_life(self) -> None:
        """It is ready when queries are answered, reloads and is ready again, and ends."""
        text = [WHOAMI]
        daemon = self.daemon(text)
        daemon.startService()
        self.reactor.settle()
        (ready,) = self.told()
        self.assertRegex(ready, r"^READY=1\nSTATUS=Answers queries; Corefile [0-9a-f]{12}$")
        before = clock_gettime_ns(CLOCK_MONOTONIC) // 1000
        text.append(WHOAMI + "# changed\n")
        daemon.reload()
        self.reactor.settle()
        reloading, again = self.told()
        word, _, moment = reloading.partition("\nMONOTONIC_USEC=")
        self.assertEqual(word, "RELOADING=1")
        self.assertTrue(before <= int(moment) <= clock_gettime_ns(CLOCK_MONOTONIC) // 1000)
        self.assertTrue(again.startswith("READY=1\nSTATUS=Answers queries; Corefile "))
        daemon.end()
        self.reactor.settle()
        self.assertEqual(self.told(), ["STOPPING=1"])
        self.assertEqual(self.reactor.leftovers(), [])

    def test_bad_reload(self) -> None:
        """A reload that fails is over, too, and the status has the error on one line."""
        text = [WHOAMI]
        daemon = self.daemon(text)
        daemon.startService()
        self.reactor.settle()
        self.told()
        text.append(". {\n cach 30\n}\n")
        daemon.reload()
        self.reactor.settle()
        _, ready = self.told()
        self.assertEqual(
            ready,
            "READY=1\nSTATUS=The Corefile cannot be used, so the one before it stays: "
            "Corefile:2 - Error during parsing: Unknown directive 'cach' (did you mean 'cache'?)",
        )
        daemon.end()
        self.reactor.settle()

    def test_watchdog(self) -> None:
        """A message every half of the time that the manager waits for one, and none after the end."""
        for pid, wanted in ((str(os.getpid()), ["WATCHDOG=1"] * 3), ("1", [])):
            manager = ServiceManager(
                self.reactor, {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": pid}
            )
            manager.start()
            for _ in range(2):
                self.reactor.advance(15)
            self.assertEqual(self.told(), wanted)
            manager.stop()
            self.reactor.advance(60)
            self.assertEqual(self.told(), ["STOPPING=1"])

    def test_abstract(self) -> None:
        """The socket may be one without a file."""
        name = f"kdns-test-{os.getpid()}"
        self.manager = self.listening("\0" + name)
        ServiceManager(self.reactor, {"NOTIFY_SOCKET": "@" + name}).ready("fine")
        self.assertEqual(self.told(), ["READY=1\nSTATUS=fine"])

    def test_away(self) -> None:
        """A manager that cannot be told is named in the log once, and not tried again; without one nothing happens."""
        with capturedLogs() as events:
            manager = ServiceManager(self.reactor, {"NOTIFY_SOCKET": str(self.path) + "-not"})
            manager.ready("")
            manager.ready("")
            ServiceManager(self.reactor, {}).ready("")
        self.assertEqual(len(events), 1)
        self.assertIsInstance(events[0]["log_logger"], Logger)
        self.assertEqual(events[0]["error"], "no such file or directory")
