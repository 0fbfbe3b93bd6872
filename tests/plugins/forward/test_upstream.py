"""Tests of :mod:`kdns.plugins.forward.upstream`: upstreams that go down, are checked and come back."""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs, formatEvent

from kdns.core.degraded import Fault
from kdns.core.failure import ResolutionFailed
from kdns.plugins.forward import Forwarder, HealthCheck
from kdns.plugins.forward.policy import Policy
from kdns.testing.upstream import Entry
from kdns.wire.constants import RD, REFUSED, SERVFAIL
from kdns.wire.names import from_text
from tests.plugins.forward.support import ForwardCase, last_octet


class HealthTests(ForwardCase):
    """Upstreams that go down and come back."""

    def bring_down(self, *numbers: int, **options: Any) -> Forwarder:
        """A forwarder whose upstreams with these numbers were found down."""
        self.silence(*numbers)
        forwarder = self.net.forwarder(len(numbers), **options)
        for _ in range(2):
            self.failureResultOf(self.asked(forwarder, seconds=6.0), ResolutionFailed)
        return forwarder

    def test_third_failed_check_is_down(self) -> None:
        """Two checks may fail; with the third the upstream is down."""
        self.silence(1)
        forwarder = self.net.forwarder(max_connect_attempts=1, read_timeout=0.1)
        health = forwarder.upstreams[0].health
        self.failureResultOf(self.asked(forwarder, seconds=0.1), ResolutionFailed)
        # Checks begin at 0.1, 1.6 and 3.1 s, and each is given up after a second.
        self.reactor.advance(3.9)
        self.assertTrue(health.usable)
        self.reactor.advance(0.2)
        self.assertFalse(health.usable)
        self.assertEqual(self.net.metric("coredns_proxy_healthcheck_failures_total", "forward", "10.0.0.1:53"), 3)

    def test_degraded(self) -> None:
        """An upstream that is down is degraded until a check is answered, or nobody asks it any more."""
        forwarder = self.bring_down(1)
        self.reactor.advance(10.0)
        (state,) = self.net.degraded
        self.assertEqual((state.name, state.kind), ("upstream 10.0.0.1:53", Fault.UPSTREAM))
        self.assertTrue(state.text.startswith("down: read udp"), state.text)
        self.revive(1)
        with capturedLogs() as events:
            self.reactor.advance(10.0)
        self.assertEqual(list(self.net.degraded), [])
        self.assertIn("upstream 10.0.0.1:53: in order again", "".join(str(formatEvent(event)) for event in events))
        self.silence(1)
        for _ in range(2):
            self.failureResultOf(self.asked(forwarder, seconds=6.0), ResolutionFailed)
        self.reactor.advance(10.0)
        self.assertEqual(len(list(self.net.degraded)), 1)
        forwarder.stop()
        self.assertEqual(list(self.net.degraded), [])

    def test_success_does_not_reset(self) -> None:
        """A query that succeeds does not end the checks; only an answered check does."""
        self.net.first.say(".", entry=Entry(silent=True))
        self.net.first.plan("www.example.com", Entry(silent=True))
        forwarder = self.net.forwarder()
        self.ask(forwarder, seconds=2.0)
        for _ in range(8):
            self.ask(forwarder, seconds=0.5)
        self.assertFalse(forwarder.upstreams[0].health.usable)

    def test_no_checks_while_healthy(self) -> None:
        """An upstream that answers is left alone."""
        forwarder = self.net.forwarder()
        self.ask(forwarder, seconds=60.0)
        self.assertEqual(self.net.first.asked(), 1)

    def test_down_is_passed_over(self) -> None:
        """A down upstream is not asked while another is up."""
        self.silence(1)
        forwarder = self.net.forwarder(2, policy=Policy.SEQUENTIAL)
        self.ask(forwarder, seconds=6.0)
        self.assertEqual(last_octet(self.ask(forwarder)), 2)
        self.assertEqual(self.net.first.asked("www.example.com"), 1)

    def test_back_after_an_answered_check(self) -> None:
        """Any DNS reply to a check makes it healthy, and the checks end."""
        forwarder = self.bring_down(1)
        self.revive(1)
        self.net.first.say(".", entry=Entry(rcode=REFUSED))
        self.reactor.advance(1.6)
        checks = self.net.first.asked(".")
        self.assertEqual(last_octet(self.ask(forwarder, seconds=10.0)), 1)
        self.assertEqual(self.net.first.asked("."), checks)

    def test_all_down(self) -> None:
        """One upstream is tried all the same, once, and the counter tells."""
        forwarder = self.bring_down(1, 2)
        before = self.net.metric("coredns_forward_healthcheck_broken_total")
        asked = sum(fake.asked("www.example.com") for fake in self.net.fakes)
        waiting = self.asked(forwarder, seconds=2.0)
        self.failureResultOf(waiting, ResolutionFailed)
        self.assertEqual(sum(fake.asked("www.example.com") for fake in self.net.fakes), asked + 1)
        self.assertEqual(self.net.metric("coredns_forward_healthcheck_broken_total"), before + 1)

    def test_failfast(self) -> None:
        """With ``failfast_all_unhealthy_upstreams`` nobody is tried."""
        forwarder = self.bring_down(1, failfast=True)
        failure = self.failureResultOf(self.asked(forwarder), ResolutionFailed).value
        self.assertEqual((failure.text, failure.rcode), ("no healthy proxies", SERVFAIL))

    def test_max_fails_zero(self) -> None:
        """With ``max_fails 0`` no upstream is checked or down."""
        self.silence(1)
        forwarder = self.net.forwarder(max_fails=0)
        for _ in range(3):
            self.failureResultOf(self.asked(forwarder, seconds=4.0), ResolutionFailed)
        self.assertEqual((self.net.first.asked("."), forwarder.upstreams[0].health.usable), (0, True))

    def test_what_a_check_asks(self) -> None:
        """A check asks for NS of the root with RD; ``no_rec`` and ``domain`` change that."""
        self.silence(1)
        for check, qname, flags in (
            (HealthCheck(), ".", RD),
            (HealthCheck(recursion=False, domain=from_text("example.org")), "example.org", 0),
        ):
            forwarder = self.net.forwarder(health_check=check, max_connect_attempts=1)
            self.failureResultOf(self.asked(forwarder, seconds=2.0), ResolutionFailed)
            self.reactor.advance(0)
            received = self.net.first.received[-1]
            self.assertEqual((received.qname, received.qtype), (from_text(qname), 2))
            self.assertEqual(received.query[2:4], flags.to_bytes(2, "big"))
            forwarder.stop()

    def test_interval(self) -> None:
        """The interval is the time from a failed check to the next."""
        self.silence(1)
        forwarder = self.net.forwarder(health_check=HealthCheck(3.0), max_connect_attempts=1, read_timeout=0.1)
        self.failureResultOf(self.asked(forwarder, seconds=0.1), ResolutionFailed)
        self.reactor.advance(3.9)
        self.assertEqual(self.net.first.asked("."), 1)
        self.reactor.advance(0.2)
        self.assertEqual(self.net.first.asked("."), 2)

    def test_checks_over_tcp(self) -> None:
        """With ``force_tcp`` checks go over TCP, each on a connection of its own."""
        self.silence(1)
        forwarder = self.net.forwarder(force_tcp=True, max_connect_attempts=1)
        self.failureResultOf(self.asked(forwarder, seconds=2.0), ResolutionFailed)
        self.reactor.advance(0)
        self.assertEqual((self.net.first.asked(".", "tcp"), self.net.first.asked(".", "udp")), (1, 0))

    def test_a_withdrawn_upstream_is_never_asked(self) -> None:
        """Not even when all others are down; and it is not checked."""
        forwarder = self.net.forwarder()
        forwarder.upstreams[0].withdraw("it sends queries back")
        failure = self.failureResultOf(self.asked(forwarder), ResolutionFailed).value
        self.assertEqual(failure.text, "no healthy proxies")
        self.assertEqual(self.net.first.asked(), 0)
        forwarder.upstreams[0].restore()
        self.assertEqual(last_octet(self.ask(forwarder)), 1)
