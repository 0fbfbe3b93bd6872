"""Clients that lose their patience while the forwarder waits for somebody: what they held is free for others."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from tests.plugins.forward.support import TCP, ForwardCase
from tests.support import a_request


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
