# -*- test-case-name: tests.plugins.file.test_loading -*-
"""Zone files that are read, change, break, come and go."""

from __future__ import annotations

import os

from twisted.internet.task import Clock

from kdns.core.degraded import Fault
from kdns.corefile.errors import SetupError
from kdns.plugin.seam import ServerContext
from kdns.plugins.file.config import ZoneFileConfig
from kdns.plugins.file.loading import ZoneFile
from kdns.wire.names import from_text
from tests.plugins.file.support import ZoneTestCase, zone_text
from tests.support import SlowReactor

ORG = from_text("example.org")


class LoadingTests(ZoneTestCase):
    """kdns.plugins.file.loading."""

    def setUp(self) -> None:
        """A clock."""
        super().setUp()
        self.clock = Clock()
        self.context = ServerContext(self.clock, clock=self.clock.seconds, kernel_sockets=False)

    def file(self, reload: float = 60.0, by_mtime: bool = False) -> ZoneFile:
        """The zone of the file ``db``, not yet started."""
        file = ZoneFile(ZoneFileConfig(ORG, str(self.folder / "db"), reload, by_mtime), self.context)
        self.addCleanup(file.stop)
        return file

    def started(self, reload: float = 60.0, by_mtime: bool = False) -> ZoneFile:
        """The same, read."""
        file = self.file(reload, by_mtime)
        start = file.start()
        assert start is not None
        self.successResultOf(start)
        return file

    def serial(self, file: ZoneFile) -> int | None:
        """The serial that is served."""
        return None if file.served.zone is None else file.served.zone.serial

    def test_reload(self) -> None:
        """Another serial, higher or lower, brings the new version at the next look; equal serials do not."""
        self.write("db", zone_text(5, "a A 10.0.0.1"))
        file = self.started()
        stamp = file.served.stamp.version
        for serial, served in ((6, 6), (2, 2), (2, 2)):
            self.write("db", zone_text(serial, f"a A 10.0.0.{serial}", "b A 10.0.0.1" if served == 6 else ""))
            self.clock.advance(60)
            self.assertEqual(self.serial(file), served)
        self.assertEqual(file.served.stamp.version, stamp + 2)
        self.assertEqual(self.logged('Successfully reloaded zone "example.org." in'), 2)
        self.assertEqual(file.served.loaded.value, 3)

    def test_history(self) -> None:
        """What changed is known afterwards."""
        self.write("db", zone_text(5, *(f"h{n} A 10.0.0.1" for n in range(9))))
        file = self.started()
        self.write("db", zone_text(6, *(f"h{n} A 10.0.0.1" for n in range(8))))
        self.clock.advance(60)
        found = file.served.transfer(5)
        assert found is not None
        self.assertEqual((found[0], len(list(found[1]))), ("incremental", 5))

    def test_by_mtime(self) -> None:
        """With reload_by_mtime the serial does not matter, and an unchanged file is not read again."""
        path = self.write("db", zone_text(5, "a A 10.0.0.1"))
        file = self.started(by_mtime=True)
        self.clock.advance(60)
        self.assertEqual(file.served.loaded.value, 1)
        self.write("db", zone_text(5, "a A 10.0.0.2"))
        os.utime(path, (1, 1))
        self.clock.advance(60)
        self.assertEqual(file.served.loaded.value, 2)

    def test_broken_later(self) -> None:
        """
        A file that breaks or goes leaves the version that is there, and is degraded until it can be read again.

        The log has a line when that begins, when the reason is another one, and when it ends.
        """
        path = self.write("db", zone_text(5))
        file = self.started()
        self.write("db", zone_text(6, "bad FROB x"))
        self.clock.pump((60, 60))
        (state,) = self.context.degraded
        self.assertEqual((state.kind, state.name), (Fault.ZONE_FILE, f"zone example.org. of {path}"))
        self.assertIn("db: dns: not a TTL", state.text)
        os.unlink(path)
        self.clock.pump((60, 60))
        self.assertEqual([state.text for state in self.context.degraded], ["cannot be read: no such file or directory"])
        self.assertEqual((self.serial(file), file.served.failed.value), (5, 4))
        self.assertEqual(self.logged('Parsing zone "example.org.": failed to parse file'), 1)
        self.assertEqual(self.logged('Failed to open zone "example.org." in'), 1)
        self.write("db", zone_text(5))
        self.clock.advance(60)
        self.assertEqual(list(self.context.degraded), [])
        self.assertEqual(self.logged(f"zone example.org. of {path}: in order again after"), 1)

    def test_missing_at_the_start(self) -> None:
        """A file that is not there yet is waited for."""
        file = self.started(reload=1.0)
        self.assertIsNone(file.served.zone)
        self.assertEqual(self.logged('no such file or directory": trying again in 1s'), 1)
        self.assertEqual(len(list(self.context.degraded)), 1)
        self.write("db", zone_text(5))
        self.clock.advance(1)
        self.assertEqual(self.serial(file), 5)
        self.assertEqual(list(self.context.degraded), [])

    def test_no_start(self) -> None:
        """Anything else that is wrong with a file fails the start, with the place of the mistake."""
        for text, reload, error in (
            ("", 60.0, "has no SOA record for origin example.org."),
            (zone_text(5, "bad FROB x"), 60.0, 'dns: not a TTL: "FROB" at line: 5:9'),
            (None, 0.0, "db: no such file or directory"),
        ):
            if text is not None:
                self.write("db", text)
            else:
                os.unlink(self.folder / "db")
            failure = self.failureResultOf(self.file(reload).start() or self.fail("no Deferred"), SetupError)
            self.assertIn(error, str(failure.value))

    def test_folder(self) -> None:
        """A folder in place of a file, too."""
        (self.folder / "db").mkdir()
        failure = self.failureResultOf(self.file().start() or self.fail("no Deferred"), SetupError)
        self.assertIn(f"with error read {self.folder}/db: is a directory", str(failure.value))

    def test_foreign_zone(self) -> None:
        """A file with another zone's SOA does not prevent the start: its zone has no data, and the reason is logged."""
        self.write("db", "$ORIGIN example.net.\n" + zone_text(5))
        file = self.started()
        self.assertIsNone(file.served.zone)
        self.assertEqual(self.logged("only one of example.net.; the zone is answered with SERVFAIL"), 1)

    def test_foreign_records(self) -> None:
        """Records outside the zone, and all SOA records but the last, are left out with a warning."""
        self.write("db", zone_text(5, "www.example.net. A 10.0.0.1", "@ SOA ns admin 7 1 1 1 1"))
        file = self.started()
        self.assertEqual(self.serial(file), 7)
        self.assertEqual(self.logged("1 records in"), 1)
        self.assertEqual(self.logged("more than one SOA record"), 1)

    def test_in_slices(self) -> None:
        """Reading a large file takes many turns of the reactor, and none of them long; it can be stopped in between."""
        self.write("db", zone_text(5, *(f"h{n} A 10.0.0.1" for n in range(3000))))
        reactor = SlowReactor(0.0001)
        self.context = ServerContext(reactor, clock=reactor.seconds, kernel_sockets=False)
        file = self.file()
        start = file.start()
        assert start is not None
        self.assertNoResult(start)
        while not start.called:
            reactor.advance(0)
        self.assertEqual(self.serial(file), 5)
        self.write("db", zone_text(6, *(f"h{n} A 10.0.0.1" for n in range(3000))))
        again = file.load()
        file.stop()
        self.successResultOf(again)
        self.assertEqual(reactor.getDelayedCalls(), [])
