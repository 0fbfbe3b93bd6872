"""Many connections to HTTP pages, slow ones, and those that ask for more than they take."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.protocol import ClientFactory
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.metrics import Registry
from kdns.corefile.values import ListenAddress
from kdns.plugin.descriptors import PAGES_MOST
from kdns.plugin.http import HttpListener, Response
from kdns.plugin.http_connections import PIECE, REQUEST_SECONDS, RESPONSE_SECONDS
from kdns.plugin.seam import ServerContext
from kdns.plugin.turns import TURN_SECONDS
from kdns.testing.certificates import Authority
from kdns.testing.memory import MemoryReactor
from tests.plugins.web import Client, Talk

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
