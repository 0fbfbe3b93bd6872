"""The channel between the processes: order, acknowledgements and what is under way."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from kdns.workers.channel import Channel
from kdns.workers.messages import Acknowledged, Fatal, Hello, Ping, to_parent, to_worker


class ChannelTests(SynchronousTestCase):
    """Two ends, joined by hand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.received: list[Any] = []
        self.lost: list[str] = []

        def end(name: str, decode: Any, acknowledged: bool) -> Channel:
            channel = Channel(
                decode,
                self.received.append,
                lambda: self.lost.append(name),
                self.clock.seconds,
                acknowledged=acknowledged,
            )
            channel.makeConnection(StringTransport())
            return channel

        self.parent = end("parent", to_parent.decode, True)
        self.worker = end("worker", to_worker.decode, False)

    def written(self, channel: Channel) -> bytes:
        """What an end wrote since the last look."""
        data: bytes = channel.transport.value()
        channel.transport.clear()
        return data

    def test_pieces(self) -> None:
        """Messages come whole and in order, however the bytes are cut."""
        self.worker.send(Hello(7))
        self.worker.send(Fatal("no disk"))
        for byte in self.written(self.worker):
            self.parent.dataReceived(bytes([byte]))
        self.assertEqual(self.received, [Hello(7), Fatal("no disk")])

    def test_behind(self) -> None:
        """The oldest message that is not acknowledged tells how far behind the other end is."""
        self.assertEqual((self.parent.behind, self.parent.under_way), (0.0, 0))
        self.parent.send(Ping())
        self.worker.dataReceived(self.written(self.parent))
        self.clock.advance(2.0)
        self.parent.send(Ping())
        self.clock.advance(1.0)
        self.assertEqual(self.parent.behind, 3.0)
        self.parent.acknowledge(self.worker.came)
        self.assertEqual(self.parent.behind, 1.0)
        self.assertEqual(self.parent.under_way, self.parent.sent - self.worker.came)
        self.worker.dataReceived(self.written(self.parent))
        self.parent.acknowledge(self.worker.came)
        self.assertEqual((self.parent.behind, self.parent.under_way), (0.0, 0))

    def test_not_tracked(self) -> None:
        """An end whose messages nobody acknowledges keeps no list of them."""
        for _ in range(3):
            self.worker.send(Acknowledged(1))
        self.assertEqual(self.worker.behind, 0.0)

    def test_too_long(self) -> None:
        """A length that no message has ends the connection."""
        self.parent.dataReceived(b"\xff\xff\xff\xff")
        self.assertTrue(self.parent.transport.disconnected)
        self.assertEqual(self.received, [])
