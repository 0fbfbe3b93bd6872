"""Tests of the core modules of *forward*: health, plan, policy, reply, targets, flight, dialing."""

from __future__ import annotations

from itertools import product
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.corefile.values import BadValue
from kdns.plugins.forward.dialing import DialTime
from kdns.plugins.forward.failures import dial_error, reason
from kdns.plugins.forward.flight import Flight, Flights
from kdns.plugins.forward.health import MOVES, Event, Health, ImpossibleMove, UpstreamHealth
from kdns.plugins.forward.plan import AttemptPlan
from kdns.plugins.forward.policy import Order, Policy
from kdns.plugins.forward.reply import Asked, Verdict, answers_check, check_query
from kdns.plugins.forward.targets import Carrier, Elsewhere, Target, each_once, nameservers, parse_to
from kdns.wire.names import from_text
from kdns.wire.query import HEADER
from tests.support import a_request


class HealthTests(SynchronousTestCase):
    """The machine of one upstream."""

    def reach(self, state: Health) -> UpstreamHealth:
        """A health in that state."""
        health = UpstreamHealth(max_fails=2, interval=0.5)
        if state is Health.WITHDRAWN:
            health.withdraw()
        elif state is not Health.HEALTHY:
            health.failed(0.0)
            for now in range(3 if state is Health.DOWN else 0):
                health.check_failed(float(now))
        self.assertIs(health.state, state)
        return health

    def happen(self, health: UpstreamHealth, event: Event) -> None:
        """Let it happen, by the call that stands for it."""
        match event:
            case Event.QUERY_FAILED:
                health.failed(10.0)
            case Event.CHECK_FAILED:
                health.fails = 0
                health.check_failed(10.0)
            case Event.CHECKS_EXHAUSTED:
                health.fails = 2
                health.check_failed(10.0)
            case Event.CHECK_PASSED:
                health.check_passed()
            case Event.WITHDRAWN:
                health.withdraw()
            case Event.RESTORED:
                health.restore()

    def test_every_arrow_and_every_missing_one(self) -> None:
        """What is in the table happens, all else is an error of the caller."""
        for state, event in product(Health, Event):
            health = self.reach(state)
            if (state, event) in MOVES:
                self.happen(health, event)
                self.assertIs(health.state, MOVES[state, event], (state, event))
            else:
                self.assertRaises(ImpossibleMove, self.happen, health, event)

    def test_checks(self) -> None:
        """The first check is due at once, the next an interval after a failed one, none after success."""
        health = UpstreamHealth(2, 0.5)
        self.assertIsNone(health.next_deadline())
        health.failed(7.0)
        self.assertEqual(health.next_deadline(), 7.0)
        health.check_begun()
        health.failed(7.5)
        self.assertIsNone(health.next_deadline())
        health.check_failed(8.0)
        self.assertEqual(health.next_deadline(), 8.5)
        health.check_passed()
        self.assertEqual((health.next_deadline(), health.fails), (None, 0))

    def test_greater_than_max_fails(self) -> None:
        """With N allowed, the check number N + 1 is the end."""
        for most in (1, 2, 5):
            health = UpstreamHealth(most, 0.5)
            health.failed(0.0)
            for _ in range(most):
                health.check_failed(0.0)
                self.assertTrue(health.usable)
            health.check_failed(0.0)
            self.assertFalse(health.usable)


