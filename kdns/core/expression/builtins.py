# -*- test-case-name: tests.core.expression.test_builtins -*-
"""
The functions that every expression has.

Those with a predicate are carried out by the compiler; here they have a name only. The others are plain functions of values: they raise
ValueError, TypeError, IndexError or KeyError for what they do not take.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from kdns.core.expression.values import MAX_ITEMS, MAX_TEXT, Value, text_of, type_of

PREDICATES: dict[str, bool] = {
    "all": True, "any": True, "none": True, "one": True, "filter": True, "map": True, "count": False, "find": True, "findIndex": True,
    "findLast": True, "findLastIndex": True, "sum": False, "reduce": True, "groupBy": True, "countBy": True, "sortBy": True,
}  # fmt: skip
"""Functions whose second argument is an expression about each element, and whether it must be there."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """
    :ivar parameters: types of the arguments that must be there, then those that may.
    :ivar least: how many must be there.
    :ivar many: whether the last may be repeated.
    """

    call: Callable[..., Value]
    parameters: tuple[str, ...]
    result: str
    least: int
    many: bool = False


def _length(value: Value) -> int:
    if isinstance(value, (str, list, dict)):
        return len(value)
    raise TypeError(f"invalid argument for len (type {type_of(value)})")


def _number(value: Value) -> int | float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise TypeError(f"invalid argument (type {type_of(value)}), a number is wanted")


def _int(value: Value) -> int:
    if isinstance(value, str):
        if len(value) > 30 or "_" in value:
            raise ValueError(f'strconv.Atoi: parsing "{value[:30]}": invalid syntax')
        value = int(value)
    elif isinstance(value, float):
        value = math.trunc(value)
    return wrapped(int(_number(value)))


def _float(value: Value) -> float:
    return float(value) if isinstance(value, str) and "_" not in value and len(value) < 400 else float(_number(value))


def wrapped(value: int) -> int:
    """An integer as 64 bits hold it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _extreme(choose: Callable[[list[int | float]], int | float]) -> Callable[..., Value]:
    def call(*args: Value) -> Value:
        numbers = [_number(each) for arg in args for each in (arg if isinstance(arg, list) else [arg])]
        if not numbers:
            raise ValueError("no arguments")
        return choose(numbers)

    return call


def _repeat(text: str, count: int) -> str:
    if count < 0 or len(text) * count > MAX_TEXT:
        raise ValueError(f"text of more than {MAX_TEXT} characters" if count > 0 else "negative count")
    return text * count


def _split(text: str, separator: str, most: int = -1) -> list[str]:
    if most == 0:
        return []
    if not separator:
        characters = list(text)
        return (
            characters
            if most < 0 or len(characters) <= most
            else [*characters[: most - 1], "".join(characters[most - 1 :])]
        )
    return text.split(separator, most - 1 if most > 0 else -1)


def _split_after(text: str, separator: str, most: int = -1) -> list[str]:
    parts = _split(text, separator, most)
    return [part + separator if index < len(parts) - 1 else part for index, part in enumerate(parts)]


def _join(items: list[Value], separator: str = "") -> str:
    if sum(map(len, items)) + len(separator) * len(items) > MAX_TEXT:
        raise ValueError(f"text of more than {MAX_TEXT} characters")
    return separator.join(items)


def _replace(text: str, old: str, new: str) -> str:
    found = text.count(old)
    if len(text) + found * len(new) > MAX_TEXT:
        raise ValueError(f"text of more than {MAX_TEXT} characters")
    return text.replace(old, new)


def _position(text: Value, sought: Value, last: bool = False) -> int:
    if isinstance(text, list):
        return text.index(sought) if sought in text else -1
    return int(text.rfind(sought) if last else text.find(sought))


def _unique(items: list[Value]) -> list[Value]:
    out: list[Value] = []
    seen: set[Value] = set()
    for item in items:
        key = json.dumps(item, sort_keys=True) if isinstance(item, (list, dict)) else (type(item), item)
        if key not in seen:
            seen.add(key)
            out.append(item)
    return out


def _flattened(items: list[Value], depth: int = 0) -> list[Value]:
    if depth > 50:
        raise ValueError("list nests too deep")
    out: list[Value] = []
    for item in items:
        out += _flattened(item, depth + 1) if isinstance(item, list) else [item]
    return out


def _concatenated(*lists: list[Value]) -> list[Value]:
    if sum(map(len, lists)) > MAX_ITEMS:
        raise ValueError(f"list of more than {MAX_ITEMS} elements")
    return [item for each in lists for item in each]


def _get(container: Value, key: Value) -> Value:
    if isinstance(container, dict):
        return container.get(key)
    if isinstance(container, list) and isinstance(key, int) and -len(container) <= key < len(container):
        return container[key]
    return None


def _sorted(items: list[Value], order: str = "asc") -> list[Value]:
    if order not in ("asc", "desc"):
        raise ValueError(f"invalid order {order}, expected asc or desc")
    return sorted(items, reverse=order == "desc")


