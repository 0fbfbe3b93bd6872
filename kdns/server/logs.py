# -*- test-case-name: tests.server.test_logs -*-
"""
Log lines for the operator: which events of :mod:`twisted.logger` are printed, and their formats, text as CoreDNS prints it or JSON.

Loggers of plugins have the namespace ``plugin/NAME``, other parts of kdns one that begins with ``kdns``; their events are all printed.
Events of Twisted and other libraries are printed from warnings up. An exception comes with its traceback. Repeated exceptions and
repeated events of libraries are counted, and one line gives their number when the interval is over.

:mod:`kdns.server.output` writes the lines. The query log makes its own (:mod:`kdns.plugins.log.lines`), because they must cost little.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.core.dates import Dates
from kdns.core.text import printable
from kdns.corefile.errors import CorefileError, Place
from kdns.corefile.values import format_duration
from kdns.plugin.seam import Output

FORMATS = ("text", "json")

_OWN = frozenset({"time", "level", "plugin", "logger", "msg", "traceback"})
"""Fields that details do not overwrite."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line before it is formatted."""

    text: str
    level: str = "INFO"
    """DEBUG, INFO, WARNING, ERROR or FATAL."""

    plugin: str = ""
    """The plugin that logs it, if a plugin does."""

    logger: str = ""
    """The logger of the library that logs it, if a library does."""

    details: Mapping[str, object] = field(default_factory=dict)
    """Values in the text; JSON shows them as fields."""

    traceback: str = ""
    bare: bool = False
    """Whether text shows no level, as in the lines of a start."""


LineFormat = Callable[[LogLine], str]
"""Makes the line, without its line end; in text a traceback makes it several lines."""


def as_text(said: LogLine) -> str:
    """``[LEVEL] plugin/NAME: text``."""
    who = f"plugin/{said.plugin}: " if said.plugin else f"{said.logger}: " if said.logger else ""
    level = "" if said.bare else f"[{said.level}] "
    # Errors quote words of files and of the network, and a terminal obeys escape sequences. A text of several lines stays one.
    line = f"{level}{who}" + "\n".join(map(printable, said.text.split("\n")))
    return f"{line}\n{said.traceback}" if said.traceback else line


