"""Tests of :mod:`kdns.plugins.forward.https`: upstreams over HTTPS."""

from __future__ import annotations

import gc
from base64 import urlsafe_b64decode
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import h2.config
import h2.connection
from twisted.internet.defer import CancelledError
from twisted.internet.ssl import CertificateOptions
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from kdns.core.failure import ResolutionFailed
from kdns.plugins.forward import Carrier, Forwarder, Target
from kdns.plugins.forward.config import DohMethod, TlsFiles
from kdns.plugins.forward.https import HttpsConnection
from kdns.plugins.forward.streams import MOST_CONNECTIONS
from kdns.testing.upstream import FakeUpstream
from tests.plugins.forward.http2_server import Http2Server
from tests.plugins.forward.support import TCP, last_octet
from tests.plugins.forward.test_streams import SecuredCase
from tests.support import a_request


class Doh(Resource):
    """A DoH server in front of a fake upstream."""

    isLeaf = True

    def __init__(self, fake: FakeUpstream) -> None:
        super().__init__()
        self.fake = fake
        self.requests: list[tuple[bytes, bytes, bytes]] = []
        self.status = 200
        self.hold = False
        self.body: bytes | None = None

    def render_GET(self, request: Any) -> Any:
        """The query is in the URL."""
        text = request.args[b"dns"][0]
        return self.reply(request, urlsafe_b64decode(text + b"=" * (-len(text) % 4)))

    def render_POST(self, request: Any) -> Any:
        """The query is the body."""
        return self.reply(request, request.content.read())

    def reply(self, request: Any, query: bytes) -> Any:
        """Answer."""
        self.requests.append((request.method, request.path, query))
        if self.hold:
            return NOT_DONE_YET
        if self.body is not None:
            return self.body
        request.setResponseCode(self.status)
        steps = self.fake.answer(query, "tls")
        return steps[0].message if steps else b""


class DohTests(SecuredCase):
    """DNS over HTTPS."""

    def doh(self) -> tuple[Doh, Target]:
        """A DoH server."""
        page = Doh(self.fake)
        options = self.authority.server("127.0.0.1", "dns.example.com").server_options()
        port = self.reactor.listenSSL(0, Site(page, reactor=self.reactor), options, interface="127.0.0.1")
        self.addCleanup(self.reactor.settle)
        self.net.closing.append(port.stopListening)
        return page, Target("127.0.0.1", port.getHost().port, Carrier.HTTPS)

    def test_post_and_get(self) -> None:
        """``doh_method`` says how the query travels; its identifier is 0, its path ``/dns-query``."""
        page, target = self.doh()
        for method in DohMethod:
            self.assertEqual(last_octet(self.ask(self.forwarder(target, doh_method=method), seconds=0.1)), 44)
        request = a_request("www.example.com")
        self.assertEqual(
            page.requests,
            [(b"GET", b"/dns-query", request.wire(0)), (b"POST", b"/dns-query", request.wire(0))],
        )

    def test_name_of_the_server(self) -> None:
        """The certificate is compared with ``tls_servername``."""
        page, target = self.doh()
        self.ask(self.forwarder(target, tls_servername="dns.example.com"), seconds=0.1)
        self.fails(self.forwarder(target, tls_servername="other.example.com"))
        self.assertEqual(len(page.requests), 1)

    def test_status(self) -> None:
        """Another status than 200 is a failed attempt."""
        page, target = self.doh()
        page.status = 503
        self.assertIn("status 503", self.fails(self.forwarder(target)))

    def test_health_check(self) -> None:
        """Checks go over HTTPS as well."""
        page, target = self.doh()
        page.status = 500
        forwarder = self.net.forwarder(to=(target,), max_connect_attempts=1, tls=TlsFiles(authority=self.ca))
        self.failureResultOf(self.asked(forwarder, seconds=0.0), ResolutionFailed)
        page.status = 200
        self.reactor.advance(2.0)
        self.assertTrue(forwarder.upstreams[0].health.usable)
        self.assertEqual(len(page.requests), 3)

    def test_bounded(self) -> None:
        """However many queries are in flight, HTTP/1.1 has so many connections and the rest wait for their turn."""
        _, target = self.doh()
        for number in range(100):
            self.fake.say(f"host{number}.example.com", f"host{number}.example.com. 300 IN A 192.0.2.{number}")
        forwarder = self.forwarder(target)
        waiting = [forwarder.ask(a_request(f"host{number}.example.com")) for number in range(100)]
        most = 0
        while not all(one.called for one in waiting):
            self.reactor.turn()
            most = max(most, self.connections(target))
        self.assertEqual([last_octet(self.successResultOf(one)) for one in waiting], list(range(100)))
        self.assertEqual(most, MOST_CONNECTIONS)

    def test_silent_server(self) -> None:
        """Queries to a server that accepts connections and says nothing fail in time, on a bounded number of connections."""
        self.reactor.blackhole("127.0.0.1")
        forwarder = self.forwarder(Target("127.0.0.1", 4433, Carrier.HTTPS))
        waiting = [forwarder.ask(a_request(f"host{number}.example.com")) for number in range(500)]
        self.reactor.advance(4.5)
        for one in waiting:
            self.failureResultOf(one, ResolutionFailed)
        self.reactor.lift("127.0.0.1")

    def test_cancelled_request(self) -> None:
        """A client that gives up takes its connection with it: nothing else could be asked there before the response."""
        page, target = self.doh()
        page.hold = True
        forwarder = self.forwarder(target)
        waiting = self.asked(forwarder, seconds=0.1)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.reactor.settle()
        self.assertEqual(self.connections(target), 0)

    def test_bodies_that_are_no_message(self) -> None:
        """A body that is too short or too long fails the query."""
        page, target = self.doh()
        for body in (b"", b"\0", b"\0" * 70000):
            page.body = body
            self.assertIn("https" if body[2:] == b"" or len(body) > 2 else "", self.fails(self.forwarder(target)))

    def connections(self, target: Target) -> int:
        """Connections to the server that are open."""
        return len(
            [line for line in self.reactor.leftovers() if line.startswith("TCP conn") and f"-> {target.text}" in line]
        )


