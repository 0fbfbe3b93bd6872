# -*- test-case-name: tests.tap.test_daemon -*-
"""The daemon on a network in memory: what it says, how it ends, and with which status."""

from __future__ import annotations

import io
import json
import signal
import sys

from twisted.internet.defer import Deferred, fail
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.loader import Corefile
from kdns.plugin.seam import ServerContext
from kdns.server.assembly import read_text
from kdns.tap.daemon import CorefileSource, Daemon, version_lines
from kdns.testing.memory import MemoryReactor

WHOAMI = ".:1053 {\n bind 127.0.0.1\n whoami\n}\n"


class DaemonTests(SynchronousTestCase):
    """One process's life."""

    def setUp(self) -> None:
        """A reactor, and what is said."""
        self.reactor = MemoryReactor()
        self.said: list[str] = []
        self.complaints: list[str] = []
        self.ended: list[int] = []
        self.left: list[int] = []

    def daemon(self, text: str, *, quiet: bool = False, greeting: str = "", log_format: str = "text") -> Daemon:
        """A daemon for a Corefile, stopped by the reactor as an application is."""
        context = ServerContext(self.reactor, clock=self.reactor.seconds, kernel_sockets=False)
        daemon = Daemon(
            self.reactor,
            lambda: read_text(text, {}),
            quiet=quiet,
            greeting=greeting,
            log_format=log_format,
            ended=self.ended.append,
            context=context,
            output=self.said.append,
            complain=self.complaints.append,
            leave=self.left.append,
        )
        self.reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
        self.addCleanup(daemon.signals.restore)
        return daemon

    def test_start(self) -> None:
        """Zones, name and version, platform: in this order, when queries are answered."""
        daemon = self.daemon(WHOAMI, greeting="ask away")
        daemon.startService()
        self.reactor.settle()
        self.assertEqual(self.said, [".:1053 on 127.0.0.1", *version_lines(), "ask away"])
        self.assertEqual(self.complaints, [])
        daemon.end()
        self.reactor.settle()

    def test_quiet(self) -> None:
        """With ``-quiet`` a start says nothing."""
        daemon = self.daemon(WHOAMI, quiet=True)
        daemon.startService()
        self.reactor.settle()
        self.assertEqual(self.said, [])
        self.assertIsNotNone(daemon.server.configuration)
        daemon.end()
        self.reactor.settle()

    def test_end(self) -> None:
        """The end leaves no socket and no delayed call, the status is 0, and no signal changes that while the process ends."""
        daemon = self.daemon(WHOAMI)
        daemon.startService()
        self.reactor.settle()
        daemon.end()
        daemon.end()
        self.reactor.settle()
        self.assertEqual((self.ended, daemon.status), ([0], 0))
        self.assertEqual(self.reactor.leftovers(), [])
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
            self.assertIs(signal.getsignal(number), signal.SIG_IGN)

    def test_stopped_by_an_application(self) -> None:
        """An application that stops the daemon and goes on gets its signal handlers back."""
        before = signal.getsignal(signal.SIGTERM)
        daemon = self.daemon(WHOAMI)
        daemon.startService()
        self.reactor.settle()
        self.assertIsNot(signal.getsignal(signal.SIGTERM), before)
        daemon.stopService()
        self.reactor.settle()
        self.assertIs(signal.getsignal(signal.SIGTERM), before)

    def test_bad_corefile(self) -> None:
        """A Corefile that is none is one line with advice, and status 1."""
        daemon = self.daemon(". {\n cach 30\n}\n")
        daemon.startService()
        self.reactor.settle()
        wanted = "Corefile:2 - Error during parsing: Unknown directive 'cach' (did you mean 'cache'?)"
        self.assertEqual((self.complaints, self.said, daemon.status), ([wanted], [], 1))

    def test_unforeseen(self) -> None:
        """What nobody foresaw is one line and one logged traceback, and status 1."""
        daemon = self.daemon(WHOAMI)

        def broken() -> Corefile:
            raise ZeroDivisionError("nothing left")

        daemon.server._load = broken
        daemon.startService()
        self.reactor.settle()
        self.assertEqual((self.complaints, daemon.status), (["ZeroDivisionError: nothing left"], 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_hook_failed(self) -> None:
        """When something goes wrong while it ends, it ends, and the status is 4."""
        daemon = self.daemon(WHOAMI)
        daemon.startService()
        self.reactor.settle()
        properly = daemon.server.stopService

        def failing() -> Deferred[None]:
            properly()
            return fail(RuntimeError("no"))

        self.patch(daemon.server, "stopService", failing)
        daemon.end()
        self.reactor.settle()
        self.assertEqual((self.ended, len(self.flushLoggedErrors(RuntimeError))), ([4], 1))

    def test_fatal(self) -> None:
        """What a plugin finds fatal is a line of its own, and ends the process in good order, with 1."""
        daemon = self.daemon(WHOAMI, quiet=True)
        daemon.startService()
        self.reactor.settle()
        daemon.context.fatal("plugin/loop: Loop detected")
        self.reactor.settle()
        self.assertEqual((self.said, self.ended), (["[FATAL] plugin/loop: Loop detected"], [1]))
        self.assertEqual(self.reactor.leftovers(), [])

    def test_json(self) -> None:
        """Every line is an object when that is asked for: of the start, of a query, of what is fatal."""
        daemon = self.daemon(". {\n bind 127.0.0.1\n whoami\n log\n}\n", log_format="json")
        daemon.startService()
        self.reactor.settle()
        daemon.context.fatal("plugin/loop: Loop detected")
        self.reactor.settle()
        said = [json.loads(line) for line in self.said]
        self.assertEqual([line["msg"] for line in said], [".:53 on 127.0.0.1", *version_lines(), "Loop detected"])
        self.assertEqual([line["level"] for line in said], ["info"] * 3 + ["fatal"])
        self.assertEqual(said[-1]["plugin"], "loop")

    def test_complaint_as_json(self) -> None:
        """What prevents a start shows its place by itself."""
        self.daemon(". {\n cach 30\n}\n", log_format="json").startService()
        self.reactor.settle()
        (complaint,) = map(json.loads, self.complaints)
        text = "Corefile:2 - Error during parsing: Unknown directive 'cach' (did you mean 'cache'?)"
        self.assertEqual((complaint["level"], complaint["msg"]), ("fatal", text))
        self.assertEqual((complaint["file"], complaint["line"]), ("Corefile", 2))

    def test_at_once(self) -> None:
        """Who wants it at once gets it at once, with the status wanted."""
        daemon = self.daemon(WHOAMI)
        daemon.end_at_once(2)
        self.assertEqual(self.left, [2])

    def test_debug(self) -> None:
        """``debug`` in any block lets lines of level DEBUG through, from when the configuration is served."""
        daemon = self.daemon(".:1053 {\n bind 127.0.0.1\n whoami\n debug\n}\n")
        assert daemon.observer is not None
        self.assertFalse(daemon.observer.debug)
        daemon.startService()
        self.reactor.settle()
        self.assertTrue(daemon.observer.debug)
        daemon.end()
        self.reactor.settle()

    def test_one_level(self) -> None:
        """Where the log is another's, a query's line has the level of that log, and no second one."""
        context = ServerContext(self.reactor, clock=self.reactor.seconds, kernel_sockets=False)
        Daemon(self.reactor, lambda: read_text(WHOAMI, {}), own_log=False, context=context)
        with capturedLogs() as events:
            context.output("[INFO] 10.0.0.1:4242 - 1")
        self.assertEqual(
            [(event["log_level"], event["line"]) for event in events], [(LogLevel.info, "10.0.0.1:4242 - 1")]
        )


class LoaderTests(SynchronousTestCase):
    """Where the Corefile comes from."""

    def test_stdin(self) -> None:
        """Standard input is read once; a reload sees the same text again, with the environment in it."""
        self.patch(sys, "stdin", io.StringIO(". {\n {$WHAT}\n}\n"))
        load = CorefileSource("stdin", {"WHAT": "whoami"}).load
        first, second = load(), load()
        self.assertEqual(first.fingerprint, second.fingerprint)
        self.assertEqual((first.name, list(first.blocks[0].directives)), ("stdin", ["whoami"]))

    def test_file(self) -> None:
        """A file is read anew each time, for it may have changed."""
        path = self.mktemp()
        load = CorefileSource(path, {}).load
        for directive in ("whoami", "errors"):
            with open(path, "w", encoding="utf-8") as file:
                file.write(f". {{\n {directive}\n}}\n")
            self.assertEqual(list(load().blocks[0].directives), [directive])
