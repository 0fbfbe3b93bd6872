"""Tests of :mod:`kdns.plugins.forward.sockets`: the sockets for UDP, and which datagrams are taken for replies."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.failure import ResolutionFailed
from kdns.plugins.forward import Forwarder, Target
from kdns.plugins.forward.policy import Policy
from kdns.plugins.forward.queries import MALFORMED, OTHER_QUESTION, is_error_only, what_is_wrong
from kdns.plugins.forward.sockets import (
    FAILURES_AT_ONCE,
    LIFETIME,
    MOST_QUERIES,
    MOST_STRAYS,
    SOCKETS,
    TOGETHER,
)
from kdns.testing.memory import Datagram
from kdns.testing.upstream import Entry
from kdns.wire.constants import NOERROR
from kdns.wire.names import from_text
from kdns.wire.query import HEADER
from tests.plugins.forward.support import ForwardCase, last_octet, parse_record
from tests.support import a_request

UPSTREAM = ("10.0.0.1", 53)
IGNORED = "kdns_forward_replies_ignored_total"


class SocketsCase(ForwardCase):
    """A forwarder whose datagrams to the first upstream are seen."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[Datagram] = []

        def note(datagram: Datagram) -> tuple[float]:
            self.seen.append(datagram)
            return (0.0,)

        self.reactor.shape(note, destination=UPSTREAM)

    def sockets(self) -> list[str]:
        """The UDP sockets that are open towards upstreams."""
        found = [socket for socket in self.reactor.network.sockets.values() if socket.kind == "udp" and socket.remote]
        return [f"{socket.local} -> {socket.remote}" for socket in found]

    def ignored(self, reason: str) -> float:
        """How many datagrams were no reply for that reason."""
        return self.net.metric(IGNORED, "10.0.0.1:53", reason)

    def forge(self, datagram: Datagram, ident: bytes, octet: int = 66) -> None:
        """A reply to *datagram* as the upstream would send it, with another identifier and another address in it."""
        question = datagram.data[12:]
        record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x2c\x00\x04\xc0\x00\x02" + bytes((octet,))
        reply = ident + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + question + record
        self.reactor.inject(reply, UPSTREAM, datagram.source)
        self.reactor.settle()


class QuestionTests(SynchronousTestCase):
    """The question of a reply beside the one that was asked."""

    question = from_text("www.example.com") + b"\x00\x41\x00\x01"

    def message(self, flags: int = 0x8180, name: str = "www.example.com", qtype: int = 65) -> bytes:
        """A reply without records."""
        return HEADER.pack(7, flags, 1, 0, 0, 0) + from_text(name) + qtype.to_bytes(2, "big") + b"\x00\x01"

    def test_verdicts(self) -> None:
        """Shape and question are compared; letter case is not."""
        for message, wanted in (
            (self.message(), ""),
            (self.message().replace(b"www", b"WwW"), ""),
            (self.message(name="www.example.org"), OTHER_QUESTION),
            (self.message(name="example.org"), OTHER_QUESTION),
            (self.message(qtype=1), OTHER_QUESTION),
            # 65 is "A" and 97 is "a": folding the case of the whole question would take one for the other.
            (self.message(qtype=97), OTHER_QUESTION),
            (self.message(flags=0x0100), MALFORMED),
            (self.message()[:20], MALFORMED),
            (b"", MALFORMED),
            (HEADER.pack(7, 0x8180, 2, 0, 0, 0) + self.message()[12:] * 2, MALFORMED),
            (HEADER.pack(7, 0x8180, 0, 0, 0, 0), OTHER_QUESTION),
        ):
            self.assertEqual(what_is_wrong(message, self.question), wanted, message)

    def test_errors_without_a_question(self) -> None:
        """A server that could not read the query says an error and nothing else."""
        self.assertTrue(is_error_only(HEADER.pack(7, 0x8181, 0, 0, 0, 0)))
        self.assertFalse(is_error_only(HEADER.pack(7, 0x8180, 0, 0, 0, 0)))
        self.assertFalse(is_error_only(HEADER.pack(7, 0x0101, 0, 0, 0, 0)))
        self.assertFalse(is_error_only(self.message(flags=0x8181)))

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=80))
    def test_any_octets(self, octets: bytes) -> None:
        """Whatever comes is judged, and a reply has the question."""
        for message in (octets, b"\x12\x67\x81\x80\x00\x01" + octets):
            if not what_is_wrong(message, self.question):
                self.assertEqual(message[12 : 12 + len(self.question)].lower(), self.question.lower())


