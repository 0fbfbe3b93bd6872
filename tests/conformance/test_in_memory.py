"""Every golden case file, asked over a network in memory of a server whose cluster stands in manifests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CLUSTER, OTHERS, TWO_LISTENERS, WAITING, ZONES, Case, CaseFile, case_file
from tests.conformance.client import compare, compare_transfer, query, tell, tell_transfer
from tests.conformance.passing import with_passing
from tests.conformance.world import MemoryWorld, world_of, write


class GoldenInMemoryTests(SynchronousTestCase):
    """One test for each case file; its failure names each case that was answered otherwise."""

    maxDiff = None

    def check(self, name: str) -> None:
        """Ask all cases of a file in their order."""
        file = case_file(name)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        world = world_of(replace(file, corefile=self.corefile(file)), folder)
        world.start()
        wrong = []
        for case in file.cases:
            write(case.question.get("write_files", {}), folder)
            world.reactor.advance(case.question.get("after_ms", 0) / 1000)
            differences = self.ask(world, case, synced=not file.unreachable)
            if differences:
                wrong.append(f"{name}/{case.id}: " + "; ".join(differences))
        self.assertEqual(world.stop(), [], "what the server left behind")
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    def corefile(self, file: CaseFile) -> str:
        """The Corefile of a case file."""
        return file.corefile

    def ask(self, world: MemoryWorld, case: Case, *, synced: bool) -> list[str]:
        """Ask one case and say what differs from what is wanted."""
        message = query(case.question)
        source = case.question.get("from", "127.0.0.1")
        if "xfr" in case.question:
            return compare_transfer(case.wanted, tell_transfer(world.ask_transfer(message, source)))
        reply, port = world.ask(message, case.question["proto"], source)
        told = tell(reply, port, message)
        now = int(world.reactor.seconds())
        return compare(case.question, case.wanted, told, synced=synced, now=now)


class ForeignInMemoryTests(GoldenInMemoryTests):
    """The same with foreign plugins in every chain that declare nothing and only pass on."""

    def corefile(self, file: CaseFile) -> str:
        """The Corefile with those plugins."""
        return with_passing(file.corefile)


def _add_tests() -> None:
    for name in (*CLUSTER, *WAITING, *OTHERS, *TWO_LISTENERS, *ZONES):

        def test(self: GoldenInMemoryTests, name: str = name) -> None:
            self.check(name)

        test.__doc__ = f"Every case of {name}.json is answered as wanted."
        method = f"test_{name.replace('-', '_')}"
        test.__name__ = method
        setattr(GoldenInMemoryTests, method, test)


_add_tests()
