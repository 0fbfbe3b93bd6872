# -*- test-case-name: tests.plugins.transfer.test_notify -*-
"""NOTIFY to secondaries: when, to whom, how often."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import DatagramProtocol

from kdns.plugins.transfer.notify import DELAY, PATIENCE, TRIES
from kdns.wire.constants import AA, NOTIFY, QR, SOA
from kdns.wire.names import from_text
from kdns.wire.query import HEADER
from tests.conformance.world import MemoryWorld
from tests.plugins.file.support import ZoneTestCase, zone_text

ORG = from_text("example.org")

COREFILE = """
.:{{PORT}} {
    transfer {
        to * 127.0.0.9:5300
    }
    file DIR/db example.org {
        reload 1s
    }
}
"""


class Secondary(DatagramProtocol):
    """A secondary that acknowledges what it is told, or not."""

    transport: Any

    def __init__(self, rcode: int | None = 0) -> None:
        self.rcode = rcode
        self.told: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """A message."""
        self.told.append(datagram)
        if self.rcode is not None:
            flags = QR | NOTIFY << 11 | self.rcode
            self.transport.write(datagram[:2] + flags.to_bytes(2, "big") + datagram[4:], addr)


class NotifyTests(ZoneTestCase):
    """kdns.plugins.transfer.notify."""

    def begin(self, rcode: int | None = 0) -> MemoryWorld:
        """A server and a secondary."""
        self.write("db", zone_text(5))
        world = self.world(COREFILE)
        self.secondary = Secondary(rcode)
        port = world.reactor.listenUDP(5300, self.secondary, "127.0.0.9")
        self.addCleanup(port.stopListening)
        return world

    def test_at_start_and_change(self) -> None:
        """One message a second after the start, and one after each new version."""
        world = self.begin()
        world.reactor.advance(DELAY + 0.1)
        (message,) = self.secondary.told
        _, flags, *counts = HEADER.unpack_from(message)
        self.assertEqual((flags, counts), (NOTIFY << 11 | AA, [1, 0, 0, 0]))
        self.assertEqual(message[12:], ORG + SOA.to_bytes(2, "big") + b"\x00\x01")
        world.reactor.advance(10)
        self.assertEqual(len(self.secondary.told), 1)
        self.write("db", zone_text(6))
        world.reactor.advance(1 + DELAY + 0.1)
        self.assertEqual(len(self.secondary.told), 2)

    def test_silence(self) -> None:
        """Three tries, then it is logged."""
        world = self.begin(None)
        for _ in range(10):
            world.reactor.advance(1)
        self.assertEqual(len(self.secondary.told), TRIES)
        self.assertEqual(len({message[:2] for message in self.secondary.told}), 1)
        self.assertEqual(
            self.logged('notify for zone "example.org." was not accepted by "127.0.0.9:5300": no reply'), 1
        )
        self.assertLess(TRIES * PATIENCE, 10)

    def test_refused(self) -> None:
        """A refusal is logged and not tried again."""
        world = self.begin(5)
        for _ in range(10):
            world.reactor.advance(1)
        self.assertEqual(len(self.secondary.told), 1)
        self.assertEqual(self.logged("rcode was REFUSED"), 1)
