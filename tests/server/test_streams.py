"""DNS over TCP: pieces, pipelining, time-outs, bounds and back-pressure, on the memory network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dns.message
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kdns.core.answer import Answer, Sections
from kdns.core.request import Request, Transport
from kdns.plugin.descriptors import client_connections
from kdns.plugin.seam import StreamTimeouts
from kdns.plugin.turns import TURN_SECONDS, TurnQueue
from kdns.server.blocks import ServedBlock
from kdns.server.listener import Listener
from kdns.server.sockets import OpenEndpoint, open_endpoint
from kdns.server.streams import LINGER, ConnectionLimit
from kdns.server.table import TableBudget
from kdns.testing.memory import MemoryReactor
from kdns.wire.constants import REFUSED, SERVFAIL, TXT
from kdns.wire.records import Record, txt
from tests.server.support import Counting, Slow, a_block, a_house, address, zones_of

PORT = 1053


def framed(*messages: bytes) -> bytes:
    """Messages, each behind its length."""
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def asking(ident: int, name: str = "web.prod.") -> bytes:
    """A query."""
    return dns.message.make_query(name, "A", id=ident).to_wire()


class Client(Protocol):
    """A client that keeps what it gets."""

    transport: Any  # Twisted's own annotations cannot be called

    def __init__(self) -> None:
        self.octets = b""
        self.closed = False

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.octets += data

    def connectionLost(self, reason: Any = None) -> None:
        """The server closed, or the client."""
        self.closed = True

    @property
    def replies(self) -> list[dns.message.Message]:
        """The messages that came whole."""
        found = []
        rest = self.octets
        while len(rest) >= 2 and len(rest) >= 2 + int.from_bytes(rest[:2], "big"):
            end = 2 + int.from_bytes(rest[:2], "big")
            found.append(dns.message.from_wire(rest[2:end]))
            rest = rest[end:]
        return found

    @property
    def idents(self) -> list[int]:
        """Which queries were answered, in the order of the replies."""
        return [reply.id for reply in self.replies]


@implementer(IHalfCloseableProtocol)
class HalfClosing(Client):
    """A client that does not close when it is told that nothing more comes."""

    def readConnectionLost(self) -> None:
        """The server will say no more."""

    def writeConnectionLost(self) -> None:
        """The server knows that the client will say no more."""


class _Connect(ClientFactory[Protocol]):
    noisy = False

    def __init__(self, client: Client) -> None:
        self.client = client

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """The one connection."""
        return self.client


class StreamCase(SynchronousTestCase):
    """A listener on the memory network."""

    def serve(self, *blocks: ServedBlock) -> None:
        """Listen with these blocks for the root."""
        self.reactor = MemoryReactor()
        self.context = a_house(self.reactor)
        self.room = TableBudget(1_000_000)
        listener = Listener(self.context, "dns://:1053", zones_of(root=blocks[0]))
        self.opened: OpenEndpoint = open_endpoint(self.reactor, listener, "127.0.0.1", PORT, self.room)
        self.clients: list[Client] = []

    def tearDown(self) -> None:
        for client in self.clients:
            if not client.closed:
                client.transport.abortConnection()
        self.opened.close(self.room)
        self.reactor.advance(0.0)
        self.assertEqual(self.reactor.leftovers(), [])

    def connect(self, client: Client | None = None) -> Client:
        """A connected client."""
        client = client or Client()
        self.clients.append(client)
        self.reactor.connectTCP("127.0.0.1", PORT, _Connect(client))
        self.reactor.settle()
        return client

    def send(self, client: Client, octets: bytes) -> None:
        """Send octets, and let happen what happens at once."""
        client.transport.write(octets)
        self.reactor.settle()

    def metric(self, name: str) -> float:
        """A stream metric of the listener."""
        return next(
            family.counter("dns://:1053", "tcp").value
            for family in self.context.registry.families()
            if family.name == name
        )


class QueryTests(StreamCase):
    """Queries in pieces, together, and out of order."""

    def test_one(self) -> None:
        """A query is answered, and the connection stays."""
        self.serve(a_block())
        client = self.connect()
        self.send(client, framed(asking(1)))
        self.send(client, framed(asking(2)))
        self.assertEqual(client.idents, [1, 2])
        self.assertFalse(client.closed)

    def test_octet_by_octet(self) -> None:
        """A query may come an octet at a time."""
        self.serve(a_block())
        client = self.connect()
        for octet in framed(asking(1), asking(2)):
            self.send(client, bytes((octet,)))
        self.assertEqual(client.idents, [1, 2])

    def test_out_of_order(self) -> None:
        """Queries are answered as they finish: a slow one holds up nobody behind it."""
        slow = Slow()

        def say(request: Request) -> Any:
            return slow(request) if request.qname.startswith(b"\x04slow") else address(request)

        self.serve(a_block(say))
        client = self.connect()
        self.send(client, framed(asking(1, "slow.prod."), asking(2), asking(3, "slow.prod."), asking(4)))
        self.assertEqual(client.idents, [2, 4])
        slow.give(1)
        slow.give(0)
        self.reactor.settle()
        self.assertEqual(client.idents, [2, 4, 3, 1])

    def test_from_the_table(self) -> None:
        """Repeated queries come out of the table with their own identifier, and are counted."""
        observer = Counting(each=True)
        self.serve(a_block(address, observer))
        client = self.connect()
        self.send(client, framed(*(asking(number) for number in range(100))))
        self.assertEqual(client.idents, list(range(100)))
        self.assertEqual(len(observer.exchanges), 1)
        self.assertEqual(len(observer.replay), 99)
        self.context.tallies.fold()
        self.assertEqual(observer.count.value, 100)

    def test_longest(self) -> None:
        """A message may have 65535 octets, and so may its reply."""

        def say(request: Request) -> Answer:
            record = Record(request.spelled, TXT, 1, 5, (b"\xff" + b"x" * 255) * 3)
            return Answer(body=Sections(answer=(record,) * 90))

        self.serve(a_block(say))
        client = self.connect()
        query = asking(1)
        self.send(client, framed(query + bytes(65535 - len(query))))
        self.reactor.advance(0.1)
        self.assertEqual(client.idents, [1])
        self.assertGreater(len(client.octets), 60_000)

    def test_garbage(self) -> None:
        """What cannot be a query ends the connection; queries before it are answered."""
        for garbage in (
            framed(b""),
            framed(b"abc"),
            framed(dns.message.make_response(dns.message.make_query("a.", "A")).to_wire()),
        ):
            self.serve(a_block())
            client = self.connect()
            self.send(client, framed(asking(1)) + garbage + framed(asking(2)))
            self.assertEqual(client.idents, [1])
            self.assertTrue(client.closed)

    def test_malformed(self) -> None:
        """A query that cannot be read is FORMERR, and the connection stays."""
        self.serve(a_block())
        client = self.connect()
        self.send(client, framed(asking(1)[:-1], asking(2)))
        self.assertEqual([reply.rcode() for reply in client.replies], [1, 0])

    def test_client_gone(self) -> None:
        """An answer for a client that is gone goes nowhere."""
        slow = Slow()
        self.serve(a_block(slow))
        client = self.connect()
        self.send(client, framed(asking(1)))
        client.transport.abortConnection()
        self.reactor.settle()
        slow.give()
        self.assertEqual(self.metric("kdns_stream_connections"), 0)

    def test_half_close(self) -> None:
        """A client that has said all it will say still gets its answers, those that come later too; then the connection ends."""
        slow = Slow()

        def say(request: Request) -> Any:
            return slow(request) if request.qname.startswith(b"\x04slow") else address(request)

        self.serve(a_block(say))
        for names in (["web.prod."], ["slow.prod.", "web.prod."]):
            client = self.connect()
            client.transport.write(framed(*(asking(number, name) for number, name in enumerate(names))))
            client.transport.loseWriteConnection()
            self.reactor.settle()
            self.assertEqual(len(client.replies), 1)
            self.assertEqual(client.closed, not slow.waiting)
            while slow.waiting:
                slow.give()
            self.reactor.settle()
            self.assertEqual(len(client.replies), len(names))
            self.assertTrue(client.closed)

    def test_half_close_without_question(self) -> None:
        """A client that says nothing and then that it will say nothing is let go."""
        self.serve(a_block())
        client = self.connect()
        client.transport.loseWriteConnection()
        self.reactor.settle()
        self.assertTrue(client.closed)

    def test_many_at_the_bound(self) -> None:
        """Thousands of queries in one piece, one short of the bound on those that wait: each is answered, however deep the buffer."""
        slow = Slow()

        def say(request: Request) -> Any:
            return slow(request) if request.qname.startswith(b"\x04slow") else Answer()

        self.serve(a_block(say))
        self.opened.factory.most_in_flight = 2
        client = self.connect()
        self.send(client, framed(asking(9999, "slow."), *(asking(number, "fast.") for number in range(3000))))
        self.reactor.advance(0.1)
        self.assertEqual(client.idents, list(range(3000)))
        slow.give()


class TimeTests(StreamCase):
    """How long a connection may do what."""

    def test_first_query(self) -> None:
        """A connection without a query ends after 3 seconds, and one with half a query as well."""
        self.serve(a_block())
        silent, half = self.connect(), self.connect()
        self.send(half, framed(asking(1))[:-3])
        self.reactor.advance(StreamTimeouts().read - 0.01)
        self.assertEqual((silent.closed, half.closed), (False, False))
        self.reactor.advance(0.02)
        self.assertEqual((silent.closed, half.closed), (True, True))
        self.assertEqual((silent.octets, half.octets), (b"", b""))

    def test_dribble(self) -> None:
        """Octets of a query that does not come whole do not keep a connection open."""
        self.serve(a_block())
        client = self.connect()
        for octet in framed(asking(1))[:20]:
            self.send(client, bytes((octet,)))
            self.reactor.advance(0.3)
        self.assertTrue(client.closed)

    def test_idle(self) -> None:
        """A connection ends 10 seconds after its last query."""
        self.serve(a_block())
        client = self.connect()
        self.send(client, framed(asking(1)))
        self.reactor.advance(StreamTimeouts().idle - 0.1)
        self.send(client, framed(asking(2)))
        self.reactor.advance(StreamTimeouts().idle - 0.1)
        self.assertFalse(client.closed)
        self.reactor.advance(0.2)
        self.assertTrue(client.closed)

    def test_not_idle_while_waiting(self) -> None:
        """A connection whose query still waits is not idle; the query's own deadline answers it."""
        slow = Slow()
        self.serve(a_block(slow))
        self.opened.listener.zones.timeouts = StreamTimeouts(idle=1.0)
        client = self.connect()
        self.send(client, framed(asking(1)))
        self.reactor.advance(4.9)
        self.assertEqual([reply.rcode() for reply in client.replies], [SERVFAIL])

    def test_most_queries(self) -> None:
        """After so many queries the connection takes no more, and ends when they are answered, fast and slow ones."""
        slow = Slow()
        self.serve(a_block(slow))
        self.opened.listener.zones.timeouts = StreamTimeouts(queries=3)
        client = self.connect()
        self.send(client, b"".join(framed(asking(number)) for number in range(1, 6)))
        self.assertEqual(len(slow.waiting), 3)
        self.send(client, framed(asking(6)))
        for _ in range(3):
            slow.give()
        self.reactor.advance(1.0)
        self.assertEqual([reply.id for reply in client.replies], [1, 2, 3])
        self.assertEqual((len(slow.waiting), client.closed), (0, True))

    def test_most_queries_from_the_table(self) -> None:
        """Replies from the answer table count, too."""
        self.serve(a_block())
        self.opened.listener.zones.timeouts = StreamTimeouts(queries=4)
        client = self.connect()
        for number in range(1, 4):
            self.send(client, framed(asking(number)))
        self.assertFalse(client.closed)
        self.send(client, framed(asking(4)) + framed(asking(5)))
        self.reactor.advance(1.0)
        self.assertEqual(([reply.id for reply in client.replies], client.closed), ([1, 2, 3, 4], True))


