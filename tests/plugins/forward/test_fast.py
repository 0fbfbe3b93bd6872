"""Queries on the fast path to the upstreams: shared, bounded, and given back when they need more."""

from __future__ import annotations

from typing import Any

from kdns.core.failure import ResolutionFailed
from kdns.core.fast_path import UpstreamReply
from kdns.plugins.forward.fast import FastUpstreams
from kdns.plugins.forward.policy import Health
from kdns.testing.upstream import Entry, Truncate
from kdns.wire.constants import NOERROR, NXDOMAIN, RA, RD, SERVFAIL, TC, A, rcode_text
from kdns.wire.names import from_text
from kdns.wire.query import Edns
from tests.plugins.forward.support import ForwardCase, parse_record
from tests.support import a_request

QUESTION = from_text("www.example.com") + A.to_bytes(2, "big") + b"\x00\x01"


class Waiting:
    """A waiter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[UpstreamReply | None] = []

    def came(self, reply: UpstreamReply) -> None:
        """A reply."""
        self.told.append(reply)

    def failed(self) -> None:
        """None."""
        self.told.append(None)


class FastTests(ForwardCase):
    """One upstream."""

    def ask_fast(self, fast: FastUpstreams, question: bytes = QUESTION, seconds: float = 0.1) -> Waiting:
        """Ask, and let some time pass."""
        waiting = Waiting()
        self.assertTrue(fast.ask(question, RD, b"", waiting))
        self.reactor.advance(seconds)
        return waiting

    def test_reply(self) -> None:
        """A plain reply is handed on, and counted for its upstream."""
        (reply,) = self.ask_fast(self.net.forwarder().fast).told
        assert reply is not None
        self.assertEqual((reply.rcode, len(reply.body.slots)), (0, 1))
        self.assertEqual(self.net.first.asked(), 1)

    def test_together(self) -> None:
        """Clients that ask the same share one query; another variant goes the general way."""
        fast = self.net.forwarder().fast
        first, second = Waiting(), Waiting()
        self.assertTrue(fast.ask(QUESTION, RD, b"", first))
        self.assertTrue(fast.ask(QUESTION, RD, b"", second))
        self.assertFalse(fast.ask(QUESTION, 0, b"", Waiting()))
        self.assertFalse(fast.ask(QUESTION, RD, fast.opt(Edns(4096, 0, 0, b"")), Waiting()))
        self.reactor.advance(0.1)
        self.assertEqual((len(first.told), len(second.told), self.net.first.asked()), (1, 1, 1))
        self.assertEqual(fast.in_flight, {})

    def test_exchange_in_flight(self) -> None:
        """A question that an exchange asks already goes the general way, and joins it."""
        forwarder = self.net.forwarder()
        waiting = forwarder.ask(a_request("www.example.com"))
        self.assertFalse(forwarder.fast.ask(QUESTION, RD, b"", Waiting()))
        self.reactor.advance(0.1)
        self.successResultOf(waiting)

    def test_needs_more(self) -> None:
        """Truncation, failures and what cannot be read go the general way; so does silence, which is the upstream's fault."""
        entries = (Entry(set_flags=TC), Entry(rcode=SERVFAIL), Entry(raw=b"\x81\x80"), Entry(silent=True))
        for entry in entries:
            self.net.first.say("www.example.com", entry=entry)
            forwarder = self.net.forwarder()
            self.assertEqual(self.ask_fast(forwarder.fast, seconds=3.0).told, [None], entry)
            self.assertEqual(forwarder.waiting, 0)
        self.silence(1)
        forwarder = self.net.forwarder()
        self.assertEqual(self.ask_fast(forwarder.fast, seconds=3.0).told, [None])
        self.assertIsNot(forwarder.upstreams[0].health.state, Health.HEALTHY)

    def test_not_asked_twice(self) -> None:
        """What goes the general way because of its reply is not asked for again; a reply that was cut is asked for over TCP."""
        record = parse_record("www.example.com. 300 IN A 192.0.2.1")
        unreadable = b"\x81\x80\0\1\0\1\0\0\0\0" + QUESTION + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\3abc"
        for entry, rcode, flags, over_tcp in (
            (Entry(rcode=SERVFAIL), SERVFAIL, RA, 0),
            (Entry((record,), truncate=Truncate.NOTHING), NOERROR, TC | RA, 0),
            (Entry(raw=unreadable), SERVFAIL, 0, 1),
        ):
            self.net.first.say("www.example.com", entry=entry)
            before = [self.net.first.asked(transport=transport) for transport in ("udp", "tcp")]
            forwarder = self.net.forwarder()
            found: list[Any] = []
            waiting = Waiting()
            waiting.failed = lambda forwarder=forwarder, found=found: found.append(  # type: ignore[method-assign, misc]
                forwarder.ask(a_request("www.example.com", flags=RD))
            )  # a default for a closure, and a waiter of this test
            self.assertTrue(forwarder.fast.ask(QUESTION, RD, b"", waiting))
            self.reactor.advance(0.1)
            asked = [self.net.first.asked(transport=transport) for transport in ("udp", "tcp")]
            self.assertEqual([now - then for now, then in zip(asked, before, strict=True)], [1, over_tcp])
            if over_tcp:
                self.failureResultOf(found[0], ResolutionFailed)
            else:
                answer = self.successResultOf(found[0])
                self.assertEqual((answer.rcode, answer.flags), (rcode, flags))
                name = "coredns_proxy_request_duration_seconds"
                self.assertEqual(self.net.count(name, "forward", "10.0.0.1:53", rcode_text(rcode)), 1)
            self.assertEqual((forwarder.waiting, forwarder.handed), (0, None))

    def test_nxdomain(self) -> None:
        """A name that does not exist is a plain reply."""
        question = from_text("nx.example.com") + QUESTION[-4:]
        self.net.first.say("nx.example.com", entry=Entry(rcode=NXDOMAIN))
        (reply,) = self.ask_fast(self.net.forwarder().fast, question).told
        assert reply is not None
        self.assertEqual(reply.rcode, NXDOMAIN)

    def test_no_healthy_upstream(self) -> None:
        """Which upstream to try when the first is down is decided by an exchange."""
        forwarder = self.net.forwarder()
        forwarder.upstreams[0].withdraw("a loop")
        self.assertFalse(forwarder.fast.ask(QUESTION, RD, b"", Waiting()))

    def test_bounded(self) -> None:
        """``max_concurrent`` counts these queries, too."""
        fast = self.net.forwarder(max_concurrent=1).fast
        self.assertTrue(fast.ask(QUESTION, RD, b"", Waiting()))
        self.assertFalse(fast.ask(from_text("b") + QUESTION[-4:], RD, b"", Waiting()))
        self.reactor.advance(0.1)

    def test_end(self) -> None:
        """When the forwarder ends every client is told."""
        self.silence(1)
        forwarder = self.net.forwarder()
        waiting = self.ask_fast(forwarder.fast)
        self.assertEqual(waiting.told, [])
        forwarder.stop()
        self.assertEqual((waiting.told, forwarder.waiting), ([None], 0))
