# -*- test-case-name: tests.plugins.test_log -*-
"""
The lines of the query log: which exchange gets one, and what it says.

A format is cut into pieces once. For an answer that is given again from the answer table all pieces that do not depend on the client are
filled in once too, so that a repetition costs one formatting of four values. Where lines go, and what happens when they come faster than
somebody reads them, is the business of the output.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kdns.core.observe import EachRepeat, Exchange, Repeat
from kdns.plugins.replies import DROPPED, reply_class, reply_flags, reply_size
from kdns.plugins.seam import Output
from kdns.wire.constants import AA, AD, CD, OPCODE_MASK, QR, RA, RD, TC, Z, class_text, rcode_text, type_text
from kdns.wire.names import is_subdomain, to_text

COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" '
    "{rcode} {>rflags} {rsize} {duration}"
)
COMBINED = COMMON + ' "{>opcode}"'

MISSING = "-"
"""Stands for what is not there."""

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_FLAGS = ((QR, "qr"), (AA, "aa"), (TC, "tc"), (RD, "rd"), (RA, "ra"), (Z, "z"), (AD, "ad"), (CD, "cd"))


@dataclass(frozen=True, slots=True)
class Rule:
    """Log replies of these classes to questions for a name and below it."""

    name: bytes
    template: str
    classes: frozenset[str]


def bracketed(address: str) -> str:
    """IPv6 in brackets, IPv4 as it is."""
    return f"[{address}]" if ":" in address else address


def seconds_text(seconds: float) -> str:
    """Seconds as a decimal number without exponent and needless zeros, to the nanosecond: ``0.000114375s``."""
    return f"{max(seconds, 0.0):.9f}".rstrip("0").rstrip(".") + "s"


def _flags_text(exchange: Exchange) -> str:
    if exchange.reply is None:
        return MISSING
    flags = reply_flags(exchange)
    return ",".join(text for bit, text in _FLAGS if flags & bit)


def _rcode(exchange: Exchange) -> str:
    return MISSING if exchange.reply is None else rcode_text(exchange.answer.rcode)


Value: TypeAlias = Callable[[Exchange], str]

VALUES: dict[str, Value] = {
    "{type}": lambda exchange: type_text(exchange.request.qtype),
    "{class}": lambda exchange: class_text(exchange.request.qclass),
    "{name}": lambda exchange: to_text(exchange.request.qname),
    "{proto}": lambda exchange: exchange.request.transport.protocol,
    "{local}": lambda exchange: bracketed(exchange.request.local),
    "{size}": lambda exchange: str(exchange.request.size),
    "{>opcode}": lambda exchange: str((exchange.request.flags & OPCODE_MASK) >> 11),
    "{>do}": lambda exchange: "true" if exchange.request.do else "false",
    "{>bufsize}": lambda exchange: str(exchange.request.limit),
    "{rcode}": _rcode,
    "{>rflags}": _flags_text,
    "{rsize}": lambda exchange: str(reply_size(exchange)),
}
"""What a placeholder says of an exchange and of all its repetitions."""

EACH = {"{remote}": "{0}", "{port}": "{1}", "{>id}": "{2}", "{duration}": "{3}"}
"""What differs from client to client, by its place among the arguments of the finished pattern."""


def _metadata(label: str) -> Value:
    def value(exchange: Exchange) -> str:
        found = (exchange.request.metadata or {}).get(label, MISSING)
        return found if isinstance(found, str) else found()

    return value


def pieces_of(template: str) -> tuple[str | Value, ...]:
    """
    Cut a template into what stands in the pattern (text, escaped for :meth:`str.format`, and client fields) and values to fill in.

    A placeholder that is not known stays as it is written.
    """
    pieces: list[str | Value] = []
    position = 0
    for match in _PLACEHOLDER.finditer(template):
        placeholder = match[0]
        piece: str | Value
        if placeholder in EACH:
            piece = EACH[placeholder]
        elif placeholder in VALUES:
            piece = VALUES[placeholder]
        elif placeholder.startswith("{/"):
            piece = _metadata(placeholder[2:-1])
        else:
            continue
        pieces += (_escaped(template[position : match.start()]), piece)
        position = match.end()
    pieces.append(_escaped(template[position:]))
    return tuple(piece for piece in pieces if piece)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def pattern_for(pieces: Sequence[str | Value], exchange: Exchange) -> str:
    """The pattern of the lines for an exchange and its repetitions: only address, port, identifier and duration are open."""
    return "[INFO] " + "".join(
        piece if isinstance(piece, str) else _escaped(_printable(piece(exchange))) for piece in pieces
    )


def _printable(value: str) -> str:
    """A value on one line: metadata may hold what a client sent."""
    if value.isprintable():
        return value
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in value)


class QueryLog:
    """The observer of one server block."""

    def __init__(self, rules: Sequence[Rule], output: Output) -> None:
        self._rules = tuple((rule, pieces_of(rule.template)) for rule in rules)
        self._output = output

    def finished(self, exchange: Exchange) -> None:
        """Write the line of an exchange if a rule wants it."""
        pattern = self._pattern(exchange)
        if pattern is not None:
            request = exchange.request
            self._output(
                pattern.format(
                    bracketed(request.client), request.client_port, request.ident, seconds_text(exchange.seconds)
                )
            )

    def repeat(self, exchange: Exchange) -> Repeat:
        """The line of a repetition, ready but for what differs from client to client."""
        pattern = self._pattern(exchange)
        return Repeat() if pattern is None else Repeat(each=_writer(pattern, self._output))

    def _pattern(self, exchange: Exchange) -> str | None:
        """The first rule whose name fits decides, whether it wants the reply or not. What no block took is not logged."""
        if exchange.zone == DROPPED:
            return None
        qname = exchange.request.qname
        for rule, pieces in self._rules:
            if is_subdomain(qname, rule.name):
                return pattern_for(pieces, exchange) if reply_class(exchange) in rule.classes else None
        return None


def _writer(pattern: str, output: Output) -> EachRepeat:
    fill = pattern.format

    def each(client: str, port: int, ident: int, seconds: float) -> None:
        output(fill(f"[{client}]" if ":" in client else client, port, ident, seconds_text(seconds)))

    return each
