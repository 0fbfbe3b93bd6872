"""Clients that lose their patience while the forwarder waits for somebody: what they held is free for others."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from kdns.core.reply import render_reply
from kdns.plugins.forward.policy import Health, Policy
from tests.plugins.forward.support import TCP, ForwardCase, last_octet
from tests.support import a_request


class SpellingTests(ForwardCase):
    """One question under way, spelled in many ways."""

    def test_one_exchange(self) -> None:
        """Clients that spell a name each in their own way share an exchange, and get their own spelling back."""
        forwarder = self.net.forwarder()
        requests = [a_request(name) for name in ("www.example.com", "WWW.example.com", "wWw.eXample.Com")]
        waiting = [forwarder.ask(request) for request in requests]
        self.reactor.settle()
        self.assertEqual(self.net.first.asked("www.example.com"), 1)
        for request, one in zip(requests, waiting, strict=True):
            told = render_reply(request, self.successResultOf(one))
            self.assertEqual(told[12 : 12 + len(request.spelled)], request.spelled)


class DiallingTests(ForwardCase):
    """Connections that are being dialled, and those who wait for them."""

    def test_who_dials_gives_up(self) -> None:
        """When those who dialled give up, those who waited for their connections dial themselves."""
        forwarder = self.net.forwarder(max_fails=0)
        self.reactor.blackhole("10.0.0.1")
        waiting = [forwarder.ask(a_request(f"host{number}.example.com", transport=TCP)) for number in range(20)]
        self.reactor.settle()
        self.reactor.lift("10.0.0.1")
        for one in waiting[:16]:
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.reactor.advance(0.1)
        for one in waiting[16:]:
            self.successResultOf(one)

    def test_upstream_that_swallows_everything(self) -> None:
        """An upstream that does not even refuse connections costs one attempt, and another answers before the client's time is up."""
        self.reactor.blackhole("10.0.0.1")
        forwarder = self.net.forwarder(2, policy=Policy.SEQUENTIAL)
        waiting = forwarder.ask(a_request("www.example.com", transport=TCP))
        self.reactor.advance(2.5)
        self.assertEqual(last_octet(self.successResultOf(waiting)), 2)
        self.reactor.lift("10.0.0.1")

    def test_blame(self) -> None:
        """Giving up while an upstream swallows everything speaks against it: it is checked."""
        self.reactor.blackhole("10.0.0.1")
        forwarder = self.net.forwarder()
        waiting = forwarder.ask(a_request("www.example.com", transport=TCP))
        self.reactor.advance(1.5)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.reactor.settle()
        self.assertIs(forwarder.upstreams[0].health.state, Health.SUSPECT)
        self.reactor.lift("10.0.0.1")
