"""Tests of :mod:`kdns.plugins.forward.forwarder`: a query and its upstreams."""

from __future__ import annotations

from random import Random
from typing import Any

import dns.message
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent

from kdns.core.answer import NO_RECORDS, Answer
from kdns.core.failure import ResolutionFailed
from kdns.core.reply import render_reply
from kdns.core.request import Request
from kdns.core.slices import PORTION
from kdns.plugin.turns import TURN_SECONDS, TurnQueue
from kdns.plugins.forward import Target
from kdns.plugins.forward.exchange import UDP_SIZE
from kdns.plugins.forward.forwarder import MOST_VARIANTS
from kdns.plugins.forward.policy import Policy
from kdns.testing.memory import Datagram
from kdns.testing.upstream import Action, Entry, Truncate
from kdns.wire.constants import (
    AA,
    AAAA,
    AD,
    CD,
    CNAME,
    FORMERR,
    IN,
    NOERROR,
    NS,
    NXDOMAIN,
    RA,
    RD,
    REFUSED,
    SERVFAIL,
    SOA,
    TC,
    TXT,
    A,
)
from kdns.wire.message import CHECKED_AT_ONCE, Relayed
from kdns.wire.names import from_text
from kdns.wire.query import Edns
from tests.plugins.forward.support import TCP, ForwardCase, last_octet, parse_record, records
from tests.support import a_request


def opt_of(options: bytes) -> bytes:
    """An OPT with these options."""
    return b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00" + len(options).to_bytes(2, "big") + options


