"""Connections for DNS over gRPC, on the memory network. What HTTP/2 has in common with DNS over HTTPS is tested there."""

from __future__ import annotations

from typing import Any

import dns.message
import h2.errors
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer
from kdns.core.request import Request, Transport
from kdns.plugin.seam import ConnectionLimits
from kdns.server.blocks import ServedBlock
from kdns.server.http2 import MOST_UNSENT
from kdns.server.listener import Listener
from kdns.server.sockets import OpenEndpoint, open_grpc
from kdns.server.table import TableBudget
from kdns.testing.memory import MemoryReactor
from kdns.wire.grpc import MOST_PACKET, PATH, framed, message_of
from tests.encrypted import Client, Got, Http2Client, TlsClient, connect
from tests.server.support import Counting, Slow, a_block, a_house, address, zones_of
from tests.server.test_https import Certificate, asking, big

PORT = 1443
HEADERS = {"content-type": "application/grpc", "te": "trailers"}


class GrpcCase(SynchronousTestCase):
    """A listener on the memory network."""

    def serve(self, block: ServedBlock, limits: ConnectionLimits | None = None, secure: bool = True) -> None:
        """Listen with this block for the root."""
        self.reactor = MemoryReactor()
        self.context = a_house(self.reactor)
        self.room = TableBudget(1_000_000)
        zones = zones_of(root=block)
        zones.tls = Certificate() if secure else None
        zones.limits = limits or ConnectionLimits()
        self.listener = Listener(self.context, "grpc://:1443", zones)
        self.opened: OpenEndpoint = open_grpc(self.reactor, self.listener, "127.0.0.1", PORT, self.room)
        self.clients: list[Client] = []

    def tearDown(self) -> None:
        for client in self.clients:
            if not client.closed:
                client.transport.abortConnection()
        self.opened.close(self.room)
        self.reactor.advance(0.0)
        self.assertEqual(self.reactor.leftovers(), [])

    def connect(self) -> Any:
        """A connected client."""
        client = Http2Client()
        self.clients.append(client)
        connect(self.reactor, PORT, client, TlsClient((b"h2",)) if self.listener.zones.tls else None)
        return client

    def call(self, client: Any, message: bytes, path: str = PATH.decode(), headers: Any = HEADERS) -> Got:
        """Call, and let happen what happens at once."""
        got: Got = client.request("POST", path, framed(message), headers)
        self.reactor.settle()
        return got


