# -*- test-case-name: tests.admin.test_caches -*-
"""Listing and flushing what a server holds."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.caches import STEP
from kdns.core.answer import Answer, Sections
from kdns.core.slices import SLICE_SECONDS
from kdns.core.validity import ALWAYS
from kdns.plugins.cache.entries import Entry, key_of
from kdns.plugins.cache.resolver import CacheLink
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa
from tests.admin.world import World
from tests.support import SlowReactor, a_request

NAMES = ("www.example.org", "web.shop.svc.cluster.local", "nothing.shop.svc.cluster.local")


class CachesTests(SynchronousTestCase):
    """The demo, after some questions."""

    def setUp(self) -> None:
        """Ask."""
        self.world = World()
        self.addCleanup(self.world.stop)
        for name in NAMES:
            self.world.ask(name)

    def result(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What a command says."""
        reply = self.world.run(f"cache.{command}", **arguments)
        self.assertIn("result", reply, reply)
        result: dict[str, Any] = reply["result"]
        return result

    def held(self, command: str = "list", **arguments: Any) -> list[tuple[str, str, str]]:
        """Name, type and place of each entry."""
        entries = self.result(command, **arguments)["entries"]
        return sorted((entry["name"], entry["type"], entry["held"]) for entry in entries)

    def test_list(self) -> None:
        """Entries of the cache, and finished replies of each listener."""
        self.assertEqual(
            self.held(),
            [
                ("nothing.shop.svc.cluster.local.", "A", "table"),
                ("web.shop.svc.cluster.local.", "A", "table"),
                ("www.example.org.", "A", "success"),
                ("www.example.org.", "A", "table"),
                ("www.example.org.", "A", "table"),
            ],
        )

    def test_fields(self) -> None:
        """Times are those of the entry."""
        self.world.reactor.advance(10.0)
        (entry, *_) = sorted(self.result("get", name="WWW.example.org")["entries"], key=lambda entry: entry["held"])
        self.assertEqual(
            entry,
            {
                "name": "www.example.org.",
                "type": "A",
                "held": "success",
                "rcode": "NOERROR",
                "zone": ".",
                "left": entry["left"],
                "age": entry["age"],
                "ttl": 30,
                "hits": 0,
                "records": 1,
            },
        )
        self.assertAlmostEqual(entry["age"] + entry["left"], 30.0)
        self.assertGreaterEqual(entry["age"], 10.0)
        self.world.reactor.advance(25.0)
        stale = [entry.get("stale", False) for entry in self.result("get", name="www.example.org")["entries"]]
        self.assertIn(True, stale)

    def test_selected(self) -> None:
        """By zone, by type, and no more than wanted."""
        self.assertEqual({name for name, _, _ in self.held(zone="example.org")}, {"www.example.org."})
        self.assertEqual(self.held(zone="ample.org"), [])
        self.assertEqual(self.held(type="AAAA"), [])
        self.assertEqual(self.held("get", name="nothing.shop.svc.cluster.local", type="TXT"), [])
        result = self.result("list", limit=1)
        self.assertEqual((len(result["entries"]), result["found"], result["caches"]), (1, 5, 1))

    def test_flush_name(self) -> None:
        """A flushed name is asked for anew, other entries of the cache stay."""
        self.world.ask("api.payments.example")
        upstream = self.world.service.endpoints
        asked = self.world.metrics("coredns_forward_requests_total")
        self.assertEqual(self.result("flush", name="www.example.org")["flushed"], 1)
        self.assertEqual(self.held(), [("api.payments.example.", "A", "success")])
        self.world.ask("www.example.org")
        self.assertIn("www.example.org.", {name for name, _, _ in self.held()})
        self.assertNotEqual(self.world.metrics("coredns_cache_misses_total"), [])
        self.assertEqual((len(upstream), asked), (2, asked))

    def test_flush_zone(self) -> None:
        """A zone is flushed with all below it."""
        self.world.ask("api.payments.example")
        self.assertEqual(self.result("flush", zone="org")["flushed"], 1)
        self.assertEqual(self.held(zone="example"), [("api.payments.example.", "A", "success")])

    def test_flush_all(self) -> None:
        """Everything, finished replies included."""
        result = self.result("flush", all=True)
        self.assertEqual(result["flushed"], 1)
        self.assertGreaterEqual(result["replies"], 3)
        self.assertEqual(self.held(), [])
        self.assertEqual(self.world.service.table_budget.young, 0)

    def test_fresh_after_flush(self) -> None:
        """The answer that comes after a flush is the upstream's, not what was held."""
        held = self.world.ask("www.example.org").answer[0].ttl
        self.world.reactor.advance(10.0)
        self.assertEqual(self.world.ask("www.example.org").answer[0].ttl, held - 10)
        self.result("flush", name="www.example.org")
        self.assertEqual(self.world.ask("www.example.org").answer[0].ttl, 30)

    def test_mistakes(self) -> None:
        """What is not sensible is told so, and flushes nothing."""
        for command, arguments, wanted in (
            ("cache.flush", {}, "say what to flush"),
            ("cache.flush", {"all": True, "name": "a"}, "say what to flush"),
            ("cache.get", {}, "which name?"),
            ("cache.list", {"type": "X"}, "no record type X"),
            ("cache.list", {"zone": "a..b"}, "no domain name"),
            ("cache.list", {"limit": -1}, "limit must be"),
        ):
            self.assertIn(wanted, self.world.run(command, **arguments)["error"])
        self.assertEqual(len(self.held()), 5)

    def test_slices(self) -> None:
        """A list of ten thousand entries, and a flush of them, take many turns of a slow reactor."""
        configuration = self.world.service.configuration
        assert configuration is not None
        (link,) = (one for builder in configuration.builders for one in builder.links if isinstance(one, CacheLink))
        now = self.world.context.clock()
        for number in range(9_000):
            request = a_request(f"n{number}.example.org")
            answer = Answer(body=Sections(answer=(a_or_aaaa(from_text("a"), 30, b"1234"),)), validity=ALWAYS)
            entry = Entry(answer, now, 30, False)
            link.store.success.put(key_of(request), entry)
        reactor = SlowReactor(SLICE_SECONDS)
        self.patch(self.world.context, "reactor", reactor)
        for question in (
            b'{"command":"cache.list","arguments":{"limit":100000}}',
            b'{"command":"cache.flush","arguments":{"all":true}}',
        ):
            asked = self.world.commands.run(question)
            self.assertGreaterEqual(reactor.settle(), 9_000 // STEP)
            self.successResultOf(asked)
        self.assertEqual(self.held(), [])
