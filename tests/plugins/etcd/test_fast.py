# -*- test-case-name: tests.plugins.etcd.test_fast -*-
"""Names of etcd on the fast path: the same replies as from the plugin, before and after changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.conformance.cases import CASES
from tests.conformance.test_etcd import fill
from tests.conformance.test_repeated import ColdBudget
from tests.conformance.two_ways import TwoWaysTestCase
from tests.conformance.world import MemoryWorld
from tests.plugins.etcd.fake import FakeEtcd

COREFILE = """.:{{PORT}} {
    %s
    loadbalance
    etcd s.test noapex.test {
        endpoint http://127.0.0.1:2379
    }
    forward . {{UPSTREAM}}
}
"""
NAMES = (
    "www", "www6", "both", "a.both", "deep", "x.deep", "cn", "cn2", "cnout", "multi", "_web._tcp", "strip", "g", "txt", "txts", "both2",
    "mail", "leased", "bad", "nope", "any.both", "h0", "h1", "h2",
)  # fmt: skip
TYPES = ("A", "AAAA", "SRV", "TXT", "MX")


class FastTests(TwoWaysTestCase):
    """Two servers with the same keys; one asks its plugins each time."""

    def ask_both(self, options: str, types: Sequence[str] = TYPES) -> int:
        """Compare all replies, and count those that no plugin was asked for."""
        self.worlds = [MemoryWorld(COREFILE % options) for _ in range(2)]
        self.worlds[1].service.table_budget = ColdBudget(0)
        self.etcds = [FakeEtcd(world.reactor) for world in self.worlds]
        keys = json.loads((CASES / "etcd.json").read_text(encoding="utf-8"))["keys"]
        for world, etcd in zip(self.worlds, self.etcds, strict=True):
            etcd.start(2379)
            fill(etcd, keys)
            world.start()
            self.addCleanup(world.stop)
            self.addCleanup(etcd.end)
        for address in ("10.5.0.1", "10.5.0.2"):
            for number in range(3):
                self.put(f"/skydns/test/s/h{number}", {"host": address})
            self.advance(0.1)
            for do in (False, True):
                self.compare(("s.test", "noapex.test", *(f"{name}.s.test" for name in NAMES)), types, do=do)
        return self.fast_replies

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Set a key for both."""
        for etcd in self.etcds:
            etcd.put(key, value)

    def test_equal(self) -> None:
        """Without a cache each record has its own TTL."""
        self.assertGreater(self.ask_both(""), 20)

    def test_behind_a_cache(self) -> None:
        """With one, all records have one."""
        self.assertGreater(self.ask_both("cache 30", ("A", "SRV")), 10)
