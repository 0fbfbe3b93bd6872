"""The golden cases of *etcd*, asked three times over a network in memory of a server whose keys are in a fake etcd."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CASES, case_file
from tests.conformance.client import Told, compare, query, tell
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
        world = MemoryWorld(file.corefile.replace("{{ETCD}}", "http://127.0.0.1:2379"))
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
