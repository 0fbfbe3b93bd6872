"""Sockets of this machine: who may have a port, and who is said to have it."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from contextlib import ExitStack

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.listening import bound_socket

HOLD = "import sys; from tests.plugin.test_listening import hold; hold(*sys.argv[1:])"
KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)


def hold(kind: str, host: str, port: str, share: str) -> None:
    """Hold a port in a process of its own until standard input ends; say what prevents it."""
    stream = kind == "SOCK_STREAM"
    try:
        with bound_socket(
            getattr(socket, kind), host, int(port), share=bool(share), backlog=16 if stream else 0
        ) as held:
            print(held.getsockname()[1], flush=True)
            sys.stdin.read()
    except OSError as error:
        print(error.strerror, flush=True)


class PortTests(SynchronousTestCase):
    """One port, several processes."""

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.enter = stack.enter_context

    def process(self, kind: socket.SocketKind, host: str, port: int, share: bool = False) -> tuple[str, int]:
        """Have another process hold a port; what it says, and its id."""
        words = [sys.executable, "-c", HOLD, kind.name, host, str(port), "yes" if share else ""]
        made = self.enter(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert made.stdout is not None
        return made.stdout.readline().strip(), made.pid

    def own(self, kind: socket.SocketKind, host: str, port: int = 0, share: bool = False) -> socket.socket:
        """A socket of this process."""
        return self.enter(bound_socket(kind, host, port, share=share, backlog=16 if kind == socket.SOCK_STREAM else 0))

    def test_another_process(self) -> None:
        """A port that another process has is not shared by accident, on the same address or on all; the error says who has it."""
        for kind in KINDS:
            port, pid = self.process(kind, "127.0.0.1", 0)
            for host in ("127.0.0.1", "0.0.0.0"):
                with self.assertRaises(OSError) as raised:
                    self.own(kind, host, int(port))
                self.assertEqual(raised.exception.errno, errno.EADDRINUSE)
                wanted = f"address already in use: {os.path.basename(sys.executable)} (pid {pid}) holds it"
                self.assertEqual(raised.exception.strerror, wanted)
            self.own(kind, "127.0.0.2", int(port))

    def test_take_over(self) -> None:
        """A successor that was told to take over shares the port, and says with whom; one that was not is turned away."""
        for kind in KINDS:
            port = self.own(kind, "127.0.0.1").getsockname()[1]
            said, _ = self.process(kind, "127.0.0.1", port)
            self.assertRegex(said, f"address already in use: .* [(]pid {os.getpid()}[)] holds it")
            self.assertEqual(self.process(kind, "127.0.0.1", port, share=True)[0], str(port))
            with capturedLogs() as events:
                self.own(kind, "127.0.0.1", port, share=True)
            self.assertEqual(len(events), 1)
            self.assertIn(f"port {port}: ", formatEvent(events[0]))

    def test_one_process(self) -> None:
        """Sockets of one process share: a reload opens the new one before it closes the old, and addresses may overlap."""
        for kind in KINDS:
            port = self.own(kind, "127.0.0.1").getsockname()[1]
            for host in ("127.0.0.1", "0.0.0.0"):
                self.assertEqual(self.own(kind, host, port).getsockname()[1], port)

    def test_no_such_address(self) -> None:
        """Other errors come as they are."""
        with self.assertRaises(OSError) as raised:
            self.own(socket.SOCK_STREAM, "192.0.2.1", 5399)
        self.assertEqual(raised.exception.strerror, "cannot assign requested address")
