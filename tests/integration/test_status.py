"""``kdns status`` against a kdns in a process of its own: once, as JSON, and live in a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from time import monotonic

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.programs import PATIENCE, ROOT, Program, ask, free_port

COREFILE = """\
.:{port} {{
    bind 127.0.0.1
    prometheus 127.0.0.1:{page}
    hosts {{
        192.0.2.1 www.example.org
    }}
}}
"""

_STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class StatusTests(SynchronousTestCase):
    """One server, and who asks how it is."""

    def setUp(self) -> None:
        self.port = free_port()
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "Corefile").write_text(COREFILE.format(port=self.port, page=free_port()))
        # A path of trial's is longer than the name of a socket may be.
        self.socket = f"@kdns-test-status-{self.port}"
        self.program = Program(["-m", "kdns", "-conf", str(folder / "Corefile"), "-admin.socket", self.socket])
        self.addCleanup(self.program.__exit__, None, None, None)
        self.program.wait_for("twisted-")
        for _ in range(3):
            ask(self.port, "www.example.org")
            ask(self.port, "www.example.org", tcp=True)

    def command(self, *words: str) -> list[str]:
        """The words that run it."""
        return [sys.executable, "-m", "kdns", "status", "--socket", self.socket, *words]

    def test_once(self) -> None:
        """A view without colours, as there is no terminal."""
        done = subprocess.run(self.command(), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertNotIn("\x1b", done.stdout)
        self.assertRegex(done.stdout, r"\nall +0 +0 +6 ")
        self.assertRegex(done.stdout, r"100% +127\.0\.0\.1\n")

    def test_json(self) -> None:
        """The figures."""
        done = subprocess.run(
            self.command("--json"), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        found = json.loads(done.stdout)
        self.assertEqual((found["queries"], found["rcodes"]), ({"udp": 3, "tcp": 3}, {"NOERROR": 6}))
        self.assertEqual(found["pid"], self.program.process.pid)
        self.assertEqual(found["rates"]["queries"], {"udp": 0.0, "tcp": 0.0})

    def test_live(self) -> None:
        """In a terminal it goes on showing what is new until q is pressed, and leaves the terminal as it was."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(ROOT)
            os.environ.pop("NO_COLOR", None)
            os.execve(sys.executable, self.command("--interval", "0.2"), {**os.environ, "TERM": "xterm"})
        try:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
            before = termios.tcgetattr(terminal)
            shown = self.until(terminal, r"all +\S+ +\S+ +6 ")
            self.assertTrue("\x1b[?1049h" in shown and "\x1b[1m" in shown)
            ask(self.port, "www.example.org")
            self.until(terminal, r"all +\S+ +\S+ +7 ")
            self.program.send(signal.SIGTERM)
            self.program.end()
            self.until(terminal, r"GONE, the figures below are from before")
            os.write(terminal, b"q")
            self.until(terminal, r"\x1b\[\?1049l$", styled=True)
            _, status = os.waitpid(child, 0)
            child = 0
            self.assertEqual(os.waitstatus_to_exitcode(status), 0)
            self.assertEqual(termios.tcgetattr(terminal)[:4], before[:4])
        finally:
            if child:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            os.close(terminal)

    def until(self, terminal: int, pattern: str, *, styled: bool = False) -> str:
        """What comes on the terminal until something is shown."""
        said = ""
        end = monotonic() + PATIENCE
        while not re.search(pattern, said if styled else _STYLE.sub("", said)):
            readable, _, _ = select.select([terminal], [], [], max(0.0, end - monotonic()))
            self.assertTrue(readable, f"no {pattern!r} in {said[-3000:]!r}")
            said += os.read(terminal, 65536).decode(errors="replace")
        return said
