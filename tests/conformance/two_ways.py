"""Two servers with the same Corefile: one has the fast path and the answer table, the other asks its plugins for each query."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import dns.message
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.test_repeated import ColdBudget
from tests.conformance.world import MemoryWorld


class TwoWaysTestCase(SynchronousTestCase):
    """Asks both the same, and compares the replies."""

    def start(self, corefile: str, manifests: tuple[Path, ...], folder: Path) -> None:
        """Start both."""
        self.worlds = [MemoryWorld(corefile, manifests, folder) for _ in range(2)]
        self.worlds[1].service.table_budget = ColdBudget(0)
        for world in self.worlds:
            world.start()
            self.addCleanup(world.stop)

    def advance(self, seconds: float) -> None:
        """Let time pass for both."""
        for world in self.worlds:
            world.reactor.advance(seconds)
            world.reactor.settle()

    def compare(self, names: Iterable[str], types: Iterable[str], *, do: bool = False) -> None:
        """Ask for each name and type."""
        for name in names:
            for qtype in types:
                query = dns.message.make_query(name, qtype, want_dnssec=do, id=7).to_wire()
                fast, general = (_shown(world.ask(query)[0]) for world in self.worlds)
                self.assertEqual(fast, general, (name, qtype, do))

    @property
    def fast_replies(self) -> int:
        """Replies that the fast path made."""
        tables = [table for opened in self.worlds[0].service.endpoints.values() for table in opened.tables]
        return sum(table.fast.given for table in tables if table.fast is not None)


def _shown(reply: bytes | None) -> str:
    """A reply without the order of records."""
    assert reply is not None
    message = dns.message.from_wire(reply)
    lines = [" ".join(map(str, (message.rcode(), message.flags, message.ednsflags)))]
    for section in (message.answer, message.authority, message.additional):
        lines += sorted(f"{rrset.name} {rrset.ttl} {rrset.rdtype} {rdata}" for rrset in section for rdata in rrset)
    return "\n".join(lines)
