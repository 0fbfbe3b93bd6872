"""HTTP pages and their connections."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kdns.core.metrics import Registry
from kdns.corefile.errors import SetupError
from kdns.corefile.values import ListenAddress
from kdns.plugin.descriptors import PAGES_MOST
from kdns.plugin.http import PIECE, REQUEST_SECONDS, RESPONSE_SECONDS, HttpListener, Response, listener_for
from kdns.plugin.listening import CannotListen
from kdns.plugin.seam import Block, BlockBuilder, Keeper, ServerContext
from kdns.plugin.turns import TURN_SECONDS
from kdns.testing.certificates import Authority
from kdns.testing.memory import MemoryReactor
from tests.plugins.web import Client, Talk, memory_house, port_of

PAGE = bytes(300_000)
WORK = 0.0003
"""Seconds that each page takes to make."""

GET = b"GET /page HTTP/1.1\r\nHost: t\r\n\r\n"
SMALL = b"GET /small HTTP/1.1\r\nHost: t\r\n\r\n"
HOST, STRANGER, OTHER = "10.0.0.1", "10.0.0.66", "10.0.0.7"


class ConnectionCase(SynchronousTestCase):
    """A listener with a large page and a small one, whose clock moves by the work that is done."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.client = Client(self.reactor)
        self.worked = 0.0
        self.made = 0
        self.registry = Registry()
        self.serve()

    def serve(self, tls: Any = None) -> None:
        """Listen on every address."""
        context = ServerContext(self.reactor, clock=self.clock, registry=self.registry)
        self.listener = HttpListener(context, ListenAddress("", 8080), tls)
        self.listener.serve({"/page": lambda: self.make(PAGE), "/small": lambda: self.make(b"OK")})
        self.addCleanup(self.listener.stop)

    def clock(self) -> float:
        """Seconds of work."""
        return self.worked

    def make(self, body: bytes) -> Response:
        """A page."""
        self.made += 1
        self.worked += WORK
        return Response(body)

    def probe(self, source: str = HOST) -> Talk:
        """A probe of the host itself, as the kubelet's of a pod on the host's network."""
        request = b"GET /small HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        return self.client.connect(8080, request, HOST, source)

    def evicted(self) -> float:
        """What the metric says."""
        lines = list(self.registry.lines())
        return float(next(line for line in lines if line.startswith("kdns_http_evictions_total")).split()[1])


class PipelineTests(ConnectionCase):
    """Many requests on one connection."""

    def test_nothing_taken(self) -> None:
        """Of requests whose client takes nothing, one is answered, and a piece or two of the reply is all that waits to be sent."""
        self.reactor.window = 4096
        talk = self.client.connect(8080, b"", source=STRANGER)
        talk.transport.pauseProducing()
        for _ in range(60):
            talk.transport.write(GET * 30)
            self.reactor.settle()
        self.assertEqual(self.made, 1)
        (connection,) = self.listener.connections
        transport = connection.transport
        waiting = len(transport.dataBuffer) - transport.offset + sum(map(len, transport._tempDataBuffer))
        self.assertLessEqual(waiting, 2 * PIECE + 1000)

    def test_all_taken(self) -> None:
        """A client that takes its replies gets them all, in order, small or large."""
        talk = self.client.connect(8080, (SMALL + GET) * 20, source=STRANGER)
        self.assertEqual(self.made, 40)
        self.assertEqual(talk.received.count(b"HTTP/1.1 200 OK"), 40)
        self.assertEqual(talk.received.count(PAGE), 20)
        self.assertFalse(talk.ended)

    def test_slow_reader(self) -> None:
        """A client that stops taking its reply is let go when the time for it is over."""
        self.reactor.window = 4096
        talk = self.client.connect(8080, b"", source=STRANGER)
        talk.transport.pauseProducing()
        talk.transport.write(GET)
        self.reactor.advance(RESPONSE_SECONDS - 0.1)
        self.assertEqual(len(self.listener.connections), 1)
        self.reactor.advance(0.2)
        self.assertEqual(len(self.listener.connections), 0)

    def test_turns(self) -> None:
        """However many connections ask however much, a turn of the reactor takes no longer than one deadline and one page."""
        for number in range(70):
            self.client.connect(8080, b"", HOST, f"10.0.1.{number}")
        for talk in self.client.talks:
            talk.transport.write(SMALL * 20)
        longest, before = 0.0, self.worked
        while self.reactor.turn():
            longest, before = max(longest, self.worked - before), self.worked
        self.assertEqual(self.made, 70 * 20)
        self.assertLessEqual(longest, TURN_SECONDS + WORK)


