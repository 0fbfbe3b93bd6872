# -*- test-case-name: tests.server.test_logs -*-
"""
From events of :mod:`twisted.logger` to the lines that operators of CoreDNS know: ``[LEVEL] plugin/NAME: text``.

Decides what is printed and how. Loggers of plugins have the namespace ``plugin/NAME``, other parts of kdns one that begins with ``kdns``,
and their lines are printed as they come. What Twisted and other libraries say is printed from warnings up. An exception shows where it
happened; it, and what libraries say, is printed once and summed up when it is repeated. Where lines go is the output's business.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.corefile.values import format_duration
from kdns.plugins.seam import Output

INTERVAL = 60.0
"""Seconds over which repetitions are summed up."""

MOST_SUMMED = 100
"""Different events that are summed up at a time; past that each is printed."""

LEVELS: dict[Any, str] = {
    LogLevel.debug: "DEBUG",
    LogLevel.info: "INFO",
    LogLevel.warn: "WARNING",
    LogLevel.error: "ERROR",
    LogLevel.critical: "FATAL",
}


@dataclass(slots=True)
class Repeated:
    """An event that was printed, and how often it came again."""

    line: str
    times: int = 0


@implementer(ILogObserver)
class OperatorLog:
    """
    The observer that prints.

    :param reactor: keeps the time, and takes over what other threads log.
    :ivar debug: whether lines of level DEBUG are printed (``debug``).
    """

    def __init__(self, output: Output, reactor: Any, *, debug: bool = False) -> None:
        self.debug = debug
        self._output = output
        self._reactor = reactor
        self._thread = threading.get_ident()
        self._repeated: dict[Hashable, Repeated] = {}
        self._calls: dict[Hashable, Any] = {}

    def __call__(self, event: LogEvent) -> None:
        """Print an event, count it, or leave it."""
        level = event.get("log_level") or LogLevel.info
        namespace = event.get("log_namespace") or ""
        own = _is_own(namespace)
        if level < (LogLevel.debug if own else LogLevel.warn) or (level is LogLevel.debug and not self.debug):
            return
        failure = event.get("log_failure")
        line = _line(event, level, namespace, own)
        key: Hashable = None
        if isinstance(failure, Failure):
            key = (namespace, event.get("log_format"), failure.type, _place(failure))
        elif not own:
            key = (namespace, line)
        text = line if not isinstance(failure, Failure) else f"{line}\n{failure.getTraceback().rstrip()}"
        if threading.get_ident() == self._thread:
            self._print(key, line, text)
        else:
            self._reactor.callFromThread(self._print, key, line, text)

    def close(self) -> None:
        """Print all sums, and sum up no more."""
        for key in list(self._repeated):
            self._calls.pop(key).cancel()
            self._sum_up(key)

    def _print(self, key: Hashable, line: str, text: str) -> None:
        if key is not None:
            repeated = self._repeated.get(key)
            if repeated is not None:
                repeated.times += 1
                return
            if len(self._repeated) < MOST_SUMMED:
                self._repeated[key] = Repeated(line)
                self._calls[key] = self._reactor.callLater(INTERVAL, self._interval_over, key)
        self._output(text)

    def _interval_over(self, key: Hashable) -> None:
        del self._calls[key]
        self._sum_up(key)

    def _sum_up(self, key: Hashable) -> None:
        repeated = self._repeated.pop(key)
        if repeated.times:
            times = "once more" if repeated.times == 1 else f"{repeated.times} times more"
            self._output(f"{repeated.line} ({times} in the last {format_duration(INTERVAL)})")


def _is_own(namespace: str) -> bool:
    return namespace == "kdns" or namespace.startswith(("kdns.", "plugin/"))


def _line(event: LogEvent, level: Any, namespace: str, own: bool) -> str:
    name = LEVELS.get(level, "INFO")
    text = formatEvent(event)
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        if name == "FATAL":
            name = "ERROR"  # Logger.failure() says critical of any exception; FATAL is what ends the process
        if not own:
            text = f"{text} {type(failure.value).__name__}: {failure.getErrorMessage()}".strip()
    if namespace and (namespace.startswith("plugin/") or not own):
        return f"[{name}] {namespace}: {text}"
    return f"[{name}] {text}"


def _place(failure: Failure) -> Hashable:
    """File and line where an exception was raised, as far as it is known."""
    if not failure.frames:
        return None
    _, file, line, *_ = failure.frames[-1]
    return file, line
