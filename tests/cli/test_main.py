# -*- test-case-name: tests.cli.test_main -*-
"""What the command prints and ends with when it does not serve; the rest is in :mod:`tests.integration.test_programs`."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import kdns
from kdns.cli import main as command
from kdns.plugin.registry import BUILT_IN


class CommandTests(SynchronousTestCase):
    """``kdns`` with flags that need no server."""

    def run_with(self, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        out, error = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", error)
        return command.main(words), out.getvalue(), error.getvalue()

    def test_version(self) -> None:
        """``-version`` prints name and version, then the platform, as the start does."""
        status, out, error = self.run_with("-version")
        name, platform = out.splitlines()
        self.assertEqual((status, name, error), (0, f"kdns-{kdns.__version__}", ""))
        self.assertRegex(platform, r"^[a-z]+/[a-z0-9_]+, python3\.\d+\.\d+\S*, twisted-\d+\.")

    def test_plugins(self) -> None:
        """``-plugins`` lists every directive there is, one on a line."""
        status, out, _ = self.run_with("--plugins")
        self.assertEqual(status, 0)
        listed = [line.strip() for line in out.splitlines() if line.startswith("  dns.")]
        self.assertEqual(listed, sorted(listed))
        self.assertLessEqual({f"dns.{name}" for name in BUILT_IN}, set(listed))

    def test_extra_arguments(self) -> None:
        """A word that is no flag ends with 1 and one line on standard error."""
        self.assertEqual(self.run_with("a", "b"), (1, "", "extra command line arguments: [a b]\n"))

    def test_misspelt(self) -> None:
        """A command that is none is answered with the nearest one; a file with how to serve it."""
        self.assertEqual(
            self.run_with("chekc")[::2], (1, "extra command line arguments: [chekc] (did you mean 'check'?)\n")
        )
        Path("Corefile-of-a-test").write_text(".")
        self.addCleanup(Path("Corefile-of-a-test").unlink)
        self.assertIn("kdns -conf Corefile-of-a-test", self.run_with("Corefile-of-a-test")[2])
        self.assertEqual(self.run_with("x\x1b[2J")[2], "extra command line arguments: [x\\x1b[2J]\n")

    def test_words(self) -> None:
        """``help`` and ``version`` are understood without a dash, and ``help COMMAND`` shows the command's."""
        self.assertEqual(self.run_with("version"), self.run_with("-version"))
        self.assertEqual(self.run_with("help"), self.run_with("-help"))
        self.assertEqual(self.run_with("help", "check"), self.run_with("check", "-h"))
        self.assertIn("Usage of kdns check", self.run_with("help", "check")[2])

    def test_closed_pipe(self) -> None:
        """That nobody reads the output to its end is told by the status alone."""
        program = "import os, sys; from kdns.cli.main import main; sys.exit(main(['check', '-']))"
        reader, writer = os.pipe()
        os.close(reader)
        text = ". {\n" + "".join(f" bogus{number}\n" for number in range(100)) + "}\n"
        ended = subprocess.run(
            [sys.executable, "-c", program],
            input=text,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        os.close(writer)
        self.assertEqual((ended.returncode, ended.stderr), (command.PIPE_CLOSED, ""))

    def test_unknown_flag(self) -> None:
        """An unknown flag ends with 2, as Go has it, and shows the usage."""
        status, out, error = self.run_with("-server")
        self.assertEqual((status, out), (2, ""))
        self.assertTrue(error.startswith("flag provided but not defined: -server\nUsage of kdns:\n"), error)

    def test_pid_file(self) -> None:
        """A pid file that is a pipe without a reader is a line on standard error; the server starts without it."""
        pipe = self.mktemp()
        os.mkfifo(pipe)
        errors = io.StringIO()
        self.patch(sys, "stderr", errors)
        self.assertFalse(command._write_pid(pipe))
        self.assertIn(f"Could not write pidfile: open {pipe}: ", errors.getvalue())
        regular = self.mktemp()
        self.assertTrue(command._write_pid(regular))
        self.assertEqual(Path(regular).read_text(), f"{os.getpid()}\n")

    def test_help(self) -> None:
        """``-help`` shows the usage and is no mistake."""
        status, out, error = self.run_with("-help")
        self.assertEqual((status, out), (0, ""))
        for flag in ("-admin.socket", "-conf", "-dns.port", "-p ", "-pidfile", "-plugins", "-quiet", "-version"):
            self.assertIn(flag, error)
        for word in command.COMMANDS:
            self.assertIn(f"\n  kdns {word} ", error)
