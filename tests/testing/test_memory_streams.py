"""Tests of the TCP part of :mod:`kdns.testing.memory`, beside the real loopback."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IConnector,
    IHalfCloseableProtocol,
    IListeningPort,
    IPushProducer,
    IReactorTCP,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from kdns.testing.memory import MemoryReactor
from tests.testing.reactors import OnLoopback, OnMemory, until, verified


class Recorder(Protocol):
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None
        self.stream: Any = None

    def connectionMade(self) -> None:
        """Keep the transport, with a type that allows what TCP transports can."""
        self.stream = self.transport

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008  # as Twisted has it
        """Keep why."""
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Is told of each half."""

    def __init__(self) -> None:
        super().__init__()
        self.halves: list[str] = []

    def readConnectionLost(self) -> None:
        """The other end has sent everything."""
        self.halves.append("read")

    def writeConnectionLost(self) -> None:
        """This end has sent everything."""
        self.halves.append("write")


class Server(Factory[Recorder]):
    """Keeps its protocols."""

    def __init__(self, kind: type[Recorder] = Recorder) -> None:
        self.kind = kind
        self.made: list[Recorder] = []
        self.peers: list[Any] = []

    def buildProtocol(self, addr: Any) -> Recorder:
        """Make one, and note who came."""
        self.made.append(self.kind())
        self.peers.append(addr)
        return self.made[-1]


class Client(ClientFactory[Recorder]):
    """Keeps its protocol, or why there is none."""

    def __init__(self, kind: type[Recorder] = Recorder) -> None:
        self.protocol_made = kind()
        self.failed: Failure | None = None

    def buildProtocol(self, addr: Any) -> Recorder:
        """The one protocol."""
        return self.protocol_made

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """Keep why."""
        self.failed = reason


