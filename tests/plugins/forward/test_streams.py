"""Tests of :mod:`kdns.plugins.forward.streams` and ``tls``: connections to upstreams over TCP and TLS."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from kdns.core.failure import ResolutionFailed
from kdns.core.slices import PORTION
from kdns.plugins.forward import Carrier, Forwarder, Target
from kdns.plugins.forward.config import TlsFiles
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.streams import StreamConnection
from kdns.testing.certificates import Authority
from kdns.testing.upstream import Action, Entry, FakeUpstream, TcpManners, UpstreamServer
from kdns.wire.constants import NOERROR
from tests.plugins.forward.support import TCP, ForwardCase, last_octet, replace
from tests.support import a_request

HITS = "coredns_proxy_conn_cache_hits_total"
MISSES = "coredns_proxy_conn_cache_misses_total"
FIRST = ("forward", "10.0.0.1:53", "tcp")
WWW = a_request("www.example.com", transport=TCP)


class TcpTests(ForwardCase):
    """Plain TCP."""

    def connections(self) -> int:
        """Connections from here to the first upstream, open now."""
        return len(
            [
                line
                for line in self.reactor.leftovers()
                if line.startswith("TCP connection") and "-> 10.0.0.1:53" in line
            ]
        )

    def test_connection_is_used_again(self) -> None:
        """Queries one after another share a connection; hits and misses are counted."""
        forwarder = self.net.forwarder()
        for _ in range(3):
            self.ask(forwarder, WWW)
        self.assertEqual((self.net.metric(HITS, *FIRST), self.net.metric(MISSES, *FIRST)), (2, 1))
        self.assertEqual(self.connections(), 1)

    def test_replies_in_any_order(self) -> None:
        """More queries than connections share them, and each gets its own reply though the last comes first."""
        self.net.first.tcp = TcpManners(hold=2)
        forwarder = self.net.forwarder()
        names = [f"host{number}.example.com" for number in range(32)]
        for number, name in enumerate(names):
            self.net.first.say(name, f"{name}. 300 IN A 192.0.2.{number}")
        # The first sixteen dial; held back, they keep every connection busy, and the others join them.
        first = [forwarder.ask(a_request(name, transport=TCP)) for name in names[:16]]
        self.reactor.settle()
        second = [forwarder.ask(a_request(name, transport=TCP)) for name in names[16:]]
        self.reactor.settle()
        answers = [last_octet(self.successResultOf(waiting)) for waiting in first + second]
        self.assertEqual(answers, list(range(32)))
        self.assertEqual(self.connections(), 16)

    def test_a_burst_before_there_is_any_connection(self) -> None:
        """Queries beyond the limit wait for the connections that are being dialled, and share them."""
        forwarder = self.net.forwarder()
        waiting = [forwarder.ask(a_request(f"host{number}.example.com", transport=TCP)) for number in range(100)]
        self.reactor.settle()
        self.assertEqual(len([self.successResultOf(one) for one in waiting]), 100)
        self.assertEqual(self.connections(), 16)

    def test_a_burst_to_nobody(self) -> None:
        """When dialling fails, those who wait for it fail with it; one that gives up is forgotten."""
        self.net.servers[0].refuse("tcp")
        self.reactor.settle()
        forwarder = self.net.forwarder(max_fails=0, max_connect_attempts=1)
        waiting = [forwarder.ask(a_request(f"host{number}.example.com", transport=TCP)) for number in range(40)]
        waiting[-1].cancel()
        self.failureResultOf(waiting.pop(), CancelledError)
        self.reactor.settle()
        for one in waiting:
            self.assertIn("connection refused", self.failureResultOf(one, ResolutionFailed).value.text)

    def test_closed_connection_is_not_held_against_anybody(self) -> None:
        """A connection that the upstream closes under a query is replaced at once; no attempt is counted."""
        self.net.first.tcp = TcpManners(hang_up_after=2)
        forwarder = self.net.forwarder(max_connect_attempts=1)
        for _ in range(4):
            self.assertEqual(self.ask(forwarder, WWW).rcode, NOERROR)
        self.assertEqual(self.net.first.asked("."), 0)

    def test_many_on_a_connection_that_is_closed(self) -> None:
        """Hundreds of queries on one connection fail over many turns."""
        connection = StreamConnection("10.0.0.1:53", self.reactor, Random(1), False)
        told = [0]

        def failed(failure: Failure) -> None:
            failure.trap(ExchangeFailed)
            told[-1] += 1

        for number in range(5 * PORTION):
            connection.pending[number] = Deferred()
            connection.pending[number].addErrback(failed)
        connection.connectionLost()
        told.append(0)
        while self.reactor.turn():
            told.append(0)
        self.assertEqual((sum(told), max(told)), (5 * PORTION, PORTION))

    def test_upstream_that_always_hangs_up(self) -> None:
        """A fresh connection that is closed is a failed attempt; the query ends."""
        self.net.first.tcp = TcpManners(hang_up_first=True)
        failure = self.failureResultOf(self.asked(self.net.forwarder(max_fails=0), WWW), ResolutionFailed)
        self.assertIn("EOF", failure.value.text)

    def test_silent_upstream(self) -> None:
        """Time runs for each query; a connection on which nothing came is not used again."""
        self.net.first.tcp = TcpManners(mute=True)
        forwarder = self.net.forwarder(max_connect_attempts=1, max_fails=0)
        failure = self.failureResultOf(self.asked(forwarder, WWW, seconds=2.0), ResolutionFailed).value
        self.assertRegex(failure.text, r"^read tcp 10\.0\.0\.1:\d+->10\.0\.0\.1:53: i/o timeout$")
        self.assertEqual(self.connections(), 0)

    def test_reply_in_pieces(self) -> None:
        """A message may come an octet at a time."""
        self.net.first.tcp = TcpManners(piece=1)
        self.assertEqual(last_octet(self.ask(self.net.forwarder(), WWW, seconds=0.1)), 1)

    def test_expire(self) -> None:
        """A connection without work is closed after ``expire``."""
        forwarder = self.net.forwarder(expire=5.0)
        self.ask(forwarder, WWW)
        self.reactor.advance(4.9)
        self.assertEqual(self.connections(), 1)
        self.reactor.advance(0.2)
        self.assertEqual(self.connections(), 0)

    def test_max_age(self) -> None:
        """A connection is not used beyond ``max_age``, however busy it is."""
        forwarder = self.net.forwarder(expire=5.0, max_age=6.0)
        for _ in range(4):
            self.ask(forwarder, WWW)
            self.reactor.advance(2.5)
        self.assertEqual(self.net.metric(MISSES, *FIRST), 2)

    def test_max_idle_conns(self) -> None:
        """More idle connections than ``max_idle_conns`` are closed."""
        self.net.first.say_everywhere(Entry(delay=0.1))
        forwarder = self.net.forwarder(max_idle_conns=2)
        waiting = [forwarder.ask(a_request(f"host{number}.example.com", transport=TCP)) for number in range(5)]
        self.reactor.settle()
        self.assertEqual(self.connections(), 5)
        self.reactor.advance(0.1)
        for one in waiting:
            self.successResultOf(one)
        self.assertEqual(self.connections(), 2)

    def test_dial_timeout(self) -> None:
        """Connecting takes at most twice the average of before, and that average adapts."""
        forwarder = self.net.forwarder(max_connect_attempts=1, max_fails=0, expire=0.5)
        for _ in range(20):
            self.ask(forwarder, WWW)
            self.reactor.advance(1.0)
        self.reactor.blackhole("10.0.0.1")
        failure = self.failureResultOf(self.asked(forwarder, WWW, seconds=1.0), ResolutionFailed).value
        self.assertEqual(failure.text, "dial tcp 10.0.0.1:53: i/o timeout")
        self.reactor.lift("10.0.0.1")

    def test_cancelling(self) -> None:
        """A cancelled query leaves the connection to others."""
        self.net.first.say("slow.example.com", entry=Entry(delay=1.0))
        forwarder = self.net.forwarder()
        waiting = self.asked(forwarder, a_request("slow.example.com", transport=TCP), seconds=0.5)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(last_octet(self.ask(forwarder, WWW)), 1)
        self.assertEqual(self.connections(), 1)
        self.reactor.advance(1.0)  # the late reply is dropped
        self.assertEqual(self.net.metric("kdns_forward_replies_ignored_total", "10.0.0.1:53", "id"), 1)

    def test_cancelling_while_dialling(self) -> None:
        """A query cancelled before there is a connection leaves no attempt behind."""
        self.reactor.blackhole("10.0.0.1")
        waiting = self.asked(self.net.forwarder(max_fails=0), WWW, seconds=0.5)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.reactor.lift("10.0.0.1")
        self.reactor.settle()
        self.assertEqual(self.connections(), 0)

    def test_hang_up_deed(self) -> None:
        """A connection closed in answer to a query fails that query when nothing ever came over it."""
        self.net.first.say("www.example.com", entry=Entry(action=Action.HANG_UP))
        self.failureResultOf(self.asked(self.net.forwarder(max_fails=0), WWW), ResolutionFailed)


class SecuredCase(ForwardCase):
    """A fourth upstream that speaks TLS, and files with the authority to trust."""

    authority = Authority()

    def setUp(self) -> None:
        super().setUp()
        self.fake = FakeUpstream()
        self.fake.say("www.example.com", "www.example.com. 300 IN A 192.0.2.44")
        self.ca = self.file(self.authority.certificate_pem)

    def file(self, *parts: bytes) -> str:
        """A file with these octets."""
        path = str(self.mktemp())
        with open(path, "wb") as file:
            file.write(b"".join(parts))
        return path

    def listen(self, *hosts: str, clients: Authority | None = None) -> Target:
        """Serve with a certificate for *hosts*."""
        server = UpstreamServer(self.fake, self.reactor, self.authority.server(*hosts), clients)
        server.start("127.0.0.1", 5300)
        self.net.servers.append(server)
        return Target("127.0.0.1", server.tls_address[1], Carrier.TLS)

    def forwarder(self, target: Target, **options: Any) -> Forwarder:
        """A forwarder to the TLS upstream that trusts the test's authority."""
        options.setdefault("tls", TlsFiles(authority=self.ca))
        return self.net.forwarder(to=(target,), max_connect_attempts=1, max_fails=0, **options)

    def fails(self, forwarder: Forwarder) -> str:
        """The text that a query fails with."""
        return str(self.failureResultOf(self.asked(forwarder, seconds=0.1), ResolutionFailed).value.text)


