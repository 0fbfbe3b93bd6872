"""Tests of :mod:`kdns.testing.memory.network` and the UDP part of its reactor, beside the real loopback."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IListeningPort, IReactorUDP, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from kdns.testing.memory import Datagram, MemoryReactor, in_turn, late, lost, shuffled, twice
from tests.testing.reactors import OnLoopback, OnMemory, until, verified


class Recorder(DatagramProtocol):
    """Keeps what arrives, and tells back what it is told to."""

    def __init__(self, reply: bytes | None = None) -> None:
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self.refusals = 0
        self.stopped = False
        self.reply = reply

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Record, and perhaps answer."""
        self.received.append((datagram, addr))
        if self.reply is not None:
            transport: Any = self.transport
            transport.write(self.reply + datagram, addr)

    def connectionRefused(self) -> None:
        """Count."""
        self.refusals += 1

    def stopProtocol(self) -> None:
        """Note it."""
        self.stopped = True


class DatagramsMixin:
    """What datagrams do on both networks."""

    reactor: Any

    def listen(self, protocol: Recorder, interface: str = "127.0.0.1", port: int = 0, **more: int) -> Any:
        """Listen, and note it."""
        return self.reactor.listenUDP(port, protocol, interface=interface, **more)

    async def unused_port(self) -> int:
        """A port at which nobody listens."""
        gone = self.listen(Recorder())
        port = gone.getHost().port
        await gone.stopListening()
        assert isinstance(port, int)
        return port

    @verified
    async def test_question_and_answer(self: Any) -> None:
        """A datagram arrives with its source, and an answer to that source comes back."""
        server, client = Recorder(b"re:"), Recorder()
        there, here = self.listen(server), self.listen(client)
        here.write(b"ask", ("127.0.0.1", there.getHost().port))
        await until(self.reactor, lambda: client.received)
        self.assertEqual(server.received, [(b"ask", ("127.0.0.1", here.getHost().port))])
        self.assertEqual(client.received, [(b"re:ask", ("127.0.0.1", there.getHost().port))])
        await there.stopListening()
        await here.stopListening()
        self.assertTrue(server.stopped)

    @verified
    async def test_not_before_the_next_turn(self: Any) -> None:
        """Nothing is received while the sender is still sending."""
        server = Recorder()
        there = self.listen(server)
        there.write(b"to myself", ("127.0.0.1", there.getHost().port))
        self.assertEqual(server.received, [])
        await until(self.reactor, lambda: server.received)
        await there.stopListening()

    @verified
    async def test_order_is_kept(self: Any) -> None:
        """Datagrams of one sender arrive in the order they were sent."""
        server, client = Recorder(), Recorder()
        there, here = self.listen(server), self.listen(client)
        for number in range(20):
            here.write(b"%d" % number, ("127.0.0.1", there.getHost().port))
        await until(self.reactor, lambda: len(server.received) == 20)
        self.assertEqual([data for data, _ in server.received], [b"%d" % number for number in range(20)])
        await there.stopListening()
        await here.stopListening()

    @verified
    async def test_connected_port_takes_its_peer_only(self: Any) -> None:
        """A connected port hears its peer, and nobody else."""
        server, stranger, client = Recorder(b"re:"), Recorder(), Recorder()
        there, elsewhere, here = self.listen(server), self.listen(stranger), self.listen(client)
        here.connect("127.0.0.1", there.getHost().port)
        elsewhere.write(b"forged", ("127.0.0.1", here.getHost().port))
        here.write(b"ask")
        await until(self.reactor, lambda: client.received)
        self.assertEqual([data for data, _ in client.received], [b"re:ask"])
        for port in (there, elsewhere, here):
            await port.stopListening()

    @verified
    async def test_refusal_closes_an_idle_port(self: Any) -> None:
        """Twisted on epoll takes a refusal, when nothing else waits, for the end of the connected port: it is closed without a word."""
        port = await self.unused_port()
        client = Recorder()
        here = self.listen(client)
        here.connect("127.0.0.1", port)
        here.write(b"anybody?")
        self.assertFalse(client.stopped)
        await until(self.reactor, lambda: client.stopped)
        self.assertEqual((client.refusals, here.connected), (0, 0))

    @verified
    async def test_refusal_behind_a_datagram(self: Any) -> None:
        """A port at which a datagram waits too is told of the refusal, and goes on."""
        port = await self.unused_port()
        client, server = Recorder(), Recorder()
        here, there = self.listen(client), self.listen(server)
        there.write(b"first", ("127.0.0.1", here.getHost().port))
        here.connect("127.0.0.1", port)
        here.write(b"anybody?")
        await until(self.reactor, lambda: client.refusals)
        await until(self.reactor, lambda: client.received)
        self.assertFalse(client.stopped)
        await here.stopListening()
        await there.stopListening()

    @verified
    async def test_refusal_is_told_at_the_next_write(self: Any) -> None:
        """A refusal that waits is told by the next write, which sends nothing then."""
        port = await self.unused_port()
        client = Recorder()
        here = self.listen(client)
        here.connect("127.0.0.1", port)
        here.write(b"one")
        here.write(b"two")
        self.assertEqual(client.refusals, 1)
        await deferLater(self.reactor, 0.02)
        self.assertEqual(client.refusals, 1)
        await here.stopListening()

    @verified
    async def test_unconnected_sender_is_not_told(self: Any) -> None:
        """A sender that is not connected hears nothing of a refusal."""
        port = await self.unused_port()
        client = Recorder()
        here = self.listen(client)
        here.write(b"anybody?", ("127.0.0.1", port))
        await deferLater(self.reactor, 0.02)
        self.assertEqual(client.refusals, 0)
        await here.stopListening()

    @verified
    async def test_address_in_use(self: Any) -> None:
        """An address is given once, and wildcards count as all addresses."""
        there = self.listen(Recorder())
        port = there.getHost().port
        for interface in ("127.0.0.1", "", "0.0.0.0", "::"):
            with self.assertRaises(CannotListenError):
                self.listen(Recorder(), interface, port)
        beside = self.listen(Recorder(), "127.0.0.2", port)
        await beside.stopListening()
        await there.stopListening()

    @verified
    async def test_wildcard(self: Any) -> None:
        """A port on all addresses answers from the address that was asked, when the asker used it to choose its own."""
        server, client = Recorder(b"re:"), Recorder()
        there, here = self.listen(server, "0.0.0.0"), self.listen(client, "")
        here.connect("127.0.0.1", there.getHost().port)
        here.write(b"ask")
        await until(self.reactor, lambda: client.received)
        self.assertEqual(client.received, [(b"re:ask", ("127.0.0.1", there.getHost().port))])
        self.assertEqual(here.getHost().host, "127.0.0.1")
        await there.stopListening()
        await here.stopListening()

    @verified
    async def test_both_families_on_one_wildcard(self: Any) -> None:
        """A port on ``::`` takes IPv4 too, and sees its sources as mapped addresses."""
        server, client = Recorder(b"re:"), Recorder()
        there, here = self.listen(server, "::"), self.listen(client)
        here.write(b"ask", ("127.0.0.1", there.getHost().port))
        await until(self.reactor, lambda: client.received)
        self.assertEqual(server.received[0][1], ("::ffff:127.0.0.1", here.getHost().port))
        self.assertEqual(client.received, [(b"re:ask", ("127.0.0.1", there.getHost().port))])
        await there.stopListening()
        await here.stopListening()

    @verified
    async def test_too_large(self: Any) -> None:
        """A datagram has a largest size to send, and a receiver one that it takes."""
        server, client = Recorder(), Recorder()
        there, here = self.listen(server, maxPacketSize=10), self.listen(client)
        address = ("127.0.0.1", there.getHost().port)
        with self.assertRaises(MessageLengthError):
            here.write(b"x" * 65508, address)
        here.write(b"0123456789abcdef", address)
        await until(self.reactor, lambda: server.received)
        self.assertEqual(server.received[0][0], b"0123456789")
        await there.stopListening()
        await here.stopListening()

    @verified
    async def test_paused_port(self: Any) -> None:
        """What arrives at a port that does not read waits for it."""
        server, client = Recorder(), Recorder()
        there, here = self.listen(server), self.listen(client)
        there.pauseProducing()
        here.write(b"early", ("127.0.0.1", there.getHost().port))
        await deferLater(self.reactor, 0.02)
        self.assertEqual(server.received, [])
        there.resumeProducing()
        await until(self.reactor, lambda: server.received)
        await there.stopListening()
        await here.stopListening()

    @verified
    async def test_failing_protocol(self: Any) -> None:
        """A protocol that raises is logged and goes on."""

        class Failing(Recorder):
            def datagramReceived(self, datagram: bytes, addr: Any) -> None:
                super().datagramReceived(datagram, addr)
                raise ZeroDivisionError(datagram)

        server, client = Failing(), Recorder()
        there, here = self.listen(server), self.listen(client)
        for data in (b"one", b"two"):
            here.write(data, ("127.0.0.1", there.getHost().port))
        await until(self.reactor, lambda: len(server.received) == 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        await there.stopListening()
        await here.stopListening()

    @verified
    async def test_interfaces(self: Any) -> None:
        """The reactor, a port and its transport are what Twisted calls them."""
        verifyObject(IReactorUDP, self.reactor)
        protocol = Recorder()
        there = self.listen(protocol)
        verifyObject(IListeningPort, there)
        verifyObject(IUDPTransport, protocol.transport)
        await there.stopListening()


class MemoryDatagramsTests(DatagramsMixin, OnMemory):
    """Datagrams in memory."""


class LoopbackDatagramsTests(DatagramsMixin, OnLoopback):
    """Datagrams over real sockets; what is said of epoll is true of the epoll and poll reactors."""

    def setUp(self) -> None:
        super().setUp()
        if type(self.reactor).__name__ not in ("EPollReactor", "PollReactor"):
            raise SkipTest("the memory reactor copies Twisted's reactors for Linux")


class PathTests(SynchronousTestCase):
    """What the test can do to datagrams under way."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.server, self.client = Recorder(b"re:"), Recorder()
        self.reactor.listenUDP(53, self.server, interface="10.244.0.2")
        self.port = self.reactor.listenUDP(4000, self.client, interface="10.244.0.9")

    def ask(self, *questions: bytes) -> None:
        """Send from client to server."""
        for question in questions:
            self.port.write(question, ("10.244.0.2", 53))

    def heard(self) -> list[bytes]:
        """What the server has heard."""
        return [data for data, _ in self.server.received]

    def test_lost(self) -> None:
        """Nothing arrives where a path loses everything, until it is taken back; other ways are as ever."""
        path = self.reactor.shape(lost, destination=("10.244.0.2", 53))
        self.ask(b"one")
        self.assertTrue(self.reactor.inject(b"other", ("10.244.0.8", 1), ("10.244.0.2", 53)))
        self.reactor.advance(10)
        self.assertEqual(self.heard(), [b"other"])
        self.reactor.unshape(path)
        self.ask(b"two")
        self.reactor.settle()
        self.assertEqual(self.heard(), [b"other", b"two"])

    def test_late(self) -> None:
        """A late datagram arrives at its time, not before."""
        self.reactor.shape(late(0.5), source=("10.244.0.9", None))
        self.ask(b"one")
        self.reactor.advance(0.49)
        self.assertEqual(self.heard(), [])
        self.reactor.advance(0.01)
        self.assertEqual(self.heard(), [b"one"])
        self.assertEqual(self.client.received, [(b"re:one", ("10.244.0.2", 53))])

    def test_late_after_a_while(self) -> None:
        """The delay counts from the moment of sending, also when nothing has happened for long."""
        self.reactor.shape(late(0.5))
        self.reactor.advance(100)
        self.ask(b"one")
        self.reactor.advance(0.4)
        self.assertEqual(self.heard(), [])
        self.reactor.advance(0.1)
        self.assertEqual(self.heard(), [b"one"])

    def test_twice(self) -> None:
        """A datagram can arrive twice."""
        self.reactor.shape(twice(1.0))
        self.ask(b"one")
        self.reactor.settle()
        self.assertEqual(self.heard(), [b"one"])
        self.reactor.advance(1.0)
        self.assertEqual(self.heard(), [b"one", b"one"])

    def test_in_turn(self) -> None:
        """Fates are dealt one by one; afterwards everything goes straight."""
        self.reactor.shape(in_turn((), (0.2,), (0.1,)), destination=("10.244.0.2", 53))
        self.ask(b"lost", b"second", b"first", b"straight")
        self.reactor.advance(1.0)
        self.assertEqual(self.heard(), [b"straight", b"first", b"second"])

    def test_shuffled(self) -> None:
        """Chance decides, and the same chance decides the same."""
        numbers = [b"%d" % number for number in range(50)]

        def run(seed: int) -> list[bytes]:
            self.server.received.clear()
            path = self.reactor.shape(shuffled(random.Random(seed), 1.0, 0.5), destination=("10.244.0.2", None))
            self.ask(*numbers)
            self.reactor.advance(1.0)
            self.reactor.unshape(path)
            return self.heard()

        first = run(7)
        self.assertTrue(5 < len(first) < 45, first)
        self.assertNotEqual(first, sorted(first, key=int))
        self.assertEqual(run(7), first)
        self.assertNotEqual(run(8), first)

    def test_rule_sees_the_datagram(self) -> None:
        """A rule of the test's own sees what is sent, from where to where."""
        seen: list[Datagram] = []

        def watch(datagram: Datagram) -> tuple[float, ...]:
            seen.append(datagram)
            return (0.0,)

        self.reactor.shape(watch)
        self.ask(b"one")
        self.reactor.settle()
        there, here = ("10.244.0.2", 53), ("10.244.0.9", 4000)
        self.assertEqual(seen, [Datagram(b"one", here, there), Datagram(b"re:one", there, here)])

    def test_inject_with_a_wrong_source(self) -> None:
        """A datagram can come from where nobody is; a connected port does not take it."""
        self.assertTrue(self.reactor.inject(b"forged", ("192.0.2.66", 53), ("10.244.0.9", 4000)))
        self.reactor.settle()
        self.assertEqual(self.client.received, [(b"forged", ("192.0.2.66", 53))])
        self.port.connect("10.244.0.2", 53)
        self.assertFalse(self.reactor.inject(b"forged", ("192.0.2.66", 53), ("10.244.0.9", 4000)))
        self.assertFalse(self.reactor.inject(b"nobody", ("192.0.2.66", 53), ("10.244.0.9", 4001)))

    def test_blackhole(self) -> None:
        """An address that is cut off neither answers nor refuses, even to a connected sender."""
        self.port.connect("10.244.0.2", 99)
        self.reactor.blackhole("10.244.0.2", 99)
        self.port.write(b"one")
        self.reactor.advance(10)
        self.assertFalse(self.client.stopped)
        self.reactor.lift("10.244.0.2", 99)
        self.port.write(b"two")
        self.reactor.settle()
        self.assertTrue(self.client.stopped)

    def test_wildcard_answers_from_another_address(self) -> None:
        """A port on all addresses answers from the address it sends to, not from the one that was asked: as Linux, and no use."""
        elsewhere = Recorder(b"re:")
        self.reactor.listenUDP(5353, elsewhere)
        self.port.write(b"ask", ("10.244.0.2", 5353))
        self.reactor.settle()
        self.assertEqual(self.client.received, [(b"re:ask", ("10.244.0.9", 5353))])

    def test_receive_buffer(self) -> None:
        """What does not fit into the buffer of a port that does not read is dropped."""
        self.server.reply = None
        server = self.server.transport
        assert server is not None
        server.stopReading()
        self.ask(*[b"x" * 50_000] * 6)
        self.reactor.settle()
        server.startReading()
        self.reactor.settle()
        self.assertEqual(len(self.server.received), 4)


class SelectTests(SynchronousTestCase):
    """The memory network under a select reactor's way of looking."""

    def test_refused(self) -> None:
        """A connected sender is told that nobody listens, and goes on."""
        reactor = MemoryReactor(polling="select")
        client = Recorder()
        port = reactor.listenUDP(0, client, interface="127.0.0.1")
        port.connect("127.0.0.1", 53)
        port.write(b"anybody?")
        self.assertEqual(client.refusals, 0)
        reactor.settle()
        self.assertEqual((client.refusals, client.stopped), (1, False))


class InterfaceAddressesTests(SynchronousTestCase):
    """A host with addresses that are listed."""

    def test_foreign_addresses(self) -> None:
        """Nobody can listen on an address of elsewhere, and from there comes neither answer nor refusal."""
        reactor = MemoryReactor(interface_addresses=["127.0.0.1", "10.244.0.2", "::1"])
        with self.assertRaises(CannotListenError):
            reactor.listenUDP(53, Recorder(), interface="10.244.0.3")
        client = Recorder()
        port = reactor.listenUDP(0, client)
        port.connect("192.0.2.53", 53)
        self.assertEqual(port.getHost().host, "10.244.0.2")
        port.write(b"anybody?")
        reactor.advance(5)
        self.assertEqual((client.received, client.refusals), ([], 0))

    def test_ipv6(self) -> None:
        """IPv6 addresses have one spelling, whatever they are written as."""
        reactor = MemoryReactor(interface_addresses=["FD00:0::2"])
        server, client = Recorder(b"re:"), Recorder()
        reactor.listenUDP(53, server, interface="fd00::2")
        reactor.listenUDP(0, client, interface="::").write(b"ask", ("fd00:0:0::2", 53))
        reactor.settle()
        self.assertEqual(client.received, [(b"re:ask", ("fd00::2", 53))])
