# -*- test-case-name: tests.server.test_log_format -*-
"""
Formats of log lines: text as CoreDNS prints it, or JSON. A core module.

The query log makes its own lines (:mod:`kdns.plugins.log.lines`), because they must cost next to nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kdns.core.dates import Dates
from kdns.core.text import printable
from kdns.corefile.errors import CorefileError, Place

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
    """Plain values as they are, a place as file and line, an error as its text with its place; other objects are left out."""
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
