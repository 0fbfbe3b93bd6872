"""How many workers there are to be."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.server.assembly import read_text
from kdns.workers.number import usable_cores, workers_in


class NumberTests(SynchronousTestCase):
    """What a Corefile says."""

    def number(self, *lines: str) -> int:
        """Of a Corefile with a block for each line."""
        text = "".join(f".:{1053 + place} {{\n    whoami\n    {line}\n}}\n" for place, line in enumerate(lines))
        return workers_in(read_text(text, {}), lambda: 4)

    def test_numbers(self) -> None:
        """The greatest of all blocks, at most one a core; one where nothing is said."""
        for lines, wanted in (
            (("",), 1),
            (("multisocket 3",), 3),
            (("multisocket 2", "multisocket 3", ""), 3),
            (("multisocket 5",), 4),
            (("multisocket",), 4),
            (("multisocket x",), 1),
        ):
            with self.subTest(lines=lines):
                self.assertEqual(self.number(*lines), wanted)

    def test_cores(self) -> None:
        """There is one at least."""
        self.assertGreaterEqual(usable_cores(), 1)
