"""Golden lines of the query log, from a whole server: who asked what, and what became of it."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CASES
from tests.conformance.client import IDENT, query
from tests.conformance.world import UPSTREAM, MemoryWorld

_CLIENT = re.compile(r"(127\.0\.0\.1|\[::1\]):\d{5} - (\d+) ")
_DURATION = re.compile(r"\b\d+(\.\d+)?(e-\d+)?s\b")


class GoldenLogLinesTests(SynchronousTestCase):
    """Each query of ``log-lines.json`` under each of its log directives."""

    def test_lines(self) -> None:
        """Lines are the golden ones to the letter, but for port, identifier and duration."""
        document: Any = json.loads((CASES / "log-lines.json").read_text(encoding="utf-8"))
        wrong = []
        compared = 0
        for name, corefile in document["formats"].items():
            world = MemoryWorld(corefile, (CASES / "cluster.yaml",))
            world.start()
            for row in document["queries"]:
                del world.lines[:]
                to = row.get("to", "127.0.0.1")
                reply, _ = world.ask(query(row), row["proto"], "::1" if to == "::1" else "127.0.0.1", to)
                self.assertIsNotNone(reply, row["id"])
                got = [self.masked(line) for line in world.lines]
                wanted = [line.replace("{{UPSTREAM}}", f"{UPSTREAM[0]}:{UPSTREAM[1]}") for line in row["lines"][name]]
                compared += len(wanted)
                if got != wanted:
                    wrong.append(f"{name}/{row['id']}: wanted {wanted}, got {got}")
            self.assertEqual(world.stop(), [])
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertGreater(compared, 50)

    def masked(self, line: str) -> str:
        """The line with words in place of what differs from run to run."""
        found = _CLIENT.search(line)
        if found is not None:
            self.assertEqual(int(found[2]), IDENT)
            line = _CLIENT.sub(r"\1:PORT - ID ", line)
        return _DURATION.sub("DURATION", line)
