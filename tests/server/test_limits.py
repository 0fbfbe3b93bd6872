"""Limits of control groups, and saturation."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.server.limits import TABLE_LEAST, TABLE_MOST, Saturation, memory_limit, processor_limit, table_bytes, waited


class ControlGroupTests(SynchronousTestCase):
    """What the control groups of a process allow."""

    def setUp(self) -> None:
        self.mount = Path(self.mktemp())
        self.groups = Path(self.mktemp())

    def tree(self, groups: str, files: dict[str, str]) -> None:
        """A process in *groups*, and files below the mount point."""
        self.groups.write_text(groups)
        for name, text in files.items():
            path = self.mount / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def memory(self) -> int | None:
        """The memory limit of the process."""
        return memory_limit(self.groups, self.mount)

    def test_service_of_systemd(self) -> None:
        """The limit of a unit (MemoryMax) is in the folder of its own group; the root has none."""
        self.tree("0::/system.slice/kdns.service\n", {"system.slice/kdns.service/memory.max": "134217728\n"})
        self.assertEqual(self.memory(), 134217728)

    def test_lowest_counts(self) -> None:
        """A lower limit further up binds too: a pod's above its container's, a slice's above a unit's."""
        self.tree(
            "0::/pods/pod1/c1\n",
            {"pods/memory.max": "max", "pods/pod1/memory.max": "1000000", "pods/pod1/c1/memory.max": "2000000"},
        )
        self.assertEqual(self.memory(), 1000000)

    def test_container(self) -> None:
        """A container that sees its own group as the root, or a path of the host that is not mounted, has its limit at the root."""
        for groups in ("0::/\n", "0::/kubepods/burstable/pod1\n", "0::/../elsewhere\n", ""):
            self.tree(groups, {"memory.max": "178257920\n"})
            self.assertEqual(self.memory(), 178257920, groups)

    def test_version_1(self) -> None:
        """Each controller has a hierarchy of its own; a huge number stands for no limit."""
        self.tree(
            "9:cpu,cpuacct:/docker/abc\n8:memory:/docker/abc\n1:name=systemd:/x\n",
            {
                "memory/memory.limit_in_bytes": str((1 << 63) - 4096),
                "memory/docker/abc/memory.limit_in_bytes": "1048576\n",
                "cpu/docker/abc/cpu.cfs_period_us": "100000\n",
            },
        )
        self.assertEqual(self.memory(), 1048576)
        folder = self.mount / "cpu/docker/abc"
        for text, cores in (("25000\n", 0.25), ("-1\n", None)):
            (folder / "cpu.cfs_quota_us").write_text(text)
            self.assertEqual(processor_limit(self.groups, self.mount), cores)

    def test_no_limit(self) -> None:
        """``max``, and no files at all, are no limit."""
        self.assertIsNone(self.memory())
        self.tree("0::/a\n", {"memory.max": "max\n", "a/memory.max": "max\n", "a/cpu.max": "max 100000\n"})
        self.assertIsNone(self.memory())
        self.assertIsNone(processor_limit(self.groups, self.mount))

    def test_cores(self) -> None:
        """Quota by period, the lowest of all groups."""
        self.tree("0::/a/b\n", {"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "200000 100000\n"})
        self.assertEqual(processor_limit(self.groups, self.mount), 0.5)


class BoundTests(SynchronousTestCase):
    """What follows from the limits."""

    def test_table(self) -> None:
        """A tenth of the memory, between two bounds."""
        self.assertEqual(table_bytes(170 * 1024**2), 17 * 1024**2)
        self.assertEqual(table_bytes(1024**2), TABLE_LEAST)
        self.assertEqual(table_bytes(64 * 1024**3), TABLE_MOST)


class SaturationTests(SynchronousTestCase):
    """Looks at two clocks."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.used = 100.0

    def saturation(self, cores: float = 8.0) -> Saturation:
        """A process that may use so many cores."""
        return Saturation(self.clock.seconds, lambda: self.used, cores)

    def work(self, saturation: Saturation, seconds: int, share: float) -> None:
        """Let time pass, of which the process takes a share."""
        for _ in range(seconds):
            saturation.sample()
            self.clock.advance(1.0)
            self.used += share

    def test_share(self) -> None:
        """Three tenths of a core are three tenths, however many cores there are."""
        saturation = self.saturation()
        self.work(saturation, 5, 0.3)
        self.assertAlmostEqual(saturation.share(), 0.3)

    def test_last_seconds(self) -> None:
        """Only the last ten seconds count."""
        saturation = self.saturation()
        self.work(saturation, 60, 1.0)
        self.assertAlmostEqual(saturation.share(), 1.0)
        self.work(saturation, 5, 0.0)
        self.assertAlmostEqual(saturation.share(), 6 / 11)
        self.work(saturation, 6, 0.0)
        self.assertAlmostEqual(saturation.share(), 0.0)

    def test_until_now(self) -> None:
        """What happened since the last sample counts."""
        saturation = self.saturation()
        saturation.sample()
        self.clock.advance(0.5)
        self.used += 0.25
        self.assertAlmostEqual(saturation.share(), 0.5)

    def test_limit(self) -> None:
        """Half a core taken is all there is where the control group allows half a core."""
        saturation = self.saturation(0.5)
        self.work(saturation, 5, 0.25)
        self.assertAlmostEqual(saturation.share(), 0.5)
        self.work(saturation, 20, 0.5)
        self.assertAlmostEqual(saturation.share(), 1.0)

    def test_never_above(self) -> None:
        """Other threads do not make it more than all."""
        saturation = self.saturation()
        self.work(saturation, 5, 1.7)
        self.assertEqual(saturation.share(), 1.0)

    def test_at_first(self) -> None:
        """Before any time has passed it is idle; samples too soon after each other are not kept."""
        saturation = self.saturation()
        self.assertEqual(saturation.share(), 0.0)
        for _ in range(100):
            saturation.sample()
        self.assertEqual(saturation.share(), 0.0)
        self.work(saturation, 3, 0.5)
        self.assertAlmostEqual(saturation.share(), 0.5)

    def test_waited(self) -> None:
        """How long it waited for a core is what the kernel says; where it says nothing, 0."""
        file = Path(self.mktemp())
        self.assertEqual(waited(file), 0.0)
        file.write_text("5000000000 1500000000 77\n")
        self.assertEqual(waited(file), 1.5)
        file.write_text("?")
        self.assertEqual(waited(file), 0.0)
