# -*- test-case-name: tests.tap.test_notify -*-
"""
Messages to the service manager: that kdns serves, reloads, ends and is alive (sd_notify(3) of systemd).

The manager names a datagram socket in ``NOTIFY_SOCKET``; without it nothing is sent. A watchdog message comes from a timer of the reactor,
so a reactor that hangs sends none, and the manager restarts the process.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from time import CLOCK_MONOTONIC, clock_gettime_ns
from typing import Any

from twisted.logger import Logger

from kdns.core.text import reason_of
from kdns.core.timing import Timer, stop_timer

log = Logger(namespace="kdns")

WATCHDOG_SHARE = 0.5
"""A message comes after this share of the time that the manager waits for it; sd_watchdog_enabled(3) advises half."""


class ServiceManager:
    """
    The service manager that started this process, if one did and wants to be told.

    :param environ: holds ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.
    """

    def __init__(self, reactor: Any, environ: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._path = environ.get("NOTIFY_SOCKET", "")
        self._interval = _watchdog_seconds(environ) * WATCHDOG_SHARE
        self._timer: Timer | None = None

    def start(self) -> None:
        """Send watchdog messages from now on, where they are wanted."""
        if self._path and self._interval > 0:
            self._alive()

    def stop(self) -> None:
        """The process ends."""
        stop_timer(self._timer)
        self._timer = None
        self.tell("STOPPING=1")

    def ready(self, status: str) -> None:
        """
        Queries are answered: the start or a reload is over.

        :param status: a line for ``systemctl status``.
        """
        self.tell("READY=1", f"STATUS={' '.join(status.split())}")

    def reloading(self) -> None:
        """A reload begins; :meth:`ready` ends it."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")

    def tell(self, *words: str) -> None:
        """Send assignments. The manager may be away; kdns serves all the same."""
        if not self._path:
            return
        # An abstract socket is written with an at sign.
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(words).encode("utf-8", errors="replace"), address)
        except OSError as error:
            log.warn("The service manager at {path} cannot be told: {error}", path=self._path, error=reason_of(error))
            self._path = ""

    def _alive(self) -> None:
        self.tell("WATCHDOG=1")
        self._timer = self._reactor.callLater(self._interval, self._alive)


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    """Seconds without a message after which the manager restarts this process; 0 for never."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isascii() and microseconds.isdigit() else 0.0
