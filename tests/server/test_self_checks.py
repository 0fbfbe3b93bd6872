"""Tests of :mod:`kdns.server.self_checks`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.degraded import Fault
from kdns.server.self_checks import SelfChecks
from kdns.server.top_talkers import TopTalkers
from tests.support import a_house

MIB = 1 << 20


class SelfCheckTests(SynchronousTestCase):
    """Faults that begin and end."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.context = a_house(self.clock)
        self.context.clock = self.clock.seconds
        self.used = 50 * MIB
        self.talkers = TopTalkers(self.clock.seconds)
        self.dropped = self.context.registry.counter("kdns_log_dropped_lines_total", "x").counter()
        self.checks = SelfChecks(self.context, self.talkers, 100 * MIB, lambda: self.used)

    def after(self, seconds: float = 10.0) -> list[tuple[Fault, str]]:
        """What is wrong after a while in which the checks are called each second."""
        with capturedLogs() as events:
            for _ in range(int(seconds)):
                self.clock.advance(1.0)
                self.checks.look()
        self.logged = [formatEvent(event) for event in events]
        return [(state.kind, state.text) for state in self.context.degraded]

    def test_nothing(self) -> None:
        """A healthy process has no states."""
        self.assertEqual((self.after(), self.logged), ([], []))

    def test_memory(self) -> None:
        """It begins at nine tenths of the limit, and ends well below, so that it does not flap."""
        self.used = 91 * MIB
        self.assertEqual(self.after(), [(Fault.MEMORY, "over 90% of the limit of 100 MiB is used")])
        self.assertEqual(self.logged, ["memory: over 90% of the limit of 100 MiB is used"])
        self.used = 87 * MIB
        self.assertEqual(len(self.after()), 1)
        self.used = 80 * MIB
        self.assertEqual(self.after(), [])
        self.assertIn("memory: in order again", self.logged[0] or "")

    def test_no_limit(self) -> None:
        """Without a limit memory is never near it."""
        self.checks = SelfChecks(self.context, self.talkers, None, lambda: 1 << 50)
        self.assertEqual(self.after(), [])

    def test_log(self) -> None:
        """Lost lines are a fault until none was lost for a minute; lines lost before the first look are not news."""
        self.dropped.inc(1000)
        self.assertEqual(self.after(), [])
        self.dropped.inc(7)
        (state,) = self.after()
        self.assertEqual(state, (Fault.LOG, "lines are lost, 7 in 10 s when it was noticed"))
        self.dropped.inc(9)
        self.assertEqual(self.after(60), [state])
        self.assertEqual(self.after(20), [])
        self.assertIn("log output: in order again", self.logged[0] or "")

    def test_client(self) -> None:
        """A client whose queries are refused is named, until none was refused for a minute."""
        refused = self.context.registry.counter("kdns_over_share_total", "x").counter()
        self.after()
        for client in ("10.0.0.1", "10.0.0.2", "10.0.0.2"):
            self.talkers.refuse(client)
            refused.inc()
        self.assertEqual(
            self.after(), [(Fault.CLIENT, "10.0.0.2 asks more than its share, and some of its queries are refused")]
        )
        self.assertEqual(self.after(70), [])

    def crowd(self, client: str, times: int) -> None:
        """A client asks, and answers make room."""
        self.context.registry.counter("coredns_cache_evictions_total", "x", ["type"]).counter("success").inc(500)
        self.talkers.sample(b"\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1", b"\0\0", client, times)

    def test_cache(self) -> None:
        """Evictions are a client's fault when it asks most of all queries, and nobody's otherwise."""
        self.after()
        self.crowd("10.0.0.1", 10)
        self.crowd("10.0.0.2", 11)
        self.crowd("10.0.0.3", 10)
        self.assertEqual(self.after(), [])
        self.crowd("10.0.0.3", 1000)
        (state,) = self.after()
        self.assertEqual(state[0], Fault.CACHE)
        self.assertTrue(state[1].startswith("10.0.0.3 asks most of all queries"))
        self.assertEqual(self.after(80), [])
