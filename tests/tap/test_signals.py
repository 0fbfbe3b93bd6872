# -*- test-case-name: tests.tap.test_signals -*-
"""What each signal asks of the daemon, and what it says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from kdns.tap.signals import Signals


class FakeReactor:
    """Runs what another context asks for when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], Any]] = []

    def callFromThread(self, call: Callable[[], Any]) -> None:
        """Keep it."""
        self.calls.append(call)

    def turn(self) -> None:
        """Run what was kept."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class FakeDaemon:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.log_file = False

    def end(self) -> None:
        """Note it."""
        self.asked.append("end")

    def end_at_once(self, status: int) -> None:
        """Note it."""
        self.asked.append(status)

    def reload(self) -> None:
        """Note it."""
        self.asked.append("reload")

    def reopen_log(self) -> bool:
        """Note it, where there is a file."""
        if self.log_file:
            self.asked.append("reopen")
        return self.log_file


class SignalTests(SynchronousTestCase):
    """Signals to this very process, caught by the daemon's handlers."""

    def setUp(self) -> None:
        """Install the handlers, for the test only."""
        self.reactor, self.daemon = FakeReactor(), FakeDaemon()
        self.signals = Signals(self.reactor, self.daemon)
        self.signals.install()
        self.addCleanup(self.signals.restore)
        self.said: list[str] = []
        observer: Any = self.note
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def note(self, event: LogEvent) -> None:
        """Keep what the daemon says."""
        if event.get("log_namespace") == "kdns":
            self.said.append(formatEvent(event))

    def send(self, number: signal.Signals) -> None:
        """Send a signal, and let the reactor have its turn."""
        os.kill(os.getpid(), number)
        self.reactor.turn()

    def test_term(self) -> None:
        """SIGTERM ends in good order, in the reactor's turn."""
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual(self.daemon.asked, [])
        self.reactor.turn()
        self.assertEqual(self.daemon.asked, ["end"])
        self.assertEqual(self.said, ["SIGTERM: Shutting down servers then terminating"])

    def test_interrupt_twice(self) -> None:
        """The first SIGINT ends in good order, the second at once with 2, without a turn of the reactor."""
        self.send(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        self.assertEqual(self.daemon.asked, ["end", 2])
        self.assertEqual(self.said, ["SIGINT: Shutting down", "SIGINT: Force quit"])

    def test_quit(self) -> None:
        """SIGQUIT ends at once, with 0."""
        os.kill(os.getpid(), signal.SIGQUIT)
        self.assertEqual((self.daemon.asked, self.said), ([0], ["SIGQUIT: Quitting process immediately"]))

    def test_reload(self) -> None:
        """SIGUSR1 reloads."""
        self.send(signal.SIGUSR1)
        self.assertEqual((self.daemon.asked, self.said), (["reload"], ["SIGUSR1: Reloading"]))

    def test_ignored(self) -> None:
        """SIGHUP does nothing; SIGUSR2 says why it does nothing where the log is no file."""
        self.send(signal.SIGHUP)
        self.assertEqual((self.daemon.asked, self.said), ([], []))
        self.send(signal.SIGUSR2)
        self.assertEqual((self.daemon.asked, len(self.said)), ([], 1))

    def test_log_file(self) -> None:
        """SIGUSR2 opens the log file again, where there is one."""
        self.daemon.log_file = True
        self.send(signal.SIGUSR2)
        self.assertEqual((self.daemon.asked, self.said), (["reopen"], ["SIGUSR2: The log file is open again"]))

    def test_restored(self) -> None:
        """The handlers found are put back, also after a second installation."""
        outer = signal.getsignal(signal.SIGTERM)
        inner = Signals(self.reactor, self.daemon)
        inner.install()
        inner.install()
        self.assertNotEqual(signal.getsignal(signal.SIGTERM), outer)
        inner.restore()
        self.assertEqual(signal.getsignal(signal.SIGTERM), outer)

    def test_ignore(self) -> None:
        """At the very end no signal does anything, and the handlers found can still be put back."""
        outer = signal.getsignal(signal.SIGTERM)
        inner = Signals(self.reactor, self.daemon)
        inner.install()
        inner.ignore()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        self.reactor.turn()
        self.assertEqual((self.daemon.asked, self.said), ([], []))
        inner.restore()
        self.assertEqual(signal.getsignal(signal.SIGTERM), outer)
