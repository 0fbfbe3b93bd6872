"""Tests of :mod:`kdns.plugins.forward.forwarder`: a query and its upstreams."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from kdns.core.answer import NO_RECORDS
from kdns.core.failure import ResolutionFailed
from kdns.plugins.forward import Target
from kdns.plugins.forward.policy import Policy
from kdns.testing.memory import Datagram
from kdns.testing.upstream import Deed, Entry, Truncate
from kdns.wire.constants import AA, AD, CD, FORMERR, NOERROR, NXDOMAIN, RA, RD, REFUSED, SERVFAIL, TC
from kdns.wire.message import Relayed
from kdns.wire.names import from_text
from kdns.wire.query import Edns
from tests.plugins.forward.support import TCP, ForwardCase, last_octet, parse_record, records
from tests.support import a_request


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

    def test_query_goes_unchanged(self) -> None:
        """Spelling, RD, CD, the OPT with its options go upstream; only the identifier is another."""
        request = a_request("WwW.example.com", flags=CD, edns=Edns(1400, 0x8000, 0, b"\xfd\xe9\x00\x02ab"))
        self.ask(self.net.forwarder(), request)
        sent = self.net.first.received[0].query
        self.assertEqual(sent[2:], request.wire(0)[2:])
        self.assertNotEqual(sent[:2], b"\x12\x67")

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
        self.net.first.say("www.example.com", entry=Entry(deed=Deed.SEND_FROM_ELSEWHERE))
        self.failureResultOf(self.asked(self.net.forwarder(), seconds=4.0), ResolutionFailed)

    def test_hop_by_hop_options_stay_here(self) -> None:
        """Cookie, keepalive and padding of a client are none of the upstream's business; other options, and an empty OPT, go on."""
        options = b"\x00\x0a\x00\x08cookie..\x00\x0b\x00\x00\x00\x08\x00\x01x\x00\x0c\x00\x02\x00\x00"
        forwarder = self.net.forwarder()
        self.ask(forwarder, a_request("www.example.com", edns=Edns(1400, 0x8000, 0, options)))
        self.assertEqual(self.net.first.received[0].query[-9:], b"\x80\x00\x00\x05\x00\x08\x00\x01x")
        self.ask(forwarder, a_request("www.example.com", edns=Edns(1400, 0x8000, 0, options[:12])))
        self.assertEqual(self.net.first.received[1].query[-6:], b"\x00\x00\x80\x00\x00\x00")

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
