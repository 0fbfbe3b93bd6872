"""Connections for DNS over HTTPS: the answer table, bounds, timeouts and the end, on the memory network."""

from __future__ import annotations

import base64
import sys
from typing import Any

import dns.message
import h2.errors
import h2.settings
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame, RstStreamFrame, WindowUpdateFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.request import Request, Transport
from kdns.core.validity import ALWAYS
from kdns.plugin.seam import ConnectionLimits, StreamTimeouts
from kdns.plugin.turns import TURN_SECONDS, TurnQueue
from kdns.server.blocks import ServedBlock
from kdns.server.doh import MOST_BODY
from kdns.server.http2 import MOST_REMEMBERED, MOST_RESETS, MOST_UNSENT
from kdns.server.http_shell import HttpShell
from kdns.server.listener import Listener
from kdns.server.sockets import OpenEndpoint, open_https
from kdns.server.table import TableBudget
from kdns.testing.certificates import Authority
from kdns.testing.memory import MemoryReactor
from kdns.wire.records import txt
from tests.encrypted import Client, Got, Http1Client, Http2Client, TlsClient, connect
from tests.server.support import Counting, Slow, a_block, a_house, address, zones_of

PORT = 1443
IDENTITY = Authority().server("dns.test")


class Certificate:
    """What ``tls`` has made."""

    def __init__(self) -> None:
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        own = IDENTITY.private_certificate()
        self.context.use_certificate(own.original)
        self.context.use_privatekey(own.privateKey.original)
        self.context.set_alpn_select_callback(lambda _, offered: offered[0])

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """The server's side of a connection."""
        return SSL.Connection(self.context, None)


def asking(ident: int = 0, name: str = "web.prod.", qtype: str = "A") -> bytes:
    """A query."""
    return dns.message.make_query(name, qtype, id=ident).to_wire()


def big(request: Request) -> Answer:
    """A large answer for everybody."""
    records = tuple(txt(request.spelled, 30, bytes([number]) * 250) for number in range(200))
    return Answer(body=Sections(records), validity=ALWAYS)


class HttpsCase(SynchronousTestCase):
    """A listener on the memory network."""

    def serve(self, block: ServedBlock, connections: int = 200, secure: bool = True) -> None:
        """Listen with this block for the root."""
        self.reactor = MemoryReactor()
        self.context = a_house(self.reactor)
        self.room = TableBudget(1_000_000)
        zones = zones_of(root=block)
        zones.tls = Certificate() if secure else None
        zones.limits = ConnectionLimits(connections)
        self.listener = Listener(self.context, "https://:1443", zones)
        self.opened: OpenEndpoint = open_https(self.reactor, self.listener, "127.0.0.1", PORT, self.room)
        self.clients: list[Client] = []

    def tearDown(self) -> None:
        for client in self.clients:
            if not client.closed:
                client.transport.abortConnection()
        self.opened.close(self.room)
        self.reactor.advance(0.0)
        self.assertEqual(self.reactor.leftovers(), [])

    def connect(self, kind: type[Client] = Http2Client) -> Any:
        """A connected client."""
        client = kind()
        self.clients.append(client)
        tls = None
        if self.listener.zones.tls is not None:
            tls = TlsClient((b"h2" if kind is Http2Client else b"http/1.1",))
        connect(self.reactor, PORT, client, tls)
        return client

    def post(self, client: Any, message: bytes | None = None) -> Got:
        """Ask, and let happen what happens at once."""
        got: Got = client.request("POST", "/dns-query", asking() if message is None else message)
        self.reactor.settle()
        return got

    def metric(self, name: str, *labels: str) -> float:
        """A metric."""
        family = next(family for family in self.context.registry.families() if family.name == name)
        return family.counter(*labels).value


