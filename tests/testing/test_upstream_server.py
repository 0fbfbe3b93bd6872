"""Tests of :mod:`kdns.testing.upstream.server`, on the memory network and on the loopback."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.protocol import ClientFactory, DatagramProtocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kdns.testing.certificates import Authority
from kdns.testing.memory import MemoryReactor
from kdns.testing.upstream import Action, Entry, FakeUpstream, TcpManners, UpstreamServer
from kdns.wire.constants import SERVFAIL
from tests.testing.reactors import OnLoopback, OnMemory, until, verified
from tests.testing.test_upstream import question


class Datagrams(DatagramProtocol):
    """Keeps what comes, and from where."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Keep it."""
        self.received.append((datagram, addr))


class Stream(Int16StringReceiver):
    """Keeps what comes, and how it ends."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.segments = 0
        self.lost: Failure | None = None
        self.made = False

    def connectionMade(self) -> None:
        """Note it."""
        self.made = True

    def dataReceived(self, data: bytes) -> None:
        """Count pieces."""
        self.segments += 1
        super().dataReceived(data)

    def stringReceived(self, string: bytes) -> None:
        """Keep it."""
        self.received.append(string)

    def connectionLost(self, reason: Failure = Failure(ConnectionError())) -> None:  # noqa: B008  # as Twisted has it
        """Keep why."""
        self.lost = reason


class Streams(ClientFactory[Stream]):
    """Makes the one stream."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.failed: Failure | None = None

    def buildProtocol(self, addr: Any) -> Stream:
        """Make it."""
        return self.stream

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """Keep why."""
        self.failed = reason


def first_address(reply: bytes) -> str:
    """The first address in a reply."""
    return str(dns.message.from_wire(reply).answer[0][0])