class PlanTests(SynchronousTestCase):
    """Whom to ask next."""

    def plan(self, order: str, down: str = "", **options: int) -> AttemptPlan[str]:
        """A plan for upstreams that are letters."""
        return AttemptPlan(list(order), lambda one: one not in down, Random(1), 0.0, **options)  # type: ignore[arg-type]  # failfast is a bool

    def test_wraps(self) -> None:
        """The order is gone through again and again, until the attempts are used up."""
        plan = self.plan("abc", most=5)
        self.assertEqual([plan.next(0.0) for _ in range(6)], ["a", "b", "c", "a", "b", None])

    def test_time(self) -> None:
        """No attempt begins five seconds after the query."""
        plan = self.plan("a")
        self.assertEqual((plan.next(4.99), plan.next(5.0)), ("a", None))

    def test_down(self) -> None:
        """Those that are down are passed over."""
        plan = self.plan("abc", "ac", most=3)
        self.assertEqual([plan.next(0.0) for _ in range(4)], ["b", "b", "b", None])

    def test_all_down(self) -> None:
        """One of them is drawn, once; with failfast none."""
        plan = self.plan("ab", "ab")
        self.assertIn(plan.next(0.0), ("a", "b"))
        self.assertTrue(plan.broken)
        self.assertIsNone(plan.next(0.0))
        self.assertIsNone(self.plan("ab", "ab", failfast=True).next(0.0))

    def test_replied(self) -> None:
        """One whose reply was not wanted is not asked again; when none is left it is no fault of the checks."""
        plan = self.plan("abc", "b")
        self.assertEqual(plan.next(0.0), "a")
        plan.replied("a")
        self.assertEqual(plan.next(0.0), "c")
        plan.replied("c")
        self.assertIsNone(plan.next(0.0))
        self.assertFalse(plan.broken)

    def test_nobody(self) -> None:
        """Without upstreams there is nobody to ask."""
        self.assertIsNone(self.plan("").next(0.0))


class PolicyTests(SynchronousTestCase):
    """In which order."""

    def test_orders(self) -> None:
        """Each policy gives every upstream once."""
        for policy in Policy:
            order = Order(policy, Random(1))
            for _ in range(5):
                self.assertEqual(sorted(order.next("abcd")), list("abcd"))

    def test_round_robin(self) -> None:
        """The start advances, the rest follows."""
        order = Order(Policy.ROUND_ROBIN, Random(1))
        self.assertEqual(["".join(order.next("abc")) for _ in range(4)], ["abc", "bca", "cab", "abc"])

    def test_random_spreads(self) -> None:
        """Every upstream is the first one some time."""
        order = Order(Policy.RANDOM, Random(1))
        self.assertEqual({order.next("abc")[0] for _ in range(40)}, set("abc"))


