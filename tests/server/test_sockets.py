"""Opening the sockets of an endpoint: what is opened, what is said when it cannot be, and what is left behind then."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kdns.plugin.listening import CannotListen
from kdns.plugin.seam import ServerContext
from kdns.server.listener import Listener
from kdns.server.receive_drops import receive_drops
from kdns.server.sockets import cannot_listen, open_endpoint, reserve_endpoint
from kdns.server.table import TableBudget
from kdns.testing.memory import MemoryReactor
from kdns.testing.memory.network import EPHEMERAL
from tests.server.support import a_block, a_house, zones_of


class TextTests(SynchronousTestCase):
    """What operators read."""

    def test_texts(self) -> None:
        """As CoreDNS says it, with the system's words behind."""
        in_use = "address already in use"
        self.assertEqual(
            str(cannot_listen(True, "", 53, in_use)), "Listen: listen tcp :53: bind: address already in use"
        )
        self.assertEqual(
            str(cannot_listen(False, "::1", 53, in_use)),
            "ListenPacket: listen udp [::1]:53: bind: address already in use",
        )


class MemoryTests(SynchronousTestCase):
    """Any reactor's own ports."""

    def open(self, reactor: MemoryReactor, host: str, port: int) -> Any:
        """Open an endpoint."""
        listener = Listener(a_house(reactor), "dns://:53", zones_of(root=a_block()))
        self.room = TableBudget(1_000_000)
        return open_endpoint(reactor, listener, host, port, self.room)

    def test_same_port(self) -> None:
        """Port 0 is one port for both transports."""
        reactor = MemoryReactor()
        opened = self.open(reactor, "127.0.0.1", 0)
        text = "\n".join(reactor.leftovers())
        self.assertIn(f"TCP port 127.0.0.1:{opened.port}", text)
        self.assertIn(f"UDP port 127.0.0.1:{opened.port}", text)
        opened.close(self.room)
        reactor.settle()
        self.assertEqual(reactor.leftovers(), [])

    def test_port_taken_for_udp(self) -> None:
        """A port that is free for TCP only is not chosen for 0; with no free port for both, it is an error."""
        reactor = MemoryReactor()
        for port in EPHEMERAL[:3]:
            reactor.listenUDP(port, DatagramProtocol(), "127.0.0.1")
        opened = self.open(reactor, "127.0.0.1", 0)
        self.assertEqual(opened.port, EPHEMERAL[3])
        self.assertEqual(len(self.room._tables), 2)
        reactor = MemoryReactor()
        for port in EPHEMERAL[:100]:
            reactor.listenUDP(port, DatagramProtocol(), "127.0.0.1")
        before = len(reactor.leftovers())
        with self.assertRaises(CannotListen) as raised:
            self.open(reactor, "127.0.0.1", 0)
        reactor.settle()
        self.assertEqual((raised.exception.transport, len(reactor.leftovers())), ("udp", before))
        self.assertEqual(self.room._tables, [])

    def test_no_such_address(self) -> None:
        """An address that the machine does not have."""
        with self.assertRaises(CannotListen) as raised:
            self.open(MemoryReactor(["127.0.0.1"]), "192.0.2.77", 53)
        self.assertEqual(
            str(raised.exception), "Listen: listen tcp 192.0.2.77:53: bind: cannot assign requested address"
        )

    def test_nothing_left(self) -> None:
        """When UDP cannot be opened, TCP is closed again."""
        reactor = MemoryReactor()
        other = reactor.listenUDP(53, DatagramProtocol(), "127.0.0.1")
        with self.assertRaises(CannotListen) as raised:
            self.open(reactor, "127.0.0.1", 53)
        self.assertEqual(raised.exception.transport, "udp")
        other.stopListening()
        reactor.settle()
        self.assertEqual(reactor.leftovers(), [])
        self.assertEqual(self.room._tables, [])


class KernelTests(TestCase):
    """Sockets of this machine."""

    def open(self, host: str, port: int = 0) -> Any:
        """Open an endpoint on the reactor that runs the test."""
        from twisted.internet import reactor

        room = TableBudget(1_000_000)
        opened = open_endpoint(
            reactor, Listener(ServerContext(reactor), "dns://:0", zones_of(root=a_block())), host, port, room
        )
        self.addCleanup(opened.close, room)
        return opened

    def test_same_port(self) -> None:
        """Port 0 is one port for both transports and both families."""
        opened = self.open("")
        self.assertGreater(opened.port, 0)
        self.assertEqual({port.getHost().port for port in opened.streams}, {opened.port})
        self.assertEqual({shell.getsockname()[1] for shell in opened.datagrams}, {opened.port})

    def test_beside_another(self) -> None:
        """A second process may open the same port, and take over without a gap."""
        opened = self.open("127.0.0.1")
        self.assertEqual(self.open("127.0.0.1", opened.port).port, opened.port)

    def test_no_such_address(self) -> None:
        """An address that this machine does not have."""
        with self.assertRaises(CannotListen) as raised:
            self.open("192.0.2.77", 5399)
        self.assertEqual(
            str(raised.exception), "Listen: listen tcp 192.0.2.77:5399: bind: cannot assign requested address"
        )

    def test_taken(self) -> None:
        """A port that somebody else has for himself."""
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with self.assertRaises(CannotListen) as raised:
            self.open("127.0.0.1", port)
        self.assertEqual(
            str(raised.exception), f"ListenPacket: listen udp 127.0.0.1:{port}: bind: address already in use"
        )


class ReservedTests(TestCase):
    """Ports that are held for worker processes."""

    def reserved(self, port: int, *, takes_over: bool = False, again: bool = False) -> list[socket.SocketKind]:
        """What is opened."""
        from twisted.internet import reactor

        context = ServerContext(reactor, share_ports=takes_over)
        found, chosen = reserve_endpoint(context, "dns", "127.0.0.1", port, again=again)
        for one in found:
            self.addCleanup(one.close)
        self.assertEqual({one.getsockname()[1] for one in found}, {chosen})
        self.port = chosen
        return [one.type for one in found]

    def test_new(self) -> None:
        """A port that nobody has is held for both transports."""
        self.assertEqual(self.reserved(0), [socket.SOCK_STREAM, socket.SOCK_DGRAM])

    def test_answered_already(self) -> None:
        """Where somebody answers on the port, no socket takes datagrams from him."""
        self.reserved(0)
        self.assertEqual(self.reserved(self.port, takes_over=True), [socket.SOCK_STREAM])
        self.assertEqual(self.reserved(self.port, again=True), [socket.SOCK_STREAM])


class DropsTests(SynchronousTestCase):
    """Datagrams that nobody reads."""

    def test_full(self) -> None:
        """What does not fit the receive buffer is counted; a closed socket has nothing to tell."""
        with socket.socket(type=socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as client:
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            receiver.bind(("127.0.0.1", 0))
            receiver.setblocking(False)
            self.assertEqual(receive_drops(receiver), 0)
            for _ in range(50):
                client.sendto(bytes(500), receiver.getsockname())
            came = 0
            try:
                while receiver.recv(512):
                    came += 1
            except BlockingIOError:
                pass
            self.assertEqual((came + receive_drops(receiver), came > 0), (50, True))
        self.assertEqual(receive_drops(receiver), 0)
