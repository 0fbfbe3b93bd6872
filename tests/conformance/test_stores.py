"""Whole servers with *nomad* and *route53*, with table and cache, across changes of what they read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.client import query, tell
from tests.conformance.world import MemoryWorld
from tests.plugins.nomad.fake import FakeNomad
from tests.plugins.route53.fake import FakeRoute53
from tests.plugins.stores.http import FakeHttp

SOA = ("example.org.", "SOA", 900, ["ns.example.org. host.example.org. 1 7200 900 1209600 86400"])


class StoreWorld(SynchronousTestCase):
    """A server and its store."""

    def serve(self, corefile: str, store: Callable[[Any], Any]) -> Any:
        """Start both; *store* makes the store on the server's reactor, listening."""
        self.world = MemoryWorld(corefile)
        made = store(self.world.reactor)
        self.world.start()

        def stop() -> None:
            made.stop()
            self.assertEqual(self.world.stop(), [], "what the server left behind")

        self.addCleanup(stop)
        return made

    def thrice(self, name: str, qtype: str = "A") -> str:
        """The one answer that two clients get three times each, over UDP and TCP."""
        question = {"qname": name, "qtype": qtype, "rd": True, "edns": None}
        found = set()
        for _ in range(3):
            for client in ("127.0.0.1", "10.1.2.3"):
                for proto in ("udp", "tcp"):
                    reply, _ = self.world.ask(query(question), proto, client)
                    told = tell(reply).expect
                    records = sorted(text.split(" ", 2)[2] for text in told["answer"])
                    found.add(f"{told['rcode']} {', '.join(records)}".strip())
        self.assertEqual(len(found), 1, found)
        return found.pop()

    def test_nomad(self) -> None:
        """The next query hears of instances that come and go, and of services that do."""

        def store(reactor: Any) -> FakeNomad:
            nomad = FakeNomad(reactor)
            nomad.start(4646)
            nomad.register("web", ("10.0.0.1", 80))
            return nomad

        nomad = self.serve(
            "service.nomad:1053 {\n cache 3600\n nomad {\n  address http://127.0.0.1:4646\n }\n}\n", store
        )
        web = "web.default.service.nomad."
        self.assertEqual(self.thrice(web), "NOERROR A 10.0.0.1")
        self.assertEqual(self.thrice(web, "SRV"), f"NOERROR SRV 10 10 80 {web}")
        self.assertEqual(self.thrice("new.default.service.nomad."), "NXDOMAIN")
        nomad.register("web", ("10.0.0.9", 81))
        nomad.register("new", ("10.0.0.2", 80))
        self.world.reactor.settle()
        self.assertEqual(self.thrice(web), "NOERROR A 10.0.0.9")
        self.assertEqual(self.thrice(web, "SRV"), f"NOERROR SRV 10 10 81 {web}")
        self.assertEqual(self.thrice("new.default.service.nomad."), "NOERROR A 10.0.0.2")
        nomad.register("web")
        self.world.reactor.settle()
        self.assertEqual(self.thrice(web), "NXDOMAIN")

    def test_route53(self) -> None:
        """A zone that was read again is answered from in one moment, also where a cache knows the old one."""
        aws = FakeRoute53()
        aws.zones["Z1"] = [
            SOA,
            ("www.example.org.", "A", 300, ["192.0.2.1"]),
            ("a.example.org.", "CNAME", 300, ["www.example.org."]),
        ]

        def store(reactor: Any) -> FakeHttp:
            def answer(request: Any) -> Any:
                aws.clock = reactor.seconds()
                return aws.answer(request)

            server = FakeHttp(reactor, answer)
            server.start(8053)
            return server

        self.serve(
            "example.org:1053 {\n cache 3600\n route53 example.org:Z1 {\n  aws_access_key AKID secret\n"
            "  aws_endpoint http://127.0.0.1:8053\n  refresh 10s\n }\n}\n",
            store,
        )
        self.assertEqual(self.thrice("a.example.org."), "NOERROR A 192.0.2.1, CNAME www.example.org.")
        self.assertEqual(self.thrice("new.example.org."), "NXDOMAIN")
        aws.zones["Z1"][1:] = [
            ("new.example.org.", "A", 300, ["192.0.2.2"]),
            ("a.example.org.", "CNAME", 300, ["new.example.org."]),
        ]
        for _ in range(15):
            self.world.reactor.advance(1)
        self.assertEqual(self.thrice("a.example.org."), "NOERROR A 192.0.2.2, CNAME new.example.org.")
        self.assertEqual(self.thrice("new.example.org."), "NOERROR A 192.0.2.2")
        self.assertEqual(self.thrice("www.example.org."), "NXDOMAIN")