class TimeTests(ConnectionCase):
    """How long a connection may take for what."""

    def test_silent(self) -> None:
        """A client that sends nothing, or half a request, is let go, without a line in the log."""
        with capturedLogs() as events:
            talks = [self.client.connect(8080, octets) for octets in (b"", b"GET /page HTT")]
            self.reactor.advance(REQUEST_SECONDS - 0.1)
            self.assertEqual([talk.ended for talk in talks], [False, False])
            self.reactor.advance(0.2)
        self.assertEqual([talk.ended for talk in talks], [True, True])
        self.assertEqual(events, [])

    def test_dribbled_headers(self) -> None:
        """A line of a request every three seconds does not begin the time again."""
        talk = self.client.connect(8080, b"GET /page HTTP/1.1\r\n")
        for number in range(3):
            if not talk.ended:
                talk.transport.write(b"X-%d: y\r\n" % number)
            self.reactor.advance(3.0)
        self.assertTrue(talk.ended)

    def test_next_request(self) -> None:
        """After each response there is as much time for the next request."""
        talk = self.client.connect(8080, SMALL)
        for _ in range(3):
            self.reactor.advance(REQUEST_SECONDS - 0.1)
            talk.transport.write(SMALL)
        self.reactor.settle()
        self.assertEqual(self.made, 4)
        self.reactor.advance(REQUEST_SECONDS + 0.1)
        self.assertTrue(talk.ended)


class CrowdTests(ConnectionCase):
    """More connections than there are places."""

    def test_oldest_gives_way(self) -> None:
        """A client with all the places loses its oldest connection to a new one, and it is counted."""
        for _ in range(PAGES_MOST + 50):
            self.client.connect(8080, b"GET /page HTTP/1.1\r\n", HOST, STRANGER)
        open_now = [not talk.ended for talk in self.client.talks]
        self.assertLess(sum(open_now), PAGES_MOST)
        self.assertEqual(open_now, sorted(open_now))
        self.assertEqual(self.evicted(), len(open_now) - sum(open_now))

    def test_another_client(self) -> None:
        """A client with one connection keeps it, however many another one opens later."""
        scraper = self.client.connect(8080, SMALL, HOST, OTHER)
        for _ in range(2 * PAGES_MOST):
            self.client.connect(8080, b"", HOST, STRANGER)
        scraper.transport.write(SMALL)
        self.reactor.settle()
        self.assertEqual((self.made, scraper.ended), (2, False))

    def test_probes_of_the_host(self) -> None:
        """Strangers, each with an address of its own, take no places from clients on this host, and the other way round."""
        held = self.client.connect(8080, SMALL, HOST, HOST)
        for number in range(2 * PAGES_MOST):
            self.client.connect(8080, b"", HOST, f"10.1.{number >> 8}.{number & 255}")
        self.assertEqual(self.probe().answered().body, b"OK")
        self.assertFalse(held.ended)
        stranger = self.client.connect(8080, b"", HOST, OTHER)
        for _ in range(2 * PAGES_MOST):
            self.client.connect(8080, b"", "127.0.0.1")
        self.assertFalse(stranger.ended)

    def test_tls(self) -> None:
        """Over TLS the same: too many connections are closed, not kept without being served, and nothing fails."""
        self.listener.stop()
        self.reactor.settle()
        authority = Authority()
        self.serve(authority.server(HOST).server_options())
        for _ in range(PAGES_MOST + 20):
            self.client.connect(8080, b"", HOST, STRANGER)
        talk = Talk(SMALL)
        factory: ClientFactory[Talk] = ClientFactory()
        factory.noisy = False
        factory.protocol = lambda: talk
        trust = optionsForClientTLS(HOST, cast(Any, authority.trust_root()))
        tls = TLSMemoryBIOFactory(trust, True, cast(Any, factory), cast(Any, self.reactor))
        tls.noisy = False
        self.reactor.connectTCP(HOST, 8080, tls, bindAddress=(STRANGER, 0))
        self.reactor.settle()
        self.assertEqual(talk.answered().body, b"OK")
        self.assertEqual(len(self.listener.connections), sum(not one.ended for one in self.client.talks) + 1)


def site_for(context: ServerContext, kept: Keeper) -> BlockBuilder:
    """A server block with nothing in it."""
    return BlockBuilder(context, Block((), frozenset()), 0, kept=kept)


def hello() -> Response:
    """A page."""
    return Response(b"hello")


