# -*- test-case-name: tests.plugins.template.language.test_parser -*-
"""Go's literals: quoted texts, characters and numbers."""

from __future__ import annotations

import re

from kdns.plugins.template.language.values import GoInt

_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"'])|([0-7]{3})|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|)", re.DOTALL
)
_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_INTEGER = re.compile(r"[+-]?(?:0[xX](?:_?[0-9A-Fa-f])+|0[bB](?:_?[01])+|0[oO]?(?:_?[0-7])+|0|[1-9](?:_?[0-9])*)")
_FLOAT = re.compile(r"[+-]?(?:[0-9](?:_?[0-9])*\.?(?:[0-9](?:_?[0-9])*)?|\.[0-9](?:_?[0-9])*)(?:[eE][+-]?[0-9]+)?")

_MOST_DIGITS = 100
"""Characters of a number; Python needs quadratic time to read long ones."""


def unquoted(source: str) -> str:
    """
    The text of a literal in double, single or back quotes. A byte that is no UTF-8 becomes a surrogate escape.

    :raises ValueError: an escape is none.
    """
    quote, body = source[0], source[1:-1]
    if quote == "`":
        return body.replace("\r", "")
    if "\\" not in body:
        return body
    data = bytearray()
    at = 0
    for match in _ESCAPE.finditer(body):
        data += body[at : match.start()].encode()
        data += _unescaped(match, quote)
        at = match.end()
    data += body[at:].encode()
    return data.decode("utf-8", "surrogateescape")


def _unescaped(match: re.Match[str], quote: str) -> bytes:
    letter, octal, byte, short, long = match.groups()
    if letter is not None:
        if letter in "\"'" and letter != quote:
            raise ValueError("invalid syntax")
        return _CONTROLS.get(letter, letter).encode()
    if octal is not None or byte is not None:
        value = int(octal, 8) if octal is not None else int(byte, 16)
        if value > 255:
            raise ValueError("invalid syntax")
        return bytes((value,)) if quote == '"' else chr(value).encode()
    code = short or long
    if code is None or int(code, 16) > 0x10FFFF or 0xD800 <= int(code, 16) < 0xE000:
        raise ValueError("invalid syntax")
    return chr(int(code, 16)).encode()


def character(source: str) -> GoInt:
    """
    The code of a character in single quotes.

    :raises ValueError: it is not one character.
    """
    text = unquoted(source)
    if len(text) != 1:
        raise ValueError("malformed character constant")
    return GoInt(ord(text), "int32")


def number(source: str) -> int | float:
    """
    An integer or a float.

    :raises ValueError: it is neither, or an integer beyond 64 bits.
    """
    if len(source) <= _MOST_DIGITS:
        if _INTEGER.fullmatch(source):
            digits = source.replace("_", "").lower()
            sign = -1 if digits.startswith("-") else 1
            digits = digits.lstrip("+-")
            base = {"0x": 16, "0b": 2, "0o": 8}.get(digits[:2]) or (8 if digits.startswith("0") else 10)
            value = sign * int(digits[2:] if digits[:2] in ("0x", "0b", "0o") else digits, base)
            if not -(1 << 63) <= value < 1 << 63:
                raise ValueError(f"integer overflow: {source}")
            return value
        if _FLOAT.fullmatch(source):
            return float(source.replace("_", ""))
    raise ValueError(f'bad number syntax: "{source}"')