class RequestTests(HttpsCase):
    """Requests and responses."""

    def test_table(self) -> None:
        """A repeated query is answered from the table, counted as others are, and shared by both versions of HTTP."""
        observer = Counting(each=True)
        asked: list[Request] = []

        def say(request: Request) -> Answer:
            asked.append(request)
            return address(request)

        self.serve(a_block(say, observer))
        for kind in (Http2Client, Http1Client):
            client = self.connect(kind)
            for ident in (1, 2):
                got = self.post(client, asking(ident))
                self.assertEqual((got.status, dns.message.from_wire(got.body).id), (200, ident))
        self.assertEqual([(one.transport, one.client) for one in asked], [(Transport.HTTPS, "127.0.0.1")])
        self.context.tallies.fold()
        self.assertEqual(observer.count.value, 4)
        self.assertEqual([ident for _, _, ident in observer.replay], [2, 1, 2])
        self.assertEqual(self.metric("coredns_dns_https_responses_total", "https://:1443", "200"), 4)

    def test_later(self) -> None:
        """Responses of HTTP/2 come as they are ready; those of HTTP/1.1 in the order of the requests."""
        slow = Slow()
        self.serve(a_block(slow))
        client = self.connect()
        first, second = self.post(client), self.post(client, asking(0, "other.prod."))
        slow.give(1)
        self.reactor.settle()
        self.assertEqual((first.whole, second.whole), (False, True))
        slow.give()
        self.reactor.settle()
        self.assertTrue(first.whole)

    def test_pipelined(self) -> None:
        """Requests of HTTP/1.1 that come together are answered one after the other."""
        slow = Slow()
        self.serve(a_block(slow))
        client = self.connect(Http1Client)
        client.dataReceived = lambda data: Client.dataReceived(client, data)
        for name in ("a.test.", "b.test.", "c.test."):
            message = asking(0, name)
            head = b"POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(message)
            client.transport.write(head + message)
        self.reactor.settle()
        for number in range(3):
            self.assertEqual(len(slow.waiting), 1)
            slow.give()
            self.reactor.settle()
            self.assertEqual(client.octets.count(b"HTTP/1.1 200 OK"), number + 1)

    def test_expect(self) -> None:
        """A client that waits for leave to send its body gets it."""
        self.serve(a_block())
        client = self.connect(Http1Client)
        client.dataReceived = lambda data: Client.dataReceived(client, data)
        client.transport.write(
            b"POST /dns-query HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(asking())
        )
        self.reactor.settle()
        self.assertTrue(client.octets.startswith(b"HTTP/1.1 100"))
        client.transport.write(asking())
        self.reactor.settle()
        self.assertIn(b"HTTP/1.1 200 OK", client.octets)

    def test_not_http(self) -> None:
        """What is no HTTP is told so, and the connection ends."""
        self.serve(a_block(), secure=False)
        for junk in (
            b"\x00\x1dnonsense\r\n\r\n",
            b"GET /dns-query HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000,
        ):
            client = self.connect(Client)
            client.transport.write(junk)
            self.reactor.advance(1.0)
            self.assertTrue(client.closed)
            self.assertTrue(client.octets.startswith(b"HTTP/1.1 400"), client.octets)

    @settings(max_examples=30, deadline=None)
    @given(st.binary(max_size=300))
    def test_anything(self, junk: bytes) -> None:
        """Whatever a client sends, in either version, raises nothing."""
        self.serve(a_block())
        for kind in (Http2Client, Client):
            client = self.connect(kind)
            client.dataReceived = lambda data: None
            client.transport.write(junk)
            self.reactor.advance(0.1)
        self.tearDown()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.clients = []
        self.serve(a_block())