class Http2Tests(SecuredCase):
    """DNS over HTTPS where the server speaks HTTP/2."""

    def serve(self, most_streams: int = 100, hold: bool = False) -> tuple[Http2Server, Target]:
        """A server for *most_streams* requests at a time on each connection."""
        server = Http2Server(lambda query: None if hold else self.reply_to(query), most_streams)
        mine = self.authority.server("127.0.0.1").private_certificate()
        options = CertificateOptions(
            privateKey=mine.privateKey.original, certificate=mine.original, acceptableProtocols=[b"h2"]
        )
        port = self.reactor.listenSSL(0, server, options, interface="127.0.0.1")
        self.addCleanup(self.reactor.settle)
        self.net.closing.append(port.stopListening)
        return server, Target("127.0.0.1", port.getHost().port, Carrier.HTTPS)

    def reply_to(self, query: bytes) -> bytes:
        """The fake upstream's reply."""
        return self.fake.answer(query, "tls")[0].message

    def test_request(self) -> None:
        """GET has the query in its path, POST in its body; the identifier is 0."""
        server, target = self.serve()
        self.assertEqual(last_octet(self.ask(self.forwarder(target), seconds=0.1)), 44)
        message = a_request("www.example.com").wire(0)
        self.assertEqual(self.fake.received[-1].query, message)
        self.assertEqual(
            server.headers[0],
            {
                ":method": "POST",
                ":scheme": "https",
                ":authority": target.text,
                ":path": "/dns-query",
                "accept": "application/dns-message",
                "content-type": "application/dns-message",
                "content-length": str(len(message)),
            },
        )
        server.answer = lambda body: self.reply_to(message)
        self.ask(self.forwarder(target, doh_method=DohMethod.GET), seconds=0.1)
        path = server.headers[1][":path"].removeprefix("/dns-query?dns=")
        self.assertEqual(urlsafe_b64decode(path + "=" * (-len(path) % 4)), message)

    def test_one_connection(self) -> None:
        """Queries in flight share a connection; each gets its own reply, in whichever order they come."""
        server, target = self.serve(hold=True)
        names = [f"host{number}.example.com" for number in range(60)]
        for number, name in enumerate(names):
            self.fake.say(name, f"{name}. 300 IN A 192.0.2.{number}")
        forwarder = self.forwarder(target)
        waiting = [forwarder.ask(a_request(name)) for name in names]
        self.reactor.advance(0.1)
        self.assertEqual((server.accepted, len(server.held)), (1, 60))
        for connection, stream, query in reversed(server.held):
            connection.respond(stream, self.reply_to(query))
        self.reactor.settle()
        self.assertEqual([last_octet(self.successResultOf(one)) for one in waiting], list(range(60)))

    def test_as_many_streams_as_the_server_allows(self) -> None:
        """When a connection carries all it may, another one is made, one after another; beyond sixteen, queries wait."""
        server, target = self.serve(most_streams=5, hold=True)
        forwarder = self.forwarder(target)
        self.ask_and_answer(forwarder, server)
        waiting = [forwarder.ask(a_request(f"host{number}.example.com")) for number in range(200)]
        self.reactor.advance(0.1)
        self.assertEqual((server.accepted, len(server.held)), (16, 80))
        while server.held:
            connection, stream, query = server.held.pop()
            connection.respond(stream, self.reply_to(query))
            self.reactor.settle()
        for one in waiting:
            self.successResultOf(one)
        self.assertEqual(server.accepted, 16)

    def ask_and_answer(self, forwarder: Forwarder, server: Http2Server) -> None:
        """One query, so that it is known what the server speaks and allows."""
        waiting = self.asked(forwarder, seconds=0.1)
        connection, stream, query = server.held.pop()
        connection.respond(stream, self.reply_to(query))
        self.reactor.settle()
        self.successResultOf(waiting)

    def test_refused_stream(self) -> None:
        """A request that the server refuses to take on is sent again."""
        server, target = self.serve(hold=True)
        waiting = self.asked(self.forwarder(target), seconds=0.1)
        connection, stream, _ = server.held.pop()
        connection.refuse(stream)
        self.reactor.settle()
        connection, stream, query = server.held.pop()
        connection.respond(stream, self.reply_to(query))
        self.reactor.settle()
        self.assertEqual(last_octet(self.successResultOf(waiting)), 44)

    def test_goaway(self) -> None:
        """A server that ends a connection in good order loses no query."""
        server, target = self.serve(hold=True)
        forwarder = self.forwarder(target)
        self.ask_and_answer(forwarder, server)
        waiting = self.asked(forwarder, "other.example.com", seconds=0.1)
        connection, _, _ = server.held.pop()
        connection.http.close_connection()
        connection.flush()
        self.reactor.advance(0.1)
        self.assertEqual(server.accepted, 2)
        connection, stream, query = server.held.pop()
        connection.respond(stream, self.reply_to(query))
        self.reactor.settle()
        self.successResultOf(waiting)

    def test_cancelled_stream(self) -> None:
        """A client that gives up leaves the connection to the others, and the server is told."""
        server, target = self.serve(hold=True)
        forwarder = self.forwarder(target)
        waiting = self.asked(forwarder, seconds=0.1)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.reactor.settle()
        self.assertEqual((server.cancelled, len(server.open)), (1, 1))

    def test_status(self) -> None:
        """Another status than 200 is a failed attempt, and the connection stays."""
        server, target = self.serve(hold=True)
        forwarder = self.forwarder(target)
        waiting = self.asked(forwarder, seconds=0.1)
        connection, stream, _ = server.held.pop()
        connection.respond(stream, b"", 503)
        self.reactor.settle()
        self.assertIn("status 503", self.failureResultOf(waiting, ResolutionFailed).value.text)
        self.assertEqual(len(server.open), 1)

    def test_garbage(self) -> None:
        """Bytes that are no HTTP/2 end the connection, not the server."""
        server, target = self.serve(hold=True)
        waiting = self.asked(self.forwarder(target), seconds=0.1)
        connection, _, _ = server.held.pop()
        transport: Any = connection.transport
        transport.write(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")  # data of stream 0
        self.reactor.advance(0.1)
        self.failureResultOf(waiting, ResolutionFailed)


class GarbageTests(SecuredCase):
    """Nothing is left for the garbage collector: a server that never collects would grow with every query."""

    def cycles(self, ask: Callable[[], object]) -> int:
        """Objects in cycles that are left after some queries, for each query."""
        for _ in range(5):
            ask()  # what is made once
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for _ in range(50):
            ask()
        return gc.collect() // 50

    def test_answered(self) -> None:
        """Queries that are answered leave none."""
        page = Doh(self.fake)
        options = self.authority.server("127.0.0.1").server_options()
        port = self.reactor.listenSSL(0, Site(page, reactor=self.reactor), options, interface="127.0.0.1")
        self.net.closing.append(port.stopListening)
        forwarder = self.forwarder(Target("127.0.0.1", port.getHost().port, Carrier.HTTPS))
        server = Http2Server(lambda query: self.fake.answer(query, "tls")[0].message)
        mine = self.authority.server("127.0.0.1").private_certificate()
        both = CertificateOptions(
            privateKey=mine.privateKey.original, certificate=mine.original, acceptableProtocols=[b"h2"]
        )
        second = self.reactor.listenSSL(0, server, both, interface="127.0.0.1")
        self.net.closing.append(second.stopListening)
        over_http2 = self.forwarder(Target("127.0.0.1", second.getHost().port, Carrier.HTTPS))
        tls = self.forwarder(self.listen("127.0.0.1"))
        plain = self.net.forwarder()
        self.assertEqual(self.cycles(lambda: self.ask(plain)), 0, "udp")
        self.assertEqual(self.cycles(lambda: self.ask(plain, a_request("www.example.com", transport=TCP))), 0, "tcp")
        self.assertEqual(self.cycles(lambda: self.ask(tls, seconds=0.1)), 0, "tls")
        self.assertEqual(self.cycles(lambda: self.ask(over_http2, seconds=0.1)), 0, "http/2")
        self.assertLess(
            self.cycles(lambda: self.ask(forwarder, seconds=0.1)), 60, "http/1.1, with what the test's server leaves"
        )

    def test_refused(self) -> None:
        """Nor do queries that are refused, but for what Twisted's own client of a connection leaves: it refers to itself."""
        for carrier, most in ((Carrier.DNS, 0), (Carrier.TLS, 5), (Carrier.HTTPS, 5)):
            forwarder = self.forwarder(Target("127.0.0.1", 9, carrier))
            self.assertLessEqual(self.cycles(partial(self.fails, forwarder)), most, carrier)


class MutatedTests(SecuredCase):
    """Servers whose responses were changed on their way."""

    def test_mutated(self) -> None:
        """Whatever comes, nothing is raised: a query fails, or has a reply."""
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        server.initiate_connection()
        settings = server.data_to_send()
        connection, transport = self.connection(b"h2")
        connection.dataReceived(settings)
        connection.ask(bytes(20))
        server.receive_data(bytes(transport.written))
        server.data_to_send()
        server.send_headers(1, [(":status", "200"), ("content-type", "application/dns-message")])
        server.send_data(1, bytes(60), end_stream=True)
        responses = {
            b"h2": server.data_to_send(),
            b"http/1.1": b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 20\r\n\r\n" + bytes(20),
        }
        chance, ended = Random(9113), 0
        for protocol, response in list(responses.items()) * 400:
            octets = bytearray(response)
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(len(octets))
                octets[at : at + chance.randrange(2)] = chance.randbytes(chance.randrange(4))
            connection, transport = self.connection(protocol)
            if protocol == b"h2":
                connection.dataReceived(settings)
            waiting = connection.ask(bytes(20))
            outcomes: list[object] = []
            waiting.addBoth(outcomes.append)
            connection.dataReceived(bytes(octets))
            ended += len(outcomes)
            connection.connectionLost()
            self.assertEqual(len(outcomes), 1)
        self.assertGreater(ended, 200)

    def connection(self, protocol: bytes) -> tuple[HttpsConnection, Wire]:
        """A connection on which the server speaks *protocol*."""
        connection = HttpsConnection(DohMethod.POST, "127.0.0.1:443", self.reactor, Random(1), True)
        transport = Wire(protocol)
        connection.makeConnection(transport)
        connection.handshakeCompleted()
        return connection, transport


class Wire:
    """The transport of a connection that leads nowhere."""

    def __init__(self, protocol: bytes) -> None:
        self.negotiatedProtocol = protocol
        self.written = bytearray()
        self.transport = self

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written += data

    def loseConnection(self) -> None:
        """Nothing to lose."""

    abortConnection = loseConnection