@implementer(IPushProducer)
class Producer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """Note it."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """Note it."""
        self.told.append("resume")

    def stopProducing(self) -> None:
        """Note it."""
        self.told.append("stop")


class StreamsMixin:
    """What streams do on both networks."""

    reactor: Any

    async def pair(self, kind: type[Recorder] = Recorder, host: str = "127.0.0.1") -> tuple[Any, Any, Any]:
        """A listening port, and the two ends of a connection to it: server, client."""
        server, client = Server(kind), Client(kind)
        port = self.reactor.listenTCP(0, server, interface=host)
        self.reactor.connectTCP(host, port.getHost().port, client)
        await until(self.reactor, lambda: server.made and client.protocol_made.stream)
        return port, server.made[0], client.protocol_made

    @verified
    async def test_octets_both_ways(self: Any) -> None:
        """What one end writes arrives at the other, whole and in order; closing is told to both."""
        port, server, client = await self.pair()
        server.stream.write(b"hello ")
        server.stream.writeSequence([b"wor", b"ld"])
        client.stream.write(b"x" * 300_000)
        await until(self.reactor, lambda: len(server.received) == 300_000 and len(client.received) == 11)
        self.assertEqual(client.received, b"hello world")
        client.stream.loseConnection()
        await until(self.reactor, lambda: server.lost and client.lost)
        server.lost.trap(ConnectionDone)
        client.lost.trap(ConnectionDone)
        await port.stopListening()

    @verified
    async def test_addresses(self: Any) -> None:
        """Each end knows its own address and the other's."""
        for host, kind in (("127.0.0.1", IPv4Address), ("::1", IPv6Address)):
            port, server, client = await self.pair(host=host)
            self.assertIsInstance(client.stream.getPeer(), kind)
            self.assertEqual(client.stream.getPeer().port, port.getHost().port)
            self.assertEqual(client.stream.getHost().port, server.stream.getPeer().port)
            self.assertEqual(server.stream.getPeer().host, host)
            self.assertEqual(server.stream.getHost().host, host)
            client.stream.loseConnection()
            await until(self.reactor, lambda: server.lost and client.lost)  # noqa: B023  # called before the next round
            await port.stopListening()

    @verified
    async def test_nothing_before_the_next_turn(self: Any) -> None:
        """Connecting and writing take effect later, not while they are asked for."""
        server, client = Server(), Client()
        port = self.reactor.listenTCP(0, server, interface="127.0.0.1")
        connector = self.reactor.connectTCP("127.0.0.1", port.getHost().port, client)
        self.assertEqual((server.made, client.protocol_made.stream, connector.state), ([], None, "connecting"))
        await until(self.reactor, lambda: server.made and client.protocol_made.stream)
        client.protocol_made.stream.write(b"now")
        self.assertEqual(server.made[0].received, b"")
        connector.disconnect()
        await until(self.reactor, lambda: server.made[0].lost and client.protocol_made.lost)
        self.assertEqual(server.made[0].received, b"now")
        await port.stopListening()

    @verified
    async def test_written_before_closing(self: Any) -> None:
        """What is written before losing the connection arrives, however much it is."""
        port, server, client = await self.pair()
        client.stream.write(b"y" * 500_000)
        client.stream.loseConnection()
        client.stream.write(b"unheard")
        await until(self.reactor, lambda: server.lost and client.lost)
        self.assertTrue(server.received.startswith(b"y" * 500_000))
        await port.stopListening()

    @verified
    async def test_abort(self: Any) -> None:
        """Aborting is told to the other end as a lost connection."""
        port, server, client = await self.pair()
        client.stream.abortConnection()
        await until(self.reactor, lambda: server.lost and client.lost)
        server.lost.trap(ConnectionLost)
        client.lost.trap(ConnectionAborted)
        await port.stopListening()

    @verified
    async def test_half_close(self: Any) -> None:
        """An end that has sent everything can still receive."""
        port, server, client = await self.pair(HalfCloseable)
        client.stream.write(b"question")
        client.stream.loseWriteConnection()
        await until(self.reactor, lambda: server.halves == ["read"] and client.halves == ["write"])
        self.assertEqual((server.received, server.lost, client.lost), (b"question", None, None))
        server.stream.write(b"answer")
        server.stream.loseConnection()
        await until(self.reactor, lambda: client.halves == ["write", "read"])
        self.assertEqual(client.received, b"answer")
        client.stream.loseConnection()
        await until(self.reactor, lambda: server.lost and client.lost)
        await port.stopListening()

    @verified
    async def test_half_close_to_others(self: Any) -> None:
        """A protocol that knows no half close loses the connection at once."""
        port, server, client = await self.pair()
        client.stream.loseWriteConnection()
        await until(self.reactor, lambda: server.lost and client.lost)
        server.lost.trap(ConnectionDone)
        await port.stopListening()

    @verified
    async def test_refused(self: Any) -> None:
        """Connecting to a port at which nobody listens fails."""
        gone = self.reactor.listenTCP(0, Server(), interface="127.0.0.1")
        number = gone.getHost().port
        await gone.stopListening()
        client = Client()
        connector = self.reactor.connectTCP("127.0.0.1", number, client)
        self.assertIs(client.failed, None)
        await until(self.reactor, lambda: client.failed)
        assert client.failed is not None
        client.failed.trap(ConnectionRefusedError)
        self.assertEqual(connector.state, "disconnected")

    @verified
    async def test_address_in_use(self: Any) -> None:
        """An address is given once."""
        port = self.reactor.listenTCP(0, Server(), interface="127.0.0.1")
        for interface in ("127.0.0.1", "", "::"):
            with self.assertRaises(CannotListenError):
                self.reactor.listenTCP(port.getHost().port, Server(), interface=interface)
        await port.stopListening()
        again = self.reactor.listenTCP(port.port or 0, Server(), interface="127.0.0.1")
        await again.stopListening()

    @verified
    async def test_paused_reader_holds_the_writer_back(self: Any) -> None:
        """When the other end does not read, a streaming producer is paused; when it reads again, resumed."""
        port, server, client = await self.pair()
        server.stream.pauseProducing()
        producer = Producer()
        client.stream.registerProducer(producer, True)
        size = 8_000_000
        client.stream.write(b"z" * size)
        self.assertEqual(producer.told, ["pause"])
        await deferLater(self.reactor, 0.02)
        self.assertEqual((producer.told, server.received), (["pause"], b""))
        server.stream.resumeProducing()
        await until(self.reactor, lambda: len(server.received) == size)
        self.assertEqual(producer.told, ["pause", "resume"])
        server.stream.loseConnection()
        await until(self.reactor, lambda: server.lost and client.lost)
        self.assertEqual(producer.told, ["pause", "resume", "stop"])
        await port.stopListening()

    @verified
    async def test_paused_port(self: Any) -> None:
        """A port that does not accept still lets clients connect; they wait."""
        server, client = Server(), Client()
        port = self.reactor.listenTCP(0, server, interface="127.0.0.1")
        port.stopReading()
        self.reactor.connectTCP("127.0.0.1", port.getHost().port, client)
        await until(self.reactor, lambda: client.protocol_made.stream)
        client.protocol_made.stream.write(b"early")
        await deferLater(self.reactor, 0.02)
        self.assertEqual(server.made, [])
        port.startReading()
        await until(self.reactor, lambda: server.made and server.made[0].received)
        client.protocol_made.stream.loseConnection()
        await until(self.reactor, lambda: server.made[0].lost and client.protocol_made.lost)
        await port.stopListening()

    @verified
    async def test_failing_protocol(self: Any) -> None:
        """A protocol that raises is logged and loses its connection."""

        class Failing(Recorder):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError(data)

        port, server, client = await self.pair(Failing)
        client.stream.write(b"boom")
        await until(self.reactor, lambda: server.lost and client.lost)
        server.lost.trap(ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await port.stopListening()

    @verified
    async def test_options_and_interfaces(self: Any) -> None:
        """The parts are what Twisted calls them, and options are taken."""
        verifyObject(IReactorTCP, self.reactor)
        port, server, client = await self.pair()
        verifyObject(IListeningPort, port)
        verifyObject(ITCPTransport, client.stream)
        client.stream.setTcpNoDelay(True)
        client.stream.setTcpKeepAlive(True)
        self.assertTrue(client.stream.getTcpNoDelay())
        client.stream.loseConnection()
        await until(self.reactor, lambda: server.lost and client.lost)
        await port.stopListening()

    @verified
    async def test_endpoint(self: Any) -> None:
        """Twisted's endpoints connect here."""
        server = Server()
        port = self.reactor.listenTCP(0, server, interface="127.0.0.1")
        endpoint: Any = TCP4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port)
        client = await endpoint.connect(Factory.forProtocol(Recorder))
        await until(self.reactor, lambda: server.made)
        client.stream.loseConnection()
        await until(self.reactor, lambda: server.made[0].lost and client.lost)
        await port.stopListening()