def _shifted(value: int, by: int) -> int:
    if by < 0:
        raise ValueError("shift count is negative")
    return by


def _bit_shl(value: int, by: int) -> int:
    return wrapped(value << by) if _shifted(value, by) < 64 else 0


def _bit_shr(value: int, by: int) -> int:
    return value >> min(_shifted(value, by), 64)


def _bit_ushr(value: int, by: int) -> int:
    return wrapped((value % (1 << 64)) >> min(_shifted(value, by), 64))


def _rounded(value: float) -> float:
    return float(math.copysign(math.floor(abs(value) + 0.5), value))


def total(numbers: list[Value]) -> Value:
    """The sum of numbers; of none, 0."""
    return sum(map(_number, numbers))


def _text(
    name: str, call: Callable[..., Value], *more: str, result: str = "string", least: int | None = None
) -> tuple[str, Builtin]:
    parameters = ("string", *more)
    return name, Builtin(call, parameters, result, len(parameters) if least is None else least)


BUILTINS: dict[str, Builtin] = dict(
    (
        _text("trim", lambda text, cut=None: text.strip(cut) if cut is None or cut else text, "string", least=1),
        _text("trimPrefix", str.removeprefix, "string"),
        _text("trimSuffix", str.removesuffix, "string"),
        _text("upper", str.upper),
        _text("lower", str.lower),
        _text("split", _split, "string", "int", result="array", least=2),
        _text("splitAfter", _split_after, "string", "int", result="array", least=2),
        _text("replace", _replace, "string", "string"),
        _text("repeat", _repeat, "int"),
        _text("hasPrefix", str.startswith, "string", result="bool"),
        _text("hasSuffix", str.endswith, "string", result="bool"),
        _text("fromJSON", lambda text: json.loads(text, parse_int=float), result="any"),
        _text("toBase64", lambda text: base64.b64encode(text.encode("utf-8", "replace")).decode()),
        _text("fromBase64", lambda text: base64.b64decode(text, validate=True).decode("utf-8", "replace")),
    )
) | {
    "abs": Builtin(lambda value: abs(_number(value)), ("number",), "any", 1),
    "bitand": Builtin(lambda one, two: one & two, ("int", "int"), "int", 2),
    "bitnand": Builtin(lambda one, two: one & ~two, ("int", "int"), "int", 2),
    "bitnot": Builtin(lambda one: ~one, ("int",), "int", 1),
    "bitor": Builtin(lambda one, two: one | two, ("int", "int"), "int", 2),
    "bitshl": Builtin(_bit_shl, ("int", "int"), "int", 2),
    "bitshr": Builtin(_bit_shr, ("int", "int"), "int", 2),
    "bitushr": Builtin(_bit_ushr, ("int", "int"), "int", 2),
    "bitxor": Builtin(lambda one, two: one ^ two, ("int", "int"), "int", 2),
    "ceil": Builtin(lambda value: float(math.ceil(value)), ("number",), "float64", 1),
    "concat": Builtin(_concatenated, ("array",), "array", 1, many=True),
    "first": Builtin(lambda items: items[0] if items else None, ("array",), "any", 1),
    "flatten": Builtin(_flattened, ("array",), "array", 1),
    "float": Builtin(_float, ("any",), "float64", 1),
    "floor": Builtin(lambda value: float(math.floor(value)), ("number",), "float64", 1),
    "get": Builtin(_get, ("any", "any"), "any", 2),
    "indexOf": Builtin(_position, ("any", "any"), "int", 2),
    "int": Builtin(_int, ("any",), "int", 1),
    "join": Builtin(_join, ("array", "string"), "string", 1),
    "keys": Builtin(sorted, ("map",), "array", 1),
    "last": Builtin(lambda items: items[-1] if items else None, ("array",), "any", 1),
    "lastIndexOf": Builtin(lambda text, sought: _position(text, sought, True), ("string", "string"), "int", 2),
    "len": Builtin(_length, ("sized",), "int", 1),
    "max": Builtin(_extreme(max), ("any",), "any", 1, many=True),
    "min": Builtin(_extreme(min), ("any",), "any", 1, many=True),
    "reverse": Builtin(lambda items: items[::-1], ("array",), "array", 1),
    "round": Builtin(_rounded, ("number",), "float64", 1),
    "sort": Builtin(_sorted, ("array", "string"), "array", 1),
    "string": Builtin(text_of, ("any",), "string", 1),
    "take": Builtin(lambda items, count: items[: max(count, 0)], ("array", "int"), "array", 2),
    "toJSON": Builtin(lambda value: json.dumps(value, indent=2, sort_keys=True), ("any",), "string", 1),
    "uniq": Builtin(_unique, ("array",), "array", 1),
    "values": Builtin(lambda mapping: [mapping[key] for key in sorted(mapping)], ("map",), "array", 1),
}
"""Functions without a predicate."""
