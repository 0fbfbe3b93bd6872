# -*- test-case-name: tests.tap.test_signals -*-
"""
The daemon's signal handlers; they log what CoreDNS logs.

The reactor has handlers of its own, which end the process without a log line, so these replace them once it runs. Most signals are handled
in the reactor's next turn. Those that end the process at once are handled where they are caught, because a reactor that is stuck has no
next turn.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

log = Logger(namespace="kdns")

FORCED = 2
"""Exit status after a second SIGINT."""


class Signalled(Protocol):
    def end(self) -> None:
        pass

    def end_at_once(self, status: int) -> None:
        pass

    def reload(self) -> None:
        pass

    def reopen_log(self) -> bool:
        pass


class Signals:
    """
    The handlers of one daemon.
    """

    def __init__(self, reactor: Any, daemon: Signalled) -> None:
        self._reactor = reactor
        self._daemon = daemon
        self._interrupts = 0
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Replace the current handlers. The reactor installs its own when it begins to run, so this is called twice."""
        handlers: dict[signal.Signals, Any] = {
            signal.SIGTERM: self._later(self.terminate),
            signal.SIGINT: lambda number, frame: self.interrupt(),
            signal.SIGQUIT: lambda number, frame: self.quit(),
            signal.SIGUSR1: self._later(self.reload),
            signal.SIGUSR2: self._later(self.upgrade),
            signal.SIGHUP: signal.SIG_IGN,
        }
        for number, handler in handlers.items():
            found = signal.signal(number, handler)
            self._before.setdefault(number, found)

    def ignore(self) -> None:
        """
        Ignore all signals: everything has ended in good order.

        The handlers that :meth:`install` replaced would change the exit status in the interpreter's last milliseconds.
        """
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """Restore the handlers that :meth:`install` replaced."""
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()

    def _later(self, action: Callable[[], None]) -> Callable[[int, Any], None]:
        return lambda number, frame: self._reactor.callFromThread(action)

    def terminate(self) -> None:
        log.info("SIGTERM: Shutting down servers then terminating")
        self._daemon.end()

    def interrupt(self) -> None:
        """SIGINT: the first ends in good order, the second at once."""
        self._interrupts += 1
        if self._interrupts > 1:
            log.info("SIGINT: Force quit")
            self._daemon.end_at_once(FORCED)
        else:
            self._reactor.callFromThread(self._interrupted)

    def _interrupted(self) -> None:
        log.info("SIGINT: Shutting down")
        self._daemon.end()

    def quit(self) -> None:
        log.info("SIGQUIT: Quitting process immediately")
        self._daemon.end_at_once(0)

    def reload(self) -> None:
        log.info("SIGUSR1: Reloading")
        self._daemon.reload()

    def upgrade(self) -> None:
        """SIGUSR2: open a log file again. CoreDNS replaces its own program then."""
        if self._daemon.reopen_log():
            log.info("SIGUSR2: The log file is open again")
            return
        log.warn("SIGUSR2: kdns does not replace its own program; start the new one with -takeover, then end this one")