class PageTests(SynchronousTestCase):
    """What clients get."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.client = Client(self.reactor)
        self.listener = HttpListener(memory_house(self.reactor), ListenAddress("", 8080))

    def test_page(self) -> None:
        """A page is its octets and nothing else, and the server does not tell what it is made of."""
        self.listener.serve({"/hello": hello})
        answered = self.client.get(8080, "/hello")
        self.assertEqual((answered.status, answered.body), (200, b"hello"))
        self.assertEqual(answered.headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(answered.headers["content-length"], "5")
        self.assertNotIn("server", answered.headers)

    def test_other_paths(self) -> None:
        """Other paths are not found, those below a page neither; what follows a question mark does not matter."""
        self.listener.serve({"/hello": hello})
        for path in ("/", "/hello/", "/hello/more", "/other", "/%68ello"):
            answered = self.client.get(8080, path)
            self.assertEqual((answered.status, answered.body), (404, b"404 page not found\n"), path)
        self.assertEqual(self.client.get(8080, "/hello?x=1").status, 200)

    def test_methods(self) -> None:
        """Whatever the method, the page is the same; HEAD gets no body."""
        self.listener.serve({"/hello": hello})
        self.assertEqual(self.client.get(8080, "/hello", "POST").body, b"hello")
        head = self.client.get(8080, "/hello", "HEAD")
        self.assertEqual((head.status, head.body, head.headers["content-length"]), (200, b"", "5"))

    def test_large_request_body(self) -> None:
        """The body of a request is dropped as it comes."""
        self.listener.serve({"/hello": hello})
        body = b"x" * 300_000
        request = b"POST /hello HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n" + body
        self.assertEqual(self.client.connect(8080, request).answered().body, b"hello")

    def test_ipv6(self) -> None:
        """A listener on every address takes IPv6 too."""
        self.listener.serve({"/hello": hello})
        self.assertEqual(self.client.get(8080, "/hello", host="::1").body, b"hello")

    def test_page_that_comes_later(self) -> None:
        """A page may take its time."""
        waiting: Deferred[Response] = Deferred()
        self.listener.serve({"/slow": lambda: waiting})
        talk = self.client.connect(8080, b"GET /slow HTTP/1.1\r\nHost: t\r\n\r\n")
        self.assertEqual(talk.received, b"")
        waiting.callback(Response(b"at last", 503))
        self.reactor.settle()
        self.assertEqual((talk.answered().status, talk.answered().body), (503, b"at last"))

    def test_client_that_went(self) -> None:
        """A page for a client that has gone meanwhile is dropped."""
        waiting: Deferred[Response] = Deferred()
        self.listener.serve({"/slow": lambda: waiting})
        talk = self.client.connect(8080, b"GET /slow HTTP/1.1\r\nHost: t\r\n\r\n")
        talk.transport.loseConnection()
        self.reactor.settle()
        waiting.callback(Response(b"too late"))
        self.reactor.settle()
        self.assertEqual(talk.received, b"")

    def test_broken_page(self) -> None:
        """A page that fails is logged; its client learns nothing of why."""

        def broken() -> Response:
            raise ZeroDivisionError("secret")

        failing: Deferred[Response] = Deferred()
        self.listener.serve({"/broken": broken, "/later": lambda: failing})
        answered = self.client.get(8080, "/broken")
        self.assertEqual((answered.status, answered.body), (500, b"500 internal server error\n"))
        talk = self.client.connect(8080, b"GET /later HTTP/1.1\r\nHost: t\r\n\r\n")
        failing.errback(ZeroDivisionError("secret"))
        self.reactor.settle()
        self.assertEqual(talk.answered().body, b"500 internal server error\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


class ListenerTests(SynchronousTestCase):
    """When it listens, and where."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(["127.0.0.1", "10.0.0.1", "::1"])
        self.client = Client(self.reactor)

    def test_pages_come_and_go(self) -> None:
        """A path is answered by who came last; without pages the listener is closed."""
        listener = HttpListener(memory_house(self.reactor), ListenAddress("", 8080))
        old = {"/page": lambda: Response(b"old")}
        new = {"/page": lambda: Response(b"new")}
        listener.serve(old)
        listener.serve(new)
        self.assertEqual(self.client.get(8080, "/page").body, b"new")
        listener.withdraw(new)
        self.assertEqual(self.client.get(8080, "/page").body, b"old")
        listener.withdraw(new)
        self.assertEqual(self.client.get(8080, "/page").body, b"old")
        listener.withdraw(old)
        self.assertIsNone(listener.port)
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])

    def test_opened_again(self) -> None:
        """A listener that closed opens with its next page."""
        listener = HttpListener(memory_house(self.reactor), ListenAddress("127.0.0.1", 8080))
        page = {"/page": hello}
        listener.serve(page)
        listener.withdraw(page)
        self.reactor.settle()
        listener.serve(page)
        self.assertEqual(self.client.get(8080, "/page").body, b"hello")

    def test_stop(self) -> None:
        """Stopping closes the connections too, and a second time does nothing."""
        listener = HttpListener(memory_house(self.reactor), ListenAddress("127.0.0.1", 8080))
        listener.serve({"/page": hello})
        talk = self.client.connect(8080, b"")
        listener.stop()
        self.reactor.settle()
        self.assertTrue(talk.ended)
        self.assertEqual(self.reactor.leftovers(), [])
        self.assertIsNone(listener.stop())

    def test_localhost(self) -> None:
        """localhost is the loopback address of IPv4."""
        listener = HttpListener(memory_house(self.reactor), ListenAddress("localhost", 0))
        listener.serve({"/page": hello})
        self.assertEqual(listener.port.getHost().host, "127.0.0.1")
        self.assertEqual(self.client.get(port_of(listener), "/page").body, b"hello")

    def test_address_in_use(self) -> None:
        """An address that is taken is named with the system's reason, and nothing is served."""
        HttpListener(memory_house(self.reactor), ListenAddress("10.0.0.1", 8080)).serve({"/page": hello})
        second = HttpListener(memory_house(self.reactor), ListenAddress("10.0.0.1", 8080))
        error = self.assertRaises(CannotListen, second.serve, {"/page": hello})
        self.assertEqual(str(error), "listen tcp 10.0.0.1:8080: bind: address already in use")
        self.assertIsNone(second.page(b"/page"))

    def test_wildcard_in_use(self) -> None:
        """Every address is shown as it is written in the Corefile."""
        HttpListener(memory_house(self.reactor), ListenAddress("", 8080)).serve({"/page": hello})
        error = self.assertRaises(
            CannotListen, HttpListener(memory_house(self.reactor), ListenAddress("", 8080)).serve, {"/p": hello}
        )
        self.assertEqual(str(error), "listen tcp :8080: bind: address already in use")

    def test_no_such_address(self) -> None:
        """An address of another host cannot be had."""
        listener = HttpListener(memory_house(self.reactor), ListenAddress("192.0.2.1", 8080))
        error = self.assertRaises(CannotListen, listener.serve, {"/page": hello})
        self.assertEqual(str(error), "listen tcp 192.0.2.1:8080: bind: cannot assign requested address")


