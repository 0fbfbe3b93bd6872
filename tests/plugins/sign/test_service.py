"""When a zone is signed, and what is said about it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from random import Random

import dns.name
import dns.zone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kdns.core.degraded import DegradedState
from kdns.plugin import ServerContext
from kdns.plugins.sign.config import SignConfig, zone_keys
from kdns.plugins.sign.service import CHECK_INTERVAL, DAY, HOUR, WATCH_INTERVAL, ZoneSigner
from kdns.wire.names import from_text
from tests.signing_keys import write_key

EPOCH = 1_700_000_000
ZONE = "$TTL 60\n@ SOA ns admin 5 3600 1800 86400 60\n@ NS ns\nns A 192.0.2.53\n"


class Folder:
    """A folder with a zone and a key."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self.db = path / "db"
        self.db.write_text(ZONE)
        self.signed = path / "db.example.org.signed"
        self.config = self.with_key("k1")

    def with_key(self, name: str) -> SignConfig:
        """A config with a new key."""
        base = str(write_key(self.path, name))
        return SignConfig(from_text("example.org"), str(self.db), (base,), str(self.path))

    @property
    def serial(self) -> int:
        """Of the signed zone; 0 when there is none."""
        if not self.signed.exists():
            return 0
        zone = dns.zone.from_file(str(self.signed), dns.name.from_text("example.org."), relativize=False)
        soa = zone.get_soa()
        return int(soa.serial)


class ServiceTests(SynchronousTestCase):
    """A signer on a test clock that signs at once."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.folder = Folder(Path(self.mktemp()).absolute())
        self.context = ServerContext(
            self.clock,
            clock=self.clock.seconds,
            wall=lambda: EPOCH + self.clock.seconds(),
            random=Random(1),
            kernel_sockets=False,
        )
        self.touch(self.folder.db)

    def touch(self, path: Path) -> None:
        """Set a file's time to that of the test."""
        now = EPOCH + self.clock.seconds()
        os.utime(path, (now, now))

    def run_signer(self, config: SignConfig | None = None) -> ZoneSigner:
        """Start a signer."""
        config = config or self.folder.config
        signer = ZoneSigner(config, zone_keys(config), self.context)
        signer.start()
        self.addCleanup(signer.stop)
        self.settle()
        return signer

    def settle(self) -> None:
        """Let the signed file have the time of the test, which it would have if that were the machine's."""
        self.clock.advance(0)
        if self.folder.signed.exists():
            self.touch(self.folder.signed)

    def pass_time(self, seconds: float) -> None:
        """In steps of a watch."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(WATCH_INTERVAL, end - self.clock.seconds()))

    def states(self) -> list[DegradedState]:
        return list(self.context.degraded)

    def test_start(self) -> None:
        """A zone without a signed file is signed at the start; one with good signatures is left alone."""
        signer = self.run_signer()
        self.assertEqual(self.folder.serial, EPOCH)
        self.assertTrue(EPOCH + 32 * DAY <= signer.expires < EPOCH + 37 * DAY)
        signer.stop()
        self.clock.advance(HOUR)
        self.run_signer()
        self.assertEqual(self.folder.serial, EPOCH)
        self.assertEqual([path.name for path in self.folder.path.iterdir() if path.name.startswith("signed-")], [])
        self.assertEqual(os.stat(self.folder.signed).st_mode & 0o777, 0o600)

    def test_schedule(self) -> None:
        """It is signed again when the signatures are six days old, less the spread."""
        self.run_signer()
        before = self.folder.serial
        self.pass_time(5 * DAY)
        self.assertEqual(self.folder.serial, before)
        self.pass_time(DAY + CHECK_INTERVAL)
        days = (self.folder.serial - before) / DAY
        self.assertTrue(5.1 <= days <= 6.1, days)

    def test_changed(self) -> None:
        """A change of the unsigned file is signed within a minute."""
        self.run_signer()
        self.clock.advance(HOUR)
        self.folder.db.write_text(ZONE + "www A 192.0.2.1\n")
        self.touch(self.folder.db)
        self.pass_time(WATCH_INTERVAL)
        self.assertGreater(self.folder.serial, EPOCH)
        self.assertIn("www.example.org.", self.folder.signed.read_text())

    def test_other_keys(self) -> None:
        """A zone that was signed with other keys is signed with those of now."""
        self.run_signer().stop()
        self.clock.advance(HOUR)
        self.run_signer(self.folder.with_key("k2"))
        self.assertEqual(self.folder.serial, EPOCH + HOUR)

    def test_unusable(self) -> None:
        """So is one whose file is broken, has no signature, or was signed in the future."""
        self.run_signer().stop()
        good = self.folder.signed.read_text()
        for text in ("hello\n", ZONE, good):
            self.folder.signed.write_text(text)
            self.touch(self.folder.signed)
            if text is good:
                self.clock.advance(DAY)
                wall = self.context.wall
                self.context.wall = lambda wall=wall: wall() - 10 * DAY  # type: ignore[misc]  # the clock is set back
            else:
                self.clock.advance(HOUR)
            before = self.folder.serial if text is good else 0
            self.run_signer().stop()
            self.assertNotEqual(self.folder.serial, before)

    def test_failure(self) -> None:
        """What cannot be signed is said, is degraded, and is tried again when the file changes; the signed zone stays."""
        self.run_signer().stop()
        before = self.folder.signed.read_bytes()
        self.clock.advance(HOUR)
        self.folder.db.write_text("hello\n")
        self.touch(self.folder.db)
        signer = self.run_signer()
        (state,) = self.states()
        self.assertIn('not a TTL: "hello"', state.text)
        self.assertEqual(self.folder.signed.read_bytes(), before)
        self.assertGreater(signer.expires, EPOCH)
        self.clock.advance(HOUR)
        self.folder.db.write_text(ZONE)
        self.touch(self.folder.db)
        self.pass_time(WATCH_INTERVAL)
        self.assertEqual(self.states(), [])
        self.assertGreater(self.folder.serial, EPOCH + HOUR)
        runs = self.context.registry.counter("kdns_sign_runs_total", "", ["zone", "result"])
        self.assertEqual([runs.counter("example.org.", one).value for one in ("signed", "failed")], [2, 1])

    def test_no_folder(self) -> None:
        """A folder that is not there is said."""
        self.run_signer(replace(self.folder.config, directory=str(self.folder.path / "no")))
        (state,) = self.states()
        self.assertIn("no such file or directory", state.text)


class ProgramTests(TestCase):
    """The program itself, in its process."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.folder = Folder(Path(self.mktemp()).absolute())
        self.context = ServerContext(reactor)
        self.signer = ZoneSigner(self.folder.config, zone_keys(self.folder.config), self.context)

    async def test_signs(self) -> None:
        """A zone is signed."""
        await self.signer._check()
        self.assertGreater(self.folder.serial, EPOCH)
        self.assertEqual(list(self.context.degraded), [])

    async def test_fails(self) -> None:
        """What is wrong comes back in one line."""
        self.folder.db.write_text("hello\n")
        await self.signer._check()
        (state,) = self.context.degraded
        self.assertIn('not a TTL: "hello" at line: 1:5', state.text)
        self.assertEqual(self.folder.serial, 0)

    async def test_ended(self) -> None:
        """A signer that is stopped ends its program, and leaves no file."""
        self.signer.start()
        stopped = self.signer.stop()
        assert stopped is not None
        await stopped
        self.assertEqual(self.folder.serial, 0)
        self.assertEqual([path.name for path in self.folder.path.iterdir() if path.name.startswith("signed-")], [])