class MemoryStreamsTests(StreamsMixin, OnMemory):
    """Streams in memory."""


class LoopbackStreamsTests(StreamsMixin, OnLoopback):
    """Streams over real sockets."""


class OnPurposeTests(SynchronousTestCase):
    """What only memory can do."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.server, self.client = Server(), Client()

    def connect(self, timeout: float = 30.0) -> None:
        """Listen, and connect."""
        self.port = self.reactor.listenTCP(443, self.server, interface="10.96.0.1")
        self.reactor.connectTCP("10.96.0.1", 443, self.client, timeout, ("10.244.0.2", 0))
        self.reactor.settle()

    def test_bind_address(self) -> None:
        """A client connects from the address it wants to."""
        self.connect()
        self.assertEqual(self.server.peers[0].host, "10.244.0.2")

    def test_connecting_times_out(self) -> None:
        """Connecting to an address that is cut off fails at its time-out, not before."""
        self.reactor.blackhole("10.96.0.1")
        self.connect(timeout=5.0)
        self.reactor.advance(4.9)
        self.assertIs(self.client.failed, None)
        self.reactor.advance(0.1)
        assert self.client.failed is not None
        self.client.failed.trap(TimeoutError)
        self.assertEqual(self.reactor.leftovers(), ["TCP port 10.96.0.1:443"])

    def test_connecting_late(self) -> None:
        """An attempt under way succeeds when the address is back."""
        self.reactor.blackhole("10.96.0.1", 443)
        self.connect()
        self.reactor.advance(2.0)
        self.assertEqual(self.server.made, [])
        self.reactor.lift("10.96.0.1", 443)
        self.reactor.settle()
        self.assertEqual(len(self.server.made), 1)

    def test_stream_stands_still(self) -> None:
        """A stream that is cut off stands still, without an error, and goes on when the way is free; even its end."""
        self.connect()
        self.reactor.blackhole("10.244.0.2")
        self.client.protocol_made.stream.write(b"late")
        self.client.protocol_made.stream.loseConnection()
        self.reactor.advance(60.0)
        server = self.server.made[0]
        self.assertEqual((server.received, server.lost), (b"", None))
        self.assertTrue(self.client.protocol_made.lost)
        self.reactor.lift("10.244.0.2")
        self.reactor.settle()
        self.assertEqual(server.received, b"late")
        assert server.lost is not None
        server.lost.trap(ConnectionDone)

    def test_window(self) -> None:
        """With a small window little is under way, and everything arrives all the same."""
        self.reactor.window = 10
        self.connect()
        stream = self.client.protocol_made.stream
        self.server.made[0].stream.pauseProducing()
        producer = Producer()
        stream.registerProducer(producer, True)
        stream.write(b"x" * 20)
        self.reactor.settle()
        self.assertEqual(producer.told, [])
        stream.write(b"y" * 70_000)
        self.reactor.settle()
        self.assertEqual(producer.told, ["pause"])
        self.server.made[0].stream.resumeProducing()
        self.reactor.settle()
        self.assertEqual(self.server.made[0].received, b"x" * 20 + b"y" * 70_000)
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_write_to_a_closed_end(self) -> None:
        """Writing to an end that is gone loses the connection."""
        server = Server(HalfCloseable)
        client = Client(HalfCloseable)
        self.reactor.listenTCP(443, server)
        self.reactor.connectTCP("127.0.0.1", 443, client)
        self.reactor.settle()
        server.made[0].stream.loseConnection()
        self.reactor.settle()
        protocol = client.protocol_made
        self.assertEqual(protocol.lost, None)
        protocol.stream.write(b"one")
        self.reactor.settle()
        protocol.stream.write(b"two")
        self.reactor.settle()
        assert protocol.lost is not None
        protocol.lost.trap(ConnectionLost)

    def test_closing_with_something_unread(self) -> None:
        """An end that closes without having read everything resets the stream behind its end, as Linux does."""
        self.connect()
        server = self.server.made[0]
        server.stream.pauseProducing()
        self.client.protocol_made.stream.write(b"unread")
        self.reactor.settle()
        server.stream.loseConnection()
        self.reactor.settle()
        self.assertTrue(self.client.protocol_made.lost)
        self.port.stopListening()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])

    def test_leftovers(self) -> None:
        """What is left open is told."""
        self.connect()
        self.reactor.blackhole("192.0.2.1")
        self.reactor.connectTCP("192.0.2.1", 80, Client(), bindAddress=("10.244.0.2", 7000))
        self.reactor.listenUDP(53, DatagramProtocol(), interface="::1")
        self.reactor.settle()
        left = self.reactor.leftovers()
        self.assertIn("TCP port 10.96.0.1:443", left)
        self.assertIn("TCP connection 10.244.0.2:32768 -> 10.96.0.1:443", left)
        self.assertIn("TCP connection 10.96.0.1:443 -> 10.244.0.2:32768", left)
        self.assertIn("TCP connection attempt 10.244.0.2:7000 -> 192.0.2.1:80", left)
        self.assertIn("UDP port [::1]:53", left)
        self.assertEqual([line for line in left if line.startswith("delayed call")], left[-1:])

    def test_closed_port_drops_those_who_wait(self) -> None:
        """A port that closes resets connections it has not accepted."""
        port = self.reactor.listenTCP(443, self.server)
        port.stopReading()
        self.reactor.connectTCP("127.0.0.1", 443, self.client)
        self.reactor.settle()
        port.stopListening()
        self.reactor.settle()
        assert self.client.protocol_made.lost is not None
        self.client.protocol_made.lost.trap(ConnectionLost)
        self.assertEqual(self.reactor.leftovers(), [])