class SharingTests(SynchronousTestCase):
    """Who shares a listener."""

    def setUp(self) -> None:
        self.context = memory_house(MemoryReactor())
        self.address = ListenAddress("", 9153)

    def test_same_address(self) -> None:
        """All that ask for an address share one listener, and so does the next configuration."""
        kept = Keeper()
        first = listener_for(site_for(self.context, kept=kept), "health", self.address)
        self.assertIs(listener_for(site_for(self.context, kept=kept), "ready", self.address), first)
        self.assertIs(listener_for(site_for(self.context, kept=Keeper(kept.taken)), "health", self.address), first)

    def test_other_certificates(self) -> None:
        """One address cannot be both secure and not."""
        kept = Keeper()
        listener_for(site_for(self.context, kept=kept), "health", self.address)
        error = self.assertRaises(
            SetupError, listener_for, site_for(self.context, kept=kept), "prometheus", self.address, "certificates"
        )
        self.assertEqual(str(error), "plugin/prometheus: address :9153 is already used with another tls setting")


class SocketTests(TestCase):
    """On the system's own sockets."""

    def fetch(self, port: int, family: socket.AddressFamily, host: str) -> Deferred[bytes]:
        """The reply to a request over a blocking socket in a thread."""
        from twisted.internet.threads import deferToThread

        def talk() -> bytes:
            with socket.socket(family, socket.SOCK_STREAM) as made:
                made.settimeout(5)
                made.connect((host, port))
                made.sendall(b"GET /page HTTP/1.0\r\n\r\n")
                received = b""
                while data := made.recv(4096):
                    received += data
                return received

        return deferToThread(talk)

    async def test_shared_port(self) -> None:
        """Two listeners may have one address, as two processes do while one takes over from the other."""
        from twisted.internet import reactor

        first = HttpListener(ServerContext(reactor), ListenAddress("127.0.0.1", 0))
        first.serve({"/page": hello})
        second = HttpListener(ServerContext(reactor), ListenAddress("127.0.0.1", port_of(first)))
        try:
            second.serve({"/page": hello})
            received = await self.fetch(port_of(second), socket.AF_INET, "127.0.0.1")
            self.assertTrue(received.endswith(b"\r\n\r\nhello"), received)
        finally:
            for listener in (first, second):
                closed = listener.stop()
                if closed is not None:
                    await closed

    async def test_taken_port(self) -> None:
        """A socket that shares with nobody keeps others out."""
        from twisted.internet import reactor

        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            listener = HttpListener(ServerContext(reactor), ListenAddress("127.0.0.1", port))
            error = self.assertRaises(CannotListen, listener.serve, {"/page": hello})
            self.assertEqual(str(error), f"listen tcp 127.0.0.1:{port}: bind: address already in use")