class BoundTests(HttpsCase):
    """What a connection may hold, and what it may do to others."""

    def test_streams(self) -> None:
        """More queries in flight than a connection may have are refused; taking requests back does not make room."""
        slow = Slow()
        self.serve(a_block(slow))
        client = self.connect()
        numbers = [client.begin("POST", "/dns-query", asking(0, f"a{number}.test.")) for number in range(80)]
        client.flush()
        self.reactor.settle()
        for number in numbers:
            client.http.reset_stream(number)
        client.flush()
        self.reactor.settle()
        self.assertEqual(len(slow.waiting), 80)
        more = []
        for number in range(HttpShell.most_streams - 80 + 5):
            more.append(client.begin("POST", "/dns-query", asking(0, f"b{number}.test.")))
        client.flush()
        self.reactor.settle()
        self.assertEqual(len(slow.waiting), HttpShell.most_streams)
        self.assertEqual(client.resets, dict.fromkeys(more[-5:], int(h2.errors.ErrorCodes.REFUSED_STREAM)))

    def test_resets(self) -> None:
        """A client that takes its requests back all the time is thrown out."""
        slow = Slow()
        self.serve(a_block(slow))
        client = self.connect()
        for _ in range(MOST_RESETS + 2):
            number = client.begin("POST", "/dns-query", asking())
            client.http.reset_stream(number)
        client.flush()
        self.reactor.advance(1.0)
        self.assertEqual(client.goaway, int(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM))
        self.assertTrue(client.closed)

    def test_noise(self) -> None:
        """So is one that sends frames of no request without end."""
        self.serve(a_block())
        client = self.connect()
        client.transport.write(PingFrame(0, b"12345678").serialize() * 1100)
        self.reactor.advance(1.0)
        self.assertEqual(client.goaway, int(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM))

    def test_window(self) -> None:
        """Replies for which a client has no room wait. With too many bytes of them its requests are refused; in the end it is closed."""
        self.serve(a_block(big))
        client = self.connect()
        client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        client.flush()
        self.reactor.settle()
        for _ in range(20):
            self.post(client, asking(0, "big.test.", "TXT"))
        bodies = MOST_UNSENT // 50_000  # a reply has a little more
        self.assertEqual(len(client.resets), 20 - bodies)
        self.reactor.advance(4.0)
        self.assertFalse(client.closed)
        self.reactor.advance(1.5)
        self.assertTrue(client.closed)

    def test_many_windows(self) -> None:
        """Of too many clients without room for their replies, the one that has none for longest is cut off."""
        self.serve(a_block())
        self.opened.factory.limit.most_unread = 1
        clients = [self.connect(), self.connect()]
        for client in clients:
            client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
            client.flush()
            self.post(client)
        self.assertEqual([client.closed for client in clients], [True, False])

    def test_window_opens(self) -> None:
        """A reply that did not fit is sent when there is room."""
        self.serve(a_block(big))
        client = self.connect()
        client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        client.flush()
        self.reactor.settle()
        got = self.post(client, asking(0, "big.test.", "TXT"))
        self.assertTrue(got.whole)
        self.assertEqual(len(dns.message.from_wire(got.body).answer[0]), 200)

    def test_unread(self) -> None:
        """A client with all the room in its windows that does not read costs no more memory than one without room."""
        slow = Slow()
        self.serve(a_block(slow))
        client = self.connect()
        client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
        client.http.increment_flow_control_window(2**31 - 1 - 65_535)
        client.flush()
        for number in range(40):
            client.begin("POST", "/dns-query", asking(0, f"a{number}.test.", "TXT"))
        client.flush()
        self.reactor.settle()
        client.transport.pauseProducing()
        for request, waiting in slow.waiting:
            waiting.callback(big(request))
        self.reactor.settle()
        client.transport.resumeProducing()
        self.reactor.advance(0.1)
        whole = sum(got.whole for got in client.got.values())
        self.assertEqual(len(client.resets), 40 - whole)
        self.assertLessEqual(whole, MOST_UNSENT // 50_000 + 5)  # some fit into buffers on the way

    def test_windows(self) -> None:
        """Room for one byte after another is looked at once for all of them, however many replies wait for it."""
        calls = []
        for streams in (2, 200):
            self.serve(a_block())
            client = self.connect()
            client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
            client.flush()
            for number in range(streams):
                client.begin("POST", "/dns-query", asking(0, f"a{number}.test."))
            client.flush()
            self.reactor.settle()
            client.transport.write(WindowUpdateFrame(0, window_increment=1).serialize() * 39)
            calls.append(0)

            def count(frame: Any, event: str, argument: Any) -> None:
                calls[-1] += event == "call" and frame.f_code.co_name == "local_flow_control_window"

            sys.setprofile(count)
            self.reactor.settle()
            sys.setprofile(None)
            if streams == 2:
                self.tearDown()
        self.assertLessEqual(calls[1] - calls[0], 2 * 200)

    def test_headers(self) -> None:
        """A request whose headers do not end is not kept."""
        self.serve(a_block())
        client = self.connect()
        client.transport.write(HeadersFrame(1, b"x" * 16_000).serialize())
        client.transport.write(ContinuationFrame(1, b"x" * 16_000).serialize() * 2)
        self.reactor.advance(1.0)
        self.assertEqual(client.goaway, int(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM))
        self.assertTrue(client.closed)

    def test_header_table(self) -> None:
        """The table of response headers has 4 KiB at most, whatever a client would take."""
        self.serve(a_block(lambda request: Answer(body=Sections((txt(request.spelled, request.ident, b"x"),)))))
        client = self.connect()
        client.http.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 2**31 - 1})
        client.flush()
        for number in range(1, 200):
            self.post(client, asking(number))
        table = client.http.decoder.header_table.dynamic_entries
        self.assertLessEqual(sum(len(name) + len(value) + 32 for name, value in table), 4096)

    def test_closed_streams(self) -> None:
        """A connection of thousands of requests takes no more memory for it."""
        self.serve(a_block())
        client = self.connect()
        self.post(client)
        (connection,) = self.opened.factory._connections  # what h2 keeps is not to be seen from outside
        assert isinstance(connection, HttpShell)
        protocol: Any = connection._http
        for _ in range(5):
            for _ in range(MOST_REMEMBERED // 4):
                client.begin("POST", "/dns-query", asking())
            client.flush()
            self.reactor.settle()
        self.assertTrue(all(got.whole for got in client.got.values()))
        self.assertLessEqual(len(protocol._http._closed_streams), MOST_REMEMBERED)

    def test_bodies(self) -> None:
        """Bodies that are not complete take 128 KiB at most, whatever the number of requests."""
        self.serve(a_block())
        client = self.connect()
        for _ in range(10):
            number = client.http.get_next_available_stream_id()
            fields = [(":method", "POST"), (":path", "/dns-query"), (":scheme", "https"), (":authority", "x")]
            client.http.send_headers(number, fields)
            for _ in range(4):
                room = min(client.http.local_flow_control_window(number), 15_000)
                client.http.send_data(number, bytes(room))
            client.flush()
            self.reactor.settle()
        self.assertEqual(client.http.outbound_flow_control_window, 0)
        self.assertLessEqual(MOST_BODY * 2, 131_072)
        self.reactor.advance(3.1)
        self.assertTrue(client.closed)

    def test_connections(self) -> None:
        """Of too many connections the one that asked nothing for longest gives way."""
        self.serve(a_block(), connections=2)
        first, second = self.connect(), self.connect()
        self.post(first)
        third = self.connect()
        self.reactor.settle()
        self.assertEqual((first.closed, second.closed, third.closed), (False, True, False))
        self.assertEqual(self.metric("kdns_stream_evictions_total", "https://:1443", "https"), 1)

    def test_turns(self) -> None:
        """Many clients with many requests take one and a half milliseconds of a turn, not each of them."""
        self.serve(a_block())
        ticks = 0.0

        def clock() -> float:
            nonlocal ticks
            ticks += 0.0001
            return ticks

        clients = [self.connect() for _ in range(20)]
        self.context.clock = clock
        self.context.turns = TurnQueue(self.reactor, clock)
        longest = 0.0
        for client in clients:
            for number in range(50):
                client.begin("POST", "/dns-query", asking(0, f"a{number}.test."))
            client.flush()
        while True:
            before = ticks
            if not self.reactor.turn():
                break
            longest = max(longest, ticks - before)
        self.assertTrue(all(got.whole for client in clients for got in client.got.values()))
        self.assertLess(longest, 4 * TURN_SECONDS)

    def test_long_requests(self) -> None:
        """A client's requests that come in a few bytes, and take long each, share a turn with nobody else's time."""
        ticks = 0.0

        def clock() -> float:
            return ticks

        def say(request: Request) -> Answer:
            nonlocal ticks
            ticks += 0.001
            return Answer()

        for kind in (Http2Client, Client):
            self.serve(a_block(say))
            client = self.connect(kind)
            self.reactor.settle()
            self.context.clock = clock
            self.context.turns = TurnQueue(self.reactor, clock)
            path = "/dns-query?dns=" + base64.urlsafe_b64encode(asking()).decode().rstrip("=")
            if isinstance(client, Http2Client):
                for _ in range(30):
                    client.begin("GET", path)
                client.flush()
            else:
                client.transport.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 30)
            longest = 0.0
            while True:
                before = ticks
                if not self.reactor.turn():
                    break
                longest = max(longest, ticks - before)
            if isinstance(client, Http2Client):
                self.assertTrue(all(got.whole for got in client.got.values()))
            else:
                self.assertEqual(client.octets.count(b"HTTP/1.1 200"), 30)
            self.assertLess(longest, 2 * TURN_SECONDS)
            if kind is Http2Client:
                self.tearDown()


