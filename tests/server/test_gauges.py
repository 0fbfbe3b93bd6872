"""What a service shows of itself when somebody scrapes."""

from __future__ import annotations

from pathlib import Path

import dns.message
from twisted.trial.unittest import SynchronousTestCase

from kdns.server.gauges import Shares, clusters_of
from kdns.server.limits import Saturation
from kdns.server.top_talkers import PERIOD
from tests.conformance.world import MemoryWorld
from tests.server.test_top_talkers import query, reply

CLUSTER = Path(__file__).parents[2] / "conf" / "demo" / "cluster"

COREFILE = """
.:{{PORT}} {
    kubernetes cluster.local in-addr.arpa {
        kubeconfig {{KUBECONFIG}}
    }
}
other.example:{{PORT}} {
    whoami
}
"""


class GaugeTests(SynchronousTestCase):
    """A server in memory."""

    def setUp(self) -> None:
        manifests = tuple(sorted(CLUSTER.glob("*.yaml")))
        self.world = MemoryWorld(COREFILE, manifests)
        self.world.start()
        self.addCleanup(lambda: self.assertEqual(self.world.stop(), []))

    def shown(self) -> dict[str, str]:
        """The page, by name with labels."""
        lines = (line for line in self.world.context.registry.lines() if not line.startswith("#"))
        return dict(line.rsplit(" ", 1) for line in lines)

    def test_from_the_start(self) -> None:
        """Every gauge is there before anybody asked anything."""
        shown = self.shown()
        self.assertEqual(shown["kdns_search_waste_ratio"], "0")
        self.assertEqual(shown["kdns_search_waste_queries_total"], "0")
        self.assertEqual(shown["kdns_kubernetes_stale"], "0")
        self.assertEqual(shown["kdns_udp_receive_drops_total"], "0")
        self.assertEqual(shown["kdns_answer_table_room_bytes"], str(self.world.service.table_budget.octets))
        self.assertGreater(float(shown["kdns_memory_limit_bytes"]), 0)
        self.assertTrue(0.0 <= float(shown["kdns_saturation"]) <= 1.0)
        for kind in Shares.KINDS:
            for most in Shares.MOST:
                self.assertEqual(shown[f'kdns_top_ratio{{of="{kind}",top="{most}"}}'], "0")

    def test_shares(self) -> None:
        """The first client and the first ten have their shares of all; of names that do not exist, of those."""
        sample = self.world.context.sample
        assert sample is not None
        for number in range(20):
            sample(query(f"n{number}.example"), reply(0), f"10.0.0.{number}", 1)
        sample(query("n0.example"), reply(3), "10.0.0.0", 20)
        shown = self.shown()
        self.assertEqual(shown['kdns_top_ratio{of="clients",top="1"}'], "0.525")
        self.assertEqual(shown['kdns_top_ratio{of="names",top="10"}'], "0.75")
        self.assertEqual(shown['kdns_top_ratio{of="denied",top="1"}'], "1")

    def test_waste(self) -> None:
        """What search paths made up below the configuration's cluster domains is waste."""
        self.assertEqual(len(list(clusters_of(self.world.service.configuration))), 1)
        sample = self.world.context.sample
        assert sample is not None
        sample(query("api.example.com.shop.svc.cluster.local"), reply(3), "10.0.0.1", 3)
        sample(query("api.example.com"), reply(0), "10.0.0.1", 1)
        self.assertEqual(self.shown()["kdns_search_waste_ratio"], "0.75")
        self.assertEqual(self.shown()["kdns_search_waste_queries_total"], "3")
        self.assertEqual(self.shown()['kdns_search_waste_namespace_queries_total{namespace="shop"}'], "3")

    def test_table(self) -> None:
        """Each query is a hit or a miss, over UDP and TCP; a reply that the fast path makes is a hit of a kind of its own."""
        for proto in ("udp", "tcp"):
            for name in ("web.shop.svc", "web.shop.svc", "no-1.shop.svc", "no-2.shop.svc", "web.shop.svc"):
                message = dns.message.make_query(f"{name}.cluster.local.", "A")
                self.assertIsNotNone(self.world.ask(message.to_wire(), proto)[0])
        shown = self.shown()
        self.assertEqual(shown["kdns_answer_table_misses_total"], "4")
        self.assertEqual(shown['kdns_answer_table_hits_total{kind="reply"}'], "4")
        self.assertEqual(shown['kdns_answer_table_hits_total{kind="made"}'], "2")
        self.assertEqual(shown["kdns_answer_table_entries"], "4")
        self.assertEqual(self.world.service.top_talkers.queries_ever, 10, "one sample for each: none came in batches")

    def test_minutes_pass(self) -> None:
        """The service looks at the clock: after three minutes nothing shows any more but the counter."""
        sample = self.world.context.sample
        assert sample is not None
        sample(query("api.example.com.shop.svc.cluster.local"), reply(3), "10.0.0.1", 3)
        for _ in range(int(3 * PERIOD) + 4):
            self.world.reactor.advance(1.0)
        shown = self.shown()
        self.assertEqual(shown["kdns_search_waste_ratio"], "0")
        self.assertEqual(shown["kdns_search_waste_queries_total"], "3")
        self.assertEqual(shown['kdns_top_ratio{of="clients",top="1"}'], "0")

    def test_saturation(self) -> None:
        """The service looks at the processor's clock each second."""
        used = [0.0]
        self.world.service.saturation = Saturation(self.world.reactor.seconds, lambda: used[0], 1.0)
        for _ in range(20):
            used[0] += 0.25
            self.world.reactor.advance(1.0)
        self.assertAlmostEqual(self.world.service.saturation.share(), 0.25)