class SpreadTests(SocketsCase):
    """Which sockets queries go from, and how long those are used."""

    def test_spread_over_few(self) -> None:
        """Queries go from so many ports, each with identifiers of its own, and no more are open."""
        forwarder = self.net.forwarder()
        for _ in range(100):
            self.ask(forwarder)
        self.assertEqual(len({datagram.source[1] for datagram in self.seen}), SOCKETS)
        self.assertEqual(len(self.sockets()), SOCKETS)
        self.assertGreater(len({datagram.data[:2] for datagram in self.seen}), 90)
        self.assertEqual(
            self.net.metric("coredns_proxy_conn_cache_misses_total", "forward", "10.0.0.1:53", "udp"), SOCKETS
        )
        self.assertEqual(
            self.net.metric("coredns_proxy_conn_cache_hits_total", "forward", "10.0.0.1:53", "udp"), 100 - SOCKETS
        )

    def test_replaced_after_so_many_queries(self) -> None:
        """No port is asked from more often than that."""
        forwarder = self.net.forwarder()
        for _ in range(SOCKETS * MOST_QUERIES + 1):
            self.ask(forwarder)
        counts: dict[int, int] = {}
        for datagram in self.seen:
            counts[datagram.source[1]] = counts.get(datagram.source[1], 0) + 1
        self.assertEqual(max(counts.values()), MOST_QUERIES)
        self.assertGreater(len(counts), SOCKETS)
        self.assertLessEqual(len(self.sockets()), SOCKETS)

    def test_closed_after_some_time(self) -> None:
        """A socket is closed when its time is over, and then nothing is left of it, not even a timer."""
        forwarder = self.net.forwarder()
        before = self.reactor.leftovers()
        self.ask(forwarder, seconds=LIFETIME - 0.1)
        self.assertEqual(len(self.sockets()), 1)
        self.reactor.advance(0.1)
        self.assertEqual(self.reactor.leftovers(), before)

    def test_one_that_waits_is_closed_later(self) -> None:
        """When its time is over a socket takes no more queries, and the reply that is awaited there still comes."""
        self.net.first.say("slow.example.com", "slow.example.com. 300 IN A 192.0.2.7", entry=None)
        self.net.first.plan("slow.example.com", Entry(delay=LIFETIME + 1.0))
        forwarder = self.net.forwarder(read_timeout=10.0)
        waiting = self.asked(forwarder, "slow.example.com", seconds=LIFETIME + 0.5)
        self.assertEqual(len(self.sockets()), 1)
        for _ in range(50):
            self.ask(forwarder)
        self.assertNotIn(self.seen[0].source[1], {datagram.source[1] for datagram in self.seen[1:]})
        self.reactor.advance(0.6)
        self.successResultOf(waiting)
        self.reactor.advance(LIFETIME)
        self.assertEqual(self.sockets(), [])

    def test_no_identifier_twice(self) -> None:
        """As long as a socket is used it takes no identifier again, so that no late reply fits a new query."""
        forwarder = self.net.forwarder()
        for _ in range(2000):
            self.ask(forwarder)
        sent = [(datagram.source[1], datagram.data[:2]) for datagram in self.seen]
        self.assertEqual(len(sent), len(set(sent)))

    def test_many_at_once(self) -> None:
        """However many wait, on no socket wait more than it has queries; all are told when time is up."""
        self.silence(1)
        forwarder = self.net.forwarder(max_connect_attempts=1, max_fails=0)
        names = [f"host{number}.example.com" for number in range(SOCKETS * MOST_QUERIES + 500)]
        waiting = [forwarder.ask(a_request(name)) for name in names]
        self.assertGreater(len(self.sockets()), SOCKETS)
        self.assertLess(len(self.sockets()), 2 * SOCKETS + 4)
        self.reactor.advance(2.0)
        for one in waiting:
            self.failureResultOf(one, ResolutionFailed)
        self.assertEqual(self.sockets(), [])

    def test_sent_together(self) -> None:
        """
        A query that comes alone leaves at once. Those behind it leave together from one socket, when the turn ends or when there are enough
        of them; one that was cancelled by then does not leave.
        """
        forwarder = self.net.forwarder()
        waiting = [forwarder.ask(a_request(f"host{number}.example.com")) for number in range(1 + TOGETHER + 3)]
        self.assertEqual(len(self.seen), 1 + TOGETHER)
        self.assertEqual(len({datagram.source for datagram in self.seen[1:]}), 1)
        waiting[-1].addErrback(lambda _: None).cancel()
        self.reactor.settle()
        self.assertEqual(len(self.seen), 1 + TOGETHER + 2)
        for one in waiting:
            self.successResultOf(one)

    def test_stopped_before_it_is_sent(self) -> None:
        """The end of the forwarder in the same turn: nothing more is sent, and nothing is left to be done."""
        forwarder = self.net.forwarder()
        before = self.reactor.leftovers()
        for name in ("a.example.com", "b.example.com"):
            forwarder.ask(a_request(name)).addErrback(lambda _: None)
        forwarder.stop()
        self.reactor.settle()
        self.assertEqual((len(self.seen), self.reactor.leftovers()), (1, before))

    def test_ipv6(self) -> None:
        """An upstream with an IPv6 address is asked the same way, and a refusal names it."""
        self.net.servers[2].stop()
        self.reactor.settle()
        self.net.servers[2].start("::1", 53)
        forwarder = self.net.forwarder(to=(Target("::1"),))
        self.assertEqual(last_octet(self.ask(forwarder)), 3)
        self.net.servers[2].refuse("udp", "tcp")
        self.reactor.settle()
        failure = self.failureResultOf(self.asked(forwarder), ResolutionFailed).value
        self.assertRegex(failure.text, r"^read udp \[::1\]:\d+->\[::1\]:53: read: connection refused$")


