"""``grpc``: a kdns that asks another one over gRPC, on the memory network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import dns.message
import dns.rcode
import h2.exceptions
from OpenSSL import SSL
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.failure import ResolutionFailed
from kdns.core.metrics import Registry
from kdns.corefile.errors import SetupError
from kdns.plugin.seam import ConnectionLimits
from kdns.plugins.forward.forwarder import Forwarder
from kdns.plugins.forward.targets import Carrier, NamedTarget, Target
from kdns.plugins.grpc import Grpc, GrpcConfig, GrpcMetrics, directive
from kdns.server.listener import Listener
from kdns.server.sockets import OpenEndpoint, open_grpc
from kdns.server.table import TableBudget
from kdns.testing.certificates import Authority
from kdns.testing.memory import MemoryReactor
from kdns.testing.plugin import PluginBench
from kdns.wire.constants import NXDOMAIN
from kdns.wire.grpc import MOST_PACKET, framed
from kdns.wire.names import ROOT, from_text
from tests.conformance.world import MemoryWorld
from tests.plugins.forward.http2_server import Http2Connection, Http2Server
from tests.server.support import Slow, a_block, a_house, address, zones_of
from tests.support import a_request


def config(text: str) -> GrpcConfig:
    """What the words become."""
    found: GrpcConfig = PluginBench(directive, text).config
    return found


class ConfigTests(SynchronousTestCase):
    """Parsing; the golden cases of errors are in ``tests.conformance.test_start``."""

    def test_targets(self) -> None:
        """An address is asked at port 53, with its scheme at 443; without TLS unless an option asks for it."""
        for to, target in (
            ("10.0.0.1", Target("10.0.0.1", 53, Carrier.GRPC)),
            ("10.0.0.1:8053", Target("10.0.0.1", 8053, Carrier.GRPC)),
            ("grpc://10.0.0.1", Target("10.0.0.1", 443, Carrier.GRPC)),
            ("grpc://10.0.0.1:53", Target("10.0.0.1", 53, Carrier.GRPC)),
            ("grpc://[::1]:8053", Target("::1", 8053, Carrier.GRPC)),
        ):
            self.assertEqual(config(f"grpc . {to}").stanza.to, (target,))
        for option in ("tls", "tls_servername dns.test"):
            (secure,) = config(f"grpc . 10.0.0.1 {{\n{option}\n}}").stanza.to
            self.assertEqual(secure.carrier, Carrier.GRPCS)

    def test_file(self) -> None:
        """The name servers of a file are asked at the port that it says."""
        path = Path(self.mktemp()).absolute()
        path.write_text("nameserver 10.0.0.1\nnameserver 10.0.0.2:8053\n")
        bench = PluginBench(directive, f"grpc . {path}")
        self.assertEqual(bench.config.stanza.to, (NamedTarget(str(path), 53, Carrier.GRPC),))
        link: Any = bench.builder.links[0]
        self.assertEqual([one.text for one in link.forwarders[0].upstreams], ["10.0.0.1:53", "10.0.0.2:8053"])

    def test_fallthrough(self) -> None:
        """Without zones, all."""
        self.assertEqual(config("grpc . 10.0.0.1").fallthrough, ())
        self.assertEqual(config("grpc . 10.0.0.1 {\nfallthrough\n}").fallthrough, (ROOT,))
        found = config("grpc . 10.0.0.1 {\nfallthrough b.test a.test\n}").fallthrough
        self.assertEqual(found, (from_text("b.test"), from_text("a.test")))

    def test_other_scheme(self) -> None:
        """Only gRPC is spoken."""
        with self.assertRaises(SetupError) as raised:
            config("grpc . tls://10.0.0.1")
        self.assertIn("grpc asks over gRPC alone, found: tls://10.0.0.1", str(raised.exception))


CORE = """.:1053 {
    cache 30
    grpc . 127.0.0.1:1054 OPTION
    erratic {
        drop 0
        delay 0
    }
}
grpc://.:1054 {
    hosts HOSTS {
        reload 100ms
    }
    template IN A next.test {
        rcode NXDOMAIN
    }
}
"""


class WorldTests(SynchronousTestCase):
    """Two server blocks, the first of which asks the second."""

    def serve(self, options: str = "") -> None:
        """Start the server."""
        self.hosts = Path(self.mktemp()).absolute()
        self.hosts.write_text("192.0.2.1 web.test\n")
        self.world = MemoryWorld(CORE.replace("HOSTS", str(self.hosts)).replace("OPTION", options))
        self.world.start()
        self.addCleanup(lambda: self.assertEqual(self.world.stop(), []))

    def ask(self, name: str, proto: str = "udp", source: str = "127.0.0.1") -> tuple[str, list[str]]:
        """The code and the addresses of a reply."""
        reply, _ = self.world.ask(dns.message.make_query(name, "A").to_wire(), proto, source)
        assert reply is not None
        message = dns.message.from_wire(reply)
        return dns.rcode.to_text(message.rcode()), sorted(str(one) for rrset in message.answer for one in rrset)

    def test_replies(self) -> None:
        """Asked thrice by two clients over two transports, with a cache and the answer table in front, across a change."""
        self.serve()
        for expected in ("192.0.2.1", "192.0.2.2"):
            for _ in range(3):
                for proto in ("udp", "tcp"):
                    for source in ("127.0.0.1", "127.0.0.2"):
                        self.assertEqual(self.ask("web.test", proto, source), ("NOERROR", [expected]))
            self.hosts.write_text("192.0.2.2 web.test\n")
            self.world.reactor.advance(31.0)  # what the cache may keep
            self.ask("other.test")
            self.world.reactor.advance(1.0)
        metrics = {family.name: family for family in self.world.context.registry.families()}
        self.assertEqual(metrics["coredns_grpc_responses_total"].counter("127.0.0.1:1054", "NOERROR").value, 2)

    def test_fallthrough(self) -> None:
        """A name that does not exist goes to the next plugin if an option says so."""
        self.serve()
        self.assertEqual(self.ask("next.test"), ("NXDOMAIN", []))

    def test_fallthrough_wanted(self) -> None:
        """So it does with ``fallthrough``; names that exist do not."""
        self.serve("{\n fallthrough\n }")
        self.assertEqual(self.ask("next.test"), ("NOERROR", ["192.0.2.53"]))
        self.assertEqual(self.ask("web.test"), ("NOERROR", ["192.0.2.1"]))


class OddServer(Http2Server):
    """Responds with a function."""

    def __init__(self) -> None:
        super().__init__(lambda query: None)
        self.reply: Callable[[Http2Connection, int], None] = lambda connection, stream: None

    def requested(self, connection: Http2Connection, stream: int, body: bytes) -> None:
        """A whole request is there."""
        self.reply(connection, stream)


class UpstreamTests(SynchronousTestCase):
    """The link in front of a server that the test controls."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(["127.0.0.1", "10.0.0.1"])
        self.context = a_house(self.reactor)
        self.room = TableBudget(1_000_000)
        self.authority = Authority()
        self.closing: list[Callable[[], object]] = []

    def tearDown(self) -> None:
        for close in self.closing:
            close()
        self.reactor.advance(1.0)
        self.assertEqual(self.reactor.leftovers(), [])

    def serve(self, say: Any = address, tls: Any = None) -> OpenEndpoint:
        """A server of kdns's own."""
        zones = zones_of(root=a_block(say))
        zones.tls = tls
        zones.limits = ConnectionLimits(streams=10)
        listener = Listener(self.context, "grpc://:443", zones)
        opened = open_grpc(self.reactor, listener, "10.0.0.1", 443, self.room)
        self.closing.append(lambda: opened.close(self.room))
        return opened

    def odd_server(self) -> OddServer:
        """A server that says what the test tells it."""
        server = OddServer()
        port = self.reactor.listenTCP(443, server, interface="10.0.0.1")
        self.closing.append(port.stopListening)
        return server

    def link(self, options: str = "") -> Grpc:
        """The plugin."""
        found = config(f"grpc . 10.0.0.1:443 {options}")
        self.registry = Registry()
        metrics = GrpcMetrics(self.registry)
        self.forwarder = Forwarder(found.stanza, self.reactor, chance=Random(7), metrics=metrics)
        self.forwarder.start()
        self.closing.insert(0, self.forwarder.stop)
        return Grpc(self.forwarder, found.fallthrough)

    def ask(self, link: Grpc, name: str = "web.test", seconds: float = 0.1) -> Any:
        """What the plugin says."""
        found: list[Any] = []
        reply: Any = link.answer(a_request(name), lambda request: Answer(source="next"))
        reply.addBoth(found.append)
        self.reactor.advance(seconds)
        (one,) = found
        return one

    def test_shared(self) -> None:
        """Queries share a connection as long as the server takes more calls on it."""
        slow = Slow()
        opened = self.serve(slow)
        link = self.link()
        waiting: list[Any] = [link.answer(a_request(f"n{number}.test"), lambda _: Answer()) for number in range(30)]
        self.reactor.settle()
        self.assertEqual(len(slow.waiting), 30)
        self.assertEqual(len(opened.factory._connections), 3)
        while slow.waiting:
            slow.give()
            self.reactor.settle()
        answers = [self.successResultOf(one) for one in waiting]
        self.assertEqual({answer.source for answer in answers}, {"grpc"})
        self.assertEqual({answer.body.counts for answer in answers}, {(1, 0, 0)})

    def test_cancelled(self) -> None:
        """A client that gives up cancels its call alone."""
        slow = Slow()
        self.serve(slow)
        link = self.link()
        first: Any = link.answer(a_request("a.test"), lambda _: Answer())
        second: Any = link.answer(a_request("b.test"), lambda _: Answer())
        self.reactor.settle()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        slow.give(1)
        self.reactor.settle()
        self.assertEqual(self.successResultOf(second).source, "grpc")

    def test_tls(self) -> None:
        """With TLS the server's certificate must be for its name."""
        own = self.authority.server("dns.test").private_certificate()
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(own.original)
        context.use_privatekey(own.privateKey.original)
        context.set_alpn_select_callback(lambda _, offered: offered[0])
        self.serve(tls=_Creator(context))
        authority = Path(self.mktemp()).absolute()
        authority.write_bytes(self.authority.certificate_pem)
        answer = self.ask(self.link(f"{{\ntls {authority}\ntls_servername dns.test\n}}"))
        self.assertEqual(answer.source, "grpc")
        failure = self.ask(self.link(f"{{\ntls {authority}\ntls_servername other.test\n}}"))
        self.assertIn("tls handshake", failure.getErrorMessage())

    def test_statuses(self) -> None:
        """NOT_FOUND says that there is no such name; any other status is a failure."""
        server = self.odd_server()
        link = self.link()
        for fields, wanted in (
            ({"grpc-status": "5"}, NXDOMAIN),
            ({"grpc-status": "14", "grpc-message": "busy%0a"}, "status 14: busy?"),
            ({"grpc-status": "x"}, "the response has no status"),
            ({"grpc-status": "9" * 5000}, "the response has no status"),
            ({}, "the response has no status"),
            ({":status": "503"}, "HTTP status 503"),
        ):

            def respond(connection: Http2Connection, stream: int, fields: dict[str, str] = fields) -> None:
                headers = {":status": "200", "content-type": "application/grpc", **fields}
                connection.http.send_headers(stream, list(headers.items()), end_stream=True)
                connection.flush()

            server.reply = respond
            found = self.ask(link)
            if isinstance(wanted, int):
                self.assertEqual((found.rcode, found.source), (wanted, "grpc"))
            else:
                self.assertIn(wanted, found.getErrorMessage())

    def test_bad_packets(self) -> None:
        """A response whose packet or message cannot be read is a failure."""
        server = self.odd_server()
        link = self.link()
        for body in (b"", bytes(5), b"\0\0\0\0\x02\x0a\x05", framed(b"short"), bytes(MOST_PACKET + 100)):

            def respond(connection: Http2Connection, stream: int, body: bytes = body) -> None:
                connection.http.send_headers(stream, [(":status", "200")])
                while body and connection.http.local_flow_control_window(stream) > 0:
                    room = min(connection.http.local_flow_control_window(stream), 16384)
                    connection.http.send_data(stream, body[:room])
                    connection.flush()
                    self.reactor.settle()
                    body = body[room:]
                try:
                    connection.http.send_headers(stream, [("grpc-status", "0")], end_stream=True)
                except h2.exceptions.ProtocolError:
                    pass  # the client has cancelled it
                connection.flush()

            server.reply = respond
            self.assertIsInstance(self.ask(link).value, ResolutionFailed)

    def test_down(self) -> None:
        """Where nobody listens a query fails soon; ``fallthrough`` asks the next plugin instead."""
        failure = self.ask(self.link())
        self.assertIn("connection refused", failure.getErrorMessage())
        self.assertEqual(self.ask(self.link("{\nfallthrough\n}")).source, "next")

    def test_explained(self) -> None:
        """It says what it asks."""
        link = self.link("{\nexcept a.test\n}")
        notes = [note.text for note in link.explain(a_request("web.test"))]
        self.assertEqual(notes[0], "grpc . takes the name; policy random, in turn:")
        notes = [note.text for note in link.explain(a_request("x.a.test"))]
        self.assertEqual(notes, ["grpc . does not take the name: except a.test."])


class _Creator:
    """What ``tls`` has made."""

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """The server's side of a connection."""
        return SSL.Connection(self.context, None)
