"""Names of services answered without asking the plugins: the same replies, counted the same, and true at each moment."""

from __future__ import annotations

from pathlib import Path

import dns.message
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.kubernetes.logs import Heard
from tests.plugins.kubernetes.telling import as_cached
from tests.plugins.kubernetes.world import CLIENT, World, wire

SEARCHED = (
    "{}.default.svc.cluster.local.",
    "{}.example.com.default.svc.cluster.local.",
    "{}.example.com.svc.cluster.local.",
    "{}.net.cluster.local.",
)
OBSERVED = "errors\n    prometheus 127.0.0.1:9153\n    cache 30\n    loadbalance"


class FastTests(SynchronousTestCase):
    """A whole kdns that watches an API server."""

    def world(self, others: str = OBSERVED, *options: str, zones: str = "cluster.local") -> World:
        """A world that is ended with the test."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.heard = Heard(self, lambda: 0.0)
        world = World(folder, options, zones, others=others)
        self.addCleanup(lambda: self.assertEqual(world.stop(), []))
        world.start()
        return world

    def given(self, world: World) -> int:
        """Replies that no plugin was asked for."""
        return sum(table.fast.given for table in world._opened.tables if table.fast is not None)

    def counted(self, world: World, start: str) -> dict[str, str]:
        """Lines of the metrics page."""
        world.context.tallies.fold()
        lines = [line for line in world.context.registry.lines() if line.startswith(start) and "_seconds" not in line]
        return dict(line.rsplit(" ", 1) for line in lines)

    def test_same_replies(self) -> None:
        """The plugins are asked for the first of each length, and the others get the same but for the name."""
        world = self.world()
        names = [pattern.format(f"n{number}") for pattern in SEARCHED for number in range(5)]
        for name in names:
            for qtype in ("A", "AAAA", "SRV"):
                said = world.ask(name, qtype)
                self.assertEqual(said, world.ask_plugin((name, qtype)), (name, qtype))
                self.assertEqual(said.rcode, "NXDOMAIN")
        self.assertEqual(self.given(world), 3 * (len(names) - len(SEARCHED)))

    def test_nothing_left(self) -> None:
        """A name that does not exist leaves a stamp only when it is asked again; then its creation ends the reply."""
        world = self.world()
        world.ask("n0.default.svc.cluster.local.")
        stamps = world.index.stamps
        before = len(stamps)
        for number in range(1, 9):
            world.ask(f"n{number}.default.svc.cluster.local.")
        self.assertEqual(len(stamps), before)
        world.ask("n1.default.svc.cluster.local.")
        self.assertEqual(len(stamps), before + 1)
        self.assertTrue(world.in_table(("n1.default.svc.cluster.local.", "A")))
        spec = {"clusterIP": "10.96.7.1", "clusterIPs": ["10.96.7.1"]}
        world.api.apply({"kind": "Service", "metadata": {"name": "n1", "namespace": "default"}, "spec": spec})
        world.until(world.applied)
        self.assertEqual(world.ask("n1.default.svc.cluster.local.").rcode, "NOERROR")

    def test_services(self) -> None:
        """Addresses of services, headless ones too, SRV of a named port, and NODATA."""
        world = self.world()
        port = {"name": "http", "port": 80, "protocol": "TCP"}
        for number in range(6):
            for kind, address in (("cluster", f"10.96.7.{number}"), ("pods", "None")):
                spec = {"clusterIP": address, "clusterIPs": [address], "ports": [port]}
                meta = {"name": f"{kind}-{number}", "namespace": "default"}
                world.api.apply({"kind": "Service", "metadata": meta, "spec": spec})
            labels = {"kubernetes.io/service-name": f"pods-{number}"}
            world.api.apply(
                {
                    "kind": "EndpointSlice",
                    "metadata": {"name": f"pods-{number}", "namespace": "default", "labels": labels},
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": [f"10.1.{number}.{last}"]} for last in (1, 2, 3)],
                    "ports": [port],
                }
            )
        world.until(world.applied)
        asked = 0
        for number in range(6):
            for kind in ("cluster", "pods"):
                for name, qtype in (("", "A"), ("", "AAAA"), ("", "TXT"), ("_http._tcp.", "SRV")):
                    question = (f"{name}{kind}-{number}.default.svc.cluster.local.", qtype)
                    self.assertEqual(as_cached(world.ask(*question)), as_cached(world.ask_plugin(question)), question)
                    asked += 1
        self.assertEqual(self.given(world), asked - 8)

    def test_looked_up(self) -> None:
        """Endpoints by name, pods, services without a named port, and addresses: the same as from the plugins, and given without them."""
        world = self.world(OBSERVED, "pods insecure", zones="cluster.local in-addr.arpa")
        port = {"name": "http", "port": 80, "protocol": "TCP"}
        for name, address in (("web", "10.96.7.1"), ("db", "None")):
            spec = {"clusterIP": address, "clusterIPs": [address], "ports": [port]}
            world.api.apply({"kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
            world.api.apply(
                {
                    "kind": "EndpointSlice",
                    "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": ["10.1.7.1"]}, {"addresses": ["10.1.7.2"], "hostname": "db-0"}],
                    "ports": [port],
                }
            )
        world.until(world.applied)
        world.fast_always()
        for name, qtype in (
            ("10-1-7-1.web.default.svc.cluster.local.", "A"),
            ("10-1-7-1.web.default.svc.cluster.local.", "AAAA"),
            ("10-1-7-1.web.default.svc.cluster.local.", "SRV"),
            ("db-0.db.default.svc.cluster.local.", "A"),
            ("10-1-7-2.db.default.svc.cluster.local.", "A"),
            ("web.default.svc.cluster.local.", "SRV"),
            ("db.default.svc.cluster.local.", "SRV"),
            ("_http._tcp.db.default.svc.cluster.local.", "A"),
            ("http.tcp.web.default.svc.cluster.local.", "SRV"),
            ("_x._tcp.web.default.svc.cluster.local.", "SRV"),
            ("a.b.c.web.default.svc.cluster.local.", "A"),
            ("1-2-3-4.default.pod.cluster.local.", "A"),
            ("1-2-3-4.default.pod.cluster.local.", "AAAA"),
            ("1-2-3-4.default.pod.cluster.local.", "SRV"),
            ("1-2-3.default.pod.cluster.local.", "A"),
            ("1.7.96.10.in-addr.arpa.", "PTR"),
            ("2.7.1.10.in-addr.arpa.", "PTR"),
        ):
            before = self.given(world)
            said = world.ask(name, qtype)
            self.assertEqual(as_cached(said), as_cached(world.ask_plugin((name, qtype))), (name, qtype))
            self.assertEqual(self.given(world), before + 1, (name, qtype))

    def test_rotation(self) -> None:
        """Each address is first sometimes, from the first reply on."""
        world = self.world()
        world.fast_always()
        names = [f"pods-{number}" for number in range(40)]
        for name in names:
            meta = {"name": name, "namespace": "default"}
            world.api.apply({"kind": "Service", "metadata": meta, "spec": {"clusterIP": "None", "ports": []}})
            slice_meta = {**meta, "labels": {"kubernetes.io/service-name": name}}
            endpoints = [{"addresses": ["10.1.0.1", "10.1.0.2"][place : place + 1]} for place in (0, 1)]
            world.api.apply(
                {
                    "kind": "EndpointSlice",
                    "metadata": slice_meta,
                    "addressType": "IPv4",
                    "endpoints": endpoints,
                    "ports": [],
                }
            )
        world.until(world.applied)
        firsts = {}
        for time in range(2):
            replies = world.ask_all([(f"{name}.default.svc.cluster.local.", "A") for name in names])
            messages = [dns.message.from_wire(reply or b"", one_rr_per_rrset=True) for reply in replies]
            firsts[time] = [message.answer[0][0].address for message in messages]
        self.assertEqual(set(firsts[0]), {"10.1.0.1", "10.1.0.2"})
        self.assertTrue(all(first != then for first, then in zip(firsts[0], firsts[1], strict=True)))

    def test_counted(self) -> None:
        """Counters are the same as when every query is asked of the plugins."""
        names = [SEARCHED[0].format(f"n{number}") for number in range(40)]
        fast, general = self.world(), self.world(OBSERVED + "\n    metadata")
        for world in (fast, general):
            for name in names:
                world.ask(name)
        self.assertEqual((self.given(fast), self.given(general)), (38, 0))
        pages = [self.counted(world, "coredns_") for world in (fast, general)]
        for page in pages:
            # How many of them the cache keeps is the difference; see docs/standards.md.
            for name in [name for name in page if name.startswith(("coredns_cache_entries", "coredns_plugin_enabled"))]:
                del page[name]
        self.assertEqual(*pages)
        self.assertIn(
            "40", [value for name, value in pages[0].items() if name.startswith("coredns_dns_requests_total")]
        )

    def test_change_is_seen(self) -> None:
        """A name is answered as soon as its service is there, and denied again as soon as it is gone."""
        world = self.world()
        for name in ("one", "two"):
            self.assertEqual(world.ask(SEARCHED[0].format(name)).rcode, "NXDOMAIN")
        spec = {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}
        world.api.apply({"kind": "Service", "metadata": {"name": "three", "namespace": "default"}, "spec": spec})
        world.until(world.applied)
        self.assertEqual(world.ask(SEARCHED[0].format("three")).rcode, "NOERROR")
        self.assertEqual(world.ask(SEARCHED[0].format("four")).rcode, "NXDOMAIN")
        world.api.delete("Service", "default", "three")
        world.until(world.applied)
        self.assertEqual(world.ask(SEARCHED[0].format("three")).rcode, "NXDOMAIN")

    def test_serial(self) -> None:
        """The SOA shows the serial of now, however many replies were made before."""
        world = self.world()
        serials = []
        for number in range(3):
            reply = world.ask_all([(SEARCHED[0].format(f"n{number}{turn}"), "A") for turn in range(2)])
            serials.append({octets[octets.index(b"hostmaster") + 25 :][:4] for octets in reply if octets is not None})
            world.reactor.advance(5.0)
            spec = {"clusterIP": f"10.96.7.{number}", "ports": [{"port": 80}]}
            world.api.apply(
                {"kind": "Service", "metadata": {"name": f"s{number}", "namespace": "default"}, "spec": spec}
            )
            world.until(world.applied)
        self.assertEqual([len(found) for found in serials], [1, 1, 1])
        self.assertEqual(len(set.union(*serials)), 3)

    def test_second_time(self) -> None:
        """A name that does not exist comes into the answer table when it is asked for again."""
        world = self.world("errors")
        question = (SEARCHED[0].format("again"), "A")
        world.ask(SEARCHED[0].format("first"))
        world.ask(*question)
        self.assertEqual((self.given(world), world.in_table(question)), (1, False))
        world.ask(*question)
        self.assertEqual((self.given(world), world.in_table(question)), (2, True))

    def check_none(self, world: World, pattern: str = SEARCHED[0]) -> None:
        """Every query is asked of the plugins."""
        for number in range(4):
            world.ask(pattern.format(f"n{number}"))
        self.assertEqual(self.given(world), 0)

    def test_who_looks_at_names(self) -> None:
        """Where a plugin or an observer may make a difference between names, everything is asked of the plugins."""
        hosts = "hosts {\n 10.0.0.9 n3.default.svc.cluster.local\n fallthrough\n }"
        world = self.world(hosts)
        self.check_none(world)
        self.assertEqual(
            world.ask(SEARCHED[0].format("n3")).answer, frozenset(["n3.default.svc.cluster.local. 3600 A 10.0.0.9"])
        )
        self.check_none(self.world("log"))
        self.check_none(self.world("metadata"))
        self.check_none(self.world("errors", "fallthrough"))
        self.check_none(self.world("errors", "fallthrough default.svc.cluster.local"))
        self.check_none(
            self.world("errors", zones="cluster.local svc.cluster.local default.svc.cluster.local"), SEARCHED[3]
        )
        self.check_none(self.world("cache 30 prod.svc.cluster.local"))

    def test_long_names(self) -> None:
        """A name of 255 bytes is told the whole of it, and one byte more is FORMERR as ever."""
        world = self.world("errors")
        world.fast_always()
        before = self.given(world)
        front = ".".join(["a" * 63] * 3)
        longest = f"{front}.{'b' * (255 - 192 - 15 - 1)}.cluster.local."
        self.assertEqual(world.ask(longest).rcode, "NXDOMAIN")
        self.assertEqual(self.given(world), before + 1)
        octets = wire((longest, "A")).replace(b"\x2f" + b"b" * 47, b"\x30" + b"b" * 48)
        self.assertEqual(world.listener.replay.at_hand(world._opened.tables[-1], octets[2:], 0, CLIENT, 9, 0.0), None)

    def test_odd_names(self) -> None:
        """Labels that look like others inside are what they are: the plugins decide."""
        world = self.world("errors")
        world.fast_always()
        before = self.given(world)
        for name in ("x\\007cluster\\005local.", "a\\000b.default.svc.cluster.local.", "A.default.svc.cluster.local."):
            self.assertEqual(
                world.ask(name), world.ask_plugin((name, "A")) if "cluster.local" in name else world.ask(name)
            )
        self.assertEqual(self.given(world), before)
