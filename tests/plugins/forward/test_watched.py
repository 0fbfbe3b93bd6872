"""Tests of :mod:`kdns.plugins.forward.watched`: what a request's watchers are told."""

from __future__ import annotations

from msgspec.structs import replace

from kdns.core.attempts import Attempt, SocketAddress
from kdns.core.request import Request
from kdns.plugins.forward import Target
from kdns.plugins.forward.policy import Policy
from kdns.plugins.forward.watched import WatchedExchange
from kdns.testing.upstream import Entry, Truncate
from tests.plugins.forward.support import TCP, ForwardCase, parse_record
from tests.support import a_request


class Watching:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.found: list[Attempt] = []

    def asked_upstream(self, attempt: Attempt) -> None:
        self.found.append(attempt)


class Broken:
    """Raises whatever it is told."""

    def asked_upstream(self, attempt: Attempt) -> None:
        raise RuntimeError("a fault")


class WatchedTests(ForwardCase):
    def setUp(self) -> None:
        super().setUp()
        self.watching = Watching()

    def request(self, qname: str = "www.example.com", **about: object) -> Request:
        return replace(a_request(qname, **about), watchers=(self.watching,))  # type: ignore[arg-type]  # as a_request takes it

    def told(self) -> list[tuple[str, str, bool, str]]:
        """Upstream, transport, whether a reply came, and the failure, of each attempt."""
        return [(one.remote.host, one.transport, bool(one.reply), one.failure) for one in self.watching.found]

    def test_datagram(self) -> None:
        """An attempt over UDP: the messages as they were on the wire, and where they left from."""
        self.ask(self.net.forwarder(), self.request())
        (attempt,) = self.watching.found
        received = self.net.first.received[0]
        self.assertEqual(attempt.query, received.query)
        self.assertEqual((attempt.reply[:2], attempt.reply[2] & 0x80), (attempt.query[:2], 0x80))
        self.assertEqual((attempt.upstream, attempt.remote), ("10.0.0.1:53", SocketAddress("10.0.0.1", 53)))
        assert attempt.local is not None
        self.assertGreater(attempt.local.port, 1023)
        self.assertLessEqual(attempt.began, attempt.ended)

    def test_stream(self) -> None:
        """An attempt over TCP has the address of its connection."""
        self.ask(self.net.forwarder(), self.request(transport=TCP))
        (attempt,) = self.watching.found
        assert attempt.local is not None
        self.assertEqual((attempt.transport, attempt.query[2:]), ("tcp", self.net.first.received[0].query[2:]))
        self.assertGreater(attempt.local.port, 1023)

    def test_truncated(self) -> None:
        """A truncated reply and the attempt over TCP that follows are two attempts."""
        entry = Entry((parse_record("www.example.com. 300 IN A 192.0.2.1"),), truncate=Truncate.NOTHING)
        self.net.first.say("www.example.com", entry=entry)
        self.ask(self.net.forwarder(prefer_udp=True), self.request())
        self.assertEqual([one[1:3] for one in self.told()], [("udp", True), ("tcp", True)])

    def test_next_upstream(self) -> None:
        """An upstream that nobody runs is an attempt without a reply."""
        forwarder = self.net.forwarder(to=(Target("10.0.0.1", 54), Target("10.0.0.2")), policy=Policy.SEQUENTIAL)
        self.ask(forwarder, self.request())
        first, second = self.told()
        self.assertEqual((first[:3], second), (("10.0.0.1", "udp", False), ("10.0.0.2", "udp", True, "")))
        self.assertIn("connection refused", first[3])

    def test_given_up(self) -> None:
        """A query whose client gives up is an attempt that ended then."""
        self.silence(1)
        waiting = self.net.forwarder().ask(self.request())
        self.net.reactor.advance(1.0)
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.assertEqual(self.told(), [("10.0.0.1", "udp", False, "the client gave up")])
        self.assertAlmostEqual(self.watching.found[0].ended - self.watching.found[0].began, 1.0, 3)

    def test_not_watched(self) -> None:
        """An exchange that nobody watches is of the base class."""
        forwarder = self.net.forwarder()
        for request, watched in ((a_request("a.example.com"), False), (self.request("b.example.com"), True)):
            forwarder.ask(request).addErrback(lambda _: None)
            (exchange,) = forwarder._flights[request.qname, request.qtype, request.qclass]
            self.assertIs(isinstance(exchange, WatchedExchange), watched)
        self.net.reactor.settle()

    def test_fault(self) -> None:
        """A watcher that fails takes no reply from the client, and nothing from other watchers."""
        self.watching.found.clear()
        request = replace(a_request("www.example.com"), watchers=(Broken(), self.watching))
        self.ask(self.net.forwarder(), request)
        self.assertEqual(len(self.watching.found), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
