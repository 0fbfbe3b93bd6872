"""DNS over UDP through a reactor's own port, on the memory network."""

from __future__ import annotations

from typing import Any

import dns.message
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.request import Request
from kdns.server.blocks import ServedBlock
from kdns.server.listener import Listener
from kdns.server.sockets import OpenEndpoint, open_endpoint
from kdns.server.table import TableBudget
from kdns.testing.memory import MemoryReactor
from tests.server.support import Slow, a_block, a_house, address, zones_of

PORT = 1053


class Client(DatagramProtocol):
    """A client that keeps what it gets, with where it came from."""

    transport: Any  # Twisted's own annotations cannot be called

    def __init__(self) -> None:
        self.received: list[tuple[bytes, str]] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Keep it."""
        self.received.append((datagram, addr[0]))


class DatagramTests(SynchronousTestCase):
    """One datagram at a time."""

    def serve(self, block: ServedBlock, host: str = "") -> None:
        """Listen with a block for the root."""
        self.reactor = MemoryReactor()
        room = TableBudget(1_000_000)
        listener = Listener(a_house(self.reactor), "dns://:1053", zones_of(root=block))
        opened = open_endpoint(self.reactor, listener, host, PORT, room)
        self.addCleanup(self.close, self.reactor, opened, room)

    def close(self, reactor: MemoryReactor, opened: OpenEndpoint, room: TableBudget) -> None:
        """End the server; nothing is left behind."""
        opened.close(room)
        reactor.settle()
        self.assertEqual(reactor.leftovers(), [])

    def ask(self, message: bytes, source: str = "127.0.0.1", to: str = "127.0.0.1") -> Client:
        """Send a message from a client of its own."""
        client = Client()
        port = self.reactor.listenUDP(0, client, source)
        self.addCleanup(port.stopListening)
        client.transport.write(message, (to, PORT))
        self.reactor.settle()
        return client

    def test_answers(self) -> None:
        """A query is answered, the second time out of the table and with its own identifier."""
        asked: list[Request] = []

        def say(request: Request) -> Any:
            asked.append(request)
            return address(request)

        self.serve(a_block(say))
        for ident in (1, 2, 3):
            ((reply, _),) = self.ask(dns.message.make_query("web.prod.", "A", id=ident).to_wire()).received
            self.assertEqual(dns.message.from_wire(reply).id, ident)
        self.assertEqual(len(asked), 1)

    def test_families(self) -> None:
        """The wildcard takes both families; a client over IPv4 is known by its IPv4 address, whichever socket took it."""
        seen: list[str] = []

        def say(request: Request) -> Any:
            seen.append(request.client)
            return address(request)

        self.serve(a_block(say))
        query = dns.message.make_query("web.prod.", "A").to_wire()
        self.assertEqual(len(self.ask(query).received), 1)
        self.assertEqual(len(self.ask(query, "::1", "::1").received), 1)
        self.assertEqual(seen, ["127.0.0.1", "::1"])

    def test_local_address(self) -> None:
        """A port on one address knows which."""
        seen: list[str] = []

        def say(request: Request) -> Any:
            seen.append(request.local)
            return address(request)

        query = dns.message.make_query("web.prod.", "A").to_wire()
        for host, local in (("127.0.0.2", "127.0.0.2"), ("", "::")):
            self.serve(a_block(say), host)
            self.ask(query, to="127.0.0.2")
            self.assertEqual(seen[-1], local)

    def test_later(self) -> None:
        """An answer that comes later goes to the client that asked; one that comes after the end goes nowhere."""
        slow = Slow()
        self.serve(a_block(slow))
        clients = [self.ask(dns.message.make_query(f"{name}.", "A").to_wire()) for name in "ab"]
        slow.give(1)
        self.reactor.settle()
        self.assertEqual([len(client.received) for client in clients], [0, 1])

    def test_silence(self) -> None:
        """What gets no reply gets no datagram either."""
        self.serve(a_block())
        self.assertEqual(self.ask(b"").received + self.ask(b"\xff" * 11).received, [])
