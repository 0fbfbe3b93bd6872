# -*- test-case-name: tests.plugins.log.test_lines -*-
"""
The lines of the query log, as text and as JSON: a core module of *log*.

A format is split into pieces once. For a reply, the pieces that do not depend on the client are filled in once, so that the line of a
repetition is one formatting of four values. Other modules decide which replies are logged, and write the lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from math import nan
from typing import Protocol, TypeAlias

from msgspec import json

from kdns.core.dates import Dates
from kdns.core.observe import EachRepeat, Exchange
from kdns.core.text import bracketed
from kdns.plugin.replies import reply_flags, reply_size
from kdns.plugin.seam import Output
from kdns.wire.constants import AA, AD, CD, OPCODE_MASK, QR, RA, RD, TC, Z, class_text, rcode_text, type_text
from kdns.wire.names import to_text

COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" '
    "{rcode} {>rflags} {rsize} {duration}"
)
COMBINED = COMMON + ' "{>opcode}"'

MISSING = "-"
"""Stands for a missing value."""

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_FLAGS = ((QR, "qr"), (AA, "aa"), (TC, "tc"), (RD, "rd"), (RA, "ra"), (Z, "z"), (AD, "ad"), (CD, "cd"))
_EVERY_FLAG = QR | AA | TC | RD | RA | Z | AD | CD


def seconds_text(seconds: float) -> str:
    """Seconds as a decimal number to the nanosecond, without exponent and trailing zeros: ``0.000114375s``."""
    return _seconds(seconds) + "s"


def _seconds(seconds: float) -> str:
    text = (f"{seconds:.9f}" if seconds > 0 else "0.").rstrip("0")
    return text[:-1] if text[-1] == "." else text


class LastSeconds:
    """
    The text of the last duration. Replies that are sent together have the same duration, as one float object, which is formatted once.

    :param date: makes the text of the present time, which is kept with it.
    """

    __slots__ = ("_date", "date", "seconds", "text")

    def __init__(self, date: Callable[[], str] = str) -> None:
        self.seconds = nan
        self.text = self.date = ""
        self._date = date

    def new(self, seconds: float) -> str:
        """The text of another duration, without unit."""
        self.seconds = seconds
        self.date = self._date()
        self.text = text = _seconds(seconds)
        return text


@lru_cache(maxsize=1024)
def _shown(flags: int) -> str:
    return ",".join(text for bit, text in _FLAGS if flags & bit)


def _flags_text(exchange: Exchange) -> str:
    return MISSING if exchange.reply is None else _shown(reply_flags(exchange) & _EVERY_FLAG)


def _rcode(exchange: Exchange) -> str:
    return MISSING if exchange.reply is None else rcode_text(exchange.answer.rcode)


def _opcode(exchange: Exchange) -> int:
    return (exchange.request.flags & OPCODE_MASK) >> 11


Value: TypeAlias = Callable[[Exchange], str]
JsonValue: TypeAlias = Callable[[Exchange], "str | int | bool | None"]

VALUES: dict[str, Value] = {
    "{type}": lambda exchange: type_text(exchange.request.qtype),
    "{class}": lambda exchange: class_text(exchange.request.qclass),
    "{name}": lambda exchange: to_text(exchange.request.qname),
    "{proto}": lambda exchange: exchange.request.transport.protocol,
    "{local}": lambda exchange: bracketed(exchange.request.local),
    "{size}": lambda exchange: str(exchange.request.size),
    "{>opcode}": lambda exchange: str(_opcode(exchange)),
    "{>do}": lambda exchange: "true" if exchange.request.do else "false",
    "{>bufsize}": lambda exchange: str(exchange.request.limit),
    "{rcode}": _rcode,
    "{>rflags}": _flags_text,
    "{rsize}": lambda exchange: str(reply_size(exchange)),
}
"""The value of a placeholder, the same for a reply and all its repetitions."""

JSON_VALUES: dict[str, JsonValue] = {
    **VALUES,
    "{local}": lambda exchange: exchange.request.local,
    "{size}": lambda exchange: exchange.request.size,
    "{>opcode}": _opcode,
    "{>do}": lambda exchange: exchange.request.do,
    "{>bufsize}": lambda exchange: exchange.request.limit,
    "{rcode}": lambda exchange: None if exchange.reply is None else _rcode(exchange),
    "{>rflags}": lambda exchange: None if exchange.reply is None else _flags_text(exchange),
    "{rsize}": reply_size,
}
"""The same in JSON."""

EACH = {"{remote}": "{0}", "{port}": "{1}", "{>id}": "{2}", "{duration}": "{3}"}
"""Placeholders that differ from client to client, by their place among the arguments of :data:`~kdns.core.observe.EachRepeat`."""

IN_ORDER = ["{0}", "{1}", "{2}", "{3}"]

_GAP = "\0"
"""Marks the place of such a value in a template; no value contains it."""


class Form(Protocol):
    """A format."""

    def writer(self, exchange: Exchange, output: Output) -> EachRepeat:
        """A function that writes the line of a reply or a repetition, given the values that differ from client to client."""


def placeholders(template: str) -> Iterator[tuple[str, str]]:
    """The known placeholders of a template, each with the text before it; last, the remaining text with an empty placeholder."""
    position = 0
    for match in _PLACEHOLDER.finditer(template):
        placeholder = match[0]
        if placeholder in EACH or placeholder in VALUES or placeholder.startswith("{/"):
            yield template[position : match.start()], placeholder
            position = match.end()
    yield template[position:], ""


class TextForm:
    """A line of text; unknown placeholders stay as they are written."""

    def __init__(self, template: str) -> None:
        self._values: list[Value] = []
        each: list[str] = []
        pattern = ["[INFO] "]
        for before, placeholder in placeholders(template.replace(_GAP, "")):
            pattern.append(before.replace("%", "%%"))
            if placeholder in EACH:
                each.append(EACH[placeholder])
                pattern.append(_GAP)
            elif placeholder:
                self._values.append(VALUES.get(placeholder) or metadata_value(placeholder[2:-1]))
                pattern.append("%s")
        self._pattern = "".join(pattern)
        self._each = each
        self._last = LastSeconds()

    def writer(self, exchange: Exchange, output: Output) -> EachRepeat:
        """See :meth:`Form.writer`."""
        texts = (self._pattern % tuple([value(exchange) for value in self._values])).split(_GAP)
        last = self._last
        if self._each == IN_ORDER:
            a, b, c, d, e = texts

            def each(client: str, port: int, ident: int, seconds: float, reply: bytes = b"", /) -> None:
                text = last.text if seconds is last.seconds else last.new(seconds)
                if ":" in client:
                    client = f"[{client}]"
                output(f"{a}{client}{b}{port}{c}{ident}{d}{text}s{e}")

            return each
        escaped = [_escaped(text) for text in texts]
        fill = "".join(
            [escaped[0], *(part for pair in zip(self._each, escaped[1:], strict=True) for part in pair)]
        ).format

        def other(client: str, port: int, ident: int, seconds: float, reply: bytes = b"", /) -> None:
            text = last.text if seconds is last.seconds else last.new(seconds)
            output(fill(bracketed(client), port, ident, f"{text}s"))

        return other


class JsonForm:
    """
    A line of JSON with a field for each placeholder of a template.

    :param wall: seconds since 1970.
    """

    def __init__(self, template: str, wall: Callable[[], float]) -> None:
        dates = Dates()
        self._last = LastSeconds(lambda: dates.text(wall()))
        self._each: list[str] = []
        self._values: dict[str, JsonValue] = {}
        for _, placeholder in placeholders(template):
            if placeholder in EACH:
                self._each.append(placeholder)
            elif placeholder:
                key = placeholder[1:-1].lstrip(">/")
                self._values[key] = JSON_VALUES.get(placeholder) or _json_metadata(key)
        self._all = set(self._each) == set(EACH)

    def writer(self, exchange: Exchange, output: Output) -> EachRepeat:
        """See :meth:`Form.writer`."""
        values = {key: value(exchange) for key, value in self._values.items()}
        fixed = "," + json.encode(values).decode()[1:-1] if values else ""
        last = self._last
        if self._all:

            def each(client: str, port: int, ident: int, seconds: float, reply: bytes = b"", /) -> None:
                text = last.text if seconds is last.seconds else last.new(seconds)
                output(
                    f'{{"time":"{last.date}","level":"info","plugin":"log","remote":"{client}","port":{port},"id":{ident}'
                    f'{fixed},"duration":{text}}}'
                )

            return each
        shown = {"{remote}": ',"remote":"{0}"', "{port}": ',"port":{1}', "{>id}": ',"id":{2}'}
        head = "".join(text for placeholder, text in shown.items() if placeholder in self._each)
        tail = ',"duration":{3}' if "{duration}" in self._each else ""
        fill = f'{{{{"time":"{{4}}","level":"info","plugin":"log"{head}{_escaped(fixed)}{tail}}}}}'.format

        def other(client: str, port: int, ident: int, seconds: float, reply: bytes = b"", /) -> None:
            text = last.text if seconds is last.seconds else last.new(seconds)
            output(fill(client, port, ident, text, last.date))

        return other


def _found(exchange: Exchange, label: str) -> str | None:
    found = (exchange.request.metadata or {}).get(label)
    return found if found is None or isinstance(found, str) else found()


def metadata_value(label: str) -> Value:
    """The value of a label of metadata."""

    def value(exchange: Exchange) -> str:
        found = _found(exchange, label)
        return MISSING if found is None else _printable(found)

    return value


def _json_metadata(label: str) -> JsonValue:
    def value(exchange: Exchange) -> str | None:
        found = _found(exchange, label)
        return found if found is None else found.encode("utf-8", errors="backslashreplace").decode()

    return value


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _printable(value: str) -> str:
    """A value on one line: metadata may contain a client's bytes."""
    if value.isprintable():
        return value
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in value)