class ReplyTests(SynchronousTestCase):
    """What some octets are to a query."""

    asked = Asked(4711, from_text("www.example.com"), 65, 1)

    def message(self, ident: int = 4711, flags: int = 0x8180, name: str = "www.example.com", qtype: int = 65) -> bytes:
        """A reply without records."""
        return HEADER.pack(ident, flags, 1, 0, 0, 0) + from_text(name) + qtype.to_bytes(2, "big") + b"\x00\x01"

    def test_verdicts(self) -> None:
        """Identifier, shape and question are compared; letter case is not."""
        for message, wanted in (
            (self.message(), Verdict.REPLY),
            (self.message().replace(b"www", b"WwW"), Verdict.REPLY),
            (self.message(ident=4712), Verdict.OTHER_IDENT),
            (self.message(name="www.example.org"), Verdict.OTHER_QUESTION),
            (self.message(qtype=1), Verdict.OTHER_QUESTION),
            # 65 is "A" and 97 is "a": folding the case of the whole question would take one for the other.
            (self.message(qtype=97), Verdict.OTHER_QUESTION),
            (self.message(flags=0x0100), Verdict.MALFORMED),
            (self.message()[:20], Verdict.MALFORMED),
            (b"", Verdict.MALFORMED),
            (HEADER.pack(4711, 0x8181, 0, 0, 0, 0), Verdict.ERROR_ONLY),
            (HEADER.pack(4711, 0x8180, 0, 0, 0, 0), Verdict.OTHER_QUESTION),
        ):
            self.assertIs(self.asked.judge(message)[0], wanted, message)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=80))
    def test_any_octets(self, octets: bytes) -> None:
        """Whatever comes is judged, and only a reply is scanned."""
        for message in (octets, b"\x12\x67" + octets):
            verdict, relayed = self.asked.judge(message)
            self.assertEqual(relayed is not None, verdict in (Verdict.REPLY, Verdict.ERROR_ONLY))

    def test_checks(self) -> None:
        """Any reply with the identifier will do for a check."""
        message = check_query(7, b"\x00", True)
        self.assertEqual(message, b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01")
        self.assertTrue(answers_check(7, HEADER.pack(7, 0x8185, 0, 0, 0, 0)))
        self.assertFalse(answers_check(7, HEADER.pack(8, 0x8185, 0, 0, 0, 0)))
        self.assertFalse(answers_check(7, message))
        self.assertFalse(answers_check(7, b"\x00\x07\x80"))


class TargetTests(SynchronousTestCase):
    """The forms of a TO."""

    def test_forms(self) -> None:
        """Addresses with and without scheme, port, name."""
        for text, wanted in (
            ("10.0.0.1", Target("10.0.0.1")),
            ("10.0.0.1:5353", Target("10.0.0.1", 5353)),
            ("dns://10.0.0.1", Target("10.0.0.1")),
            ("2001:DB8::1", Target("2001:db8::1")),
            ("[2001:db8::1]:5353", Target("2001:db8::1", 5353)),
            ("fe80::1%eth0", Target("fe80::1")),
            ("tls://9.9.9.9", Target("9.9.9.9", 853, Carrier.TLS)),
            ("tls://9.9.9.9:8853", Target("9.9.9.9", 8853, Carrier.TLS)),
            ("tls://9.9.9.9%dns.quad9.net", Target("9.9.9.9", 853, Carrier.TLS, "dns.quad9.net")),
            ("tls://9.9.9.9%dns.quad9.net:8853", Target("9.9.9.9", 8853, Carrier.TLS, "dns.quad9.net")),
            ("https://1.1.1.1", Target("1.1.1.1", 443, Carrier.HTTPS)),
            ("/etc/resolv.conf", Elsewhere("/etc/resolv.conf", 53)),
            ("resolv.conf", Elsewhere("resolv.conf", 53)),
            ("dns.example.com:5353", Elsewhere("dns.example.com", 5353)),
            ("tls://dns.example.com", Elsewhere("dns.example.com", 853, Carrier.TLS)),
        ):
            self.assertEqual(parse_to(text), wanted, text)

    def test_refused(self) -> None:
        """What cannot be spoken to."""
        for text, wanted in (
            ("grpc://10.0.0.1", "'grpc' is not supported as a destination protocol in forward: grpc://10.0.0.1:443"),
            ("quic://10.0.0.1:99", "'quic' is not supported as a destination protocol in forward: quic://10.0.0.1:99"),
            ("ftp://10.0.0.1", "unknown scheme in upstream: ftp://10.0.0.1"),
            ("10.0.0.1:99999", "bad address or port in upstream: 10.0.0.1:99999"),
            (
                "https://1.1.1.1/dns-query",
                "a DoH upstream has no path of its own, /dns-query is always asked: https://1.1.1.1/dns-query",
            ),
        ):
            self.assertEqual(str(self.assertRaises(BadValue, parse_to, text)), wanted)

    def test_texts(self) -> None:
        """IPv6 addresses stand in brackets."""
        self.assertEqual((Target("::1").text, Target("::1", 853, Carrier.TLS).url), ("[::1]:53", "tls://[::1]:853"))

    def test_resolv_conf(self) -> None:
        """Every address of every ``nameserver`` line; other lines, comments and rubbish are passed over."""
        text = (
            "# nameserver 10.9.9.9\nsearch a.test\noptions ndots:5\nnameserver 10.0.0.1\n"
            "nameserver 10.0.0.2 fe80::1%eth0 10.0.0.3:5353 ; not 10.8.8.8\nnameserver\nnameserver rubbish 300.1.1.1\n"
            "  nameserver ::1\nnameservers 10.7.7.7\n"
        )
        self.assertEqual(
            nameservers(text),
            [Target("10.0.0.1"), Target("10.0.0.2"), Target("fe80::1"), Target("10.0.0.3", 5353), Target("::1")],
        )

    def test_each_once(self) -> None:
        """The first place counts; none and sixteen are refused."""
        one, two = Target("10.0.0.1"), Target("10.0.0.2")
        self.assertEqual(each_once([one, two, one]), (one, two))
        self.assertRaises(BadValue, each_once, [])
        self.assertRaises(BadValue, each_once, [Target("10.0.0.1", port) for port in range(16)])

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=40))
    def test_any_text(self, text: str) -> None:
        """Whatever stands there is read or refused."""
        nameservers(f"nameserver {text}")
        try:
            parse_to(text)
        except BadValue:
            pass


