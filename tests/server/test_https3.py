"""DNS over HTTP/3 on the memory network. What it has in common with DNS over QUIC is tested there, what with HTTPS in test_doh."""

from __future__ import annotations

from typing import Any

import dns.message
from aioquic.h3.connection import FrameType, H3Connection, encode_frame
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import ProtocolNegotiated
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer
from kdns.core.request import Request, Transport
from kdns.plugin.seam import ConnectionLimits, StreamTimeouts
from kdns.server.blocks import ServedBlock
from kdns.server.doh import MOST_BODY
from kdns.server.http2 import MOST_RESETS
from kdns.server.https3 import EXCESSIVE_LOAD, NO_ERROR, REQUEST_INCOMPLETE, REQUEST_REJECTED
from kdns.server.listener import Listener
from kdns.server.sockets import OpenEndpoint, open_https3
from kdns.server.table import TableBudget
from kdns.testing.memory import MemoryReactor
from tests.encrypted import Got
from tests.quic_client import QuicPeer
from tests.server.support import Counting, Slow, a_block, a_house, address, zones_of
from tests.server.test_doq import Certificate
from tests.server.test_https import asking, big

SERVER = ("127.0.0.1", 8443)


class Http3Peer(QuicPeer):
    """A client of HTTP/3: aioquic's."""

    def __init__(self, reactor: MemoryReactor, **options: Any) -> None:
        super().__init__(reactor, SERVER, "h3", **options)
        self.got: dict[int, Got] = {}
        self.http: Any = None

    def begin(self) -> Http3Peer:
        """Shake hands."""
        self.connect()
        self.reactor.advance(0.1)
        return self

    def happened(self, event: Any) -> None:
        """Note an event."""
        super().happened(event)
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self.connection)
        for one in self.http.handle_event(event) if self.http is not None else ():
            got = self.got.setdefault(one.stream_id, Got())
            if isinstance(one, HeadersReceived):
                got.take(one.headers)
            elif isinstance(one, DataReceived):
                got.body += one.data
            got.whole = got.whole or one.stream_ended

    def head(
        self, method: str = "POST", path: str = "/dns-query", *more: tuple[bytes, bytes], end: bool = False
    ) -> int:
        """Send the headers of a request."""
        number: int = self.connection.get_next_available_stream_id()
        fields = [(b":method", method.encode()), (b":scheme", b"https"), (b":authority", b"dns.test")]
        self.http.send_headers(number, [*fields, (b":path", path.encode()), *more], end_stream=end)
        return number

    def request(self, method: str = "POST", path: str = "/dns-query", body: bytes | None = None) -> Got:
        """Send a request, and wait a moment for what comes."""
        number = self.head(method, path, end=body is None)
        if body is not None:
            self.http.send_data(number, body, end_stream=True)
        got = self.got[number] = Got()
        self.flush()
        self.reactor.advance(0.1)
        return got


