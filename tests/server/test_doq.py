"""DNS over QUIC on the memory network: queries, what ends a connection, bounds, timeouts and the end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import dns.message
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer
from kdns.core.request import Request, Transport
from kdns.plugin.seam import ConnectionLimits, StreamTimeouts
from kdns.plugin.turns import TURN_SECONDS, TurnQueue
from kdns.plugins.tls.certificates import ServerIdentity
from kdns.server.blocks import ServedBlock
from kdns.server.doq import EXCESSIVE_LOAD, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR
from kdns.server.listener import Listener
from kdns.server.quic import BAD_CERTIFICATE, LEAST_INITIAL, MOST_UNPROVEN, MOST_UNSENT
from kdns.server.sockets import OpenEndpoint, open_quic
from kdns.server.table import TableBudget
from kdns.testing.certificates import Authority, Identity
from kdns.testing.memory import MemoryReactor
from tests.quic_client import QuicPeer
from tests.server.support import Counting, Slow, a_block, a_house, address, zones_of
from tests.server.test_https import asking, big

PORT = 8853
SERVER = ("127.0.0.1", PORT)
AUTHORITY = Authority()
NAMED = AUTHORITY.server("dns.test")


class Certificate:
    """What ``tls`` has made."""

    def __init__(self, identity: Identity = NAMED) -> None:
        self.lines: list[bytes] = []
        self.logs_keys = True
        self.asks_clients = False
        self.fault = ""
        self.shown: list[Any] = []
        self.renew(identity)

    def renew(self, identity: Identity) -> None:
        """Show another certificate from now on."""
        self._identity = ServerIdentity(
            x509.load_pem_x509_certificate(identity.certificate_pem),
            (),
            load_pem_private_key(identity.key_pem, None),
        )

    def identity(self) -> ServerIdentity:
        """The certificate for a new connection."""
        return self._identity

    def client_fault(self, certificate: Any, chain: Any) -> str:
        """What is wrong with what a client shows."""
        self.shown.append(certificate)
        return self.fault

    def log_key(self, line: bytes) -> None:
        """Take a line of the key log."""
        self.lines.append(line)


class DoqCase(SynchronousTestCase):
    """A listener on the memory network."""

    def serve(
        self, block: ServedBlock, limits: ConnectionLimits | None = None, timeouts: StreamTimeouts | None = None
    ) -> None:
        """Listen with this block for the root."""
        self.reactor = MemoryReactor()
        self.context = a_house(self.reactor)
        self.room = TableBudget(1_000_000)
        zones = zones_of(root=block)
        self.certificate = zones.tls = Certificate()
        zones.limits = limits or ConnectionLimits()
        zones.timeouts = timeouts or zones.timeouts
        self.listener = Listener(self.context, "quic://:8853", zones)
        self.opened: OpenEndpoint = open_quic(self.reactor, self.listener, "127.0.0.1", PORT, self.room)
        self.factory: Any = self.opened.factory
        self.peers: list[QuicPeer] = []

    def tearDown(self) -> None:
        if self.opened.tables[0] in self.room._tables:
            self.opened.close(self.room)
        self.reactor.settle()
        for peer in self.peers:
            peer.leave()
        self.reactor.advance(0.0)
        self.assertTrue(self.factory.empty)
        self.assertEqual(self.factory.by_id, {})
        self.assertEqual(self.reactor.leftovers(), [])

    def peer(self, **options: Any) -> QuicPeer:
        """A client."""
        peer = QuicPeer(self.reactor, SERVER, **options)
        self.peers.append(peer)
        return peer

    def connect(self, **options: Any) -> QuicPeer:
        """A client whose handshake is complete."""
        peer = self.peer(**options).connect()
        self.reactor.advance(0.1)
        return peer

    def ask(self, peer: QuicPeer, message: bytes | None = None) -> int:
        """Ask, and wait a moment: QUIC sends at a pace."""
        number = peer.ask(asking() if message is None else message)
        self.reactor.advance(0.02)
        return number

    def count(self, code: int) -> float:
        """How often something ended with this code."""
        family = next(one for one in self.context.registry.families() if one.name == "coredns_dns_quic_responses_total")
        return family.counter("quic://:8853", f"0x{code:x}").value

    def closed(self, peer: QuicPeer) -> int | None:
        """The code with which the server closed a connection."""
        self.reactor.advance(1.0)
        return None if peer.closed is None else peer.closed.error_code


class QueryTests(DoqCase):
    """Queries and replies."""

    def test_table(self) -> None:
        """A repeated query is answered from the table and counted as others are; each reply ends its stream."""
        observer = Counting(each=True)
        asked: list[Request] = []

        def say(request: Request) -> Answer:
            asked.append(request)
            return address(request)

        self.serve(a_block(say, observer))
        for _ in range(2):
            peer = self.connect()
            for _ in range(2):
                reply = peer.reply(self.ask(peer))
                assert reply is not None
                self.assertEqual(str(dns.message.from_wire(reply).answer[0][0]), "10.96.0.1")
        self.assertEqual([(one.transport, one.client) for one in asked], [(Transport.QUIC, "127.0.0.1")])
        self.assertEqual(asked[0].transport.protocol, "udp")
        self.context.tallies.fold()
        self.assertEqual(observer.count.value, 4)
        self.assertEqual(self.count(NO_ERROR), 4)

    def test_later(self) -> None:
        """Replies come as they are ready, whatever their size."""
        slow = Slow()
        self.serve(a_block(slow))
        peer = self.connect()
        first, second = self.ask(peer), self.ask(peer, asking(0, "big.test."))
        request, waiting = slow.waiting.pop(1)
        waiting.callback(big(request))
        self.reactor.advance(0.5)
        self.assertIsNone(peer.reply(first))
        self.assertGreater(len(peer.reply(second) or b""), 50_000)
        slow.give()
        self.reactor.settle()
        self.assertIsNotNone(peer.reply(first))

    def test_in_pieces(self) -> None:
        """A query may come in pieces; it is answered as soon as it is whole, and what follows is passed over."""
        self.serve(a_block())
        peer = self.connect()
        data = len(asking()).to_bytes(2, "big") + asking()
        number = peer.send(data[:1], end=False)
        for piece in (data[1:5], data[5:]):
            self.assertIsNone(peer.reply(number))
            peer.send(piece, end=False, stream=number)
            self.reactor.advance(0.02)
        self.assertIsNotNone(peer.reply(number))
        peer.send(b"more", end=True, stream=number)
        other = self.ask(peer)
        self.assertIsNotNone(peer.reply(other))

    def test_no_reply(self) -> None:
        """Where the server block says nothing the stream is reset, and the connection stays."""
        self.serve(a_block(lambda request: NO_REPLY))
        peer = self.connect()
        number = self.ask(peer)
        self.assertEqual(peer.resets, {number: INTERNAL_ERROR})
        self.assertIsNone(self.closed(peer))

    def test_without_question(self) -> None:
        """A query that no plugin sees has a reply only where it is SERVFAIL."""
        self.serve(a_block())
        peer = self.connect()
        reply = peer.reply(self.ask(peer, b"\0\0\1\0\0\1\0\0\0\0\0\0"))
        self.assertEqual(reply, b"\0\0\x81\x02\0\0\0\0\0\0\0\0")

    def test_cancelled(self) -> None:
        """A reply that the client does not want any more is not sent; others are."""
        slow = Slow()
        self.serve(a_block(slow))
        peer = self.connect()
        first, second = self.ask(peer), self.ask(peer, asking(0, "b.test."))
        peer.connection.stop_stream(first, 0x3)
        peer.flush()
        self.reactor.advance(0.02)
        slow.give()
        slow.give()
        self.reactor.advance(0.02)
        self.assertIsNone(peer.reply(first))
        self.assertIsNotNone(peer.reply(second))

    def test_key_log(self) -> None:
        """Keys of sessions are given to the key log of ``tls``."""
        self.serve(a_block())
        self.connect()
        words = {line.split()[0] for line in self.certificate.lines}
        self.assertIn(b"CLIENT_TRAFFIC_SECRET_0", words)

    def test_proxy(self) -> None:
        """A proxy names the client in each datagram."""
        slow = Slow()
        self.serve(a_block(slow))
        from kdns.plugin.proxied import Origin

        class Policy:
            def datagram(self, data: bytes, client: str, port: int, now: float) -> Any:
                line, _, rest = data.partition(b"\n")
                return Origin(line.decode(), 7, ""), rest

        self.listener.zones.proxy = Policy()  # type: ignore[assignment]  # only datagrams are taken here
        peer = self.peer()
        send = peer.transport.write
        peer.transport.write = lambda data, addr: send(b"192.0.2.7\n" + data, addr)
        peer.connect()
        self.ask(peer)
        (request, _) = slow.waiting[0]
        self.assertEqual((request.client, request.client_port), ("192.0.2.7", 7))
        slow.give()


class ErrorTests(DoqCase):
    """What ends a connection."""

    def test_protocol_errors(self) -> None:
        """Each of these does, with the code that says so."""
        query = asking()
        keepalive = dns.message.make_query(
            "a.test.", "A", id=0, use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.make(11), b"")]
        )
        self.serve(a_block())
        for message in (
            query[:-1],
            b"\0\7" + query[2:],
            query[:2] + b"\x81" + query[3:],
            query[:11],
            b"",
            b"\xff" * 40,
            keepalive.to_wire(),
        ):
            peer = self.connect()
            self.ask(peer, message)
            self.assertEqual(self.closed(peer), PROTOCOL_ERROR, message)
        for data in (b"", b"\0", b"\0\x21abc"):
            peer = self.connect()
            peer.send(data)
            self.assertEqual(self.closed(peer), PROTOCOL_ERROR, data)
        self.assertEqual(self.count(PROTOCOL_ERROR), 10)

    def test_reset(self) -> None:
        """So does a stream that is given up before its query is whole; later it is nobody's business."""
        self.serve(a_block())
        peer = self.connect()
        number = peer.ask(asking(), end=False)
        self.reactor.advance(0.1)
        peer.connection.reset_stream(number, 0)
        peer.flush()
        self.assertIsNone(self.closed(peer))
        number = peer.send(b"\0\x20a", end=False)
        self.reactor.settle()
        peer.connection.reset_stream(number, 0)
        peer.flush()
        self.assertEqual(self.closed(peer), PROTOCOL_ERROR)

    def test_unidirectional(self) -> None:
        """So does a stream that cannot have a reply."""
        self.serve(a_block())
        peer = self.connect()
        number = peer.connection.get_next_available_stream_id(is_unidirectional=True)
        peer.send(b"\0\x20", stream=number)
        self.assertEqual(self.closed(peer), PROTOCOL_ERROR)

    def test_other_protocol(self) -> None:
        """A client that speaks something else is refused in the handshake, counted and logged."""
        told: list[Any] = []
        observer: Any = told.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.serve(a_block())
        peer = self.connect(alpn="h3")
        self.assertIsNotNone(self.closed(peer))
        family = next(
            one for one in self.context.registry.families() if one.name == "kdns_tls_handshake_failures_total"
        )
        self.assertEqual(family.counter("quic://:8853").value, 1)
        (line,) = [event for event in told if "handshakes failed" in (event.get("log_format") or "")]
        self.assertIn("ALPN", line["reasons"])

    def test_noise(self) -> None:
        """Bytes that are no QUIC leave nothing behind."""
        self.serve(a_block())
        peer = self.connect()
        for data in (
            b"",
            b"\x40",
            bytes(2000),
            b"\xc0" + bytes(1300),
            b"\xc0\0\0\0\1\x08" + bytes(1300),
            b"\xff" * 1400,
        ):
            peer.transport.write(data, SERVER)
            self.reactor.settle()
        self.assertEqual(len(self.factory._clients), 1)
        self.assertIsNotNone(peer.reply(self.ask(peer)))

    def test_version(self) -> None:
        """A client with another version is told which there are."""
        self.serve(a_block())
        peer = self.peer()
        peer.connection = None  # type: ignore[assignment]  # nothing is read as a connection
        got: list[bytes] = []
        peer.datagramReceived = lambda data, addr: got.append(data)  # type: ignore[method-assign]
        first = b"\xc0\x1a\x2a\x3a\x4a\x08" + b"12345678" + b"\x08" + b"abcdefgh"
        peer.transport.write(first.ljust(LEAST_INITIAL, b"\0"), SERVER)
        self.reactor.settle()
        (data,) = got
        self.assertEqual(data[1:5], bytes(4))
        self.assertIn(b"\0\0\0\1", data[5:])
        peer.transport.write(first, SERVER)  # too short to be answered
        self.reactor.settle()
        self.assertEqual(len(got), 1)


