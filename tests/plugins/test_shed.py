"""Under overload, queries over UDP are dropped."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import Reply
from kdns.core.request import Request, Transport
from kdns.corefile.errors import CorefileError
from kdns.plugins.shed import directive
from kdns.server.blocks import ServedBlock, Zones
from kdns.server.listener import Listener
from kdns.testing.plugin import a_query
from kdns.wire.names import ROOT
from tests.support import a_house, built, parsed

ERRORS = {
    ".:53 {\n    shed x\n}\n": "plugin/shed: Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'x'",
    ".:53 {\n    shed {\n        frob\n    }\n}\n": "plugin/shed: Corefile:3 - Error during parsing: shed takes no options",
    ".:53 {\n    shed\n    shed\n}\n": "plugin/shed: this plugin can only be used once per Server Block",
    "tls://.:853 {\n    shed\n}\n": "plugin/shed: Corefile:2 - Error during parsing: only plain DNS server blocks are supported;"
    ' "tls://.:853" uses transport "tls"',
}


class ShedTests(SynchronousTestCase):
    """One query may wait; a second is too many."""

    def setUp(self) -> None:
        self.context = a_house(Clock())
        self.waiting: list[Deferred[Answer]] = []
        self.replies: list[bytes] = []

    def listener(self, shed: Any) -> Listener:
        """A listener in front of something slow."""

        def slow(request: Request) -> Reply:
            self.waiting.append(Deferred())
            return self.waiting[-1]

        zones = Zones()
        zones.add(ROOT, ServedBlock(slow, shed=shed))
        return Listener(self.context, "dns://:53", zones, most_waiting=1)

    def ask(self, listener: Listener, transport: Transport) -> None:
        """One query."""
        listener.receive(a_query("www.test"), transport, "10.0.0.1", 4000, "127.0.0.1", self.replies.append)

    def test_errors(self) -> None:
        """What is wrong is said in CoreDNS's words."""
        for text, wanted in ERRORS.items():
            self.assertEqual(str(self.assertRaises(CorefileError, parsed, directive, text)), wanted)
        self.assertTrue(parsed(directive, ".:53 {\n shed {\n }\n}\n"))

    def test_dropped(self) -> None:
        """A query over UDP that would be one too many gets no reply, and what it asked for is dropped."""
        listener = self.listener(built(directive, ".:53 {\n shed\n}\n", self.context).shed)
        self.addCleanup(listener.stop)
        self.ask(listener, Transport.UDP)
        self.ask(listener, Transport.UDP)
        self.assertEqual(self.replies, [b""])
        self.assertTrue(self.waiting[1].called)
        self.assertIn('coredns_shed_dropped_total{server="dns://:53",reason="query"} 1', self.context.registry.lines())
        self.assertIn("kdns_waiting_rejects_total 0", self.context.registry.lines())

    def test_refused(self) -> None:
        """Over TCP, and without shed, it is refused."""
        for shed, transport in (
            (None, Transport.UDP),
            (built(directive, ".:53 {\n shed\n}\n", self.context).shed, Transport.TCP),
        ):
            self.replies.clear()
            listener = self.listener(shed)
            self.ask(listener, transport)
            self.ask(listener, transport)
            self.assertEqual([reply[3] & 15 for reply in self.replies], [2])
            listener.stop()