class ForgeryTests(SocketsCase):
    """What is believed that comes from the upstream's address."""

    def waiting(self, forwarder: Forwarder | None = None) -> Datagram:
        """A query that the upstream will reply to after a second; the datagram that was sent."""
        self.net.first.say("www.example.com", "www.example.com. 300 IN A 192.0.2.1", entry=None)
        self.net.first.plan("www.example.com", Entry((parse_record("www.example.com. 300 IN A 192.0.2.1"),), delay=1.0))
        self.answer = self.asked(forwarder or self.net.forwarder())
        return self.seen[-1]

    def test_other_identifier(self) -> None:
        """It is counted, and the right reply is still believed."""
        sent = self.waiting()
        self.forge(sent, bytes((sent.data[0] ^ 1, sent.data[1])))
        self.assertNoResult(self.answer)
        self.assertEqual(self.ignored("id"), 1)
        self.reactor.advance(1.0)
        self.assertEqual(last_octet(self.successResultOf(self.answer)), 1)

    def test_identifier_of_another_port(self) -> None:
        """The right identifier and question at another socket of the same upstream is no reply."""
        self.silence(1)
        forwarder = self.net.forwarder(max_connect_attempts=1)
        for number in range(100):
            forwarder.ask(a_request(f"host{number}.example.com")).addErrback(lambda _: None)
        sent = self.seen[0]
        other = next(datagram for datagram in self.seen if datagram.source != sent.source)
        self.forge(Datagram(sent.data, other.source, sent.destination), sent.data[:2])
        self.assertEqual(self.ignored("id"), 1)
        self.reactor.advance(2.0)

    def test_question_of_another(self) -> None:
        """The identifier of one query and the question of another that waits too is no reply to either."""
        self.silence(1)
        forwarder = self.net.forwarder(max_connect_attempts=1)
        asked = [forwarder.ask(a_request(f"host{number}.example.com")) for number in range(60)]
        self.reactor.settle()
        first, second = self.seen[1:3]
        self.assertEqual(first.source, second.source)
        self.forge(second, first.data[:2])
        self.assertEqual(self.ignored("question"), 1)
        for one in asked:
            self.assertNoResult(one)
        self.reactor.advance(2.0)
        self.assertEqual(sum(one.addErrback(lambda _: None).called for one in asked), 60)

    def test_not_a_reply(self) -> None:
        """The query itself, sent back, is none; nor is a head with two questions."""
        sent = self.waiting()
        self.reactor.inject(sent.data, UPSTREAM, sent.source)
        twice = sent.data[:2] + b"\x81\x80\x00\x02" + sent.data[6:] + sent.data[12:]
        self.reactor.inject(twice, UPSTREAM, sent.source)
        self.reactor.settle()
        self.assertNoResult(self.answer)
        self.assertEqual(self.ignored("malformed"), 2)
        self.reactor.advance(1.0)
        self.assertEqual(self.successResultOf(self.answer).rcode, NOERROR)

    def test_late_and_double_replies(self) -> None:
        """What comes too late or a second time is counted apart, and is no sign of forgery."""
        forwarder = self.net.forwarder()
        for _ in range(3 * MOST_STRAYS):
            self.ask(forwarder)
            sent = self.seen[-1]
            self.forge(sent, sent.data[:2])
        self.assertEqual((self.ignored("late"), self.ignored("id")), (3 * MOST_STRAYS, 0))
        self.assertEqual(len({datagram.source[1] for datagram in self.seen}), SOCKETS)
        self.assertEqual(self.net.first.asked(transport="tcp"), 0)

    def test_somebody_guesses(self) -> None:
        """After some wrong guesses at one socket it is given up, and what waits there is asked over TCP at once."""
        sent = self.waiting()
        for number in range(MOST_STRAYS):
            self.assertNoResult(self.answer)
            self.forge(sent, (sent.data[0] << 8 | sent.data[1]).__xor__(number + 1).to_bytes(2, "big"))
        # A right guess now is too late.
        self.forge(sent, sent.data[:2])
        self.assertEqual(last_octet(self.successResultOf(self.answer)), 1)
        self.assertEqual(self.net.first.asked(transport="tcp"), 1)
        self.assertEqual(self.sockets(), [])

    def test_guessing_speaks_not_against_the_upstream(self) -> None:
        """It is neither checked nor are attempts used up; without TCP it is asked over UDP once more."""
        self.net.servers[0].refuse("tcp")
        self.reactor.settle()
        sent = self.waiting(self.net.forwarder(max_connect_attempts=2, max_fails=0))
        for number in range(MOST_STRAYS):
            self.forge(sent, (sent.data[0] << 8 | sent.data[1]).__xor__(number + 1).to_bytes(2, "big"))
        self.reactor.advance(0.0)
        self.assertEqual(last_octet(self.successResultOf(self.answer)), 1)
        self.assertEqual(self.net.first.asked(), 2)
        self.assertNotEqual(self.seen[0].source, self.seen[1].source)
        self.reactor.advance(1.0)


