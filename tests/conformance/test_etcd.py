"""The golden cases of *etcd*, asked three times over a network in memory of a server whose keys are in a fake etcd."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CASES, CaseFile, case_file
from tests.conformance.client import Told, compare, query, tell
from tests.conformance.passing import with_passing
from tests.conformance.world import MemoryWorld
from tests.plugins.etcd.fake import FakeEtcd

LEASES = {"leased": 3000, "leasedttl": 3000, "leaselong": 200_000}
"""Seconds of the lease of a key, by its last part."""

_LEASED = re.compile(r"(?<= )LEASE(?= )")
_TTL = re.compile(r"^\S+ (\d+) ")


def fill(etcd: FakeEtcd, keys: list[list[str]]) -> None:
    """Put the keys of a case file."""
    for key, value in keys:
        seconds = LEASES.get(key.rpartition("/")[2])
        etcd.put(key, value, etcd.grant(seconds) if seconds else 0)


def lease_filled(wanted: Mapping[str, Any], told: Told) -> Mapping[str, Any]:
    """What is wanted, with the rest of a lease that was told, where it is one."""
    if not any("LEASE" in text for text in wanted["answer"]):
        return wanted
    found = [_TTL.match(text) for text in told.expect["answer"]]
    rest = next((match[1] for match in found if match and 2900 <= int(match[1]) <= 3000), "0")
    return {**wanted, "answer": [_LEASED.sub(rest, text) for text in wanted["answer"]]}


class GoldenEtcdTests(SynchronousTestCase):
    """One test for each case file."""

    maxDiff = None

    def check(self, name: str) -> None:
        """Ask all cases of a file in their order, three times."""
        file = case_file(name)
        keys = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8")).get("keys", [])
        world = MemoryWorld(self.corefile(file).replace("{{ETCD}}", "http://127.0.0.1:2379"))
        etcd = FakeEtcd(world.reactor)
        if keys:
            etcd.start(2379)
            fill(etcd, keys)
        world.start()
        wrong = []
        for time in range(1, 4):
            for case in file.cases:
                message = query(case.question)
                reply, port = world.ask(message, case.question["proto"])
                told = tell(reply, port, message)
                wanted = lease_filled(case.wanted, told)
                now = int(world.reactor.seconds())
                differences = compare(case.question, wanted, told, synced=bool(keys), now=now)
                if differences:
                    wrong.append(f"{name}/{case.id}, time {time}: " + "; ".join(differences))
        etcd.end()
        self.assertEqual(world.stop(), [], "what the server left behind")
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    def corefile(self, file: CaseFile) -> str:
        """The Corefile of a case file."""
        return file.corefile

    def test_etcd(self) -> None:
        """Every kind of key and question."""
        self.check("etcd")

    def test_path(self) -> None:
        """Another path."""
        self.check("etcd-path")

    def test_fallthrough(self) -> None:
        """Names without a key go to the next plugin; limits for leases."""
        self.check("etcd-fallthrough")

    def test_down(self) -> None:
        """An etcd that cannot be reached."""
        self.check("etcd-down")


class ForeignEtcdTests(GoldenEtcdTests):
    """The same with foreign plugins in every chain that declare nothing and only pass on."""

    def corefile(self, file: CaseFile) -> str:
        """The Corefile with those plugins."""
        return with_passing(file.corefile)


CHANGING = """.:1053 {
    cache 3600
    etcd s.test {
        endpoint http://127.0.0.1:2379
        fallthrough fall.s.test
    }
    forward . {{UPSTREAM}}
}
"""


class ChangingEtcdTests(SynchronousTestCase):
    """A whole server with table and cache, across changes of etcd."""

    def setUp(self) -> None:
        self.world = MemoryWorld(CHANGING)
        self.etcd = FakeEtcd(self.world.reactor)
        self.etcd.start(2379)
        self.etcd.put("/skydns/test/s/www", {"host": "10.0.0.1"})
        self.etcd.put("/skydns/test/s/alias", {"host": "www.s.test"})
        self.world.start()

    def tearDown(self) -> None:
        self.etcd.end()
        self.assertEqual(self.world.stop(), [], "what the server left behind")

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

    def test_changes(self) -> None:
        """The next query hears of a new key, a changed one, one that is gone, and what an alias leads to."""
        self.assertEqual(self.thrice("www.s.test."), "NOERROR A 10.0.0.1")
        self.assertEqual(self.thrice("alias.s.test."), "NOERROR A 10.0.0.1, CNAME www.s.test.")
        self.assertEqual(self.thrice("new.s.test."), "NXDOMAIN")
        self.assertEqual(self.thrice("new.s.test.", "TXT"), "NXDOMAIN")
        self.assertEqual(self.thrice("*.s.test."), "NOERROR A 10.0.0.1, A 10.0.0.1, CNAME www.s.test.")
        self.etcd.put("/skydns/test/s/www", {"host": "10.0.0.9"})
        self.etcd.put("/skydns/test/s/new/deep", {"host": "10.0.0.2"})
        self.world.reactor.settle()
        self.assertEqual(self.thrice("www.s.test."), "NOERROR A 10.0.0.9")
        self.assertEqual(self.thrice("alias.s.test."), "NOERROR A 10.0.0.9, CNAME www.s.test.")
        self.assertEqual(self.thrice("new.s.test."), "NOERROR A 10.0.0.2")
        self.assertEqual(self.thrice("new.s.test.", "TXT"), "NOERROR")
        self.etcd.delete("/skydns/test/s/www", "/skydns/test/s/new/deep")
        self.world.reactor.settle()
        self.assertEqual(self.thrice("www.s.test."), "NXDOMAIN")
        self.assertEqual(self.thrice("alias.s.test."), "NOERROR")
        self.assertEqual(self.thrice("new.s.test."), "NXDOMAIN")

    def test_fallthrough(self) -> None:
        """A name that the upstream denies is etcd's with its first key, and the upstream's again without it."""
        self.assertEqual(self.thrice("x.fall.s.test."), "NXDOMAIN")
        self.etcd.put("/skydns/test/s/fall/x", {"host": "10.0.0.3"})
        self.world.reactor.settle()
        self.assertEqual(self.thrice("x.fall.s.test."), "NOERROR A 10.0.0.3")
        self.etcd.delete("/skydns/test/s/fall/x")
        self.world.reactor.settle()
        self.assertEqual(self.thrice("x.fall.s.test."), "NXDOMAIN")

    def test_away(self) -> None:
        """While etcd is away its names are answered; what changed meanwhile is there when it is back."""
        self.assertEqual(self.thrice("www.s.test."), "NOERROR A 10.0.0.1")
        self.etcd.stop()
        self.world.reactor.advance(45)
        self.assertEqual(self.thrice("www.s.test."), "NOERROR A 10.0.0.1")
        self.assertEqual([state.kind.value.label for state in self.world.context.degraded], ["etcd"])
        self.etcd.put("/skydns/test/s/www", {"host": "10.0.0.9"})
        self.etcd.start(2379)
        for _ in range(61):
            self.world.reactor.advance(1)
        self.assertEqual(self.thrice("www.s.test."), "NOERROR A 10.0.0.9")
        self.assertEqual(list(self.world.context.degraded), [])