class TimeTests(HttpsCase):
    """Timeouts, and the end."""

    def test_slow_request(self) -> None:
        """A request must come whole in 3 seconds, however its bytes trickle in."""
        self.serve(a_block())
        for kind in (Http1Client, Http2Client):
            client = self.connect(kind)
            self.post(client)
            self.reactor.advance(5.0)
            self.assertFalse(client.closed)
            if isinstance(client, Http1Client):
                client.transport.write(b"POST /dns-query HTTP/1.1\r\n")
            else:
                number = client.http.get_next_available_stream_id()
                fields = [(":method", "POST"), (":path", "/dns-query"), (":scheme", "https"), (":authority", "x")]
                client.http.send_headers(number, fields)
                client.flush()
            for _ in range(2):
                self.reactor.advance(1.4)
                self.assertFalse(client.closed)
                if isinstance(client, Http1Client):
                    client.transport.write(b"A: b\r\n")
                else:
                    client.http.send_data(number, b"x")
                    client.flush()
            self.reactor.advance(0.3)
            self.assertTrue(client.closed)

    def test_idle(self) -> None:
        """Between requests a client has 10 seconds; pings do not count."""
        self.serve(a_block())
        client = self.connect()
        self.post(client)
        for _ in range(3):
            self.reactor.advance(3.0)
            client.http.ping(b"12345678")
            client.flush()
        self.assertFalse(client.closed)
        self.reactor.advance(1.2)
        self.assertTrue(client.closed)
        self.assertEqual(client.goaway, 0)

    def test_asking_on(self) -> None:
        """A client that takes no responses gains no time by asking on."""
        self.serve(a_block())
        client = self.connect()
        client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        client.flush()
        for _ in range(4):
            self.post(client)
            self.reactor.advance(1.2)
            self.assertFalse(client.closed)
        self.post(client)
        self.reactor.advance(1.2)
        self.assertTrue(client.closed)

    def test_configured(self) -> None:
        """The times are those of ``timeouts``."""
        self.serve(a_block())
        self.listener.zones.timeouts = StreamTimeouts(read=1.0, idle=2.0)
        silent, asking_one = self.connect(), self.connect(Http1Client)
        self.post(asking_one)
        self.reactor.advance(1.1)
        self.reactor.advance(1.1)
        self.assertTrue(asking_one.closed)
        self.assertTrue(silent.closed)

    def test_finish(self) -> None:
        """At the end what was asked is answered, and the client is told that nothing more is."""
        slow = Slow()
        self.serve(a_block(slow))
        busy, idle, old = self.connect(), self.connect(), self.connect(Http1Client)
        self.reactor.settle()
        got, older = self.post(busy), self.post(old)
        self.post(idle)
        slow.give(2)
        self.reactor.settle()
        self.opened.factory.finish_all(reading=False)
        self.reactor.settle()
        self.assertEqual((idle.goaway, busy.goaway), (0, 0))
        self.assertFalse(self.opened.factory.empty)
        slow.give()
        slow.give()
        self.reactor.advance(1.0)
        self.assertTrue(got.whole and older.whole)
        self.assertEqual(older.headers["connection"], "close")
        self.assertTrue(self.opened.factory.empty)

    def test_gone(self) -> None:
        """An answer for a client that is gone, or took its request back, goes nowhere."""
        slow = Slow()
        self.serve(a_block(slow))
        client, gone = self.connect(), self.connect(Http1Client)
        number = client.begin("POST", "/dns-query", asking())
        client.flush()
        self.post(gone)
        client.transport.write(RstStreamFrame(number, 8).serialize())
        gone.transport.abortConnection()
        self.reactor.settle()
        slow.give()
        slow.give()
        self.reactor.settle()
        self.assertFalse(client.got[number].whole)
