# -*- test-case-name: tests.plugins.template.language.test_printing -*-
"""Values as text, as Go's fmt writes them: ``print``, ``println``, ``printf``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kdns.core.expression.values import float_text
from kdns.plugins.template.language.errors import CallFailed
from kdns.plugins.template.language.values import NO_VALUE, GoInt, Struct, TextMap, Value, type_name

MAX_TEXT = 1 << 16
"""Characters of a text that a template makes, on the way or as its result; a message has at most 65,535 bytes."""

_DIRECTIVE = re.compile(r"%([-+# 0]*)(\*|\d*)(?:\.(\*|\d*))?(?:\[(\d+)\])?(.|)", re.DOTALL)
_INTEGER_VERBS = {"d": "d", "b": "b", "o": "o", "x": "x", "X": "X"}
_FLOAT_VERBS = "eEfFgG"


def shown(value: Value, depth: int = 0) -> str:
    """A value as ``%v`` prints it."""
    match value:
        case str():
            return value
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float():
            return float_text(value)
        case dict():
            return f"map[{' '.join(f'{key}:{shown(value[key], depth + 1)}' for key in sorted(value))}]"
        case list() | tuple():
            return f"[{' '.join(shown(each, depth + 1) for each in value)}]"
        case Struct() if value.text is not None:
            return value.text
        case Struct():
            fields = " ".join(shown(each, depth + 1) for each in value.values())
            return f"{'&' if depth == 0 and value.go_type.startswith('*') else ''}{{{fields}}}"
    if value is NO_VALUE:
        return "<no value>"
    return str(value)


def printed(values: Sequence[Value]) -> str:
    """``print``: a space between two values neither of which is text."""
    parts: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            parts.append(" ")
        parts.append(shown(value))
    return bounded("".join(parts))


def printed_line(values: Sequence[Value]) -> str:
    """``println``: a space between all values, and a line feed."""
    return bounded(" ".join(map(shown, values)) + "\n")


def formatted(form: str, values: Sequence[Value]) -> str:
    """
    ``printf``. What does not fit together is printed in Go's way: ``%!d(string=x)``.

    :raises CallFailed: the text becomes too long.
    """
    parts: list[str] = []
    at = used = size = 0
    reordered = False
    while True:
        start = form.find("%", at)
        if start < 0:
            parts.append(form[at:])
            break
        parts.append(form[at:start])
        match = _DIRECTIVE.match(form, start)
        assert match is not None
        at = match.end()
        text, used, indexed = _directive(match, values, used)
        reordered = reordered or indexed
        parts.append(text)
        size += len(text)
        if size > MAX_TEXT:
            raise CallFailed(f"text of more than {MAX_TEXT} characters")
    if not reordered and used < len(values):
        extra = ", ".join(f"{type_name(value)}={shown(value)}" for value in values[used:])
        parts.append(f"%!(EXTRA {extra})")
    return bounded("".join(parts))


def bounded(text: str) -> str:
    """
    The text.

    :raises CallFailed: it is too long.
    """
    if len(text) > MAX_TEXT:
        raise CallFailed(f"text of more than {MAX_TEXT} characters")
    return text


def _directive(match: re.Match[str], values: Sequence[Value], used: int) -> tuple[str, int, bool]:
    """The text of one directive, how many values are used then, and whether it chose its value by number."""
    flags, width_text, precision_text, index, verb = match.groups()
    width, used, bad = _size(width_text, values, used)
    notes = "%!(BADWIDTH)" if bad else ""
    if width is not None and width < 0:
        flags, width = flags + "-", -width
    precision: int | None = None
    if precision_text is not None:
        precision, used, bad = _size(precision_text or "0", values, used)
        if bad or (precision is not None and precision < 0):
            precision = None
            notes += "%!(BADPREC)" if bad else ""
    if not verb:
        return notes + "%!(NOVERB)", used, False
    if verb == "%":
        return notes + "%", used, False
    if index is not None:
        used = int(index) - 1
        if not 0 <= used < len(values):
            return f"{notes}%!{verb}(BADINDEX)", max(used, 0), True
    if used >= len(values):
        return f"{notes}%!{verb}(MISSING)", used, index is not None
    return notes + _Form(flags, width, precision).text(verb, values[used]), used + 1, index is not None


def _size(text: str, values: Sequence[Value], used: int) -> tuple[int | None, int, bool]:
    """A width or precision, which may be a value; whether it is none."""
    if text == "*":
        value = values[used] if used < len(values) else None
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_TEXT:
            return None, used + 1, True
        return int(value), used + 1, False
    if not text:
        return None, used, False
    if len(text) > 6 or int(text) > MAX_TEXT:
        return None, used, True
    return int(text), used, False


class _Form:
    """The flags, the width and the precision of a directive."""

    def __init__(self, flags: str, width: int | None, precision: int | None) -> None:
        self.minus = "-" in flags
        self.plus = "+" in flags
        self.sharp = "#" in flags
        self.space = " " in flags
        self.zero = "0" in flags and not self.minus
        self.width = width or 0
        self.precision = precision

    def text(self, verb: str, value: Value) -> str:
        if verb == "T":
            return self._padded(type_name(value))
        if verb == "v":
            verb = _DEFAULT_VERBS.get(type(value), verb)
            if self.sharp and isinstance(value, str):
                verb = "q"
            elif isinstance(value, str):
                verb = "s"
        if isinstance(value, (list, tuple)) and verb not in "vT":
            return f"[{' '.join(self.text(verb, each) for each in value)}]"
        if isinstance(value, (dict, TextMap)) and verb not in "vT":
            keys = sorted(value)
            return f"map[{' '.join(f'{self.text(verb, key)}:{self.text(verb, value[key])}' for key in keys)}]"
        match value:
            case bool():
                if verb == "t":
                    return self._padded(shown(value))
            case int():
                text = self._integer(verb, value)
                if text is not None:
                    return text
            case float():
                if verb in _FLOAT_VERBS:
                    return self._float(verb, value)
            case str():
                text = self._string(verb, value)
                if text is not None:
                    return text
            case _:
                if verb == "v" or (verb in "sd" and isinstance(value, Struct)):
                    return self._padded(shown(value))
                if value is None or value is NO_VALUE:
                    return f"%!{verb}(<nil>)"
        return f"%!{verb}({type_name(value)}={shown(value)})"

    def _padded(self, text: str, zeros: bool = False) -> str:
        missing = self.width - len(text)
        if missing <= 0:
            return text
        if self.minus:
            return text + " " * missing
        if not zeros or not self.zero:
            return (" " if not (self.zero and not zeros) else "0") * missing + text
        signs = len(text) - len(text.lstrip("+- "))
        return text[:signs] + "0" * missing + text[signs:]

    def _integer(self, verb: str, value: int) -> str | None:
        if verb == "c":
            return self._padded(_character(value))
        if verb == "q":
            return self._padded("'" + _escaped(_character(value), "'") + "'")
        if verb == "U":
            return self._padded(f"U+{value:04X}" if value >= 0 else f"U+{value & ((1 << 64) - 1):04X}")
        if verb == "O":
            digits, prefix = format(abs(value), "o"), "0o"
        elif verb in _INTEGER_VERBS:
            digits = format(abs(int(value)), _INTEGER_VERBS[verb])
            prefix = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}.get(verb, "") if self.sharp else ""
        else:
            return None
        sign = "-" if value < 0 else "+" if self.plus else " " if self.space else ""
        if self.precision is not None:
            digits = digits.rjust(self.precision, "0") if value or self.precision else ""
            zeros = False
        else:
            zeros = self.zero
            if zeros:
                digits = digits.rjust(self.width - len(sign) - (len(prefix) if verb == "O" else 0), "0")
        text = sign + prefix + digits
        missing = self.width - len(text)
        return text if missing <= 0 else text + " " * missing if self.minus else " " * missing + text

    def _float(self, verb: str, value: float) -> str:
        if verb in "gG" and self.precision is None:
            text = float_text(value)
            text = text.upper() if verb == "G" else text
        else:
            text = format(value, f".{6 if self.precision is None else self.precision}{verb}")
        if self.plus and value >= 0:
            text = "+" + text
        elif self.space and value >= 0:
            text = " " + text
        return self._padded(text, zeros=True)

    def _string(self, verb: str, value: str) -> str | None:
        if self.precision is not None:
            value = value[: self.precision]
        if verb == "s":
            return self._padded(value)
        if verb == "q":
            if self.sharp and "`" not in value and value.isprintable():
                return self._padded(f"`{value}`")
            return self._padded('"' + _escaped(value, '"', ascii_only=self.plus) + '"')
        if verb in "xX":
            text = value.encode("utf-8", "surrogateescape").hex(*((" ",) if self.space else ()))
            return self._padded(text.upper() if verb == "X" else text)
        return None


_DEFAULT_VERBS: dict[type, str] = {bool: "t", int: "d", GoInt: "d", float: "g"}


def _character(code: int) -> str:
    return chr(code) if 0 <= code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else "\ufffd"


def _escaped(text: str, quote: str, ascii_only: bool = False) -> str:
    out: list[str] = []
    for character in text:
        code = ord(character)
        if character in (quote, "\\"):
            out.append("\\" + character)
        elif character in _ESCAPES:
            out.append(_ESCAPES[character])
        elif 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif character.isprintable() and (code < 0x80 or not ascii_only):
            out.append(character)
        elif code < 0x80:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(out)


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
