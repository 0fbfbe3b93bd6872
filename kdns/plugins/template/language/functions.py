# -*- test-case-name: tests.plugins.template.language.test_functions -*-
"""The functions of templates: Go's own but for ``call``, and CoreDNS's ``parseInt``. ``and`` and ``or`` are the evaluator's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote_plus

from kdns.plugins.template.language.errors import CallFailed
from kdns.plugins.template.language.printing import bounded, formatted, printed, printed_line
from kdns.plugins.template.language.values import NO_VALUE, GoInt, Struct, TextMap, Value, is_true, type_name

Function = Callable[[Sequence[Value]], Value]

_INCOMPATIBLE = "incompatible types for comparison"
_NO_TYPE = "invalid type for comparison"


def _equal(first: Value, second: Value) -> bool:
    if first is None or second is None or first is NO_VALUE or second is NO_VALUE:
        return first in (None, NO_VALUE) and second in (None, NO_VALUE)
    if isinstance(first, (list, tuple, dict, Struct)) or isinstance(second, (list, tuple, dict, Struct)):
        raise CallFailed("non-comparable type")
    if _basic_kind(first) != _basic_kind(second):
        raise CallFailed(_INCOMPATIBLE)
    return first == second


def _basic_kind(value: Value) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "string"
    raise CallFailed(_NO_TYPE)


def _eq(args: Sequence[Value]) -> bool:
    if len(args) < 2:
        raise CallFailed("missing argument for comparison")
    return any(_equal(args[0], each) for each in args[1:])


def _less(first: Value, second: Value) -> bool:
    kind = _basic_kind(first)
    if kind != _basic_kind(second):
        raise CallFailed(_INCOMPATIBLE)
    if kind == "bool":
        raise CallFailed(_NO_TYPE)
    if isinstance(first, str):
        # Go compares bytes, and so does UTF-8 in the order of its characters.
        return first < str(second)
    return bool(first < second)  # type: ignore[operator]  # both are int, or both are float


def _ordering(test: Callable[[Value, Value], bool]) -> Function:
    return lambda args: test(*_exactly(args, 2))


def _exactly(args: Sequence[Value], count: int) -> Sequence[Value]:
    if len(args) != count:
        raise CallFailed(f"wrong number of args: want {count} got {len(args)}")
    return args


def _index_number(value: Value, length: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise CallFailed(f"cannot index slice/array with {'nil' if value is None else 'type ' + type_name(value)}")
    if not 0 <= value < most:
        raise CallFailed(f"index out of range: {int(value)}")
    return int(value)


def _length(value: Value) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, (list, tuple, dict)):
        return len(value)
    raise CallFailed("len of nil pointer" if value is None or value is NO_VALUE else f"len of type {type_name(value)}")


def _index(args: Sequence[Value]) -> Value:
    if not args:
        raise CallFailed("wrong number of args: want at least 1 got 0")
    value = args[0]
    if value is None or value is NO_VALUE:
        raise CallFailed("index of untyped nil")
    for key in args[1:]:
        if isinstance(value, dict):
            if not isinstance(key, str):
                raise CallFailed(f"value has type {type_name(key)}; should be string")
            value = value.get(key, "" if isinstance(value, TextMap) else NO_VALUE)
        elif isinstance(value, str):
            data = value.encode("utf-8", "surrogateescape")
            value = GoInt(data[_index_number(key, len(data), len(data))], "uint8")
        elif isinstance(value, (list, tuple)):
            value = value[_index_number(key, len(value), len(value))]
        elif value is None or value is NO_VALUE:
            raise CallFailed("index of nil pointer")
        else:
            raise CallFailed(f"can't index item of type {type_name(value)}")
    return value


def _slice(args: Sequence[Value]) -> Value:
    if not args or args[0] is None or args[0] is NO_VALUE:
        raise CallFailed("slice of untyped nil")
    value, bounds = args[0], args[1:]
    if len(bounds) > 3:
        raise CallFailed(f"too many slice indexes: {len(bounds)}")
    if isinstance(value, str):
        if len(bounds) == 3:
            raise CallFailed("cannot 3-index slice a string")
        data = value.encode("utf-8", "surrogateescape")
        start, end = _bounds(bounds, len(data))
        return data[start:end].decode("utf-8", "surrogateescape")
    if not isinstance(value, (list, tuple)):
        raise CallFailed(f"can't slice item of type {type_name(value)}")
    start, end = _bounds(bounds, len(value))
    return value[start:end]


def _bounds(bounds: Sequence[Value], length: int) -> tuple[int, int]:
    numbers = [_index_number(each, length, length + 1) for each in bounds]
    start = numbers[0] if numbers else 0
    end = numbers[1] if len(numbers) > 1 else length
    if start > end:
        raise CallFailed(f"invalid slice index: {start} > {end}")
    return start, end


def _printf(args: Sequence[Value]) -> str:
    if not args:
        raise CallFailed("wrong number of args: want at least 1 got 0")
    if not isinstance(args[0], str):
        raise CallFailed(f"wrong type for value; expected string; got {type_name(args[0])}")
    return formatted(args[0], args[1:])


_PREFIXES = {2: "0b", 8: "0o", 16: "0x"}
_DIGITS = re.compile(r"[0-9A-Za-z_]+")


def _parse_int(args: Sequence[Value]) -> GoInt:
    text, base, bits = _exactly(args, 3)
    if not isinstance(text, str):
        raise CallFailed(f"wrong type for value; expected string; got {type_name(text)}")
    for number in (base, bits):
        if not isinstance(number, int) or isinstance(number, bool):
            raise CallFailed(f"wrong type for value; expected int; got {type_name(number)}")
    assert isinstance(base, int)
    assert isinstance(bits, int)
    return GoInt(parse_unsigned(text, base, bits), "uint64")


def parse_unsigned(text: str, base: int, bits: int) -> int:
    """
    Go's ``strconv.ParseUint``.

    :raises CallFailed: in Go's words.
    """

    def failed(reason: str) -> CallFailed:
        shown = text if len(text) < 50 else text[:50] + "..."
        return CallFailed(f'strconv.ParseUint: parsing "{shown}": {reason}')

    if base != 0 and not 2 <= base <= 36:
        raise failed(f"invalid base {base}")
    if not 0 <= bits <= 64:
        raise failed(f"invalid bit size {bits}")
    if not _DIGITS.fullmatch(text) or ("_" in text and base != 0) or len(text) > 1000:
        raise failed("invalid syntax")
    digits = text
    if base == 0 and re.fullmatch("0_?[0-7_]+", digits):
        digits = "0o" + digits[1:]
    elif base and digits[:2].lower() == _PREFIXES.get(base):  # Python takes it, Go does not
        raise failed("invalid syntax")
    try:
        value = int(digits, base)
    except ValueError:
        raise failed("invalid syntax") from None
    if value >= 1 << (bits or 64):
        raise failed("value out of range")
    return value


_HTML = str.maketrans({"\x00": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JS = {
    ord(character): replacement
    for character, replacement in {
        "\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D",
    }.items()
} | {code: f"\\u{code:04X}" for code in range(32)}  # fmt: skip


def _escaping(escape: Callable[[str], str]) -> Function:
    """A function that takes what print takes and escapes the text."""
    return lambda args: bounded(escape(args[0] if len(args) == 1 and isinstance(args[0], str) else printed(args)))


def _url_quoted(text: str) -> str:
    return quote_plus(text.encode("utf-8", "surrogateescape"), safe="-_.~")


FUNCTIONS: dict[str, Function | None] = {
    "and": None,
    "or": None,
    "eq": _eq,
    "ge": _ordering(lambda first, second: not _less(first, second)),
    "gt": _ordering(lambda first, second: not _less(first, second) and not _equal(first, second)),
    "html": _escaping(lambda text: text.translate(_HTML)),
    "index": _index,
    "js": _escaping(lambda text: text.translate(_JS)),
    "le": _ordering(lambda first, second: _less(first, second) or _equal(first, second)),
    "len": lambda args: _length(_exactly(args, 1)[0]),
    "lt": _ordering(_less),
    "ne": _ordering(lambda first, second: not _equal(first, second)),
    "not": lambda args: not is_true(_exactly(args, 1)[0]),
    "parseInt": _parse_int,
    "print": printed,
    "printf": _printf,
    "println": printed_line,
    "slice": _slice,
    "urlquery": _escaping(_url_quoted),
}
"""Every function by name; None for those that do not always compute all their arguments."""