class Https3Tests(SynchronousTestCase):
    """A listener."""

    def serve(self, block: ServedBlock, limits: ConnectionLimits | None = None, **times: float) -> None:
        """Listen with this block for the root."""
        self.reactor = MemoryReactor()
        self.context = a_house(self.reactor)
        self.room = TableBudget(1_000_000)
        zones = zones_of(root=block)
        zones.tls = Certificate()
        zones.limits = limits or ConnectionLimits()
        zones.timeouts = StreamTimeouts(**times)  # type: ignore[arg-type]  # only times are set here
        self.listener = Listener(self.context, "https3://:8443", zones)
        self.opened: OpenEndpoint = open_https3(self.reactor, self.listener, *SERVER, self.room)
        self.peers: list[Http3Peer] = []

    def tearDown(self) -> None:
        self.opened.close(self.room)
        self.reactor.settle()
        for peer in self.peers:
            peer.leave()
        self.reactor.advance(0.0)
        self.assertTrue(self.opened.factory.empty)
        self.assertEqual(self.reactor.leftovers(), [])

    def peer(self, **options: Any) -> Http3Peer:
        """A client whose handshake is complete."""
        self.peers.append(Http3Peer(self.reactor, **options).begin())
        return self.peers[-1]

    def closed(self, peer: Http3Peer) -> int | None:
        """The code with which the server closed a connection."""
        self.reactor.advance(1.0)
        return None if peer.closed is None else peer.closed.error_code

    def metric(self, status: int) -> float:
        """How many responses had a status."""
        families = {family.name: family for family in self.context.registry.families()}
        return families["coredns_dns_https3_responses_total"].counter("https3://:8443", str(status)).value

    def test_table(self) -> None:
        """Requests by GET and POST; a repeated query comes from the table, and is counted as others are."""
        observer = Counting(each=True)
        asked: list[Request] = []

        def say(request: Request) -> Answer:
            asked.append(request)
            return address(request)

        self.serve(a_block(say, observer))
        peer = self.peer()
        for got in (
            peer.request(body=asking()),
            peer.request("GET", "/dns-query?dns=AAABAAABAAAAAAAAA3dlYgRwcm9kAAABAAE"),
            peer.request(body=asking(7)),
        ):
            self.assertEqual(got.status, 200)
            self.assertEqual(got.headers["cache-control"], "max-age=30")
            self.assertEqual(got.headers["content-length"], str(len(got.body)))
            self.assertIn("date", got.headers)
            self.assertEqual(str(dns.message.from_wire(got.body).answer[0][0]), "10.96.0.1")
        self.assertEqual([request.transport for request in asked], [Transport.HTTPS3])
        self.context.tallies.fold()
        self.assertEqual((observer.count.value, self.metric(200)), (3, 3))

    def test_statuses(self) -> None:
        """What is no query, or has no reply, has a status of its own; HEAD has no body."""
        self.serve(a_block(lambda request: NO_REPLY))
        peer = self.peer()
        for method, path, body, status in (
            ("POST", "/dns-query", asking(), 500),
            ("POST", "/other", asking(), 404),
            ("POST", "/dns-query", b"short", 400),
            ("POST", "/dns-query", asking()[:2] + b"\x29" + asking()[3:], 400),
            ("PUT", "/dns-query", asking(), 400),
        ):
            self.assertEqual(peer.request(method, path, body).status, status)
        peer.request("HEAD")  # aioquic's client takes the length of a body that does not come for an error
        self.assertEqual(peer.data[16][-16:], b"invalid request\n")
        self.assertIn(20, peer.whole)
        self.assertNotIn(b"invalid", peer.data[20])

    def test_large(self) -> None:
        """A reply of any size comes whole."""
        self.serve(a_block(big))
        got = self.peer().request(body=asking())
        self.reactor.advance(0.5)
        self.assertTrue(got.whole)
        self.assertGreater(len(got.body), 50_000)

    def test_too_long(self) -> None:
        """A request that is too long is refused without being read to its end; others go on."""
        self.serve(a_block())
        peer = self.peer()
        number = peer.head()
        peer.http.send_data(number, bytes(MOST_BODY + 1), end_stream=False)
        peer.flush()
        self.reactor.advance(1.0)
        self.assertEqual((peer.got[number].status, peer.stopped), (400, {number: NO_ERROR}))
        number = peer.head("POST", "/dns-query", (b"x", bytes(97 for _ in range(20_000))))
        peer.flush()
        self.reactor.advance(1.0)
        self.assertEqual(peer.got[number].status, 400)
        self.assertEqual(peer.request(body=asking()).status, 200)

    def test_many_bodies(self) -> None:
        """Requests that come in part have a bound."""
        self.serve(a_block())
        peer = self.peer()
        for _ in range(4):
            number = peer.head()
            peer.http.send_data(number, bytes(50_000), end_stream=False)
            peer.flush()
            self.reactor.advance(0.5)
        self.assertEqual(self.closed(peer), EXCESSIVE_LOAD)

    def test_in_flight(self) -> None:
        """Queries of cancelled requests count until they are answered."""
        slow = Slow()
        self.serve(a_block(slow), ConnectionLimits(streams=4))
        peer = self.peer()
        for number in range(4):
            peer.request(body=asking(0, f"n{number}.test."))
            peer.connection.stop_stream(4 * number, 0x10C)
            peer.flush()
            self.reactor.advance(0.1)
        peer.request(body=asking(0, "more.test."))
        self.assertEqual(peer.resets.get(16), REQUEST_REJECTED)
        for _ in range(4):
            slow.give()
        self.reactor.advance(0.1)
        got = peer.request(body=asking(0, "again.test."))
        slow.give()
        self.reactor.advance(0.1)
        self.assertTrue(got.whole)

    def test_resets(self) -> None:
        """A client that begins requests and takes them back without end is closed."""
        self.serve(a_block())
        peer = self.peer()
        for _ in range(MOST_RESETS + 2):
            number = peer.head()
            peer.connection.reset_stream(number, 0x10C)
            peer.flush()
            self.reactor.advance(0.05)
        self.assertEqual(self.closed(peer), EXCESSIVE_LOAD)

    def test_slow(self) -> None:
        """A request must be complete within the time for reading."""
        self.serve(a_block(), read=2.0)
        peer = self.peer()
        peer.head()
        peer.flush()
        self.reactor.advance(1.9)
        self.assertIsNone(peer.closed)
        self.assertEqual(self.closed(peer), REQUEST_INCOMPLETE)

    def test_errors(self) -> None:
        """What is no HTTP/3 ends the connection with the code that says so."""
        self.serve(a_block())
        peer = self.peer()
        peer.send(encode_frame(FrameType.DATA, b"too early"))
        self.assertEqual(self.closed(peer), 0x105)  # H3_FRAME_UNEXPECTED

    def test_finish(self) -> None:
        """At the end a request that waits is answered, then the connection is closed."""
        slow = Slow()
        self.serve(a_block(slow))
        peer = self.peer()
        got = peer.request(body=asking())
        self.opened.factory.finish_all()
        slow.give()
        self.assertEqual(self.closed(peer), NO_ERROR)
        self.assertTrue(got.whole)
