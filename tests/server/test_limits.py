"""Bounds that follow from memory and cores."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.server.limits import TABLE_LEAST, TABLE_MOST, memory_limit, processor_limit, table_bytes


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
