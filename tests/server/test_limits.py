"""Bounds that follow from the memory there is."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.server.limits import TABLE_LEAST, TABLE_MOST, memory_limit, processor_limit, table_octets


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

    def test_processor(self) -> None:
        """The quota of the control group in cores, in either version's files; none means no limit."""
        missing = Path(self.mktemp())
        self.assertEqual(processor_limit(self.file("50000 100000\n"), missing), 0.5)
        self.assertEqual(processor_limit(self.file("200000 100000\n"), missing), 2.0)
        self.assertIsNone(processor_limit(self.file("max 100000\n"), missing))
        self.assertIsNone(processor_limit(missing, missing))
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "cpu.cfs_period_us").write_text("100000\n")
        quota = folder / "cpu.cfs_quota_us"
        for text, cores in (("25000\n", 0.25), ("-1\n", None)):
            quota.write_text(text)
            self.assertEqual(processor_limit(missing, quota), cores)

    def test_table(self) -> None:
        """A tenth of the memory, between two bounds."""
        self.assertEqual(table_octets(170 * 1024**2), 17 * 1024**2)
        self.assertEqual(table_octets(1024**2), TABLE_LEAST)
        self.assertEqual(table_octets(64 * 1024**3), TABLE_MOST)
