"""The hosts file while it changes, and the slices in which it is read."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.stamps import stand
from kdns.plugin.seam import ServerContext
from kdns.plugins.hosts.config import HostsConfig
from kdns.plugins.hosts.service import MOST_CHANGES, HostsFile
from kdns.plugins.hosts.table import find
from kdns.wire.names import ROOT, from_text, reverse_name
from tests.support import SlowReactor, a_house

A_TEST = from_text("a.test")
B_TEST = from_text("b.test")


class FileTestCase(SynchronousTestCase):
    """A hosts file in a folder of the test."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.clock = Clock()
        self.clock.advance(100)
        self.context = a_house(self.clock)
        self._written = 0

    def write(self, *lines: str) -> None:
        """Let the file say this, with a time of change of its own."""
        with open(self.path, "w") as file:
            file.write("\n".join((*lines, "")))
        self._written += 1
        os.utime(self.path, (1000 + self._written, 1000 + self._written))

    def begin(self, *inline: str, reload: float = 5.0, context: ServerContext | None = None) -> HostsFile:
        """Start with these lines beside the file, and wait until it is read."""
        made = HostsFile(HostsConfig(self.path, (ROOT,), inline, reload=reload), context or self.context)
        made.start()
        self.addCleanup(made.stop)
        self.assertFalse(made.reading)
        return made

    def value(self, name: str, *labels: str) -> float:
        """The value of a gauge."""
        family = next(f for f in self.context.registry.families() if f.name == name)
        return family.gauge(*labels).value


class ReloadTests(FileTestCase):
    """A file that changes."""

    def test_read_at_the_start(self) -> None:
        """When the start is over the file is there, beside the lines of the Corefile."""
        self.write("10.0.0.1 a.test")
        made = self.begin("10.0.0.2 a.test")
        self.assertEqual(find(made.tables, A_TEST), [b"\x0a\0\0\x02", b"\x0a\0\0\x01"])
        self.assertEqual(self.value("coredns_hosts_entries", self.path), 4)
        self.assertEqual(self.value("coredns_hosts_reload_timestamp_seconds"), 1001.0)

    def test_change(self) -> None:
        """A change is found at the next look, and moves the stamps of the names it concerns."""
        self.write("10.0.0.1 a.test", "10.0.0.2 b.test")
        made = self.begin()
        one, two, absent = made.noted(A_TEST), made.noted(B_TEST), made.noted(from_text("c.test"))
        back = made.noted(reverse_name(b"\x0a\0\0\x01"))
        self.write("10.0.0.3 a.test", "10.0.0.2 b.test", "10.0.0.4 c.test")
        self.clock.advance(4.9)
        self.assertTrue(stand(one))
        self.clock.advance(0.2)
        self.assertEqual(find(made.tables, A_TEST), [b"\x0a\0\0\x03"])
        self.assertEqual([stand(noted) for noted in (one, two, absent, back)], [False, True, False, False])

    def test_no_change(self) -> None:
        """A file with the same time and size is not read again."""
        self.write("10.0.0.1 a.test")
        made = self.begin()
        tables = made.tables
        self.clock.advance(60)
        self.assertIs(made.tables, tables)

    def test_wildcards_and_large_changes(self) -> None:
        """A wildcard concerns names nobody can list, and so do very many names: everything moves."""
        self.write("10.0.0.1 a.test")
        made = self.begin()
        for lines in (
            ["10.0.0.1 a.test", "10.0.0.2 *.test"],
            ["10.0.0.1 a.test", *(f"10.0.0.2 n{number}.test" for number in range(MOST_CHANGES + 1))],
        ):
            noted = made.noted(from_text("other.example"))
            self.write(*lines)
            self.clock.advance(5)
            self.assertFalse(stand(noted))

    def test_a_file_that_comes_and_goes(self) -> None:
        """A file that is not there yet is found when it comes; what it said stays when it goes."""
        made = self.begin()
        self.write("10.0.0.1 a.test")
        self.clock.advance(5)
        os.remove(self.path)
        self.clock.advance(5)
        self.assertEqual(find(made.tables, A_TEST), [b"\x0a\0\0\x01"])

    def test_degraded(self) -> None:
        """That the file cannot be read is logged once, listed while it is so, and its end is logged."""
        self.write("10.0.0.1 a.test")
        self.begin()
        name = f"hosts file {self.path}"
        with capturedLogs() as events:
            os.remove(self.path)
            self.clock.advance(5)
            (state,) = self.context.degraded
            self.assertEqual((state.name, state.text), (name, "cannot be read: No such file or directory"))
            self.clock.advance(5)
            self.write("10.0.0.1 a.test")
            self.clock.advance(5)
        self.assertEqual(list(self.context.degraded), [])
        lines = [str(formatEvent(event)) for event in events]
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("its last content is used", lines[0])
        self.assertEqual(lines[1], f"{name}: in order again after 10 s")

    def test_never(self) -> None:
        """With ``reload 0`` the file is read once."""
        self.write("10.0.0.1 a.test")
        made = self.begin(reload=0.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(find(made.tables, A_TEST), [b"\x0a\0\0\x01"])

    def test_a_folder(self) -> None:
        """What cannot be read is said once, and the rest works."""
        os.mkdir(self.path)
        with capturedLogs() as events:
            made = self.begin("10.0.0.2 a.test")
            self.clock.advance(20)
        self.assertEqual(len(events), 1)
        self.assertIn("cannot be read", formatEvent(events[0]))
        self.assertEqual(find(made.tables, A_TEST), [b"\x0a\0\0\x02"])


class SliceTests(FileTestCase):
    """Large files, on a clock that goes on while something runs."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = SlowReactor()
        self.context = ServerContext(self.reactor, clock=self.reactor.seconds)
        self.write("10.0.0.9 a.test")
        self.made = HostsFile(HostsConfig(self.path, (ROOT,)), self.context)
        self.made.start()
        self.addCleanup(self.made.stop)
        self.reactor.settle()
        self.write(*(f"10.0.0.1 n{number}.test a.test" for number in range(5000)))
        self.made.look()
        self.assertTrue(self.made.reading)

    def test_slices(self) -> None:
        """A large file is read over many turns, and the old table serves until the new one is whole."""
        turns = 0
        while find(self.made.tables, A_TEST) == [b"\x0a\0\0\x09"]:
            self.reactor.turn()
            turns += 1
        self.assertGreater(turns, 10)

    def test_stop(self) -> None:
        """After the end nothing is under way, and no answer given out holds any more."""
        noted = self.made.noted(A_TEST)
        self.made.stop()
        self.assertEqual(self.reactor.leftovers(), [])
        self.assertEqual(find(self.made.tables, A_TEST), [b"\x0a\0\0\x09"])
        self.assertFalse(stand(noted))