class TurnTests(StreamCase):
    """Many connections, on a clock that moves by the work that is done for them."""

    WORK = 0.0001
    """Seconds that each answer takes."""

    def test_many_connections(self) -> None:
        """Two hundred clients that send hundreds of queries each: no turn is longer than its deadline and one answer, and all get on."""
        worked = 0.0

        def say(request: Request) -> Answer:
            nonlocal worked
            worked += self.WORK
            return Answer(SERVFAIL)  # which the table does not keep

        self.serve(a_block(say))
        self.context.clock = lambda: worked
        self.context.turns = TurnQueue(self.reactor, self.context.clock)
        clients = [self.connect() for _ in range(200)]
        queries = framed(*(asking(number) for number in range(100)))
        for client in clients:
            client.transport.write(queries)
        longest, before, fewest, most = 0.0, worked, [], []
        while self.reactor.turn():
            longest, before = max(longest, worked - before), worked
            counts = sorted(len(client.octets) for client in clients)
            fewest.append(counts[0])
            most.append(counts[-1])
        self.assertEqual([len(client.replies) for client in clients], [100] * 200)
        self.assertLessEqual(longest, TURN_SECONDS + self.WORK)
        first = next(number for number, octets in enumerate(fewest) if octets)
        self.assertLessEqual(
            most[first], most[-1] / 10, "the last client was served when the first had a tenth of its answers"
        )

    def test_one_client_with_much(self) -> None:
        """A client with one query does not wait for those of a client with hundreds."""
        worked = 0.0

        def say(request: Request) -> Answer:
            nonlocal worked
            worked += self.WORK
            return Answer(SERVFAIL)

        self.serve(a_block(say))
        self.context.clock = lambda: worked
        self.context.turns = TurnQueue(self.reactor, self.context.clock)
        flood, one = self.connect(), self.connect()
        flood.transport.write(framed(*(asking(number) for number in range(400))))
        one.transport.write(framed(asking(1)))
        while not one.octets:
            self.assertTrue(self.reactor.turn())
        self.assertLess(len(flood.replies), 20)
        self.reactor.settle()
        self.assertEqual(len(flood.replies), 400)