class CallTests(GrpcCase):
    """Calls and what comes back."""

    def test_reply(self) -> None:
        """A reply has its packet, and the status in the trailers; a repeated query comes from the table."""
        observer = Counting(each=True)
        asked: list[Request] = []

        def say(request: Request) -> Answer:
            asked.append(request)
            return address(request)

        for secure in (True, False):
            self.serve(a_block(say, observer), secure=secure)
            client = self.connect()
            for ident in (1, 2, 3):
                got = self.call(client, asking(ident))
                self.assertEqual(dns.message.from_wire(message_of(got.body)).id, ident)
                self.assertEqual((got.status, got.headers), (200, {"content-type": "application/grpc"}))
                self.assertEqual((got.trailers, got.whole), ({"grpc-status": "0", "grpc-message": ""}, True))
            if secure:
                self.tearDown()
        self.assertEqual([request.transport for request in asked], [Transport.GRPC] * 2)
        self.assertEqual([ident for _, _, ident in observer.replay], [2, 3] * 2)

    def test_failures(self) -> None:
        """What has no reply has a status in the only headers."""
        self.serve(a_block(lambda request: NO_REPLY))
        client = self.connect()
        for message, path, status, text in (
            (asking(), PATH.decode(), "14", "no response"),
            (b"", PATH.decode(), "2", "dns: buffer size too small"),
            (bytes(2) + b"\x80" + bytes(9), PATH.decode(), "2", "dns request rejected"),
            (bytes(2) + b"\x28" + bytes(9), PATH.decode(), "2", "dns request rejected"),
            (asking(), "/coredns.dns.DnsService/Frob", "12", "unknown method Frob for service coredns.dns.DnsService"),
            (asking(), "/x", "12", 'malformed method name: "x"'),
        ):
            got = self.call(client, message, path)
            self.assertEqual((got.headers["grpc-status"], got.headers["grpc-message"]), (status, text))
            self.assertEqual((got.status, got.body, got.trailers, got.whole), (200, b"", {}, True))

    def test_not_grpc(self) -> None:
        """A request that is no call gets a status of HTTP."""
        self.serve(a_block())
        client = self.connect()
        self.assertEqual(self.call(client, asking(), headers={}).status, 415)
        got = client.request("GET", PATH.decode(), None, HEADERS)
        self.reactor.settle()
        self.assertEqual(got.status, 405)

    def test_too_long(self) -> None:
        """A packet that no DNS message needs is not read to its end."""
        self.serve(a_block())
        got = self.call(self.connect(), bytes(MOST_PACKET + 100))
        self.assertEqual(got.headers["grpc-status"], "8")

    def test_streams(self) -> None:
        """A connection has no more calls than the Corefile allows."""
        slow = Slow()
        self.serve(a_block(slow), ConnectionLimits(streams=2))
        client = self.connect()
        self.assertEqual(client.http.remote_settings.max_concurrent_streams, 2)
        for number in range(2):
            self.call(client, asking(0, f"n{number}.test."))
        # The query of a cancelled call is still in flight.
        for one in (1, 3):
            client.http.reset_stream(one, h2.errors.ErrorCodes.CANCEL)
        client.flush()
        self.reactor.settle()
        self.call(client, asking(0, "n3.test."))
        self.assertEqual(client.resets, {5: int(h2.errors.ErrorCodes.REFUSED_STREAM)})
        for _ in range(2):
            slow.give()
        got = self.call(client, asking(0, "n4.test."))
        slow.give()
        self.reactor.settle()
        self.assertTrue(got.whole)

    def test_connections(self) -> None:
        """With too many connections the one that asked least lately is closed."""
        self.serve(a_block(), ConnectionLimits(connections=2))
        first, second = self.connect(), self.connect()
        self.call(first, asking())
        self.connect()
        self.reactor.settle()
        self.assertEqual((first.closed, second.closed), (False, True))

    def test_windows(self) -> None:
        """Replies wait for the client's windows, trailers behind them; with too many of them calls are refused."""
        self.serve(a_block(big))
        client = self.connect()
        client.http.acknowledge_received_data = lambda *_: None
        got = []
        while not client.resets:
            got.append(self.call(client, asking()))
        self.assertTrue(got[0].whole)
        self.assertEqual(got[0].trailers["grpc-status"], "0")
        self.assertFalse(got[-2].whole)
        self.assertLess(len(got), 10 + MOST_UNSENT // 50_000)
        client.http.increment_flow_control_window(1 << 20)
        for number in range(1, 2 * len(got), 2):
            if number not in client.resets and not client.got[number].whole:
                client.http.increment_flow_control_window(1 << 17, number)
        client.flush()
        self.reactor.settle()
        whole = [one for one in client.got.values() if one.whole]
        self.assertEqual(len(whole), len(got) - 1)
        self.assertEqual({one.trailers["grpc-status"] for one in whole}, {"0"})

    def test_end(self) -> None:
        """At the end a waiting call is answered, and the connection closes."""
        slow = Slow()
        self.serve(a_block(slow))
        client = self.connect()
        got = self.call(client, asking())
        self.opened.factory.finish_all()
        self.reactor.settle()
        slow.give()
        self.reactor.settle()
        self.assertTrue(got.whole)
        self.assertEqual(client.goaway, int(h2.errors.ErrorCodes.NO_ERROR))
        self.reactor.advance(1.0)
        self.assertTrue(client.closed)
