# -*- test-case-name: tests.core.expression.test_compiler -*-
"""
A tree -> closures, with the types checked on the way.

Types are known as far as literals, operators and functions tell; ``any`` fits everything and is looked at when the expression is
carried out. Each part that is carried out costs a unit of work, and so does each 64 characters or elements that it makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from kdns.core.expression.builtins import BUILTINS, PREDICATES, total, wrapped
from kdns.core.expression.errors import ExpressionError, ExpressionSyntaxError
from kdns.core.expression.parser import Node, parse
from kdns.core.expression.values import MAX_ITEMS, MAX_TEXT, EnvironmentFunction, Value, type_of
from kdns.core.regexp import BadRegexp, Regexp

MAX_WORK = 4000
"""Units of work for one expression, about 3 ms."""

MAX_MADE_PATTERN = 100
"""Characters of a regular expression that is not a literal."""

MADE_PATTERN_WORK = 1000
"""What it costs to compile one."""

_NUMBERS = ("int", "float64")
_ABSENT: Final = object()

Variables = Mapping[str, Value]


class _Run:
    """One execution: its subject, the variables, the elements that predicates are at, the work left."""

    __slots__ = ("elements", "lets", "subject", "variables", "work")

    def __init__(self, subject: object, variables: Variables) -> None:
        self.subject = subject
        self.variables = variables
        self.lets: list[Value] = []
        self.elements: list[tuple[Value, int, Value]] = []
        self.work = MAX_WORK

    def spend(self, units: int = 1) -> None:
        self.work -= units
        if self.work < 0:
            raise ExpressionError(f"more than {MAX_WORK} units of work")


_Code = Callable[[_Run], Value]


class Expression:
    """
    An expression that was checked.

    :ivar text: as written.
    :ivar type: what its value is, as far as that is known: ``any`` otherwise.
    """

    __slots__ = ("_code", "text", "type")

    def __init__(self, text: str, type_name: str, code: _Code) -> None:
        self.text = text
        self.type = type_name
        self._code = code

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and (other.text, other.type) == (self.text, self.type)

    def __hash__(self) -> int:
        return hash(self.text)

    def evaluate(self, subject: object, variables: Variables | None = None) -> Value:
        """
        The value for a subject.

        :param subject: what the functions of the surroundings are about.
        :param variables: values of the names that it was compiled with.
        :raises ExpressionError: it has none, or takes too much work.
        """
        try:
            return self._code(_Run(subject, variables or {}))
        except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, AttributeError, RecursionError) as error:
            raise ExpressionError(str(error)) from error


def compile_expression(
    text: str, functions: Mapping[str, EnvironmentFunction], variables: Mapping[str, str] | None = None
) -> Expression:
    """
    Read and check an expression.

    :param functions: what the surroundings give; they go before functions of the language.
    :param variables: names of further values, and their types.
    :raises ExpressionSyntaxError: the text is no expression, or its types do not fit.
    """
    kind, code = _Compiler(text, functions, variables or {}).compile(parse(text))
    return Expression(text, kind, code)


class _Compiler:
    def __init__(self, text: str, functions: Mapping[str, EnvironmentFunction], variables: Mapping[str, str]) -> None:
        self._text = text
        self._functions = functions
        self._variables = variables
        self._lets: list[tuple[str, str]] = []
        self._predicates = 0

    def compile(self, node: Node) -> tuple[str, _Code]:
        """The type of a part, and what carries it out."""
        kind, code = getattr(self, f"_{node.kind}")(node)

        def counted(run: _Run) -> Value:
            run.work -= 1
            if run.work < 0:
                run.spend(0)
            return code(run)

        return kind, counted

    def _operands(self, node: Node) -> list[tuple[str, _Code]]:
        return [self.compile(part) for part in node.parts if part is not None]

    def _error(self, reason: str, node: Node) -> ExpressionSyntaxError:
        return ExpressionSyntaxError(reason, self._text, node.offset)

    # Values

    def _literal(self, node: Node) -> tuple[str, _Code]:
        value = node.value
        return type_of(value), lambda run: value

    def _name(self, node: Node) -> tuple[str, _Code]:
        name = str(node.value)
        found = [index for index, (known, _) in enumerate(self._lets) if known == name]
        if found:
            index = found[-1]
            return self._lets[index][1], lambda run: run.lets[index]
        if name in self._variables:
            return self._variables[name], lambda run: run.variables[name]
        if name in self._functions:
            return self._functions[name].type, lambda run: None
        raise self._error(f"unknown name {name}", node)

    def _pointer(self, node: Node) -> tuple[str, _Code]:
        if not self._predicates:
            raise self._error("cannot use pointer accessor outside predicate", node)
        match node.value:
            case "":
                return "any", lambda run: run.elements[-1][0]
            case "index":
                return "int", lambda run: run.elements[-1][1]
            case "acc":
                return "any", lambda run: run.elements[-1][2]
        raise self._error(f"unknown pointer #{node.value}", node)

    def _list(self, node: Node) -> tuple[str, _Code]:
        codes = [code for _, code in self._operands(node)]

        def call(run: _Run) -> Value:
            made = [code(run) for code in codes]
            _spend_on(run, made)
            return made

        return "array", call

    def _map(self, node: Node) -> tuple[str, _Code]:
        codes = [code for _, code in self._operands(node)]
        pairs = list(zip(codes[::2], codes[1::2], strict=True))

        def call(run: _Run) -> Value:
            made = {}
            for key, value in pairs:
                name = key(run)
                if not isinstance(name, str):
                    raise ExpressionError(f"a key must be text, found {type_of(name)}")
                made[name] = value(run)
            _spend_on(run, made)
            return made

        return "map", call

    def _let(self, node: Node) -> tuple[str, _Code]:
        value, body = node.parts
        assert value is not None
        assert body is not None
        name = str(node.value)
        if name in self._variables or name in self._functions or name in BUILTINS or name in PREDICATES:
            raise self._error(f"cannot redeclare {name}", node)
        kind, given = self.compile(value)
        self._lets.append((name, kind))
        index = len(self._lets) - 1
        result, code = self.compile(body)
        self._lets.pop()

        def call(run: _Run) -> Value:
            del run.lets[index:]
            run.lets.append(given(run))
            try:
                return code(run)
            finally:
                del run.lets[index:]

        return result, call

    # Operators

    def _unary(self, node: Node) -> tuple[str, _Code]:
        ((kind, code),) = self._operands(node)
        if node.value == "not":
            if kind not in ("bool", "any"):
                raise self._error(f"invalid operation: {node.value} (mismatched type {kind})", node)
            return "bool", lambda run: not _bool(code(run))
        if kind not in (*_NUMBERS, "any"):
            raise self._error(f"invalid operation: {node.value} (mismatched type {kind})", node)
        if node.value == "-":
            return kind, lambda run: _fitted(-_number(code(run)))
        return kind, lambda run: _number(code(run))

    def _binary(self, node: Node) -> tuple[str, _Code]:
        operator = str(node.value)
        (left, first), (right, second) = self._operands(node)
        if operator == "??":
            return (left if left == right else "any"), lambda run: _or_else(first, second, run)
        result = _result(operator, left, right)
        if result is None:
            raise self._error(f"invalid operation: {operator} (mismatched types {left} and {right})", node)
        if operator == "and":
            return "bool", lambda run: _bool(first(run)) and _bool(second(run))
        if operator == "or":
            return "bool", lambda run: _bool(first(run)) or _bool(second(run))
        pattern = node.parts[1]
        if operator == "matches" and pattern is not None and pattern.kind == "literal":
            try:
                regexp = Regexp(str(pattern.value))
            except BadRegexp as error:
                raise self._error(str(error), node) from None
            return "bool", lambda run: _found_by(run, regexp, first(run))
        if operator == "matches":
            return "bool", lambda run: _matches(run, first(run), second(run))
        compute = _OPERATORS[operator]

        def call(run: _Run) -> Value:
            one, two = first(run), second(run)
            _spend_on(run, one)
            _spend_on(run, two)
            value = compute(one, two)
            _spend_on(run, value)
            return value

        return result, call

    def _conditional(self, node: Node) -> tuple[str, _Code]:
        (kind, condition), (left, first), (right, second) = self._operands(node)
        if kind not in ("bool", "any") and node.parts[0] is not node.parts[1]:
            raise self._error(f"non-bool expression (type {kind}) used as condition", node)
        return (left if left == right else "any"), lambda run: first(run) if _bool(condition(run)) else second(run)

    # Parts of values

    def _member(self, node: Node) -> tuple[str, _Code]:
        ((kind, code),) = self._operands(node)
        if kind not in ("map", "any", "nil"):
            raise self._error(f"type {kind} has no field {node.value}", node)
        return "any", lambda run: _element(code(run), node.value, node.optional)

    def _index(self, node: Node) -> tuple[str, _Code]:
        (kind, code), (key_kind, key) = self._operands(node)
        wanted = {"array": "int", "map": "string", "any": "any"}.get(kind)
        if wanted is None or (key_kind not in (wanted, "any") and wanted != "any"):
            raise self._error(f"cannot use {key_kind} to get an element from {kind}", node)
        return "any", lambda run: _element(code(run), key(run), node.optional)

    def _slice(self, node: Node) -> tuple[str, _Code]:
        value, start, end = node.parts
        assert value is not None
        kind, code = self.compile(value)
        if kind not in ("array", "string", "any"):
            raise self._error(f"cannot slice {kind}", node)
        bounds: list[_Code | None] = []
        for part in (start, end):
            if part is None:
                bounds.append(None)
                continue
            part_kind, bound = self.compile(part)
            if part_kind not in ("int", "any"):
                raise self._error(f"non-integer slice index {part_kind}", part)
            bounds.append(bound)
        low, high = bounds

        def call(run: _Run) -> Value:
            sliced = code(run)
            if not isinstance(sliced, (str, list)):
                raise ExpressionError(f"cannot slice {type_of(sliced)}")
            first, last = (None if bound is None else bound(run) for bound in (low, high))
            _spend_on(run, sliced)
            return sliced[first:last]

        return kind, call

    # Calls

    def _call(self, node: Node) -> tuple[str, _Code]:
        name = str(node.value)
        if name in self._functions:
            return self._environment_call(node, self._functions[name])
        if name in PREDICATES:
            return self._predicate_call(node)
        builtin = BUILTINS.get(name)
        if builtin is None:
            raise self._error(f"unknown name {name}", node)
        operands = self._operands(node)
        self._check_count(node, len(operands), builtin.least, 1000 if builtin.many else len(builtin.parameters))
        for number, (kind, _) in enumerate(operands):
            wanted = builtin.parameters[min(number, len(builtin.parameters) - 1)]
            if not _fits(kind, wanted):
                raise self._error(f"invalid argument for {name} (type {kind})", node)
        codes = [code for _, code in operands]
        compute = builtin.call

        def call(run: _Run) -> Value:
            args = [code(run) for code in codes]
            for arg in args:
                _spend_on(run, arg)
            value = compute(*args)
            _spend_on(run, value)
            return value

        return builtin.result, call

    def _check_count(self, node: Node, count: int, least: int, most: int) -> None:
        if count < least:
            raise self._error(f"not enough arguments to call {node.value}", node)
        if count > most:
            raise self._error(f"too many arguments to call {node.value}", node)

    def _environment_call(self, node: Node, function: EnvironmentFunction) -> tuple[str, _Code]:
        operands = self._operands(node)
        self._check_count(node, len(operands), len(function.parameters), len(function.parameters))
        for (kind, _), wanted, part in zip(operands, function.parameters, node.parts, strict=True):
            if not _fits(kind, wanted):
                assert part is not None
                raise self._error(f"cannot use {kind} as argument (type {wanted}) to call {node.value}", part)
        codes = [code for _, code in operands]
        compute = function.call
        return function.result, lambda run: compute(run.subject, *(code(run) for code in codes))

    def _predicate_call(self, node: Node) -> tuple[str, _Code]:
        name = str(node.value)
        most = 3 if name in ("reduce", "sortBy") else 2
        self._check_count(node, len(node.parts), 2 if PREDICATES[name] else 1, most)
        first = node.parts[0]
        assert first is not None
        kind, items = self.compile(first)
        if not _fits(kind, "array"):
            raise self._error(f"builtin {name} takes only array (got {kind})", node)
        test: _Code | None = None
        if len(node.parts) > 1:
            predicate = node.parts[1]
            assert predicate is not None
            if predicate.kind == "predicate":
                predicate = predicate.parts[0]
            assert predicate is not None
            self._predicates += 1
            test_kind, test = self.compile(predicate)
            self._predicates -= 1
            if name in _TESTS and test_kind not in ("bool", "any"):
                raise self._error(f"predicate should return boolean (got {test_kind})", node)
        extra = self.compile(node.parts[2])[1] if len(node.parts) > 2 and node.parts[2] is not None else None
        compute = _PREDICATE_CALLS[name]

        def call(run: _Run) -> Value:
            elements = items(run)
            if not isinstance(elements, list):
                raise ExpressionError(f"builtin {name} takes only array (got {type_of(elements)})")

            def applied(element: Value, index: int, accumulated: Value = None) -> Value:
                if test is None:
                    return element
                run.elements.append((element, index, accumulated))
                try:
                    return test(run)
                finally:
                    run.elements.pop()

            _spend_on(run, elements)
            value = compute(elements, applied, _ABSENT if extra is None else extra(run))
            _spend_on(run, value)
            return value

        return _PREDICATE_RESULTS.get(name, "any"), call


_Applied = Callable[..., Value]


def _truths(items: list[Value], applied: _Applied) -> list[bool]:
    return [_bool(applied(item, index)) for index, item in enumerate(items)]


def _found(items: list[Value], applied: _Applied, last: bool) -> int:
    order = range(len(items) - 1, -1, -1) if last else range(len(items))
    return next((index for index in order if _bool(applied(items[index], index))), -1)


def _find(last: bool) -> Callable[..., Value]:
    def call(items: list[Value], applied: _Applied, extra: Value) -> Value:
        index = _found(items, applied, last)
        return None if index < 0 else items[index]

    return call


def _reduce(items: list[Value], applied: _Applied, extra: Value) -> Value:
    start = 0
    if extra is _ABSENT:
        if not items:
            raise ExpressionError("reduce of empty array with no initial value")
        extra, start = items[0], 1
    for index in range(start, len(items)):
        extra = applied(items[index], index, extra)
    return extra


def _group(items: list[Value], applied: _Applied, extra: Value) -> dict[str, list[Value]]:
    groups: dict[str, list[Value]] = {}
    for index, item in enumerate(items):
        groups.setdefault(_text(applied(item, index)), []).append(item)
    return groups


def _sort_by(items: list[Value], applied: _Applied, extra: Value) -> list[Value]:
    keys = [applied(item, index) for index, item in enumerate(items)]
    order = sorted(range(len(items)), key=lambda index: keys[index], reverse=extra == "desc")
    return [items[index] for index in order]


_TESTS = frozenset({"all", "any", "none", "one", "filter", "count", "find", "findIndex", "findLast", "findLastIndex"})
_PREDICATE_RESULTS = {
    "all": "bool", "any": "bool", "none": "bool", "one": "bool", "filter": "array", "map": "array", "count": "int", "findIndex": "int",
    "findLastIndex": "int", "groupBy": "map", "countBy": "map", "sortBy": "array",
}  # fmt: skip
_PREDICATE_CALLS: dict[str, Callable[[list[Value], _Applied, Value], Value]] = {
    "all": lambda items, applied, extra: all(_bool(applied(item, index)) for index, item in enumerate(items)),
    "any": lambda items, applied, extra: _found(items, applied, False) >= 0,
    "none": lambda items, applied, extra: _found(items, applied, False) < 0,
    "one": lambda items, applied, extra: sum(_truths(items, applied)) == 1,
    "filter": lambda items, applied, extra: [
        item for item, kept in zip(items, _truths(items, applied), strict=True) if kept
    ],
    "map": lambda items, applied, extra: [applied(item, index) for index, item in enumerate(items)],
    "count": lambda items, applied, extra: sum(_truths(items, applied)),
    "find": _find(False),
    "findIndex": lambda items, applied, extra: _found(items, applied, False),
    "findLast": _find(True),
    "findLastIndex": lambda items, applied, extra: _found(items, applied, True),
    "sum": lambda items, applied, extra: total([applied(item, index) for index, item in enumerate(items)]),
    "reduce": _reduce,
    "groupBy": _group,
    "countBy": lambda items, applied, extra: {key: len(group) for key, group in _group(items, applied, extra).items()},
    "sortBy": _sort_by,
}


def _fits(kind: str, wanted: str) -> bool:
    """Whether a value of a type may stand where another is wanted."""
    if "any" in (kind, wanted) or kind == wanted:
        return True
    if wanted == "number":
        return kind in _NUMBERS
    if wanted == "float64":
        return kind == "int"
    return wanted == "sized" and kind in ("string", "array", "map")


def _result(operator: str, left: str, right: str) -> str | None:
    """The type of an operator's result; None when it does not take such operands."""
    either = "any" in (left, right)

    def both(*kinds: str) -> bool:
        return all(kind in (*kinds, "any") for kind in (left, right))

    match operator:
        case "and" | "or":
            return "bool" if both("bool") else None
        case "==" | "!=":
            return "bool" if either or left == right or "nil" in (left, right) or both(*_NUMBERS) else None
        case "<" | ">" | "<=" | ">=":
            return "bool" if both(*_NUMBERS) or both("string") else None
        case "+":
            if both("string"):
                return "any" if either and left == right else "string"
            return _numeric(left, right) if both(*_NUMBERS) else None
        case "-" | "*":
            return _numeric(left, right) if both(*_NUMBERS) else None
        case "/" | "**":
            return "float64" if both(*_NUMBERS) else None
        case "%":
            return "int" if both("int") else None
        case "..":
            return "array" if both("int") else None
        case "in":
            return "bool" if right in ("array", "map", "any") else None
        case _:
            return "bool" if both("string") else None