class OneUpstreamTests(ForwardCase):
    """A query and one upstream."""

    def seen(self) -> list[Datagram]:
        """Every datagram that is sent to the first upstream from now on."""
        found: list[Datagram] = []

        def note(datagram: Datagram) -> tuple[float]:
            found.append(datagram)
            return (0.0,)

        self.reactor.shape(note, destination=("10.0.0.1", 53))
        return found

    def test_reply_comes_as_it_is(self) -> None:
        """Records, code and flags are the upstream's; the answer holds for nobody a second time."""
        answer = self.ask(self.net.forwarder())
        self.assertEqual(records(answer), [parse_record("www.example.com. 300 IN A 192.0.2.1")])
        self.assertEqual((answer.rcode, answer.flags, answer.source), (NOERROR, RA, "forward"))
        self.assertFalse(answer.validity.repeat)

    def test_flags(self) -> None:
        """AA and AD pass, RA only when the upstream set it."""
        record = parse_record("www.example.com. 300 IN A 192.0.2.1")
        self.net.first.say("www.example.com", entry=Entry((record,), set_flags=AA | AD, clear_flags=RA))
        self.assertEqual(self.ask(self.net.forwarder()).flags, AA | AD)

    def test_denial_with_soa(self) -> None:
        """An NXDOMAIN comes with the upstream's SOA."""
        answer = self.ask(self.net.forwarder(), "nx.example.com")
        self.assertEqual((answer.rcode, len(answer.sections()[1])), (NXDOMAIN, 1))

    def test_query_upstream(self) -> None:
        """Spelling, RD, CD and DO go upstream as the client sent them."""
        request = a_request("WwW.example.com", flags=CD, edns=Edns(1400, 0x8000, 0, b""))
        self.ask(self.net.forwarder(), request)
        sent = self.net.first.received[0].query
        self.assertEqual(sent[2:], replace(request, edns=Edns(UDP_SIZE, 0x8000, 0, b"")).wire(0)[2:])
        self.assertNotEqual(sent[:2], b"\x12\x67")

    def test_opt_upstream(self) -> None:
        """An OPT is made here: one size, DO or not, the client's subnet. No OPT of the client's means none upstream."""
        subnet = b"\x00\x08\x00\x07\x00\x01\x18\x00\x0a\x00\x01"
        options = b"\x00\x0a\x00\x08cookie..\x00\x0b\x00\x00\x00\x0c\x00\x02\x00\x00\xfd\xe9\x00\x02ab\x00\x03\x00\x00"
        plain = b"\x00\x00\x29\x04\xd0\x00\x00"
        for edns, wanted in (
            (None, b"\x00\x00\x01\x00\x01"),
            (Edns(512, 0, 0, b""), plain + b"\x00\x00\x00\x00"),
            (Edns(65535, 0xC123, 0, options), plain + b"\x80\x00\x00\x00"),
            (Edns(4096, 0, 0, options + subnet), plain + b"\x00\x00\x00\x0b" + subnet),
            (Edns(4096, 0, 0, subnet + subnet), plain + b"\x00\x00\x00\x0b" + subnet),
            (Edns(4096, 0, 0, b"\x00\x08\x00\x15" + bytes(21)), plain + b"\x00\x00\x00\x00"),
        ):
            self.ask(self.net.forwarder(), a_request("www.example.com", edns=edns))
            self.assertTrue(self.net.first.received[-1].query.endswith(wanted), edns)

    def test_flags_upstream(self) -> None:
        """Bits that mean nothing in a query stay here."""
        self.ask(self.net.forwarder(), a_request("www.example.com", flags=RD | AD | CD | AA | TC | RA | 0x40))
        self.assertEqual(self.net.first.received[-1].query[2:4], (RD | AD | CD).to_bytes(2, "big"))

    def test_options_of_upstream(self) -> None:
        """An OPT of the upstream without options replaces the echo of the client's; without an OPT there is none."""
        forwarder = self.net.forwarder()
        edns = Edns(1232, 0, 0, b"")
        self.assertEqual(self.ask(forwarder, a_request("www.example.com", edns=edns)).options, ())
        self.assertIsNone(self.ask(forwarder).options)

    def test_truncated_reply_is_passed_on(self) -> None:
        """A client on UDP gets TC, and asks again over TCP itself."""
        entry = Entry((parse_record("tc.example.com. 300 IN A 192.0.2.97"),), truncate=Truncate.NOTHING)
        self.net.first.say("tc.example.com", entry=entry)
        forwarder = self.net.forwarder()
        self.assertEqual(self.ask(forwarder, "tc.example.com").flags, TC | RA)
        self.assertEqual(self.net.first.asked(transport="tcp"), 0)
        self.assertEqual(self.ask(forwarder, a_request("tc.example.com", transport=TCP)).flags, RA)

    def test_too_long_for_the_client(self) -> None:
        """A datagram longer than the client takes becomes an empty reply with TC."""
        self.net.first.say("big.example.com", entry=Entry(huge=900, rcode=REFUSED))
        answer = self.ask(self.net.forwarder(), "big.example.com")
        self.assertEqual((answer.rcode, answer.flags, records(answer)), (NOERROR, TC | RA, []))

    def test_long_reply_over_a_stream_is_kept(self) -> None:
        """Over TCP there is room for everything."""
        self.net.first.say("big.example.com", entry=Entry(huge=20000))
        answer = self.ask(self.net.forwarder(), a_request("big.example.com", transport=TCP))
        assert isinstance(answer.body, Relayed)
        self.assertGreater(len(answer.body.message), 20000)

    def test_force_tcp(self) -> None:
        """``force_tcp`` asks over TCP, and wins over ``prefer_udp``."""
        self.ask(self.net.forwarder(force_tcp=True, prefer_udp=True))
        self.assertEqual((self.net.first.asked(transport="udp"), self.net.first.asked(transport="tcp")), (0, 1))

    def test_prefer_udp(self) -> None:
        """``prefer_udp`` asks over UDP for a client on TCP, and again over TCP when that is truncated."""
        entry = Entry((parse_record("tc.example.com. 300 IN A 192.0.2.97"),), truncate=Truncate.NOTHING)
        self.net.first.say("tc.example.com", entry=entry)
        forwarder = self.net.forwarder(prefer_udp=True)
        self.ask(forwarder, a_request("www.example.com", transport=TCP))
        self.assertEqual((self.net.first.asked(transport="udp"), self.net.first.asked(transport="tcp")), (1, 0))
        answer = self.ask(forwarder, a_request("tc.example.com", transport=TCP))
        self.assertEqual((answer.flags, len(records(answer))), (RA, 1))
        self.assertEqual((self.net.first.asked(transport="udp"), self.net.first.asked(transport="tcp")), (2, 1))

    def test_wrong_identifier_is_ignored(self) -> None:
        """A reply with another identifier is counted, and the right one taken."""
        record = parse_record("www.example.com. 300 IN A 192.0.2.100")
        self.net.first.say("www.example.com", entry=Entry((record,), wrong_id_first=True))
        self.assertEqual(last_octet(self.ask(self.net.forwarder())), 100)
        self.assertEqual(self.net.metric("kdns_forward_replies_ignored_total", "10.0.0.1:53", "id"), 1)

    def test_wrong_question_is_ignored_while_there_is_time(self) -> None:
        """A reply to another question is passed over; the right one may still come."""
        forwarder = self.net.forwarder()
        record = parse_record("www.example.com. 300 IN A 192.0.2.66")
        self.net.first.say(
            "www.example.com", entry=Entry((record,), question=from_text("other.example.com"), always=True)
        )
        waiting = self.asked(forwarder)
        self.assertNoResult(waiting)
        socket = next(socket for socket in self.reactor.network.sockets.values() if socket.remote == ("10.0.0.1", 53))
        assert socket.local is not None
        query = self.net.first.received[0].query
        good = query[:2] + b"\x81\x80" + query[4:]
        self.reactor.inject(good, ("10.0.0.1", 53), socket.local)
        self.reactor.settle()
        self.assertEqual(self.successResultOf(waiting).rcode, NOERROR)
        self.assertEqual(self.net.metric("kdns_forward_replies_ignored_total", "10.0.0.1:53", "question"), 1)

    def test_wrong_question_alone(self) -> None:
        """When nothing better came in time, the client hears FORMERR, with nothing of the upstream's."""
        record = parse_record("other.example.com. 300 IN A 192.0.2.101")
        self.net.first.say(
            "www.example.com", entry=Entry((record,), question=from_text("other.example.com"), always=True)
        )
        answer = self.ask(self.net.forwarder(), seconds=2.0)
        self.assertEqual((answer.rcode, answer.flags, answer.body), (FORMERR, 0, NO_RECORDS))

    def test_wrong_question_over_tcp(self) -> None:
        """On a connection nobody forges: FORMERR at once."""
        self.net.first.say("www.example.com", entry=Entry(question=from_text("other.example.com"), always=True))
        answer = self.ask(self.net.forwarder(), a_request("www.example.com", transport=TCP))
        self.assertEqual(answer.rcode, FORMERR)

    def test_spelling_of_the_upstream(self) -> None:
        """Letter case does not make another question."""
        self.net.first.say("www.example.com", entry=Entry(question=from_text("www.example.com"), always=True))
        self.assertEqual(self.ask(self.net.forwarder(), "WWW.Example.Com").rcode, NOERROR)

    def test_garbage_is_ignored(self) -> None:
        """Octets that are no message are passed over; then time is up."""
        self.net.first.say("www.example.com", entry=Entry(garbage=b"\xff" * 5))
        failure = self.failureResultOf(self.asked(self.net.forwarder(), seconds=4.0), ResolutionFailed)
        self.assertIn("i/o timeout", failure.value.text)

    def test_other_source_is_ignored(self) -> None:
        """A reply from another address never arrives at the connected socket."""
        self.net.first.say("www.example.com", entry=Entry(action=Action.SEND_FROM_ELSEWHERE))
        self.failureResultOf(self.asked(self.net.forwarder(), seconds=4.0), ResolutionFailed)

    def test_hop_by_hop_options_of_the_upstream(self) -> None:
        """Cookie, keepalive and padding of an upstream stay here; what else it says in its OPT goes to the client."""
        request = a_request("www.example.com", edns=Edns(1232, 0, 0, b""))
        waiting = self.wait_for(request)
        options = b"\x00\x0a\x00\x08cookie..\x00\x0b\x00\x02\x00\x64\x00\x0c\x00\x02\x00\x00\x00\x0f\x00\x02\x00\x12"
        self.reply(b"\x81\x80\x00\x01\x00\x00\x00\x00\x00\x01", opt_of(options))
        self.assertEqual(self.successResultOf(waiting).options, ((15, b"\x00\x12"),))

    def test_badvers_for_a_client_without_edns(self) -> None:
        """A response code that does not fit a header is SERVFAIL for a client without an OPT, not NOERROR."""
        badvers = b"\x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x00"
        waiting = self.wait_for(a_request("www.example.com"))
        self.reply(b"\x81\x80\x00\x01\x00\x00\x00\x00\x00\x01", badvers)
        answer = self.successResultOf(waiting)
        self.assertEqual((answer.rcode, answer.validity.cacheable), (SERVFAIL, False))
        waiting = self.wait_for(a_request("www.example.com", edns=Edns(1232, 0, 0, b"")))
        self.reply(b"\x81\x80\x00\x01\x00\x00\x00\x00\x00\x01", badvers)
        self.assertEqual(self.successResultOf(waiting).rcode, 16)

    def test_truncated_by_the_size_asked_for(self) -> None:
        """A client that takes more than kdns asked for gets the whole reply, without asking again over TCP itself."""
        records = [f"big.example.com. 300 IN A 192.0.2.{number}" for number in range(1, 101)]
        self.net.first.say("big.example.com", *records)
        forwarder = self.net.forwarder()
        answer = self.ask(forwarder, a_request("big.example.com", edns=Edns(4096, 0, 0, b"")))
        self.assertEqual(answer.flags & TC, 0)
        self.assertEqual(answer.answer_count(), 100)
        answer = self.ask(forwarder, a_request("big.example.com", edns=Edns(1232, 0, 0, b"")))
        self.assertEqual(answer.flags & TC, TC)
        self.assertEqual(self.net.first.asked(transport="tcp"), 1)

    def test_prefer_udp_for_a_client_on_udp(self) -> None:
        """With ``prefer_udp`` a truncated reply is asked for again over TCP; without TCP the truncated one is given."""
        entry = Entry((parse_record("tc.example.com. 300 IN A 192.0.2.97"),), truncate=Truncate.NOTHING)
        self.net.first.say("tc.example.com", entry=entry)
        answer = self.ask(self.net.forwarder(prefer_udp=True), "tc.example.com")
        self.assertEqual((answer.flags, last_octet(answer)), (RA, 97))
        self.net.servers[0].refuse("tcp")
        self.reactor.settle()
        answer = self.ask(self.net.forwarder(prefer_udp=True, max_fails=0), "tc.example.com")
        self.assertEqual(answer.flags, TC | RA)

    def test_cut_datagram(self) -> None:
        """A datagram that ends within its records and says nothing of it is asked for again over TCP, at once."""
        waiting = self.wait_for(a_request("www.example.com"))
        asked = self.net.first.asked(transport="tcp")
        self.reply(b"\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00", b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0")
        self.assertEqual(last_octet(self.successResultOf(waiting)), 1)
        self.assertEqual(self.net.first.asked(transport="tcp"), asked + 1)
        self.assertEqual(self.net.metric("kdns_forward_replies_ignored_total", "10.0.0.1:53", "unreadable"), 1)

    def test_unreadable_reply_is_dumped(self) -> None:
        """Its bytes are in a line of level DEBUG, 512 of them at most."""
        waiting = self.wait_for(a_request("www.example.com"))
        with capturedLogs() as events:
            self.reply(b"\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00", b"\x3f" * 900)
        self.successResultOf(waiting)
        lines = [formatEvent(event) for event in events if event["log_level"] is LogLevel.debug]
        (line,) = [line for line in lines if "unreadable reply from 10.0.0.1:53" in line]
        self.assertEqual(len(line.rpartition(" ")[2]), 2 * 512)
        self.assertTrue(line.endswith("3f" * 400))

    def test_unreadable_records(self) -> None:
        """Records that cannot be read, over TCP too, are SERVFAIL with an Extended DNS Error, and each upstream is asked once."""
        fixed = b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"
        for record in (
            b"\xc0\x21" + fixed,  # an owner that points at itself,
            b"\xc0\x30" + fixed,  # forward,
            b"\xff\xff" + fixed,  # behind the end,
            b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x03\xc0\x00\x02",  # an address of three bytes,
            b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x2d",  # an alias for itself,
            b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x3c\x00\x05\x00\x0a\x00\x00\x00",  # a byte too many,
            b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x3c\x00\x02\x05a",  # a string that is cut short
        ):
            question = from_text("www.example.com") + b"\x00\x01\x00\x01"
            message = b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + question + record
            for fake in self.net.fakes[:2]:
                fake.say("www.example.com", entry=Entry(raw=message))
                fake.received.clear()
            failure = self.failureResultOf(self.asked(self.net.forwarder(2)), ResolutionFailed).value
            self.assertEqual((failure.rcode, failure.ede), (SERVFAIL, (0, "unreadable reply from upstream")), record)
            over = [[received.transport for received in fake.received] for fake in self.net.fakes[:2]]
            self.assertEqual(over, [["udp", "tcp"], ["udp", "tcp"]])

    def test_thousands_of_records(self) -> None:
        """They are looked at in several turns; one that cannot be read is found, and a client that gives up meanwhile ends that."""
        question = from_text("www.example.com") + b"\x00\x01\x00\x01"
        fixed = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00"
        head = b"\x81\x80\x00\x01" + (CHECKED_AT_ONCE + 1).to_bytes(2, "big") + b"\x00\x00\x00\x00" + question
        good = head + (fixed + b"\x04abcd") * (CHECKED_AT_ONCE + 1)
        bad = head + (fixed + b"\x04abcd") * CHECKED_AT_ONCE + fixed + b"\x03abc"
        request = a_request("www.example.com", transport=TCP)
        forwarder = self.net.forwarder()
        self.net.first.say("www.example.com", entry=Entry(raw=good))
        self.assertEqual(len(records(self.ask(forwarder, request))), CHECKED_AT_ONCE + 1)
        self.net.first.say("www.example.com", entry=Entry(raw=bad))
        failure = self.failureResultOf(self.asked(forwarder, request), ResolutionFailed).value
        self.assertEqual(failure.ede, (0, "unreadable reply from upstream"))
        self.net.first.say("www.example.com", entry=Entry(raw=good))
        given_up = forwarder.ask(request)
        while not forwarder.turns.waiting:
            self.reactor.turn()
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.reactor.settle()
        self.assertEqual(forwarder.waiting, 0)

    def test_many_long_replies(self) -> None:
        """Replies of thousands of records, each for many clients, share the time of a turn."""
        question = b"\x00\x01\x00\x01"
        rows = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04abcd" * 600
        forwarder = self.net.forwarder()
        ticks = 0.0

        def clock() -> float:
            nonlocal ticks
            ticks += 0.0002
            return ticks

        forwarder.turns = TurnQueue(self.reactor, clock)
        told: list[float] = []
        for number in range(4):
            name = f"n{number}.example.com"
            message = b"\x81\x80\x00\x01\x02\x58\x00\x00\x00\x00" + from_text(name) + question + rows
            self.net.first.say(name, entry=Entry(raw=message))
            for _ in range(10):
                forwarder.ask(a_request(name, transport=TCP)).addCallback(lambda _: told.append(ticks))
        longest = 0.0
        while True:
            before = ticks
            if not self.reactor.turn():
                break
            longest = max(longest, ticks - before)
        self.assertEqual(len(told), 40)
        self.assertLess(longest, 2 * TURN_SECONDS)

    def wait_for(self, request: Request) -> Deferred[Answer]:
        """Ask the first upstream over UDP, which says nothing; :meth:`reply` speaks for it."""
        self.net.first.plan("www.example.com", Entry(silent=True))
        return self.asked(self.net.forwarder(), request)

    def reply(self, head: bytes, records: bytes) -> None:
        """Reply over UDP to the last query: what stands between identifier and question, and what behind the question."""
        query = self.net.first.received[-1].query
        socket = [
            one for one in self.reactor.network.sockets.values() if one.remote == ("10.0.0.1", 53) and one.kind == "udp"
        ][-1]
        assert socket.local is not None
        end = query.index(0, 12) + 5
        self.reactor.inject(query[:2] + head + query[12:end] + records, ("10.0.0.1", 53), socket.local)
        self.reactor.settle()

    def test_source_address(self) -> None:
        """``source_address`` is where datagrams and connections come from."""
        seen = self.seen()
        forwarder = self.net.forwarder(source_address="10.0.0.9")
        self.ask(forwarder)
        self.ask(forwarder, a_request("www.example.com", transport=TCP))
        self.assertEqual({datagram.source[0] for datagram in seen}, {"10.0.0.9"})
        lines = [line for line in self.reactor.leftovers() if "TCP connection 10.0.0.9" in line]
        self.assertEqual(len(lines), 1)

    def test_metadata(self) -> None:
        """``forward/upstream`` is set when the block collects metadata."""
        request = a_request("www.example.com", metadata={})
        self.ask(self.net.forwarder(), request)
        self.assertEqual(request.metadata, {"forward/upstream": "10.0.0.1:53"})


class FailureTests(ForwardCase):
    """Upstreams that do not answer."""

    def test_one_silent_upstream(self) -> None:
        """Two attempts of two seconds, then SERVFAIL with the text that operators know."""
        self.silence(1)
        waiting = self.asked(self.net.forwarder(), seconds=3.9)
        self.assertNoResult(waiting)
        self.reactor.advance(0.1)
        failure = self.failureResultOf(waiting, ResolutionFailed).value
        self.assertEqual(failure.rcode, SERVFAIL)
        self.assertRegex(failure.text, r"^read udp 10\.0\.0\.1:\d+->10\.0\.0\.1:53: i/o timeout$")
        self.assertEqual(failure.ede, (22, ""))

    def test_two_silent_upstreams(self) -> None:
        """No attempt begins after five seconds: three attempts, six seconds."""
        self.silence(1, 2)
        waiting = self.asked(self.net.forwarder(2), seconds=5.9)
        self.assertNoResult(waiting)
        self.reactor.advance(0.1)
        self.failureResultOf(waiting, ResolutionFailed)
        self.assertEqual(sum(fake.asked("www.example.com") for fake in self.net.fakes), 3)

    def test_refusal_is_seen_at_once(self) -> None:
        """An ICMP refusal ends the attempt without waiting, and the next upstream is asked."""
        self.net.servers[0].refuse("udp")
        self.reactor.settle()
        answer = self.ask(self.net.forwarder(2, policy=Policy.SEQUENTIAL))
        self.assertEqual(last_octet(answer), 2)

    def test_text_of_refusal(self) -> None:
        """The text of a refusal, and its Extended DNS Error."""
        self.net.servers[0].refuse("udp", "tcp")
        self.reactor.settle()
        failure = self.failureResultOf(self.asked(self.net.forwarder()), ResolutionFailed).value
        self.assertRegex(failure.text, r"^read udp 10\.0\.0\.1:\d+->10\.0\.0\.1:53: read: connection refused$")
        self.assertEqual(failure.ede, (23, ""))
        request = a_request("www.example.com", transport=TCP)
        failure = self.failureResultOf(self.asked(self.net.forwarder(), request), ResolutionFailed).value
        self.assertEqual(failure.text, "dial tcp 10.0.0.1:53: connect: connection refused")

    def test_read_timeout(self) -> None:
        """``read_timeout`` is how long each attempt waits."""
        self.silence(1)
        forwarder = self.net.forwarder(read_timeout=0.5, max_connect_attempts=1)
        self.failureResultOf(self.asked(forwarder, seconds=0.5), ResolutionFailed)

    def test_max_connect_attempts(self) -> None:
        """So many attempts are made, over as many upstreams as there are."""
        self.silence(1, 2)
        forwarder = self.net.forwarder(2, max_connect_attempts=5, read_timeout=0.1)
        self.failureResultOf(self.asked(forwarder, seconds=0.5), ResolutionFailed)
        self.assertEqual(sum(fake.asked("www.example.com") for fake in self.net.fakes), 5)

    def test_attempts_without_limit(self) -> None:
        """With 0 attempts go on for five seconds, and refusals do not keep the processor busy meanwhile."""
        self.net.servers[0].refuse("udp")
        self.reactor.settle()
        waiting = self.asked(self.net.forwarder(max_connect_attempts=0, max_fails=0), seconds=4.8)
        self.assertNoResult(waiting)
        self.reactor.advance(0.5)
        self.failureResultOf(waiting, ResolutionFailed)
        self.assertLess(self.net.metric("coredns_proxy_conn_cache_misses_total", "forward", "10.0.0.1:53", "udp"), 55)

    def test_cancelling_frees_everything(self) -> None:
        """A cancelled query leaves neither socket nor timer, and asks nobody else."""
        self.silence(1, 2)
        forwarder = self.net.forwarder(2, max_fails=0)
        before = self.reactor.leftovers()
        waiting = self.asked(forwarder, seconds=0.5)
        self.assertNotEqual(self.reactor.leftovers(), before)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.reactor.leftovers(), before)

    def test_a_client_that_gave_up_starts_a_check(self) -> None:
        """When the server's deadline is shorter than the upstream's, the upstream is suspected all the same."""
        self.silence(1)
        forwarder = self.net.forwarder(read_timeout=30.0)
        waiting = self.asked(forwarder, seconds=4.9)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.reactor.advance(0)
        self.assertEqual(self.net.first.asked("."), 1)

    def test_stopping_ends_queries(self) -> None:
        """Who waits when the forwarder stops is told so."""
        self.silence(1)
        forwarder = self.net.forwarder()
        waiting = self.asked(forwarder, seconds=0.1)
        forwarder.stop()
        self.failureResultOf(waiting, CancelledError)