class TroubleTests(SocketsCase):
    """Refusals, restarts, time, and those who give up."""

    def test_restart(self) -> None:
        """An upstream that was away is asked again as soon as it is back, though the sockets were refused meanwhile."""
        forwarder = self.net.forwarder(max_fails=0)
        for _ in range(50):
            self.ask(forwarder)
        self.net.servers[0].stop()
        self.reactor.settle()
        for _ in range(50):
            self.failureResultOf(self.asked(forwarder), ResolutionFailed)
        self.assertEqual(self.sockets(), [])
        self.net.servers[0].start(*UPSTREAM)
        for _ in range(50):
            self.ask(forwarder)

    def test_a_refusal_is_everybodys(self) -> None:
        """All who wait on a socket hear of a refusal, and another upstream answers them."""
        self.silence(1)
        forwarder = self.net.forwarder(2, policy=Policy.SEQUENTIAL, max_fails=0)
        self.net.fakes[1].say_everywhere(Entry((parse_record("x.example.com. 300 IN A 192.0.2.2"),), always=True))
        waiting = [forwarder.ask(a_request(f"host{number}.example.com")) for number in range(40)]
        self.reactor.settle()
        self.net.servers[0].refuse("udp", "tcp")
        self.reactor.settle()
        # One in a turn, so that each of the sockets has one.
        more = [self.asked(forwarder, f"more{number}.example.com") for number in range(40)]
        for one in waiting + more:
            self.assertEqual(self.successResultOf(one).rcode, NOERROR)

    def test_order_of_time(self) -> None:
        """Each query has its own deadline, in the order in which they were asked, on however many sockets."""
        self.silence(1)
        forwarder = self.net.forwarder(max_connect_attempts=1, read_timeout=1.0, max_fails=0)
        waiting = []
        for number in range(20):
            waiting.append(forwarder.ask(a_request(f"host{number}.example.com")))
            self.reactor.advance(0.03)
        self.reactor.advance(0.41)
        for number, one in enumerate(waiting):
            self.assertEqual(one.called, number == 0)
        self.reactor.advance(0.3)
        self.assertEqual([one.called for one in waiting], [True] * 11 + [False] * 9)
        self.reactor.advance(0.3)
        for one in waiting:
            self.failureResultOf(one, ResolutionFailed)
        self.assertEqual(self.sockets(), [])

    def test_shorter_than_a_socket_lives(self) -> None:
        """A deadline before the end of the socket is kept, after a query that was answered as well."""
        forwarder = self.net.forwarder(max_connect_attempts=1, read_timeout=0.2, max_fails=0)
        self.ask(forwarder, seconds=0.1)
        self.silence(1)
        waiting = self.asked(forwarder, "other.example.com", seconds=0.19)
        self.assertNoResult(waiting)
        self.reactor.advance(0.01)
        self.failureResultOf(waiting, ResolutionFailed)

    def test_cancelling_one_of_many(self) -> None:
        """Who gives up leaves the others their replies, and its own reply is late when it comes."""
        self.net.first.say_everywhere(
            Entry((parse_record("x.example.com. 300 IN A 192.0.2.2"),), always=True, delay=0.5)
        )
        forwarder = self.net.forwarder()
        waiting = [forwarder.ask(a_request(f"host{number}.example.com")) for number in range(40)]
        for one in waiting[::2]:
            one.addErrback(lambda _: None).cancel()
        self.reactor.advance(0.5)
        for one in waiting[1::2]:
            self.assertEqual(self.successResultOf(one).rcode, NOERROR)
        self.assertGreater(self.ignored("late"), 0)

    def test_time_outs_in_slices(self) -> None:
        """Hundreds of queries that time out at the same moment are told over many turns; those given up meanwhile are not asked again."""
        self.silence(1)
        forwarder = self.net.forwarder(max_connect_attempts=1, max_fails=0)
        told: list[int] = [0]

        def failed(failure: Failure) -> None:
            told[-1] += 1

        def turn(really: Callable[[], bool] = self.reactor.turn) -> bool:
            told.append(0)
            if sum(told) > 300:
                for one in waiting:
                    one.cancel()
            return really()

        waiting = [forwarder.ask(a_request(f"host{number}.example.com")).addErrback(failed) for number in range(400)]
        self.patch(self.reactor, "turn", turn)
        self.reactor.advance(2.0)
        self.assertEqual(sum(told), 400)
        self.assertEqual(max(told[:-10]), FAILURES_AT_ONCE)
        self.assertEqual((self.net.first.asked(), self.sockets()), (400, []))

    def test_given_up_at_once(self) -> None:
        """A flood of queries that are given up in the turn they came in, as a full server does, costs neither sockets nor datagrams."""
        self.silence(1)
        forwarder = self.net.forwarder()
        waiting = [self.asked(forwarder, f"host{number}.example.com") for number in range(50)]
        misses = self.net.metric("coredns_proxy_conn_cache_misses_total", "forward", "10.0.0.1:53", "udp")
        sent = len(self.seen)
        for number in range(500):
            forwarder.ask(a_request(f"more{number}.example.com")).addErrback(lambda _: None).cancel()
        self.reactor.settle()
        self.assertLessEqual(len(self.seen) - sent, 1)
        more = self.net.metric("coredns_proxy_conn_cache_misses_total", "forward", "10.0.0.1:53", "udp") - misses
        self.assertLessEqual(more, 2)  # where 256 queries were asked from one
        for one in waiting:
            one.addErrback(lambda _: None).cancel()

    def test_replies_ahead_of_a_refusal(self) -> None:
        """A reply that had arrived before the refusal is not lost with it."""
        forwarder = self.net.forwarder(max_connect_attempts=1, max_fails=0)
        self.silence(1)
        waiting = self.asked(forwarder)
        sent = self.seen[-1]
        question = sent.data[12:]
        reply = sent.data[:2] + b"\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00" + question
        self.reactor.inject(reply, UPSTREAM, sent.source)
        socket = next(socket for socket in self.reactor.network.sockets.values() if socket.local == sent.source)
        socket.refused_by(UPSTREAM)  # type: ignore[attr-defined]  # it is a datagram socket
        self.reactor.settle()
        self.assertEqual(self.successResultOf(waiting).rcode, NOERROR)
        self.assertEqual(self.sockets(), [])

    def test_stopping(self) -> None:
        """The end of the forwarder closes all sockets."""
        forwarder = self.net.forwarder()
        before = self.reactor.leftovers()
        for _ in range(20):
            self.ask(forwarder)
        forwarder.stop()
        self.assertEqual(self.reactor.leftovers(), before)


class SelectTroubleTests(TroubleTests):
    """The same on a reactor that reads errors, as select does."""

    polling = "select"