class BoundTests(DoqCase):
    """Bounds."""

    def test_connections(self) -> None:
        """With too many connections the one that asked least lately is closed, and told why."""
        self.serve(a_block(), ConnectionLimits(connections=2))
        first, second = self.connect(), self.connect()
        self.ask(first)
        third = self.connect()
        self.assertEqual(self.closed(second), EXCESSIVE_LOAD)
        for peer in (first, third):
            self.assertIsNotNone(peer.reply(self.ask(peer)))

    def test_workers(self) -> None:
        """So many queries are in flight at a time; as many wait, and others are refused."""
        slow = Slow()
        self.serve(a_block(slow), ConnectionLimits(workers=2))
        peer = self.connect()
        numbers = [self.ask(peer, asking(0, f"n{number}.test.")) for number in range(5)]
        self.assertEqual(len(slow.waiting), 2)
        self.assertEqual(peer.resets, {numbers[4]: EXCESSIVE_LOAD})
        for _ in range(4):
            slow.give()
            self.reactor.advance(0.02)
        self.assertEqual([peer.reply(number) is None for number in numbers], [False] * 4 + [True])
        self.assertEqual(self.factory.in_flight, 0)

    def slow_chain(self) -> tuple[Any, Callable[[Request], Answer]]:
        """A clock of the context, and an answer that takes a millisecond of it."""
        ticks = [0.0]

        def say(request: Request) -> Answer:
            ticks[0] += 0.001
            return address(request).once()

        return ticks, say

    def longest(self, ticks: Any) -> float:
        """The longest turn until nothing is left to do, in seconds of that clock."""
        longest = 0.0
        while True:
            before = ticks[0]
            if not self.reactor.turn():
                return longest
            longest = max(longest, ticks[0] - before)

    def test_turns(self) -> None:
        """Many queries in one datagram share a turn with nobody else's time; so do those that waited for others."""
        ticks, say = self.slow_chain()
        slow = Slow()
        answers: list[Any] = [say]

        def chosen(request: Request) -> Any:
            return answers[-1](request)

        for limits in (ConnectionLimits(), ConnectionLimits(workers=40)):
            self.serve(a_block(chosen), limits)
            peers = [self.connect() for _ in range(3)]
            if limits.workers == 40:
                answers.append(slow)
                for number in range(40):
                    peers[0].ask(asking(0, f"slow{number}.test."))
                self.reactor.advance(0.1)
                answers.pop()
            self.context.clock = lambda: ticks[0] + self.reactor.seconds()
            self.context.turns = TurnQueue(self.reactor, self.context.clock)
            for peer in peers[1:]:
                for number in range(18):
                    data = asking(0, f"a{number}.test.")
                    peer.connection.send_stream_data(4 * number, len(data).to_bytes(2, "big") + data, True)
                peer.flush()
            longest = self.longest(ticks)
            if limits.workers == 40:
                self.assertEqual(len(self.factory._queries), 36)
                for _ in range(40):
                    slow.give()
                longest = self.longest(ticks)
            self.reactor.advance(0.1)
            self.assertEqual([len(peer.whole) for peer in peers[1:]], [18, 18])
            self.assertGreater(longest, 0)
            self.assertLess(longest, 2 * TURN_SECONDS)
            if limits.workers != 40:
                self.tearDown()

    def test_many_that_wait(self) -> None:
        """A long queue of queries that are answered at once is worked off."""
        slow = Slow()
        answers: list[Any] = [slow]

        def say(request: Request) -> Any:
            return answers[-1](request)

        self.serve(a_block(say), ConnectionLimits(workers=1500, streams=2000))
        self.factory.listener.zones.limits = ConnectionLimits(workers=1, streams=2000)
        peer = self.connect()
        self.ask(peer)
        self.factory.listener.zones.limits = ConnectionLimits(workers=1500, streams=2000)
        self.factory.in_flight += 1499
        for number in range(1200):
            peer.ask(asking(0, f"n{number}.test."))
            if number % 50 == 0:
                self.reactor.advance(0.01)
        self.reactor.advance(0.5)
        self.factory.in_flight -= 1499
        answers.append(address)
        slow.give()
        self.reactor.advance(1.0)
        self.assertEqual(len(peer.whole), 1201)

    def test_unsent(self) -> None:
        """A client that asks for much and acknowledges nothing is refused."""
        self.serve(a_block(big))
        peer = self.connect()
        peer.silent = True
        for _ in range(MOST_UNSENT // 52_500 + 4):
            self.ask(peer)  # each reply has more bytes than that
        self.assertEqual(self.count(EXCESSIVE_LOAD), 3)

    def test_half_queries(self) -> None:
        """Queries that come in part have a bound."""
        self.serve(a_block())
        peer = self.connect()
        for _ in range(5):
            peer.send(b"\xff\xff" + bytes(60_000), end=False)
            self.reactor.advance(0.5)
        self.assertEqual(self.closed(peer), EXCESSIVE_LOAD)

    def test_retry(self) -> None:
        """With many handshakes in progress, clients must prove their address; those that do are served."""
        self.serve(a_block())
        silent = []
        for _ in range(MOST_UNPROVEN):
            peer = self.peer()
            peer.silent = True
            silent.append(peer.connect())
        self.assertEqual(len(self.factory._clients), MOST_UNPROVEN)
        more = self.peer()
        more.silent = True
        more.connect()
        self.assertEqual((len(self.factory._clients), more.received), (MOST_UNPROVEN, 1))
        peer = self.connect()
        self.assertEqual(peer.connection._retry_count, 1)
        self.assertIsNotNone(peer.reply(self.ask(peer)))
        for one in (*silent, more):
            one.leave()
            self.peers.remove(one)
        self.reactor.advance(3.0)
        self.assertEqual(len(self.factory._clients), 1)

    def test_forged_token(self) -> None:
        """A token that kdns did not make is none."""
        self.serve(a_block())
        peer = self.peer(token=b"made up")
        peer.connect()
        self.reactor.advance(0.1)
        self.assertIsNotNone(peer.reply(self.ask(peer)))


class TimeTests(DoqCase):
    """Timeouts."""

    def test_idle(self) -> None:
        """A connection without queries ends after the idle time."""
        self.serve(a_block(), timeouts=StreamTimeouts(idle=4.0))
        peer = self.connect()
        self.ask(peer)
        peer.leave()
        self.reactor.advance(3.5)
        self.assertFalse(self.factory.empty)
        self.reactor.advance(1.0)
        self.assertTrue(self.factory.empty)
        self.peers.clear()

    def test_slow_query(self) -> None:
        """A query must be whole within the time for reading; bytes that trickle in do not begin it again."""
        self.serve(a_block(), timeouts=StreamTimeouts(read=2.0))
        peer = self.connect()
        number = peer.send(b"\0\x20", end=False)
        for _ in range(3):
            self.reactor.advance(0.6)
            peer.send(b"a", end=False, stream=number)
        self.assertFalse(self.factory.empty)
        self.reactor.advance(0.3)
        self.assertEqual(self.closed(peer), PROTOCOL_ERROR)

    def test_slow_handshake(self) -> None:
        """A handshake must be complete within it, too."""
        self.serve(a_block(), timeouts=StreamTimeouts(read=2.0))
        peer = self.peer()
        peer.silent = True
        peer.connect()
        self.assertFalse(self.factory.empty)
        self.reactor.advance(2.1)
        self.assertTrue(self.factory.empty)

    def test_lost(self) -> None:
        """What is lost is sent again."""
        self.serve(a_block())
        peer = self.connect()
        peer.silent = True
        number = self.ask(peer)
        peer.silent = False
        self.reactor.advance(2.0)
        self.assertIsNotNone(peer.reply(number))


class ChangeTests(DoqCase):
    """Renewed certificates, sessions, the end."""

    def shown(self, peer: QuicPeer) -> Any:
        """The certificate that a client saw."""
        return peer.connection.tls._peer_certificate

    def test_client_certificate(self) -> None:
        """Clients are asked for certificates; one that is turned away is told so, counted, and never asked the chain."""
        slow = Slow()
        self.serve(a_block(slow))
        self.certificate.asks_clients = True
        own = AUTHORITY.client("reader")
        certificate = x509.load_pem_x509_certificate(own.certificate_pem)
        key = load_pem_private_key(own.key_pem, None)
        peer = self.connect(certificate=certificate, private_key=key)
        self.ask(peer)
        slow.give()
        self.assertEqual(peer.tickets, [])
        self.connect()
        self.assertEqual(self.certificate.shown, [certificate, None])
        self.certificate.fault = "not wanted"
        peer = self.peer()
        peer.connect()
        peer.ask(asking())
        self.assertEqual(self.closed(peer), BAD_CERTIFICATE)
        assert peer.closed is not None
        self.assertEqual(peer.closed.reason_phrase, "not wanted")
        self.assertEqual(slow.waiting, [])
        families = {family.name: family for family in self.context.registry.families()}
        self.assertEqual(families["kdns_tls_handshake_failures_total"].counter("quic://:8853").value, 1)

    def test_renewed(self) -> None:
        """A renewed certificate is shown to the next connection; those that are open go on."""
        self.serve(a_block())
        before = self.connect()
        self.certificate.renew(AUTHORITY.server("dns.test"))
        after = self.connect()
        self.assertNotEqual(self.shown(before), self.shown(after))
        for peer in (before, after):
            self.assertIsNotNone(peer.reply(self.ask(peer)))

    def test_resumed(self) -> None:
        """A session is resumed without a certificate, until that is renewed."""
        self.serve(a_block())
        (ticket,) = self.connect().tickets
        for resumed in (True, False):
            peer = self.connect(ticket=ticket)
            assert peer.handshake is not None
            self.assertIs(peer.handshake.session_resumed, resumed)
            self.assertFalse(peer.handshake.early_data_accepted)
            self.assertIsNotNone(peer.reply(self.ask(peer)))
            self.certificate.renew(AUTHORITY.server("dns.test"))

    def test_finish(self) -> None:
        """At the end a query that waits is answered, then the connection is closed; nobody is let in."""
        slow = Slow()
        self.serve(a_block(slow))
        peer, idle = self.connect(), self.connect()
        number = self.ask(peer)
        self.opened.leave()
        self.factory.finish_all()
        self.reactor.settle()
        self.assertEqual(self.closed(idle), NO_ERROR)
        self.peer().connect()
        self.assertEqual(len(self.factory._clients), 1)
        slow.give()
        self.assertEqual(self.closed(peer), NO_ERROR)
        self.assertIsNotNone(peer.reply(number))
        self.assertTrue(self.factory.empty)

    def test_close(self) -> None:
        """Where there is no time for that, what waits is answered SERVFAIL."""
        self.serve(a_block(Slow()))
        peer = self.connect()
        number = self.ask(peer)
        self.opened.close(self.room)
        self.assertEqual(self.closed(peer), NO_ERROR)
        reply = peer.reply(number)
        assert reply is not None
        self.assertEqual(dns.message.from_wire(reply).rcode(), dns.rcode.SERVFAIL)

    def test_client_closes(self) -> None:
        """A client that goes is forgotten at once, and counts as nothing."""
        self.serve(a_block())
        peer = self.connect()
        self.ask(peer)
        peer.connection.close(error_code=0)
        peer.flush()
        self.reactor.settle()
        self.assertTrue(self.factory.empty)
        self.assertEqual([self.count(code) for code in (INTERNAL_ERROR, PROTOCOL_ERROR)], [0, 0])

    def test_no_garbage(self) -> None:
        """Nothing of a connection that has ended waits for the collector of garbage."""
        self.serve(a_block())
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for _ in range(2):
            peer = self.connect()
            self.ask(peer)
            client = next(iter(self.factory._clients))
            parts = [weakref.ref(part) for part in (client, client.connection, client.connection.tls)]
            parts.append(weakref.ref(client.connection._loss))
            del client
            peer.connection.close(error_code=0)
            peer.flush()
            self.reactor.advance(0.1)
            self.assertEqual([part() for part in parts], [None] * 4)

    def test_late_answer(self) -> None:
        """An answer for a client that has gone is dropped."""
        slow = Slow()
        self.serve(a_block(slow))
        peer = self.connect()
        self.ask(peer)
        peer.connection.close(error_code=0)
        peer.flush()
        self.reactor.settle()
        slow.give()
        self.assertEqual(self.factory.in_flight, 0)