class ManyTests(ForwardCase):
    """Several upstreams, several queries."""

    def test_policies(self) -> None:
        """``sequential`` asks the first, ``round_robin`` each in turn, ``random`` all of them some time."""
        sequential = self.net.forwarder(3, policy=Policy.SEQUENTIAL)
        self.assertEqual([last_octet(self.ask(sequential)) for _ in range(3)], [1, 1, 1])
        robin = self.net.forwarder(3, policy=Policy.ROUND_ROBIN)
        self.assertEqual([last_octet(self.ask(robin)) for _ in range(4)], [1, 2, 3, 1])
        chance = self.net.forwarder(3, policy=Policy.RANDOM)
        self.assertEqual({last_octet(self.ask(chance)) for _ in range(30)}, {1, 2, 3})

    def test_failover(self) -> None:
        """A reply with a ``failover`` code makes the next upstream be asked."""
        self.net.fakes[0].say("www.example.com", entry=Entry(rcode=REFUSED))
        forwarder = self.net.forwarder(2, policy=Policy.SEQUENTIAL, failover=frozenset({REFUSED}))
        self.assertEqual(last_octet(self.ask(forwarder)), 2)

    def test_failover_ends(self) -> None:
        """When all replied so, the last reply stands; each was asked once."""
        for fake in self.net.fakes:
            fake.say("www.example.com", entry=Entry(rcode=REFUSED))
        forwarder = self.net.forwarder(2, failover=frozenset({REFUSED}))
        self.assertEqual(self.ask(forwarder).rcode, REFUSED)
        self.assertEqual([fake.asked() for fake in self.net.fakes], [1, 1, 0])

    def test_identical_queries_share_an_exchange(self) -> None:
        """Who asks the same while it is under way gets the same reply; the upstream is asked once."""
        self.net.first.say("www.example.com", entry=Entry(delay=0.3))
        forwarder = self.net.forwarder()
        waiting = [forwarder.ask(a_request("www.example.com", client=f"10.1.1.{n}")) for n in range(5)]
        self.reactor.advance(0.3)
        answers = [self.successResultOf(deferred) for deferred in waiting]
        self.assertEqual(len({id(answer.body) for answer in answers}), 1)
        self.assertEqual(self.net.first.asked(), 1)
        self.assertEqual(self.net.metric("kdns_forward_coalesced_total"), 4)

    def test_cookies_share_an_exchange(self) -> None:
        """A cookie makes no other question: who forges replies gets no second try with each of them."""
        self.net.first.say("www.example.com", entry=Entry(delay=0.3))
        forwarder = self.net.forwarder()
        for number in range(5):
            cookie = b"\x00\x0a\x00\x08" + number.to_bytes(8, "big")
            forwarder.ask(a_request("www.example.com", edns=Edns(1232, 0, 0, cookie)))
        self.reactor.advance(0.3)
        self.assertEqual(self.net.first.asked(), 1)

    def test_what_differs_is_asked_apart(self) -> None:
        """Flags, EDNS and transport make another query."""
        self.net.first.say("www.example.com", entry=Entry(delay=0.3))
        forwarder = self.net.forwarder()
        for request in (
            a_request("www.example.com"),
            a_request("www.example.com", flags=RD | CD),
            a_request("www.example.com", edns=Edns(1232, 0, 0, b"")),
            a_request("www.example.com", transport=TCP),
        ):
            forwarder.ask(request).addErrback(lambda _: None)
        self.reactor.advance(0.3)
        self.assertEqual(self.net.first.asked(), 4)

    def test_one_who_leaves_does_not_take_the_others_along(self) -> None:
        """Cancelling one of two leaves the other its reply; cancelling both ends the exchange."""
        self.net.first.say("www.example.com", entry=Entry(delay=0.3))
        forwarder = self.net.forwarder()
        first, second = forwarder.ask(a_request("www.example.com")), forwarder.ask(a_request("www.example.com"))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.reactor.advance(0.3)
        self.assertEqual(self.successResultOf(second).rcode, NOERROR)

    def test_max_concurrent(self) -> None:
        """One query more than allowed is refused and counted; when one ended there is room again."""
        self.net.first.say("slow.example.com", entry=Entry(delay=0.3))
        forwarder = self.net.forwarder(max_concurrent=1)
        waiting = forwarder.ask(a_request("slow.example.com"))
        refusal = self.assertRaises(ResolutionFailed, forwarder.ask, a_request("www.example.com"))
        self.assertEqual((refusal.text, refusal.rcode), ("concurrent queries exceeded maximum 1", REFUSED))
        self.assertEqual(self.net.metric("coredns_forward_max_concurrent_rejects_total"), 1)
        self.reactor.advance(0.3)
        self.successResultOf(waiting)
        self.ask(forwarder)

    def test_durations(self) -> None:
        """Each reply of an upstream is observed under its address and code."""
        forwarder = self.net.forwarder()
        self.ask(forwarder)
        self.ask(forwarder, "nx.example.com")
        name = "coredns_proxy_request_duration_seconds"
        self.assertEqual(self.net.count(name, "forward", "10.0.0.1:53", "NOERROR"), 1)
        self.assertEqual(self.net.count(name, "forward", "10.0.0.1:53", "NXDOMAIN"), 1)

    def test_ipv6_upstream(self) -> None:
        """An upstream with an IPv6 address is asked from one."""
        self.net.servers[2].stop()
        self.reactor.settle()
        self.net.servers[2].start("::1", 53)
        answer = self.ask(self.net.forwarder(to=(Target("::1"),)))
        self.assertEqual(last_octet(answer), 3)