class UpstreamMixin:
    """The resolver on both networks."""

    reactor: Any

    def begin(self, *arguments: Any) -> None:
        """Start a server with some names."""
        self.upstream = FakeUpstream()
        for number in range(1, 5):
            self.upstream.say(f"n{number}.test.", f"n{number}.test. 30 A 10.0.0.{number}")
        self.server = UpstreamServer(self.upstream, self.reactor, *arguments)
        self.server.start()

    async def connect(self) -> Stream:
        """A stream to the server."""
        factory = Streams()
        self.reactor.connectTCP(*self.server.address, factory)
        await until(self.reactor, lambda: factory.stream.made)
        return factory.stream

    async def end(self: Any, *streams: Stream) -> None:
        """Stop the server, and wait for the ends of streams."""
        await self.server.stop()
        await until(self.reactor, lambda: all(stream.lost for stream in streams))

    @verified
    async def test_udp(self: Any) -> None:
        """Datagrams are answered from where they were sent to; late ones late, wrong ones from elsewhere, silence not at all."""
        self.begin()
        client = Datagrams()
        port = self.reactor.listenUDP(0, client, interface="127.0.0.1")
        self.upstream.say("late.test.", "late.test. 30 A 10.0.0.9", entry=Entry(delay=0.02))
        self.upstream.say(
            "lie.test.", "lie.test. 30 A 10.0.0.8", entry=Entry(action=Action.SEND_FROM_ELSEWHERE, copies=2)
        )
        self.upstream.say("shy.test.", entry=Entry(silent=True))
        for name in ("late.test.", "shy.test.", "n1.test.", "lie.test."):
            port.write(question(name), self.server.address)
        await until(self.reactor, lambda: len(client.received) == 4)
        self.assertEqual(
            sorted((first_address(data), source == self.server.address) for data, source in client.received),
            [("10.0.0.1", True), ("10.0.0.8", False), ("10.0.0.8", False), ("10.0.0.9", True)],
        )
        self.assertEqual(first_address(client.received[-1][0]), "10.0.0.9")
        await port.stopListening()
        await self.end()

    @verified
    async def test_stopped_before_the_reply(self: Any) -> None:
        """A server that is stopped sends nothing any more."""
        self.begin()
        self.upstream.say("late.test.", "late.test. 30 A 10.0.0.9", entry=Entry(delay=30))
        client = Datagrams()
        port = self.reactor.listenUDP(0, client, interface="127.0.0.1")
        stream = await self.connect()
        port.write(question("late.test."), self.server.address)
        stream.sendString(question("late.test."))
        await until(self.reactor, lambda: self.upstream.asked() == 2)
        await self.end(stream)
        self.assertEqual((client.received, stream.received), ([], []))
        await port.stopListening()

    @verified
    async def test_loop(self: Any) -> None:
        """A query can be asked back, and what comes of it reaches the first asker."""
        self.begin()
        self.upstream.say("loop.test.", entry=Entry(action=Action.ASK_BACK))
        asker, asked = Datagrams(), Datagrams()
        here = self.reactor.listenUDP(0, asker, interface="127.0.0.1")
        there = self.reactor.listenUDP(0, asked, interface="127.0.0.1")
        self.server.loop_to(("127.0.0.1", there.getHost().port))
        here.write(question("loop.test."), self.server.address)
        await until(self.reactor, lambda: asked.received)
        self.assertEqual(asked.received, [(question("loop.test."), self.server.address)])
        reply = dns.message.make_response(dns.message.from_wire(question("loop.test."))).to_wire()
        there.write(reply, self.server.address)
        await until(self.reactor, lambda: asker.received)
        self.assertEqual(asker.received, [(reply, self.server.address)])
        self.assertEqual(self.upstream.asked(), 1)
        await here.stopListening()
        await there.stopListening()
        await self.end()

    @verified
    async def test_pipelining(self: Any) -> None:
        """Queries on one stream are answered as they come, or in reverse."""
        self.begin()
        stream = await self.connect()
        for number in (1, 2, 3):
            stream.sendString(question(f"n{number}.test."))
        await until(self.reactor, lambda: len(stream.received) == 3)
        self.assertEqual(list(map(first_address, stream.received)), ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
        self.upstream.tcp = TcpManners(hold=3)
        for number in (1, 2, 3):
            stream.sendString(question(f"n{number}.test."))
        await until(self.reactor, lambda: len(stream.received) == 6)
        self.assertEqual(list(map(first_address, stream.received[3:])), ["10.0.0.3", "10.0.0.2", "10.0.0.1"])
        self.assertEqual((self.server.streams.accepted, self.upstream.asked(transport="tcp")), (1, 6))
        stream.transport.loseConnection()
        await until(self.reactor, lambda: not self.server.streams.open)
        await self.end(stream)

    @verified
    async def test_hanging_up(self: Any) -> None:
        """Streams can be closed at once, after some queries, or at a name."""
        self.begin()
        self.upstream.tcp = TcpManners(hang_up_first=True)
        first = await self.connect()
        await until(self.reactor, lambda: first.lost)
        self.upstream.tcp = TcpManners(hang_up_after=2)
        second = await self.connect()
        second.sendString(question("n1.test."))
        await until(self.reactor, lambda: second.received)
        second.sendString(question("n2.test."))
        await until(self.reactor, lambda: second.lost)
        self.assertEqual(len(second.received), 1)
        self.upstream.tcp = TcpManners()
        self.upstream.say("n1.test.", entry=Entry(action=Action.HANG_UP))
        third = await self.connect()
        third.sendString(question("n1.test."))
        await until(self.reactor, lambda: third.lost)
        self.assertEqual(third.received, [])
        await self.end()

    @verified
    async def test_mute(self: Any) -> None:
        """A server can take queries and say nothing, then find its tongue."""
        self.begin()
        self.upstream.tcp = TcpManners(mute=True)
        stream = await self.connect()
        stream.sendString(question("n1.test."))
        await until(self.reactor, self.upstream.asked)
        await deferLater(self.reactor, 0.02)
        self.assertEqual((stream.received, stream.lost), ([], None))
        self.upstream.tcp = TcpManners()
        stream.sendString(question("n2.test."))
        await until(self.reactor, lambda: stream.received)
        await self.end(stream)

    @verified
    async def test_refusing(self: Any) -> None:
        """A server that refuses TCP still answers over UDP; started again it has the same address."""
        self.begin()
        await self.server.refuse("tcp")
        factory = Streams()
        self.reactor.connectTCP(*self.server.address, factory)
        await until(self.reactor, lambda: factory.failed)
        assert factory.failed is not None
        factory.failed.trap(ConnectionRefusedError)
        client = Datagrams()
        port = self.reactor.listenUDP(0, client, interface="127.0.0.1")
        port.write(question("n1.test."), self.server.address)
        await until(self.reactor, lambda: client.received)
        address = self.server.address
        await self.server.stop()
        self.assertEqual(self.server.start(), address)
        stream = await self.connect()
        await self.server.streams.drop()
        await until(self.reactor, lambda: stream.lost)
        await port.stopListening()
        await self.end()

    @verified
    async def test_tls(self: Any) -> None:
        """Over TLS the same is answered, counted by itself, to who trusts the server's authority."""
        authority = Authority()
        self.begin(authority.server("dns.test"))
        self.upstream.say_everywhere(Entry(rcode=SERVFAIL), "tcp")
        factory = Streams()
        trust: Any = authority.trust_root()
        self.reactor.connectSSL(*self.server.tls_address, factory, optionsForClientTLS("dns.test", trust))
        await until(self.reactor, lambda: factory.stream.made)
        factory.stream.sendString(question("n4.test."))
        await until(self.reactor, lambda: factory.stream.received)
        self.assertEqual(first_address(factory.stream.received[0]), "10.0.0.4")
        self.assertEqual((self.upstream.asked(transport="tls"), self.upstream.asked(transport="tcp")), (1, 0))
        await self.end(factory.stream)


class MemoryUpstreamTests(UpstreamMixin, OnMemory):
    """In memory."""


class LoopbackUpstreamTests(UpstreamMixin, OnLoopback):
    """Over real sockets."""


class PiecesTests(SynchronousTestCase):
    """What needs a network that keeps pieces apart."""

    def test_pieces(self) -> None:
        """A reply can come octet by octet, and several one after another."""
        reactor = MemoryReactor()
        upstream = FakeUpstream()
        upstream.tcp = TcpManners(piece=1)
        server = UpstreamServer(upstream, reactor)
        server.start("10.0.0.53", 53)
        factory = Streams()
        reactor.connectTCP("10.0.0.53", 53, factory)
        reactor.settle()
        factory.stream.sendString(question("a.test."))
        factory.stream.sendString(question("b.test."))
        reactor.advance(1.0)
        self.assertEqual(len(factory.stream.received), 2)
        self.assertEqual(factory.stream.segments, sum(2 + len(reply) for reply in factory.stream.received))
        server.stop()
        reactor.settle()
        self.assertEqual(reactor.leftovers(), [])

    def test_port_taken_for_tcp(self) -> None:
        """A port that is free for UDP only is left for another; one that was asked for is an error."""
        reactor = MemoryReactor()
        taken = reactor.listenTCP(32768, Streams(), interface="127.0.0.1")
        server = UpstreamServer(FakeUpstream(), reactor)
        self.assertEqual(server.start(), ("127.0.0.1", 32769))
        with self.assertRaises(CannotListenError):
            UpstreamServer(FakeUpstream(), reactor).start(port=32768)
        reactor.settle()
        server.stop()
        taken.stopListening()
        reactor.settle()
        self.assertEqual(reactor.leftovers(), [])
