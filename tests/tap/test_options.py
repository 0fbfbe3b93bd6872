# -*- test-case-name: tests.tap.test_options -*-
"""``twistd kdns``: options, and where the log goes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import Application, IServiceMaker
from twisted.logger import ILogObserver, LogLevel
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from kdns.tap import Options, makeService


class Twistd(dict[str, Any]):
    """The options of twistd, as far as they matter."""


class OptionsTests(SynchronousTestCase):
    """The command line of the plugin."""

    def options(self, *words: str, twistd: Any = None) -> Options:
        """Parse *words* behind ``twistd kdns``."""
        options = Options()
        options.parent = twistd
        options.parseOptions(list(words))
        return options

    def test_plugin_found(self) -> None:
        """twistd finds ``kdns`` and would make its service with this module."""
        found = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "kdns"]
        self.assertEqual([(maker.options, maker.makeService) for maker in found], [(Options, makeService)])

    def test_defaults(self) -> None:
        """The Corefile is the one in the working directory, the port is 53."""
        options = self.options()
        self.assertEqual((options["conf"], options["dns-port"], options["quiet"]), (None, 53, 0))
        self.assertIsNone(options["admin-socket"])

    def test_given(self) -> None:
        """Each has a long and a short form."""
        options = self.options("-c", "/x", "--dns-port", "0", "-q", "--admin-socket", "off")
        self.assertEqual(options["admin-socket"], "off")
        self.assertEqual((options["conf"], options["dns-port"], options["quiet"]), ("/x", 0, 1))

    def test_may_be_missing(self) -> None:
        """Names of directives that may be left out, with commas."""
        self.assertEqual(self.options()["allow-missing"], ())
        self.assertEqual(
            self.options("--allow-missing", "nomad,k8s_gateway")["allow-missing"], ("nomad", "k8s_gateway")
        )

    def test_log_format(self) -> None:
        """Lines are text or JSON, and nothing else."""
        daemon = makeService(self.options("--log-format=json"))
        self.assertEqual((daemon.context.log_format, self.options()["log-format"]), ("json", "text"))
        self.assertRaises(UsageError, self.options, "--log-format=xml")

    def test_bad_port(self) -> None:
        """A port that is none is refused before anything starts."""
        for port in ("65536", "-1", "dns"):
            self.assertRaises(UsageError, self.options, f"--dns-port={port}")

    def test_log_in_foreground(self) -> None:
        """With ``-n`` the application's log is the daemon's, on standard output."""
        application: Any = Application("kdns")
        daemon = makeService(self.options(twistd={"nodaemon": 1}))
        daemon.setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), daemon.observer)
        self.assertIsNotNone(daemon.observer)

    def test_log_elsewhere(self) -> None:
        """When twistd is told that its log goes to standard output, syslog or a function, that stands."""
        for twistd in ({"nodaemon": 1, "logfile": "-"}, {"nodaemon": 1, "syslog": 1}, {"nodaemon": 0, "logger": "a.b"}):
            application: Any = Application("kdns")
            makeService(self.options("--dns-port=0", twistd=twistd)).setServiceParent(application)
            self.assertIsNone(application.getComponent(ILogObserver), twistd)

    def test_log_file(self) -> None:
        """The log file of twistd can be opened again, in the background twistd's own: lines after it was renamed go to a new one."""
        for number, logfile in enumerate(("", f"{self.mktemp()}.log")):
            twistd = {"nodaemon": 1, "logfile": logfile} if logfile else {"nodaemon": 0}
            path = Path(logfile or "twistd.log")
            application: Any = Application("kdns")
            daemon = makeService(self.options("--dns-port=0", twistd=twistd))
            daemon.setServiceParent(application)
            observer = application.getComponent(ILogObserver)
            event = {"log_format": "said", "log_level": LogLevel.info, "log_namespace": "kdns", "log_time": 0.0}
            observer(event)
            renamed = path.rename(f"{path}.{number}")
            observer(event)
            self.assertTrue(daemon.reopen_log())
            observer(event)
            self.assertEqual(
                [file.read_text(encoding="utf-8").count("[kdns#info] said") for file in (renamed, path)], [2, 1]
            )
            path.unlink()
        self.assertFalse(makeService(self.options()).reopen_log())

    def test_light(self) -> None:
        """``kdns`` imports nothing that only twistd needs."""
        program = (
            "import sys, kdns.tap.daemon; wrong = [name for name in sys.modules"
            " if name.startswith('twisted.scripts') or name in ('kdns.tap.options', 'twisted.application.app')];"
            "sys.exit(str(wrong) if wrong else 0)"
        )
        ended = subprocess.run([sys.executable, "-c", program], check=False, timeout=30, capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_making_is_not_starting(self) -> None:
        """A service that was made and not started has touched no signal and no file."""
        before = signal.getsignal(signal.SIGTERM)
        makeService(self.options("--conf", "/does/not/exist"))
        self.assertIs(signal.getsignal(signal.SIGTERM), before)
