# -*- test-case-name: tests.corefile.test_values -*-
"""
Durations, numbers and listen addresses as Corefiles write them: Go's syntax, and Go's words for what is wrong.

Every function here takes the text of one argument and returns a plain value or raises :class:`BadValue`. Which argument is what, and
whether a value is in range for its option, is left to the plugins.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from kdns.core.networks import unmapped
from kdns.core.text import bracketed, printable

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
_MAX_INT64 = 2**63 - 1
_DURATION_PART = re.compile(r"([0-9]*)(\.[0-9]*)?([^0-9.]*)")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_UNSIGNED = re.compile(r"[0-9]+")
_FLOAT = re.compile(
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|infinity)|nan", re.IGNORECASE
)


class BadValue(ValueError):
    """An argument is not what its option wants; the text is in Go's words."""


def quote(text: str) -> str:
    """*text* in double quotes, with escapes for what would not print: the way names are quoted in errors and warnings."""
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def parse_duration(text: str) -> float:
    """
    Seconds from a text like ``300ms``, ``1.5h`` or ``2h45m``; ``-`` before it makes them negative, and ``0`` needs no unit.

    :raises BadValue: no such text, a number without a unit, or more than 292 years.
    """
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    if unsigned == "0":
        return 0.0
    invalid = BadValue(f"time: invalid duration {quote(text)}")
    if not unsigned:
        raise invalid
    total = 0
    position = 0
    while position < len(unsigned):
        part = _DURATION_PART.match(unsigned, position)
        if part is None or not (part[1] or (part[2] or "").strip(".")):
            raise invalid
        whole, fraction, unit = part[1] or "0", (part[2] or "")[1:], part[3]
        if not unit:
            raise BadValue(f"time: missing unit in duration {quote(text)}")
        if unit not in _NANOSECONDS:
            raise BadValue(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
        total += _bounded(whole) * _NANOSECONDS[unit]
        if fraction:
            digits = fraction[:18]
            total += int(digits) * _NANOSECONDS[unit] // 10 ** len(digits)
        if total > _MAX_INT64:
            raise invalid
        position = part.end()
    return (-total if text[0] == "-" else total) / 1_000_000_000


def format_duration(seconds: float) -> str:
    """*seconds* as Go prints a duration: ``5s``, ``1m0s``, ``1.5s``, ``300ms``, ``-1s``, ``0s``."""
    fraction, whole = math.modf(abs(seconds))  # apart, because their product with 10**9 would be rounded twice
    nanoseconds = int(whole) * 1_000_000_000 + round(fraction * 1_000_000_000)
    sign = "-" if seconds < 0 and nanoseconds else ""
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1_000), ("µs", 1_000_000), ("ms", 1_000_000_000)):
        if nanoseconds < size:
            return f"{sign}{_decimal(nanoseconds, size // 1_000)}{unit}"
    whole_minutes, rest = divmod(nanoseconds, 60 * 1_000_000_000)
    hours, minutes = divmod(whole_minutes, 60)
    out = f"{_decimal(rest, 1_000_000_000)}s"
    if hours or minutes:
        out = f"{minutes}m{out}"
    if hours:
        out = f"{hours}h{out}"
    return sign + out


def _decimal(amount: int, unit: int) -> str:
    """*amount* / *unit* (a power of ten), written exactly and without needless zeros."""
    whole, rest = divmod(amount, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{rest:0{len(str(unit)) - 1}d}".rstrip("0")


def parse_int(text: str) -> int:
    """
    A decimal number of 64 bits, with or without sign.

    :raises BadValue: something else.
    """
    if not _INTEGER.fullmatch(text):
        raise BadValue(f"strconv.Atoi: parsing {quote(text)}: invalid syntax")
    number = _bounded(text)
    if not -(2**63) <= number <= _MAX_INT64:
        raise BadValue(f"strconv.Atoi: parsing {quote(text)}: value out of range")
    return number


def parse_uint(text: str, bits: int = 64) -> int:
    """
    A decimal number of so many bits, without sign.

    :raises BadValue: something else.
    """
    if not _UNSIGNED.fullmatch(text):
        raise BadValue(f"strconv.ParseUint: parsing {quote(text)}: invalid syntax")
    number = _bounded(text)
    if number >= 2**bits:
        raise BadValue(f"strconv.ParseUint: parsing {quote(text)}: value out of range")
    return number


def parse_float(text: str) -> float:
    """
    A decimal number with or without fraction and exponent; ``inf`` and ``nan`` are numbers too, as they are in Go.

    :raises BadValue: something else.
    """
    if not _FLOAT.fullmatch(text):
        raise BadValue(f"strconv.ParseFloat: parsing {quote(text)}: invalid syntax")
    number = float(text)
    if number in (float("inf"), float("-inf")) and "n" not in text.lower():
        raise BadValue(f"strconv.ParseFloat: parsing {quote(text)}: value out of range")
    return number


def _bounded(digits: str) -> int:
    """The number, or one too large for any type when there are too many digits for Python to like."""
    sign = -1 if digits.startswith("-") else 1
    significant = digits.lstrip("+-").lstrip("0") or "0"
    return sign * (int(significant) if len(significant) <= 20 else 2**64)


def parse_cidr(text: str) -> IPv4Network | IPv6Network:
    """
    A network as ``ADDRESS/LENGTH``; bits behind the length are cleared, and IPv4 written as IPv6 is IPv4.

    :raises BadValue: something else.
    """
    address, _, length = text.partition("/")
    if "%" not in address and _UNSIGNED.fullmatch(length):
        try:
            return unmapped(ip_network(text, strict=False))
        except ValueError:
            pass
    raise BadValue(f"invalid CIDR address: {text}")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """
    Where a helper such as ``health`` or ``prometheus`` listens.

    :ivar host: an address or name; empty is every address.
    :ivar port: 0 lets the system choose.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


def split_host_port(text: str) -> tuple[str, str]:
    """
    Cut ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT`` into host and port, both as text.

    :raises BadValue: no port, or brackets and colons that do not fit together.
    """

    def bad(reason: str) -> BadValue:
        return BadValue(f"address {text}: {reason}")

    if ":" not in text:
        raise bad("missing port in address")
    if text.startswith("["):
        end = text.find("]")
        if end < 0:
            raise bad("missing ']' in address")
        if end + 1 == len(text):
            raise bad("missing port in address")
        if text[end + 1] != ":":
            raise bad("missing port in address")
        host, port = text[1:end], text[end + 2 :]
        if ":" in port:
            raise bad("too many colons in address")
    else:
        host, _, port = text.rpartition(":")
        if ":" in host:
            raise bad("too many colons in address")
    if "[" in host or "[" in port:
        raise bad("unexpected '[' in address")
    if "]" in host or "]" in port:
        raise bad("unexpected ']' in address")
    return host, port


def parse_listen_address(text: str) -> ListenAddress:
    """
    A host and a port number to listen on.

    :raises BadValue: not ``HOST:PORT``, or the port is no number from 0 to 65535.
    """
    host, port = split_host_port(text)
    if not _UNSIGNED.fullmatch(port or "0"):
        raise BadValue(f"address {text}: unknown port")
    number = _bounded(port or "0")
    if number > 65535:
        raise BadValue(f"address {port}: invalid port")
    return ListenAddress(host, number)
