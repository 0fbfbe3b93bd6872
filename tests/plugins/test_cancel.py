"""What takes too long is given up."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import chain
from kdns.core.failure import ResolutionFailed
from kdns.plugins.cancel import DEFAULT, CancelConfig, directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import EDE_NO_REACHABLE_AUTHORITY, REFUSED, SERVFAIL
from tests.server.support import Programmed, Slow


class CancelTests(SynchronousTestCase):
    """One second for what stands behind."""

    def setUp(self) -> None:
        self.bench = PluginBench(directive, "cancel 1s")
        self.slow = Slow()
        self.ask = chain([*self.bench.builder.links, Programmed(self.slow)])

    def asked(self) -> Deferred[Answer]:
        """A question that has to wait."""
        reply = self.ask(a_request("a.test"))
        assert isinstance(reply, Deferred)
        return reply

    def test_too_late(self) -> None:
        """After the time the query fails with the reason, and what was waited for is cancelled."""
        reply = self.asked()
        self.bench.advance(0.9)
        self.assertNoResult(reply)
        self.bench.advance(0.2)
        error = self.failureResultOf(reply, ResolutionFailed).value
        text = "no answer within 1s"
        self.assertEqual((error.rcode, error.text, error.ede), (SERVFAIL, text, (EDE_NO_REACHABLE_AUTHORITY, text)))
        self.assertEqual(len(self.slow.cancelled), 1)

    def test_in_time(self) -> None:
        """An answer in time leaves no timer behind."""
        reply = self.asked()
        self.slow.give(0, Answer(REFUSED))
        self.assertEqual(self.successResultOf(reply).rcode, REFUSED)
        self.assertEqual(self.bench.clock.getDelayedCalls(), [])

    def test_given_up_by_the_client(self) -> None:
        """What is cancelled from outside is no timeout."""
        reply = self.asked()
        reply.cancel()
        self.failureResultOf(reply)
        self.assertEqual((len(self.slow.cancelled), self.bench.clock.getDelayedCalls()), (1, []))

    def test_at_once(self) -> None:
        """An answer from memory needs no timer."""
        self.assertEqual(self.bench.ask("a.test").rcode, 0)
        self.assertEqual(self.bench.clock.getDelayedCalls(), [])
        self.bench.check_repeats(["a.test"])

    def test_parse(self) -> None:
        """The last directive counts; an options block is passed over, as in CoreDNS."""
        for text, seconds in (("cancel", DEFAULT), ("cancel 1s\ncancel 2s", 2.0), ("cancel {\n frob\n}", DEFAULT)):
            self.assertEqual(PluginBench(directive, text).config, CancelConfig(seconds))

    def test_explain(self) -> None:
        """An explanation tells the time."""
        self.assertEqual(
            self.bench.builder.links[0].explain(a_request("a.test"))[0].text,  # the one link
            "gives up after 1s",
        )