class SelectRefusalTests(ForwardCase):
    """The same refusal on a reactor that reads errors, as select does."""

    polling = "select"

    def test_refusal(self) -> None:
        """It is seen at once there too."""
        self.net.servers[0].refuse("udp")
        self.reactor.settle()
        self.assertEqual(last_octet(self.ask(self.net.forwarder(2, policy=Policy.SEQUENTIAL))), 2)


class SharedTests(ForwardCase):
    """Clients that share an exchange."""

    def setUp(self) -> None:
        super().setUp()
        self.net.first.say("www.example.com", entry=Entry(delay=0.3))
        self.shared = self.net.forwarder(max_connect_attempts=1, max_fails=0)

    def clients(self, many: int) -> list[Deferred[Answer]]:
        """So many clients that ask the same."""
        return [self.shared.ask(a_request("www.example.com")) for _ in range(many)]

    def test_failure(self) -> None:
        """Each is told of a failure, with a Failure of its own."""
        self.silence(1)
        both = self.clients(2)
        self.reactor.advance(2.0)
        failures = [self.failureResultOf(one, ResolutionFailed) for one in both]
        self.assertIsNot(*failures)
        self.assertEqual(self.shared.waiting, 0)

    def test_cancelling(self) -> None:
        """The exchange is dropped with the last client, and not before."""
        first, second = self.clients(2)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual((self.shared.waiting, self.shared.upstreams[0].in_flight), (1, 1))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual((self.shared.waiting, self.shared.upstreams[0].in_flight), (0, 0))

    def test_one_takes_another_along(self) -> None:
        """An answer that makes one client cancel another is no trouble for the rest."""
        three = self.clients(3)

        def take_along(answer: Answer) -> Answer:
            three[1].cancel()
            return answer

        three[0].addCallback(take_along)
        self.reactor.advance(0.3)
        self.failureResultOf(three[1], CancelledError)
        self.assertEqual(self.successResultOf(three[2]).rcode, NOERROR)
        self.assertEqual(self.shared.waiting, 0)

    def test_thousands(self) -> None:
        """Clients that wait for one reply are told a few in each turn."""
        told = [0]

        def count(_: Answer) -> None:
            told[-1] += 1

        clients = self.clients(5 * PORTION)
        for client in clients:
            client.addCallback(count)
        # What a turn of the reactor brings is told in it, and in the following ones.
        turn = self.reactor.turn

        def counted() -> bool:
            told.append(0)
            return turn()

        self.patch(self.reactor, "turn", counted)
        self.reactor.advance(0.3)
        self.reactor.settle()
        self.assertEqual((sum(told), max(told)), (5 * PORTION, PORTION))
        self.assertEqual(self.shared.waiting, 0)

    def test_asked_again_meanwhile(self) -> None:
        """A client that asks again when it is told begins a new exchange."""
        again: list[Deferred[Answer]] = []
        for client in self.clients(2):
            client.addCallback(lambda _: again.append(*self.clients(1)))
        self.reactor.advance(0.3)
        self.assertEqual((len(again), self.net.first.asked()), (2, 2))
        self.reactor.advance(0.3)
        for one in again:
            self.successResultOf(one)

    def test_stop(self) -> None:
        """The end of the forwarder ends all of them."""
        both = [*self.clients(1), self.shared.ask(a_request("other.example.com"))]
        self.shared.stop()
        for one in both:
            self.failureResultOf(one, CancelledError)
        self.assertEqual(self.shared.waiting, 0)

    def test_each_takes_what_it_can(self) -> None:
        """A datagram that is too long for one client is cut for it alone."""
        self.net.first.say("www.example.com", entry=Entry(huge=600, delay=0.3))
        small, large = (
            self.shared.ask(a_request("www.example.com", edns=Edns(size, 0, 0, b""))) for size in (512, 1232)
        )
        self.reactor.advance(0.3)
        self.assertEqual(self.successResultOf(small).flags & TC, TC)
        self.assertEqual(self.successResultOf(large).flags & TC, 0)
        self.assertEqual(self.net.first.asked(), 1)