class AsJson:
    """
    One object on one line: ``time``, ``level``, ``plugin`` or ``logger``, ``msg``, the details, and ``traceback``.

    :param wall: seconds since 1970.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._dates = Dates()

    def __call__(self, said: LogLine) -> str:
        """See :data:`LineFormat`."""
        shown: dict[str, object] = {"time": self._dates.text(self._wall()), "level": said.level.lower()}
        if said.plugin:
            shown["plugin"] = said.plugin
        elif said.logger:
            shown["logger"] = said.logger
        shown["msg"] = said.text
        for name, value in said.details.items():
            if name not in _OWN:
                shown.update(_detail(name, value))
        if said.traceback:
            shown["traceback"] = said.traceback
        line = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
        # Lone surrogates came from outside and cannot be encoded.
        return line if line.isascii() else line.encode("utf-8", errors="replace").decode()


def _detail(name: str, value: object) -> dict[str, object]:
    """Plain values unchanged, a place as file and line, an error as its text with its place; other objects are left out."""
    if value is None or isinstance(value, (bool, int, str)):
        return {name: value}
    if isinstance(value, float):
        return {name: value if abs(value) < float("inf") else None}
    if isinstance(value, Place):
        return {"file": value.file, "line": value.line}
    if isinstance(value, CorefileError):
        return {name: str(value), **_detail("place", value.place)} if value.place else {name: str(value)}
    return {name: str(value)} if isinstance(value, BaseException) else {}


def line_format(name: str, wall: Callable[[], float]) -> LineFormat:
    """The format of that name, one of :data:`FORMATS`."""
    return AsJson(wall) if name == "json" else as_text


INTERVAL = 60.0
"""Seconds over which repetitions are counted."""

MOST_SUMMED = 100
"""Different events that are counted at a time; further ones are printed each time."""

LEVELS: dict[Any, str] = {
    LogLevel.debug: "DEBUG",
    LogLevel.info: "INFO",
    LogLevel.warn: "WARNING",
    LogLevel.error: "ERROR",
    LogLevel.critical: "FATAL",
}


@dataclass(slots=True)
class Repeated:
    """An event that was printed, and the number of its repetitions."""

    said: LogLine
    times: int = 0


@implementer(ILogObserver)
class OperatorLog:
    """
    The observer that prints.

    :param reactor: keeps the time, and prints the events of other threads.
    :param line_format: how lines look.
    :ivar debug: whether lines of level DEBUG are printed (``debug``).
    """

    def __init__(self, output: Output, reactor: Any, *, line_format: LineFormat = as_text, debug: bool = False) -> None:
        self.debug = debug
        self._format = line_format
        self._output = output
        self._reactor = reactor
        self._thread = threading.get_ident()
        self._repeated: dict[Hashable, Repeated] = {}
        self._calls: dict[Hashable, Any] = {}

    def __call__(self, event: LogEvent) -> None:
        """Print an event, count it, or ignore it."""
        level = event.get("log_level") or LogLevel.info
        namespace = event.get("log_namespace") or ""
        own = _is_own(namespace)
        if level < (LogLevel.debug if own else LogLevel.warn) or (level is LogLevel.debug and not self.debug):
            return
        failure = event.get("log_failure")
        said = _line_of(event, level, namespace, own)
        key: Hashable = None
        if isinstance(failure, Failure):
            key = (namespace, event.get("log_format"), failure.type, _place(failure))
        elif not own:
            key = (namespace, said.level, said.text)
        if threading.get_ident() == self._thread:
            self._print(key, said)
        else:
            self._reactor.callFromThread(self._print, key, said)

    def close(self) -> None:
        """Print all counts."""
        for key in list(self._repeated):
            self._calls.pop(key).cancel()
            self._sum_up(key)

    def _print(self, key: Hashable, said: LogLine) -> None:
        if key is not None:
            repeated = self._repeated.get(key)
            if repeated is not None:
                repeated.times += 1
                return
            if len(self._repeated) < MOST_SUMMED:
                self._repeated[key] = Repeated(said)
                self._calls[key] = self._reactor.callLater(INTERVAL, self._interval_over, key)
        self._output(self._format(said))

    def _interval_over(self, key: Hashable) -> None:
        del self._calls[key]
        self._sum_up(key)

    def _sum_up(self, key: Hashable) -> None:
        repeated = self._repeated.pop(key)
        if repeated.times:
            times = "once more" if repeated.times == 1 else f"{repeated.times} times more"
            said = repeated.said
            text = f"{said.text} ({times} in the last {format_duration(INTERVAL)})"
            details = {**said.details, "times": repeated.times}
            self._output(self._format(replace(said, text=text, details=details, traceback="")))


def _is_own(namespace: str) -> bool:
    return namespace == "kdns" or namespace.startswith(("kdns.", "plugin/"))


def _line_of(event: LogEvent, level: Any, namespace: str, own: bool) -> LogLine:
    name = LEVELS.get(level, "INFO")
    text = formatEvent(event)
    traceback = ""
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        if name == "FATAL":
            name = "ERROR"  # Logger.failure() makes every exception critical; FATAL means that the process ends
        if not own:
            text = f"{text} {type(failure.value).__name__}: {failure.getErrorMessage()}".strip()
        traceback = failure.getTraceback().rstrip()
    plugin = namespace.removeprefix("plugin/") if namespace.startswith("plugin/") else ""
    return LogLine(text, name, plugin, "" if own else namespace, _details(event) if own else {}, traceback)


def _details(event: LogEvent) -> dict[str, object]:
    """The fields of an event of kdns's own."""
    return {name: value for name, value in event.items() if not name.startswith("log_")}


def _place(failure: Failure) -> Hashable:
    """File and line where an exception was raised; None when they are not known."""
    if not failure.frames:
        return None
    _, file, line, *_ = failure.frames[-1]
    return file, line
