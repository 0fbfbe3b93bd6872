"""The golden orders of addresses: each that kdns sends is one that CoreDNS sends, and each address is first where it was first there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dns.message
import dns.rdatatype
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CASES, CaseFile
from tests.conformance.client import query
from tests.conformance.world import MemoryWorld, world_of

QUERIES = 60
SAMPLED = 100
"""Orders of a case above which CoreDNS's own are a sample of all there are: what counts then is which records there are."""

FILES = ("none", "prefer", "round-robin", "weighted")

Order = tuple[tuple[str, ...], tuple[str, ...]]


def told(reply: bytes) -> Order:
    """The answer and the additional section in their order."""
    message = dns.message.from_wire(reply, one_rr_per_rrset=True)
    answer, additional = (
        tuple(f"{dns.rdatatype.to_text(rrset.rdtype)} {rrset[0]}" for rrset in section)
        for section in (message.answer, message.additional)
    )
    return answer, additional


class GoldenOrderTests(SynchronousTestCase):
    """Each file, asked over and over."""

    def test_orders(self) -> None:
        """No other order is seen, and no address is missing in the first place."""
        wrong = []
        for name in FILES:
            document: Any = json.loads((CASES / f"loadbalance-{name}.json").read_text(encoding="utf-8"))
            folder = Path(self.mktemp()).absolute()
            folder.mkdir()
            world = world_of(CaseFile(name, document["corefile"], document["files"], (), False, ()), folder)
            world.start()
            for case in document["cases"]:
                wrong += [f"{name}/{case['id']}: {text}" for text in self.differences(world, case)]
            self.assertEqual(world.stop(), [])
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    def differences(self, world: MemoryWorld, case: Any) -> list[str]:
        """What is wrong with the orders of one question, repeated from the answer table or not."""
        question = {"rd": True, "edns": None, **case}
        golden = {(tuple(order["answer"]), tuple(order["additional"])) for order in case["orders"]}
        seen = set()
        for ident in range(QUERIES):
            reply, _ = world.ask(query(question, ident))
            assert reply is not None
            seen.add(told(reply))
        if len(golden) > SAMPLED:
            golden, others = {_sorted(order) for order in golden}, {_sorted(order) for order in seen} - golden
            return [f"other records {order}" for order in others - golden]
        return [f"order {order}" for order in seen - golden] + [
            f"never first: {first}" for first in _firsts(golden) - _firsts(seen)
        ]


def _sorted(order: Order) -> Order:
    return tuple(sorted(order[0])), tuple(sorted(order[1]))


def _firsts(orders: set[Order]) -> set[tuple[str, ...]]:
    """The first address of each section."""
    return {tuple(next((text for text in section if text[0] == "A"), "") for section in order) for order in orders}
