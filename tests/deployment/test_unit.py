# -*- test-case-name: tests.deployment.test_unit -*-
"""The systemd unit: systemd reads it without a complaint, and it starts kdns as kdns wants to be started."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kdns.admin.places import RUN
from kdns.cli.flags import parse_flags
from tests.integration.programs import ROOT

UNIT = ROOT / "conf" / "systemd" / "kdns.service"
ANALYZE = shutil.which("systemd-analyze")


class UnitTests(SynchronousTestCase):
    """conf/systemd/kdns.service."""

    def setUp(self) -> None:
        """Read it: each word of it stands once."""
        self.text = UNIT.read_text(encoding="utf-8")
        self.words = dict(re.findall(r"^(\w+)=(.*)$", self.text, re.MULTILINE))

    def test_command(self) -> None:
        """It starts kdns with flags that kdns has, and reloads with the signal that reloads."""
        program, *flags = shlex.split(self.words["ExecStart"])
        self.assertEqual((Path(program).name, parse_flags(flags).conf), ("kdns", "/etc/kdns/Corefile"))
        self.assertEqual(self.words["ExecReload"], "/bin/kill -USR1 $MAINPID")

    def test_notified(self) -> None:
        """systemd waits for kdns's messages, and has the process restarted when they end."""
        self.assertEqual(
            (self.words["Type"], self.words["WatchdogSec"], self.words["Restart"]), ("notify", "30", "on-failure")
        )

    def test_confined(self) -> None:
        """A user of its own has the right to bind port 53 and cannot get another; the folder of the admin socket is that user's."""
        self.assertEqual(self.words["User"], "kdns")
        for name in ("AmbientCapabilities", "CapabilityBoundingSet"):
            self.assertEqual(self.words[name], "CAP_NET_BIND_SERVICE")
        self.assertEqual(
            (self.words["NoNewPrivileges"], self.words["LimitNOFILE"], self.words["LimitNPROC"]),
            ("yes", "1048576", "512"),
        )
        self.assertEqual(
            (f"/run/{self.words['RuntimeDirectory']}", self.words["RuntimeDirectoryMode"]),
            (str(Path(RUN).parent), "0700"),
        )

    def test_verified(self) -> None:
        """systemd finds nothing to complain of, once the program it starts is one that is here."""
        if ANALYZE is None:
            raise SkipTest("systemd-analyze is not on PATH")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / UNIT.name).write_text(self.text.replace("/opt/kdns/bin/kdns", "/bin/true"))
        done = subprocess.run(
            [ANALYZE, "verify", "--man=no", str(folder / UNIT.name)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
