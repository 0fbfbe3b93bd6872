"""Bounds that follow from the memory there is."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.server.limits import TABLE_LEAST, TABLE_MOST, memory_limit, table_octets


class LimitTests(SynchronousTestCase):
    """What a control group allows, and what follows."""

    def file(self, text: str) -> Path:
        """A file with a limit."""
        path = Path(self.mktemp())
        path.write_text(text)
        return path

    def test_limit(self) -> None:
        """The first file that names one counts; ``max``, the kernel's huge number and no file mean none."""
        missing = Path(self.mktemp())
        self.assertEqual(memory_limit((self.file("178257920\n"),)), 178257920)
        self.assertEqual(memory_limit((missing, self.file("1048576"))), 1048576)
        self.assertIsNone(memory_limit((self.file("max\n"), missing)))
        self.assertIsNone(memory_limit((self.file("9223372036854771712\n"),)))

    def test_table(self) -> None:
        """A tenth of the memory, between two bounds."""
        self.assertEqual(table_octets(170 * 1024**2), 17 * 1024**2)
        self.assertEqual(table_octets(1024**2), TABLE_LEAST)
        self.assertEqual(table_octets(64 * 1024**3), TABLE_MOST)
