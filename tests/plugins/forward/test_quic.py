"""Upstreams over QUIC: kdns's own listener, or a socket that says what the test tells it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer
from kdns.core.failure import ResolutionFailed
from kdns.core.metrics import Registry
from kdns.plugins.forward import Forwarder, Stanza
from kdns.plugins.forward.config import TlsFiles
from kdns.plugins.forward.metrics import ForwardMetrics
from kdns.plugins.forward.targets import parse_to
from kdns.server.listener import Listener
from kdns.server.sockets import open_quic
from kdns.server.table import TableBudget
from kdns.testing.certificates import Authority
from kdns.testing.memory import MemoryReactor
from tests.server.support import Slow, a_block, a_house, address, zones_of
from tests.server.test_doq import AUTHORITY, Certificate
from tests.server.test_https import big
from tests.support import a_request

HOST = "10.0.0.1"


class QuicTests(SynchronousTestCase):
    """A forwarder and its upstream on one network in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor([HOST, "127.0.0.1", "::1"])
        self.context = a_house(self.reactor)
        self.room = TableBudget(1_000_000)
        self.closing: list[Callable[[], object]] = []
        self.ca = str(Path(self.mktemp()).absolute())
        Path(self.ca).write_bytes(AUTHORITY.certificate_pem)

    def tearDown(self) -> None:
        for close in self.closing:
            close()
        self.reactor.advance(1.0)
        self.assertEqual(self.reactor.leftovers(), [])

    def serve(self, say: Any = address, host: str = HOST) -> Any:
        """A server whose certificate is for ``dns.test``."""
        zones = zones_of(root=a_block(say))
        self.certificate = zones.tls = Certificate()
        listener = Listener(self.context, "quic://:853", zones)
        opened = open_quic(self.reactor, listener, host, 853, self.room)
        self.closing.append(lambda: opened.close(self.room))
        return opened.factory

    def forwarder(self, to: str = f"quic://{HOST}%dns.test", **options: Any) -> Forwarder:
        """A forwarder to it."""
        self.registry = Registry()
        options.setdefault("tls", TlsFiles(authority=self.ca))
        made = Forwarder(
            Stanza((parse_to(to),), **options), self.reactor, chance=Random(7), metrics=ForwardMetrics(self.registry)
        )
        made.start()
        self.closing.insert(0, made.stop)
        return made

    def ask(self, forwarder: Forwarder, name: str = "web.test", seconds: float = 0.2) -> Any:
        """What it says."""
        found: list[Any] = []
        forwarder.ask(a_request(name)).addBoth(found.append)
        self.reactor.advance(seconds)
        (one,) = found
        return one

    def text(self, forwarder: Forwarder, seconds: float = 5.0) -> str:
        """Why a query fails."""
        failure = self.ask(forwarder, seconds=seconds)
        self.assertIsInstance(failure.value, ResolutionFailed)
        return str(failure.getErrorMessage())

    def test_shared(self) -> None:
        """Queries share one connection; replies come as they are ready, with the client's identifier and question."""
        slow = Slow()
        factory = self.serve(slow)
        forwarder = self.forwarder()
        waiting: list[Deferred[Answer]] = [forwarder.ask(a_request(f"n{number}.test")) for number in range(150)]
        self.reactor.advance(0.5)
        self.assertEqual(len(slow.waiting), 150)
        self.assertEqual({request.message[:2] for request, _ in slow.waiting}, {b"\0\0"})
        self.assertEqual(len(factory._clients), 2)  # a connection has a hundred queries at a time
        while slow.waiting:
            slow.give(len(slow.waiting) - 1)
        self.reactor.advance(0.5)
        self.assertEqual({self.successResultOf(one).source for one in waiting}, {"forward"})

    def test_large(self) -> None:
        """A reply of any size comes whole."""
        self.serve(big)
        answer = self.ask(self.forwarder(), seconds=1.0)
        self.assertEqual(answer.body.counts, (200, 0, 0))

    def test_ipv6(self) -> None:
        """An upstream may have an IPv6 address."""
        self.serve(host="::1")
        self.assertEqual(self.ask(self.forwarder("quic://::1%dns.test")).source, "forward")

    def test_certificate(self) -> None:
        """The certificate must be for the name, and signed by an authority that is trusted; otherwise nothing is sent."""
        slow = Slow()
        self.serve(slow)
        for options in (
            {"to": f"quic://{HOST}"},
            {"tls_servername": "other.test", "to": f"quic://{HOST}"},
        ):
            self.assertIn("quic 10.0.0.1:853: hostname", self.text(self.forwarder(**options)).replace("IP", "hostname"))
        other = Path(self.mktemp()).absolute()
        other.write_bytes(Authority().certificate_pem)
        self.assertIn("certificate", self.text(self.forwarder(tls=TlsFiles(authority=str(other)))))
        self.assertIn("certificate", self.text(self.forwarder(tls=TlsFiles())))
        self.assertEqual(slow.waiting, [])

    def test_resumed(self) -> None:
        """The next connection resumes the session, without early data."""
        factory = self.serve()
        forwarder = self.forwarder(expire=1.0)
        self.ask(forwarder)
        self.reactor.advance(2.0)
        self.assertTrue(factory.empty)
        resumed: list[Any] = []
        self.patch(factory.kind, "negotiated", lambda client: resumed.append(client.connection.tls))
        self.ask(forwarder, "other.test")
        (tls,) = resumed
        self.assertEqual((tls.session_resumed, tls.early_data_accepted), (True, False))

    def test_reset(self) -> None:
        """A query whose stream is reset fails; the connection stays."""
        factory = self.serve(lambda request: NO_REPLY if request.qname.startswith(b"\4none") else address(request))
        forwarder = self.forwarder(max_connect_attempts=1)
        self.assertIn("stream reset with 0x1", self._none(forwarder))
        self.assertEqual(self.ask(forwarder).source, "forward")
        self.assertEqual(len(factory._clients), 1)

    def _none(self, forwarder: Forwarder) -> str:
        failure = self.ask(forwarder, "none.test", 1.0)
        return str(failure.getErrorMessage())

    def test_cancelled(self) -> None:
        """A client that gives up cancels its query alone."""
        slow = Slow()
        factory = self.serve(slow)
        forwarder = self.forwarder()
        first, second = forwarder.ask(a_request("a.test")), forwarder.ask(a_request("b.test"))
        self.reactor.advance(0.2)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.reactor.advance(0.2)
        slow.give()
        slow.give()
        self.reactor.advance(0.2)
        self.assertEqual(self.successResultOf(second).source, "forward")
        self.assertEqual(factory.in_flight, 0)

    def test_silent(self) -> None:
        """A server that says nothing costs a bounded time."""
        self.reactor.blackhole(HOST)
        self.assertIn("i/o timeout", self.text(self.forwarder(max_connect_attempts=1), 40.0))
        self.reactor.lift(HOST)

    def test_nobody(self) -> None:
        """Where nobody listens a query fails at once."""
        self.assertIn("dial udp 10.0.0.1:853: connect: connection refused", self.text(self.forwarder(), 0.5))

    def test_closed(self) -> None:
        """A connection that the server has closed is replaced, without a failure."""
        factory = self.serve()
        forwarder = self.forwarder()
        self.ask(forwarder)
        factory.close_all()
        self.reactor.advance(0.01)
        self.assertEqual(self.ask(forwarder, "other.test").source, "forward")

    def test_checked(self) -> None:
        """An upstream that failed is checked over QUIC, and used again."""
        forwarder = self.forwarder(max_connect_attempts=1, max_fails=1)
        self.text(forwarder, 3.0)
        self.assertFalse(forwarder.upstreams[0].health.usable)
        self.serve()
        self.reactor.advance(2.0)
        self.assertTrue(forwarder.upstreams[0].health.usable)

    def test_noise(self) -> None:
        """Datagrams that are no QUIC change nothing; a server that sends nothing else is a failure."""

        class Noise(DatagramProtocol):
            transport: Any  # Twisted's own annotation of IUDPTransport cannot be called

            def datagramReceived(self, data: bytes, addr: Any) -> None:
                for noise in (b"", b"\xff" * 1300, data[:30], data, b"\x40" + bytes(50)):
                    self.transport.write(noise, addr)

        port = self.reactor.listenUDP(853, Noise(), HOST)
        self.closing.append(port.stopListening)
        self.assertNotEqual(self.text(self.forwarder(max_connect_attempts=1), 40.0), "")

    def test_no_garbage(self) -> None:
        """Nothing of a connection that has ended waits for the collector of garbage."""
        self.serve()
        forwarder = self.forwarder(expire=0.5)
        self.ask(forwarder)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.reactor.advance(1.0)
        self.ask(forwarder, "other.test")
        (connection,) = forwarder.upstreams[0]._streams.connections
        parts = [weakref.ref(connection), weakref.ref(connection._quic)]  # type: ignore[attr-defined]  # QUIC's
        del connection
        self.reactor.advance(2.0)
        self.assertEqual([part() for part in parts], [None, None])

    def test_files(self) -> None:
        """Files without what they should have are errors at the start."""
        empty = Path(self.mktemp()).absolute()
        empty.write_text("nothing")
        for files in (TlsFiles(authority=str(empty)), TlsFiles(certificate=str(empty), key=str(empty))):
            with self.assertRaises(ValueError) as raised:
                self.forwarder(tls=files)
            self.assertIn("tls: no", str(raised.exception))
        with self.assertRaises(OSError):
            self.forwarder(tls=TlsFiles(authority="/nowhere"))
