"""A UDP port that answers from the address it was asked at, on loopback."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from kdns.server.addressed_port import MOST_READ, AddressedPort, Asked


class _Reactor:
    """Takes note of readers."""

    def __init__(self) -> None:
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        """It is to be read."""
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        """It is not to be read any more."""
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        """It never was to be written."""


class _Protocol(DatagramProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, Any, Asked | None]] = []

    def asked(self, data: bytes, addr: Any, asked: Asked | None) -> None:
        """A datagram."""
        self.got.append((data, addr, asked))


class AddressedPortTests(SynchronousTestCase):
    """Real sockets, without a reactor."""

    def listen(self, host: str) -> tuple[AddressedPort, _Protocol, int]:
        """A port on a wildcard."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_DGRAM)
        bound.setblocking(False)
        with bound:
            bound.bind((host, 0))
            protocol = _Protocol()
            port = AddressedPort.adopt(_Reactor(), bound, protocol, 1500)
            self.addCleanup(port.connectionLost)
            return port, protocol, bound.getsockname()[1]

    def client(self, host: str, port: int) -> socket.socket:
        """A client that takes datagrams from this address alone."""
        client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.settimeout(5.0)
        client.connect((host, port))
        return client

    def check(self, wildcard: str, *hosts: str) -> None:
        """Clients of each address get their answers from there."""
        port, protocol, number = self.listen(wildcard)
        clients = [self.client(host, number) for host in hosts]
        for client in clients:
            client.send(b"query")
        port.doRead()
        self.assertEqual([asked.host for _, _, asked in protocol.got if asked is not None], list(hosts))
        for data, addr, asked in protocol.got:
            assert asked is not None
            port.send_from(asked, data.upper(), addr)
        self.assertEqual([client.recv(100) for client in clients], [b"QUERY"] * len(hosts))

    def test_ipv4(self) -> None:
        """All of 127.0.0.0/8 is this host."""
        self.check("0.0.0.0", "127.0.0.1", "127.0.0.2", "127.1.2.3")

    def test_ipv6(self) -> None:
        """The same over IPv6, where there is one address."""
        try:
            self.check("::", "::1")
        except OSError as error:
            self.skipTest(f"no IPv6 here: {error}")

    def test_bounded(self) -> None:
        """A flood is read in portions."""
        port, protocol, number = self.listen("0.0.0.0")
        client = self.client("127.0.0.1", number)
        for _ in range(MOST_READ + 5):
            client.send(b"x")
        port.doRead()
        self.assertEqual(len(protocol.got), MOST_READ)
        port.doRead()
        port.doRead()
        self.assertEqual(len(protocol.got), MOST_READ + 5)