def _numeric(left: str, right: str) -> str:
    if "any" in (left, right):
        return "any"
    return "float64" if "float64" in (left, right) else "int"


# What operators compute


def _bool(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    raise ExpressionError(f"a truth value is wanted, found {type_of(value)}")


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    raise ExpressionError(f"text is wanted, found {type_of(value)}")


def _number(value: Value) -> int | float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise ExpressionError(f"a number is wanted, found {type_of(value)}")


def _whole(value: Value) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ExpressionError(f"an integer is wanted, found {type_of(value)}")


def _fitted(value: int | float) -> int | float:
    return wrapped(value) if isinstance(value, int) else value


def _spend_on(run: _Run, value: Value) -> None:
    """
    Pay for a text or a list by its size.

    :raises ExpressionError: it is too large, or nothing is left to pay with.
    """
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise ExpressionError(f"text of more than {MAX_TEXT} characters")
        run.spend(len(value) // 32)
    elif isinstance(value, (list, dict)):
        run.spend(_size(value) // 8)


def _size(value: Value) -> int:
    """The number of elements of a list or map, and of those inside it: one that is in it twice counts twice."""
    size = 0
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        size += len(inner)
        if size > MAX_ITEMS:
            raise ExpressionError(f"list of more than {MAX_ITEMS} elements")
        waiting += [
            each for each in (inner.values() if isinstance(inner, dict) else inner) if isinstance(each, (list, dict))
        ]
    return size


def _matches(run: _Run, text: Value, pattern: Value) -> bool:
    """Match with a pattern that is made while the expression is carried out, maybe of what a client sent."""
    source = _text(pattern)
    if len(source) > MAX_MADE_PATTERN:
        raise ExpressionError(f"a computed pattern has at most {MAX_MADE_PATTERN} characters")
    run.spend(MADE_PATTERN_WORK)
    return _found_by(run, Regexp(source), text)


def _found_by(run: _Run, regexp: Regexp, text: Value) -> bool:
    _spend_on(run, text)
    return regexp.found_in(_text(text))


def _or_else(first: _Code, second: _Code, run: _Run) -> Value:
    try:
        value = first(run)
    except (IndexError, KeyError, TypeError):
        value = None
    return second(run) if value is None else value


def _add(left: Value, right: Value) -> Value:
    if isinstance(left, str) or isinstance(right, str):
        return _text(left) + _text(right)
    return _fitted(_number(left) + _number(right))


def _divide(left: Value, right: Value) -> float:
    numerator, denominator = float(_number(left)), float(_number(right))
    if denominator:
        return numerator / denominator
    return math.nan if not numerator or numerator != numerator else math.copysign(math.inf, numerator)


def _modulo(left: Value, right: Value) -> int:
    first, second = _whole(left), _whole(right)
    if not second:
        raise ExpressionError("integer divide by zero")
    rest = abs(first) % abs(second)  # the sign is that of the dividend
    return -rest if first < 0 else rest


def _power(left: Value, right: Value) -> float:
    try:
        value = float(_number(left)) ** float(_number(right))
    except (OverflowError, ZeroDivisionError):
        return math.inf
    return value if isinstance(value, float) else math.nan


def _equal(left: Value, right: Value) -> bool:
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    return bool(left == right)


def _compared(test: Callable[[Value, Value], bool]) -> Callable[[Value, Value], bool]:
    def call(left: Value, right: Value) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return test(left, right)
        return test(_number(left), _number(right))

    return call


def _range(left: Value, right: Value) -> list[int]:
    first, last = _whole(left), _whole(right)
    if last - first >= MAX_ITEMS:
        raise ExpressionError(f"list of more than {MAX_ITEMS} elements")
    return list(range(first, last + 1))


def _contained(left: Value, right: Value) -> bool:
    if isinstance(right, list):
        return any(_equal(left, each) for each in right)
    if isinstance(right, dict):
        return isinstance(left, str) and left in right
    if right is None:
        return False
    raise ExpressionError(f"operator in takes a list or a map, found {type_of(right)}")


def _element(value: Value, key: Value, optional: bool) -> Value:
    if value is None and optional:
        return None
    if isinstance(value, dict):
        return value.get(_text(key))
    if isinstance(value, list):
        index = _whole(key)
        if not -len(value) <= index < len(value):
            raise IndexError(f"index out of range: {index} (array length is {len(value)})")
        return value[index]
    raise TypeError(f"cannot fetch {key} from {type_of(value)}")


_OPERATORS: dict[str, Callable[[Value, Value], Value]] = {
    "+": _add,
    "-": lambda left, right: _fitted(_number(left) - _number(right)),
    "*": lambda left, right: _fitted(_number(left) * _number(right)),
    "/": _divide,
    "%": _modulo,
    "**": _power,
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _compared(lambda left, right: left < right),
    ">": _compared(lambda left, right: left > right),
    "<=": _compared(lambda left, right: left <= right),
    ">=": _compared(lambda left, right: left >= right),
    "in": _contained,
    "contains": lambda left, right: _text(right) in _text(left),
    "startsWith": lambda left, right: _text(left).startswith(_text(right)),
    "endsWith": lambda left, right: _text(left).endswith(_text(right)),
    "..": _range,
}