class BirthdayTests(ForwardCase):
    """A question that a forger has asked in a thousand ways is in flight a few times at most (RFC 5452 section 5)."""

    def test_sizes_and_options(self) -> None:
        """The size and the options of a client's OPT do not make another query."""
        self.silence(1)
        forwarder = self.net.forwarder()
        for size in range(512, 1512):
            options = opt_of(size.to_bytes(2, "big") + b"\x00\x02ab")[11:]
            forwarder.ask(a_request("www.example.com", edns=Edns(size, 0, 0, options))).addErrback(lambda _: None)
        self.reactor.settle()
        self.assertEqual(self.net.first.asked(), 1)
        self.assertEqual(self.net.metric("kdns_forward_coalesced_total"), 999)

    def test_flags_and_subnets(self) -> None:
        """What does make another query goes over TCP when a few are in flight over UDP."""
        self.silence(1)
        forwarder = self.net.forwarder(read_timeout=4.0)
        waiting = []
        for number in range(40):
            subnet = b"\x00\x08\x00\x07\x00\x01\x18\x00\x0a\x00" + bytes((number,))
            waiting.append(forwarder.ask(a_request("www.example.com", edns=Edns(1232, 0, 0, subnet))))
        waiting += [forwarder.ask(a_request("www.example.com", flags=flags)) for flags in (0, RD, AD, CD, RD | CD)]
        self.reactor.settle()
        asked = self.net.first.asked
        self.assertEqual((asked(transport="udp"), asked(transport="tcp")), (MOST_VARIANTS, 45 - MOST_VARIANTS))
        for one in waiting:
            one.addErrback(lambda _: None).cancel()
        forwarder.stop()
        self.assertEqual(forwarder.waiting, 0)

    def test_other_types_are_other_questions(self) -> None:
        """A and AAAA of a name are asked at the same time."""
        forwarder = self.net.forwarder()
        both = [forwarder.ask(a_request("www.example.com", qtype)) for qtype in (1, 28)]
        self.reactor.settle()
        for one in both:
            self.successResultOf(one)
        self.assertEqual(self.net.first.asked(transport="udp"), 2)