class TlsTests(SecuredCase):
    """DNS over TLS."""

    def test_connection_is_used_again(self) -> None:
        """UDP clients too are served over TLS, over one connection."""
        target = self.listen("127.0.0.1")
        forwarder = self.forwarder(target)
        for _ in range(3):
            self.assertEqual(last_octet(self.ask(forwarder)), 44)
        labels = ("forward", target.text, "tcp-tls")
        self.assertEqual((self.net.metric(HITS, *labels), self.net.metric(MISSES, *labels)), (2, 1))
        self.assertEqual(self.fake.asked(transport="tls"), 3)

    def test_name_of_the_server(self) -> None:
        """The certificate must be for ``tls_servername``, or the name behind ``%``."""
        target = self.listen("dns.example.com")
        self.ask(self.forwarder(target, tls_servername="dns.example.com"))
        self.ask(self.forwarder(replace(target, server_name="dns.example.com")))
        self.assertIn("tls handshake with", self.fails(self.forwarder(target)))
        self.fails(self.forwarder(target, tls_servername="other.example.com"))
        self.assertEqual(self.fake.asked(), 2)

    def test_unknown_authority(self) -> None:
        """A certificate of somebody else's is refused; there is no way around that."""
        target = self.listen("127.0.0.1")
        stranger = self.file(Authority().certificate_pem)
        self.assertIn("certificate verify failed", self.fails(self.forwarder(target, tls=TlsFiles(authority=stranger))))
        self.fails(self.forwarder(target, tls=TlsFiles()))
        self.assertEqual(self.fake.asked(), 0)

    def test_certificate_of_our_own(self) -> None:
        """``tls CERT KEY CA`` shows the upstream who asks."""
        target = self.listen("127.0.0.1", clients=self.authority)
        mine = self.authority.client("kdns")
        files = TlsFiles(self.file(mine.certificate_pem), self.file(mine.key_pem), self.ca)
        self.assertEqual(last_octet(self.ask(self.forwarder(target, tls=files))), 44)
        self.fails(self.forwarder(target))

    def test_health_check(self) -> None:
        """Checks go over TLS as well."""
        target = self.listen("127.0.0.1")
        self.fake.say_everywhere(Entry(silent=True))
        forwarder = self.net.forwarder(to=(target,), max_connect_attempts=1, tls=TlsFiles(authority=self.ca))
        self.failureResultOf(self.asked(forwarder, seconds=2.0), ResolutionFailed)
        self.reactor.advance(0)
        self.assertEqual(self.fake.asked(".", "tls"), 1)

    def test_files(self) -> None:
        """Files without a certificate are refused when the forwarder is made."""
        target = Target("127.0.0.1", 853, Carrier.TLS)
        nothing = self.file(b"nothing\n")
        self.assertRaises(ValueError, self.forwarder, target, tls=TlsFiles(authority=nothing))
        self.assertRaises(OSError, self.forwarder, target, tls=TlsFiles(authority="/nonexistent"))
        self.assertRaises(ValueError, self.forwarder, target, tls=TlsFiles(self.ca, nothing))

    def test_connection_dies_quietly(self) -> None:
        """When the connection expires, an upstream that does not say farewell does not keep it open."""
        forwarder = self.forwarder(self.listen("127.0.0.1"), expire=1.0)
        self.ask(forwarder)
        self.reactor.advance(1.5)
        self.assertFalse([line for line in self.reactor.leftovers() if "TCP connection" in line])