class BoundTests(StreamCase):
    """No client takes more than its share."""

    def test_connections(self) -> None:
        """Of too many connections the one that asked least lately gives way."""
        self.serve(a_block())
        self.opened.factory.limit.most = 3
        clients = [self.connect() for _ in range(3)]
        self.send(clients[0], framed(asking(1)))
        newest = self.connect()
        self.assertEqual([client.closed for client in clients], [False, True, False])
        self.send(newest, framed(asking(2)))
        self.assertEqual(newest.idents, [2])
        self.assertEqual(self.metric("kdns_stream_connections"), 3)
        self.assertEqual(self.metric("kdns_stream_evictions_total"), 1)

    def test_connections_of_all_listeners(self) -> None:
        """Listeners share the bound, which follows from the file descriptors of the process."""
        self.serve(a_block())
        limit = ConnectionLimit()
        self.assertEqual(limit.most, client_connections())
        limit.most = 2
        listener = Listener(self.context, "dns://:1054", zones_of(root=a_block()))
        other = open_endpoint(self.reactor, listener, "127.0.0.1", PORT + 1, self.room, limit)
        self.opened.factory.limit = limit
        silent, asked = self.connect(), self.connect()
        self.send(asked, framed(asking(1)))
        newest = Client()
        self.clients.append(newest)
        self.reactor.connectTCP("127.0.0.1", PORT + 1, _Connect(newest))
        self.reactor.settle()
        self.assertEqual([client.closed for client in (silent, asked, newest)], [True, False, False])
        self.assertEqual(self.metric("kdns_stream_evictions_total"), 1)
        other.close(self.room)

    def test_in_flight(self) -> None:
        """A client with too many queries under way is not read from until one is answered."""
        slow = Slow()
        self.serve(a_block(slow))
        self.opened.factory.most_in_flight = 4
        client = self.connect()
        self.send(client, framed(*(asking(number, f"n{number}.prod.") for number in range(10))))
        self.assertEqual(len(slow.waiting), 4)
        for number in range(10):
            slow.give()
            self.reactor.settle()
            self.assertLessEqual(len(slow.waiting), 4)
            self.assertEqual(client.idents, list(range(number + 1)))

    def test_back_pressure(self) -> None:
        """A client that does not take its replies is not read from, and goes on where it was when it does."""
        self.serve(a_block())
        self.reactor.window = 2000
        client = self.connect()
        client.transport.pauseProducing()
        count = 6000
        self.send(client, framed(*(asking(number) for number in range(count))))
        waiting = sum(len(getattr(shell, "_buffer", b"")) for shell in self.opened.factory._connections)
        self.assertLess(waiting, 200_000)
        client.transport.resumeProducing()
        self.reactor.advance(0.5)
        self.assertEqual(client.idents, list(range(count)))

    def test_large_unread(self) -> None:
        """A client that does not read is cut off when too many bytes wait for it: replies to what it asked before."""
        slow = Slow()
        self.serve(a_block(slow))
        self.reactor.window = 2000
        client = self.connect()
        self.send(client, framed(*(asking(number, f"n{number}.prod.") for number in range(40))))
        client.transport.pauseProducing()
        records = tuple(txt(b"\0", 30, bytes(250)) for _ in range(200))
        given = 0
        while not self.opened.factory.empty:
            slow.give(answer=Answer(body=Sections(records)))
            self.reactor.settle()
            given += 1
        self.assertTrue(9 <= given <= 14, given)
        self.assertEqual(self.metric("kdns_stream_evictions_total"), 1)

    def test_many_never_read(self) -> None:
        """Of too many clients that do not read, the one that has not for longest is cut off; one that reads again is none of them."""
        self.serve(a_block())
        self.reactor.window = 2000
        self.opened.factory.limit.most_unread = 2
        clients = [self.connect() for _ in range(4)]
        for number, client in enumerate(clients):
            client.transport.pauseProducing()
            self.send(client, framed(*(asking(number) for number in range(6000))))
            if number == 1:
                clients[0].transport.resumeProducing()
                self.reactor.settle()
        self.assertEqual(self.metric("kdns_stream_connections"), 3)
        self.assertEqual(self.metric("kdns_stream_evictions_total"), 1)
        self.assertEqual(clients[0].idents, list(range(6000)))
        for client in clients[2:]:
            client.transport.resumeProducing()
            self.reactor.settle()
            self.assertEqual(client.idents, list(range(6000)))

    def test_never_reads(self) -> None:
        """A client that takes nothing for 5 seconds is cut off."""
        self.serve(a_block())
        self.reactor.window = 2000
        client = self.connect()
        client.transport.pauseProducing()
        self.send(client, framed(*(asking(number) for number in range(6000))))
        self.reactor.advance(StreamTimeouts().write + 0.1)
        self.assertEqual(self.metric("kdns_stream_connections"), 0)

    def test_finish(self) -> None:
        """What was taken is answered, then the client is told that nothing more comes, and closes; in between it may ask, for a while."""
        slow = Slow()
        self.serve(a_block(slow))
        client, idle = self.connect(), self.connect()
        self.send(client, framed(asking(1), asking(2)))
        slow.give(1)
        self.opened.factory.finish_all()
        self.reactor.settle()
        self.assertEqual((client.closed, idle.closed), (False, True))
        self.send(client, framed(asking(3)))
        self.opened.factory.finish_all(reading=False)
        self.send(client, framed(asking(4)))
        slow.give(0)
        self.reactor.settle()
        self.assertEqual((client.idents, client.closed, len(slow.waiting)), ([2, 3, 1], True, 0))
        self.assertTrue(self.opened.factory.empty)

    def test_finish_alone(self) -> None:
        """A client that does not close when it is told that nothing more comes is not waited for."""
        self.serve(a_block())
        client = self.connect(HalfClosing())
        self.opened.factory.finish_all()
        self.reactor.settle()
        self.assertEqual((self.opened.factory.empty, client.closed), (False, False))
        self.reactor.advance(LINGER)
        self.assertTrue(self.opened.factory.empty)

    def test_close(self) -> None:
        """The end of a listener answers what waits, and closes all connections."""
        slow = Slow()
        self.serve(a_block(slow))
        client = self.connect()
        self.send(client, framed(asking(1)))
        self.opened.close(self.room)
        self.room.table()
        self.reactor.settle()
        self.assertEqual([reply.rcode() for reply in client.replies], [SERVFAIL])
        self.assertTrue(client.closed)
        self.serve(a_block())