class FloodTests(ForwardCase):
    """20,000 names that are never answered."""

    def test_each_is_told(self) -> None:
        """Every query ends, in time, and nothing is left of any."""
        self.silence(1)
        forwarder = self.net.forwarder(max_fails=0)
        before = self.reactor.leftovers()
        outcomes: list[object] = []
        for number in range(20_000):
            forwarder.ask(a_request(f"host{number}.example.com")).addBoth(outcomes.append)
        self.reactor.advance(4.0)
        self.assertEqual(len(outcomes), 20_000)
        self.assertEqual({type(getattr(outcome, "value", None)) for outcome in outcomes}, {ResolutionFailed})
        self.assertEqual((forwarder.waiting, self.reactor.leftovers()), (0, before))


KNOWN = {(rtype, IN) for rtype in (A, AAAA, CNAME, NS, SOA, TXT, 15)}
"""What the replies hold; where chance makes other types of them, dnspython knows more of those than kdns."""


class MutatedReplyTests(ForwardCase):
    """Replies with some bytes changed on their way."""

    def seed(self) -> bytes:
        """A reply with names, addresses and text in all sections, behind its identifier."""
        reply = dns.message.from_text(
            "id 7\nopcode QUERY\nrcode NOERROR\nflags QR RD RA\n;QUESTION\nwww.example.com. IN A\n;ANSWER\n"
            "www.example.com. 300 IN CNAME web.example.com.\nweb.example.com. 60 IN A 192.0.2.1\n"
            "web.example.com. 60 IN A 192.0.2.2\n;AUTHORITY\nexample.com. 60 IN NS ns.example.com.\n"
            "example.com. 60 IN SOA ns.example.com. admin.example.com. 1 2 3 4 5\n;ADDITIONAL\n"
            'ns.example.com. 60 IN AAAA 2001:db8::1\nns.example.com. 60 IN TXT "a" "bc"\nns.example.com. 60 IN MX 1 a.example.com.\n'
        )
        return reply.to_wire()[2:]

    def test_mutated(self) -> None:
        """What the client gets of 2,500 of them can be read, with every record in it; of the others it gets SERVFAIL."""
        chance, seed = Random(5452), self.seed()
        forwarder = self.net.forwarder(max_fails=0)
        request = a_request("www.example.com", edns=Edns(1232, 0, 0, b""))
        start, answered, refused = 10 + len(request.question), 0, 0
        for _ in range(2500):
            octets = bytearray(seed)
            for _ in range(chance.randint(1, 3)):
                octets[chance.randrange(start, len(octets))] = chance.choice(
                    (0, 1, 2, 3, 0x3F, 0x40, 0xC0, 0xFF, chance.randrange(256))
                )
            if chance.random() < 0.2:
                del octets[chance.randrange(start, len(octets)) :]
            self.net.first.say("www.example.com", entry=Entry(raw=bytes(octets)))
            waiting = self.asked(forwarder, request)
            outcome: Any = waiting.result
            waiting.addErrback(lambda _: None)
            if isinstance(outcome, Answer):
                answered += 1
                records = [record for section in outcome.sections() for record in section]
                if {(record.rtype, record.rclass) for record in records} <= KNOWN:
                    dns.message.from_wire(render_reply(request, outcome))
            else:
                refused += 1
                self.assertEqual(outcome.value.ede, (0, "unreadable reply from upstream"))
        self.assertEqual(answered + refused, 2500)
        self.assertGreater(answered, 500)
        self.assertGreater(refused, 500)
