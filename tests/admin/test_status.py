"""What a server tells of itself."""

from __future__ import annotations

import json
from pathlib import Path
from resource import getpagesize
from typing import Any

import dns.message
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.command_list import commands_of
from kdns.core.metrics import Counter
from kdns.plugin.seam import ServerContext
from kdns.server.assembly import read_text
from kdns.server.limits import resident
from kdns.server.service import KdnsService
from kdns.testing.memory import MemoryReactor
from tests.conformance.world import MemoryWorld
from tests.test_docs import ROOT

COREFILE = """
.:{{PORT}} {
    prometheus
    cache 30
    kubernetes cluster.local in-addr.arpa {
        kubeconfig {{KUBECONFIG}}
        pods verified
    }
    forward . {{UPSTREAM}}
}
"""


class StatusTests(SynchronousTestCase):
    """A whole server in memory."""

    def setUp(self) -> None:
        self.world = MemoryWorld(COREFILE, tuple(sorted((ROOT / "conf" / "demo" / "cluster").glob("*.yaml"))))
        self.commands = commands_of(self.world.service)
        self.world.start()
        self.addCleanup(lambda: self.assertEqual(self.world.stop(), []))

    def ask(self, name: str, proto: str = "udp", qtype: str = "A", source: str = "127.0.0.1") -> None:
        """Have a client ask."""
        message = dns.message.make_query(name, qtype).to_wire()
        self.assertIsNotNone(self.world.ask(message, proto, source)[0])

    def status(self, **arguments: object) -> dict[str, Any]:
        """What the server tells."""
        line = json.dumps({"command": "status", "arguments": arguments}).encode()
        asked: Deferred[bytes] = self.commands.run(line)
        self.world.reactor.settle()
        reply = json.loads(self.successResultOf(asked))
        self.assertNotIn("error", reply)
        result: dict[str, Any] = reply["result"]
        return result

    def test_counts(self) -> None:
        """Queries by protocol, response codes, durations, and who answered, exactly."""
        for proto in ("udp", "udp", "tcp"):
            self.ask("web.shop.svc.cluster.local", proto)
            self.ask("nope.shop.svc.cluster.local", proto)
        self.ask("www.example.org")
        self.ask("www.example.org")
        status = self.status()
        self.assertEqual(status["queries"], {"udp": 6, "tcp": 2})
        self.assertEqual(sum(status["rcodes"].values()), 8)
        self.assertEqual(status["rcodes"]["NXDOMAIN"], 5)
        self.assertEqual(sum(status["durations"]["counts"]), 8)
        table = status["table"]
        self.assertEqual(table["given"] + table["made"] + table["asked"], 8)
        self.assertEqual(table["entries"] > 0, table["octets"] > 0)
        self.assertEqual(status["cache"]["requests"], 8)
        self.assertEqual(status["dropped"], {})
        self.assertEqual((status["waiting"], status["connections"]), (0, 0))

    def test_askers(self) -> None:
        """Clients, names and names that do not exist, the most frequent first; clients are pods where pods are known."""
        for _ in range(3):
            self.ask("api.example.com.shop.svc.cluster.local", source="10.244.0.30")
        self.ask("web.shop.svc.cluster.local", source="10.244.0.30")
        talkers = self.status()["talkers"]
        self.assertEqual((talkers["queries"], talkers["wasted"], talkers["denials"]), (4, 3, 3))
        self.assertEqual(talkers["denied"], [{"name": "api.example.com.shop.svc.cluster.local.", "times": 3}])
        self.assertEqual([row["times"] for row in talkers["names"]], [3, 1])
        self.assertEqual([(row["client"], row["times"]) for row in talkers["clients"]], [("10.244.0.30", 4)])
        self.assertEqual(len(self.status(top=1)["talkers"]["names"]), 1)

    def test_upstreams(self) -> None:
        """Each upstream with its state and how long it took."""
        self.ask("www.example.org")
        (upstream,) = self.status()["upstreams"]
        self.assertEqual((upstream["from"], upstream["to"]), (".", "127.0.0.1:5300"))
        self.assertEqual((upstream["state"], upstream["fails"], upstream["in_flight"]), ("healthy", 0, 0))
        self.assertEqual(sum(upstream["durations"]["counts"]), 1)

    def test_cluster_and_configuration(self) -> None:
        """Zones, whether all is known, and what runs."""
        status = self.status()
        (cluster,) = status["clusters"]
        self.assertEqual(cluster["zones"], ["cluster.local.", "in-addr.arpa."])
        self.assertEqual((cluster["synced"], cluster["stale"], cluster["why"], cluster["watches"]), (True, "", "", []))
        corefile = status["corefile"]
        assert self.world.service.configuration is not None
        self.assertEqual(corefile["hash"], self.world.service.configuration.corefile.fingerprint)
        self.assertEqual((corefile["bad"], corefile["last"]), (False, None))
        self.assertEqual(corefile["taken_over"], status["now"])

    def test_time_passes(self) -> None:
        """Its age, the lag of timers, and the processor."""
        self.world.reactor.advance(30.0)
        status = self.status()
        self.assertGreaterEqual(status["seconds"], 30.0)
        self.assertGreater(sum(status["process"]["lag"]["counts"]), 0)
        self.assertGreater(status["process"]["resident"], 1 << 20)

    def test_refused(self) -> None:
        """A number that is none is refused in words."""
        reply = json.loads(self.successResultOf(self.commands.run(b'{"command":"status","arguments":{"top":"x"}}')))
        self.assertIn("top must be a number", reply["error"])

    def test_much_to_fold(self) -> None:
        """What waits to be counted is counted a part at a time, and all of it before anything is told."""
        counters = [Counter() for _ in range(1000)]
        for counter in counters:
            tally = self.world.context.tallies.tally((counter,))
            tally.hits = 1
            self.world.context.tallies.touched.append(tally)
        self.status()
        self.assertEqual({counter.value for counter in counters}, {1})


class QuietTests(SynchronousTestCase):
    """A server that does not serve, or does not count."""

    def test_not_started(self) -> None:
        """Before the first configuration there is little to tell, and that is told."""
        context = ServerContext(MemoryReactor(), kernel_sockets=False)
        commands = commands_of(KdnsService(context, lambda: read_text(".\n", {})))
        status = json.loads(self.successResultOf(commands.run(b'{"command": "status"}')))["result"]
        self.assertEqual((status["queries"], status["rcodes"], status["durations"]), (None, None, {}))
        self.assertEqual((status["clusters"], status["upstreams"], status["cache"]), ([], [], None))

    def test_resident(self) -> None:
        """Memory is read from the kernel; without its file the most that there ever was is told."""
        path = Path(self.mktemp())
        self.assertGreater(resident(path), 1 << 20)
        path.write_text("100 50 3\n")
        self.assertEqual(resident(path), 50 * getpagesize())