class SeveralMessagesTests(StreamCase):
    """A reply of several messages, as a zone transfer has it."""

    def messages(self, request: Request, count: int, broken: bool = False) -> Iterator[bytes]:
        """Messages of 30 kB, counted as they are made."""
        for number in range(count):
            if broken and number == 2:
                raise ValueError("nobody foresaw this")
            self.made += 1
            yield self.message(request.ident, number)

    @staticmethod
    def message(ident: int, number: int) -> bytes:
        """One of them."""
        return ident.to_bytes(2, "big") + bytes((0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0)) + bytes(30_000) + bytes((number,))

    def serve_messages(self, count: int, broken: bool = False) -> None:
        """Answer every query with so many messages; counters see the first one."""
        self.made = 0
        self.counting = Counting()

        def say(request: Request) -> Answer:
            if request.qname == b"\x05plain\x00":
                return address(request)
            return Answer(messages=self.messages(request, count, broken))

        self.serve(a_block(say, self.counting))

    def numbers(self, client: Client, ident: int = 1) -> list[int]:
        """Which messages came, in their order."""
        found, rest = [], client.octets
        while len(rest) >= 2:
            end = 2 + int.from_bytes(rest[:2], "big")
            if rest[2:4] == ident.to_bytes(2, "big") and end > 20_000:
                found.append(rest[end - 1])
            rest = rest[end:]
        return found

    def test_whole_and_in_order(self) -> None:
        """All messages come, one after the other, and observers are told once."""
        self.serve_messages(50)
        client = self.connect()
        self.send(client, framed(asking(1)))
        for _ in range(100):
            self.reactor.advance(0.001)
        self.assertEqual(self.numbers(client), list(range(50)))
        self.assertEqual(len(self.counting.exchanges), 1)
        self.assertEqual(len(self.counting.exchanges[0].reply or b""), 30_013)

    def test_as_the_client_takes_them(self) -> None:
        """Messages are made as the client takes them: for one that does not read, none but the first few."""
        self.serve_messages(200)
        client = self.connect()
        client.transport.pauseProducing()
        self.send(client, framed(asking(1)))
        for _ in range(20):
            self.reactor.advance(0.01)
        self.assertLess(self.made, 20)
        client.transport.resumeProducing()
        for _ in range(500):
            self.reactor.advance(0.001)
        self.assertEqual(self.numbers(client), list(range(200)))

    def test_others_between(self) -> None:
        """Other queries of the connection are answered meanwhile, and streams take turns."""
        self.serve_messages(5)
        client = self.connect()
        self.send(client, framed(asking(1), asking(2), asking(3, "plain.")))
        for _ in range(50):
            self.reactor.advance(0.001)
        self.assertEqual((self.numbers(client), self.numbers(client, 2)), ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]))
        self.assertIn(b"\x00\x03", client.octets)

    def test_failure(self) -> None:
        """When a message cannot be made the connection is closed, and the failure is logged."""
        self.serve_messages(5, broken=True)
        client = self.connect()
        self.send(client, framed(asking(1)))
        for _ in range(20):
            self.reactor.advance(0.001)
        self.assertTrue(client.closed)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_over_udp(self) -> None:
        """A transport of single messages refuses."""
        self.serve_messages(5)
        replies: list[bytes] = []
        listener = self.opened.factory.listener
        listener.receive(asking(1), Transport.UDP, "127.0.0.1", 4000, "127.0.0.1", replies.append)
        self.assertEqual((replies[0][3] & 15, self.made), (REFUSED, 0))