FIVE, SIX = Answer(5), Answer(6)


class _Journey(Flight):
    """A flight that notes when it is dropped."""

    __slots__ = ("dropped",)

    def __init__(self, key: str, flights: Flights[_Journey]) -> None:
        super().__init__(a_request("www.example.com"), key, flights)
        self.dropped = 0

    def drop(self) -> None:
        """Note it."""
        self.dropped += 1


class FlightTests(SynchronousTestCase):
    """Sharing one exchange."""

    def setUp(self) -> None:
        self.flights: Flights[_Journey] = Flights()
        self.flight = _Journey("a", self.flights)

    def test_shared(self) -> None:
        """A result for each, and then the flight is over."""
        self.assertIs(self.flights["a"], self.flight)
        first, second = self.flight.join(), self.flight.join()
        self.assertIsNot(first, second)
        self.assertEqual(self.flights.waiting, 2)
        self.flight.land(FIVE)
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (FIVE, FIVE))
        self.assertEqual((self.flights, self.flights.waiting, self.flight.dropped), ({}, 0, 0))

    def test_failure(self) -> None:
        """Each hears of a failure, with an exception that no other traceback grows on."""
        both = [self.flight.join() for _ in range(2)]
        self.flight.crash(Failure(ValueError("no")))
        failures = [self.failureResultOf(one, ValueError) for one in both]
        self.assertIsNot(*failures)
        self.assertEqual((self.flights, self.flights.waiting), ({}, 0))

    def test_cancelling(self) -> None:
        """The exchange is dropped with the last who waits for it, and not before."""
        first, second = self.flight.join(), self.flight.join()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual((self.flight.dropped, self.flights.waiting), (0, 1))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual((self.flight.dropped, self.flights, self.flights.waiting), (1, {}, 0))

    def test_one_takes_another_along(self) -> None:
        """A result that makes one client cancel another is no trouble for the rest."""
        three = [self.flight.join() for _ in range(3)]

        def take_along(value: Answer) -> Answer:
            three[1].cancel()
            return value

        three[0].addCallback(take_along)
        self.flight.land(FIVE)
        self.failureResultOf(three[1], CancelledError)
        self.assertEqual(self.successResultOf(three[2]), FIVE)

    def test_a_new_one_meanwhile(self) -> None:
        """Who asks again when told begins a new flight, which the end of the old one leaves alone."""
        again: list[_Journey] = []
        self.flight.join().addCallback(lambda _: again.append(_Journey("a", self.flights)))
        self.flight.land(FIVE)
        self.assertEqual(self.flights, {"a": again[0]})
        self.flight.land(SIX)
        self.assertEqual(self.flights, {"a": again[0]})

    def test_cancelling_all(self) -> None:
        """The end of a forwarder: everybody hears of it."""
        other = _Journey("b", self.flights)
        both = [self.flight.join(), other.join()]
        self.flights.cancel()
        for one in both:
            self.failureResultOf(one, CancelledError)
        self.assertEqual((self.flights, self.flight.dropped, other.dropped), ({}, 1, 1))


class DialTests(SynchronousTestCase):
    """How long connecting may take."""

    def test_average(self) -> None:
        """Twice the moving average, a new value counting a quarter, between 1 and 2.4 seconds."""
        time = DialTime()
        self.assertEqual(time.limit, 2.4)
        time.took(1.0)
        self.assertEqual((time.average, time.limit), (11.5, 2.4))
        for _ in range(40):
            time.took(0.001)
        self.assertEqual(time.limit, 1.0)


class TextTests(SynchronousTestCase):
    """How failures are worded."""

    def test_blame(self) -> None:
        """A lack of descriptors is nobody's fault but ours."""
        self.assertFalse(dial_error("udp", "10.0.0.1:53", 24).blame)
        self.assertTrue(dial_error("udp", "10.0.0.1:53", 111).blame)
        self.assertEqual(reason(111), "connection refused")
