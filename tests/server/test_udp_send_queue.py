"""Tests of :mod:`kdns.server.udp_send_queue`: replies that leave together at the end of a turn."""

from __future__ import annotations

import ctypes
import socket
import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.metrics import Counter
from kdns.server.udp_send_queue import MOST, UdpSendQueue


class LateTests(SynchronousTestCase):
    """A socket that answers a client on the loopback."""

    if sys.platform != "linux":
        skip = "sendmmsg is Linux's"

    def setUp(self) -> None:
        self.clock = Clock()
        self.lost = Counter()
        self.batches: list[int] = []
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for sock in (self.server, self.client):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            self.addCleanup(sock.close)
        sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
        sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]

        def send(fd: int, vector: int, count: int, flags: int) -> int:
            sent: int = sendmmsg(fd, vector, count, flags)
            self.batches.append(sent)
            return sent

        self.queue = UdpSendQueue(self.clock, self.server, send, 16, False, self.lost)
        host, port = self.client.getsockname()
        family = socket.AF_INET.to_bytes(2, "little")
        self.name = family + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)

    def arrived(self) -> list[bytes]:
        """What the client has got."""
        found = []
        while True:
            try:
                found.append(self.client.recv(65535))
            except BlockingIOError:
                return found

    def test_together(self) -> None:
        """What comes in one turn leaves in one system call, in its order, when the turn is over."""
        replies = [b"reply %d" % number for number in range(10)]
        for reply in replies:
            self.queue.add(reply, self.name, b"")
        self.assertEqual(self.arrived(), [])
        self.clock.advance(0)
        self.assertEqual((self.arrived(), self.batches), (replies, [10]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_more_than_fit(self) -> None:
        """When there is no more room those that are there leave at once."""
        replies = [b"reply %d" % number for number in range(MOST + 5)]
        for reply in replies:
            self.queue.add(reply, self.name, b"")
        self.assertEqual(self.arrived(), replies[:MOST])
        self.clock.advance(0)
        self.assertEqual((self.arrived(), self.batches), (replies[MOST:], [MOST, 5]))

    def test_refused(self) -> None:
        """One that the kernel refuses is counted, and those behind it leave."""
        for reply in (b"first", bytes(65535), b"last"):
            self.queue.add(reply, self.name, b"")
        self.clock.advance(0)
        self.assertEqual((self.arrived(), self.lost.value), ([b"first", b"last"], 1))

    def test_flush(self) -> None:
        """They leave before the socket is closed, and nothing is left to be done."""
        self.queue.add(b"reply", self.name, b"")
        self.queue.flush()
        self.assertEqual((self.arrived(), self.clock.getDelayedCalls()), ([b"reply"], []))

    def test_closed(self) -> None:
        """On a closed socket they go nowhere, and are not counted as lost."""
        self.queue.add(b"reply", self.name, b"")
        self.server.close()
        self.clock.advance(0)
        self.assertEqual((self.arrived(), self.lost.value, self.batches), ([], 0, []))
