# -*- test-case-name: tests.core.expression.test_compiler -*-
"""Tokens -> a tree: operators by their precedence, as expr-lang has them."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.core.expression.builtins import PREDICATES
from kdns.core.expression.errors import ExpressionSyntaxError
from kdns.core.expression.lexer import Token, tokens

MAX_DEPTH = 50
"""Parts inside each other; each costs stack here and when it is carried out."""

MAX_NODES = 1000

BINARY = {
    "|": 0, "or": 10, "||": 10, "and": 15, "&&": 15, "==": 20, "!=": 20, "<": 20, ">": 20, "<=": 20, ">=": 20, "in": 20,
    "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20, "..": 25, "+": 30, "-": 30, "*": 60, "/": 60, "%": 60,
    "**": 100, "^": 100, "??": 500,
}  # fmt: skip
UNARY = {"not": 50, "!": 1000, "-": 90, "+": 90}
_RIGHT = frozenset({"**", "^"})
_NEGATED = frozenset({"in", "matches", "contains", "startsWith", "endsWith"})
_SAME = {"||": "or", "&&": "and", "!": "not", "^": "**"}


@dataclass(frozen=True, slots=True)
class Node:
    """
    A part of an expression.

    :ivar kind: ``literal``, ``name``, ``pointer``, ``list``, ``map``, ``unary``, ``binary``, ``conditional``, ``member``, ``index``,
        ``slice``, ``call``, ``predicate`` or ``let``.
    :ivar value: a literal's value; else a name or an operator.
    :ivar parts: the operands; None for a bound that a slice does not have.
    :ivar offset: where errors point to.
    """

    kind: str
    offset: int
    value: object = None
    parts: tuple[Node | None, ...] = ()
    optional: bool = False
    """``?.``: nil has every member, and it is nil."""


def parse(text: str) -> Node:
    """
    The tree of an expression.

    :raises ExpressionSyntaxError: the text is none.
    """
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._at = 0
        self._depth = 0
        self._nodes = 0

    def whole(self) -> Node:
        node = self._sequence()
        if self._token.kind != "end":
            raise self._unexpected()
        return node

    # Tokens

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _is(self, *operators: str) -> bool:
        return self._token.kind == "operator" and self._token.text in operators

    def _take(self) -> Token:
        token = self._token
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _expect(self, operator: str) -> Token:
        if not self._is(operator):
            raise self._unexpected()
        return self._take()

    def _unexpected(self) -> ExpressionSyntaxError:
        kinds = {"number": "Number", "string": "String", "name": "Identifier", "operator": "Operator"}
        token = self._token
        shown = "EOF" if token.kind == "end" else f'{kinds[token.kind]}("{token.text}")'
        return self._error(f"unexpected token {shown}", token.offset)

    def _error(self, reason: str, offset: int) -> ExpressionSyntaxError:
        return ExpressionSyntaxError(reason, self._text, offset)

    def _node(self, kind: str, offset: int, value: object = None, *parts: Node | None, optional: bool = False) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._error(f"expression has more than {MAX_NODES} parts", offset)
        return Node(kind, offset, value, parts, optional)

    # Grammar

    def _sequence(self) -> Node:
        if self._is("let"):
            offset = self._take().offset
            name = self._name()
            self._expect("=")
            value = self._expression(0)
            self._expect(";")
            self._deeper()
            body = self._sequence()
            self._depth -= 1
            return self._node("let", offset, name, value, body)
        return self._expression(0)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"expression nests deeper than {MAX_DEPTH} levels", self._token.offset)

    def _name(self) -> str:
        if self._token.kind != "name":
            raise self._unexpected()
        return self._take().text

    def _expression(self, least: int) -> Node:
        """Operators of at least this precedence."""
        self._deeper()
        left = self._unary()
        while self._token.kind == "operator":
            operator = self._token
            negated = operator.text == "not"
            word = self._tokens[min(self._at + 1, len(self._tokens) - 1)].text if negated else operator.text
            precedence = BINARY.get(word)
            if precedence is None or precedence < least or (negated and word not in _NEGATED):
                break
            self._take()
            if negated:
                self._take()
            if word == "|":
                left = self._piped(left)
                continue
            right = self._expression(precedence if word in _RIGHT else precedence + 1)
            left = self._node("binary", operator.offset, _SAME.get(word, word), left, right)
            if negated:
                left = self._node("unary", operator.offset, "not", left)
        if least == 0:
            left = self._conditional(left)
        self._depth -= 1
        return left

    def _conditional(self, condition: Node) -> Node:
        while self._is("?", "?:"):
            mark = self._take()
            if mark.text == "?:":
                condition = self._node("conditional", mark.offset, None, condition, condition, self._expression(0))
                continue
            first = self._expression(0)
            self._expect(":")
            condition = self._node("conditional", mark.offset, None, condition, first, self._expression(0))
        return condition

    def _unary(self) -> Node:
        if self._token.kind == "operator" and self._token.text in UNARY:
            operator = self._take()
            self._deeper()
            operand = self._expression(UNARY[operator.text])
            self._depth -= 1
            return self._postfix(self._node("unary", operator.offset, _SAME.get(operator.text, operator.text), operand))
        return self._postfix(self._primary())

    def _primary(self) -> Node:
        token = self._take()
        match token.kind:
            case "number":
                return self._node("literal", token.offset, self._number(token))
            case "string":
                return self._node("literal", token.offset, token.text)
            case "name":
                if token.text in ("true", "false", "nil"):
                    return self._node("literal", token.offset, {"true": True, "false": False}.get(token.text))
                if self._is("("):
                    return self._call(token, ())
                return self._node("name", token.offset, token.text)
        if token.kind == "operator":
            match token.text:
                case "(":
                    inner = self._sequence()
                    self._expect(")")
                    return inner
                case "[":
                    return self._node("list", token.offset, None, *self._items("]"))
                case "{":
                    return self._map(token)
                case "#":
                    name = self._take().text if self._token.kind == "name" else ""
                    return self._node("pointer", token.offset, name)
                case ".":
                    # In a predicate .name is #.name.
                    return self._node("member", token.offset, self._name(), self._node("pointer", token.offset, ""))
        self._at -= token.kind != "end"
        raise self._unexpected()

    def _number(self, token: Token) -> int | float:
        digits = token.text.replace("_", "").lower()
        try:
            if len(digits) > 100:
                raise ValueError
            if digits[:2] in ("0x", "0b", "0o"):
                value = int(digits, 0)
            elif any(mark in digits for mark in ".e"):
                return float(digits)
            else:
                value = int(digits)
        except ValueError:
            raise self._error(f"invalid number literal: {token.text}", token.offset) from None
        if value >= 1 << 63:
            raise self._error("integer literal is too large", token.offset)
        return value

    def _items(self, end: str) -> list[Node]:
        items: list[Node] = []
        while not self._is(end):
            if items:
                self._expect(",")
                if self._is(end):
                    break
            items.append(self._expression(0))
        self._take()
        return items

    def _map(self, brace: Token) -> Node:
        parts: list[Node] = []
        while not self._is("}"):
            if parts:
                self._expect(",")
                if self._is("}"):
                    break
            key = self._token
            if key.kind in ("name", "string", "number"):
                self._take()
                parts.append(self._node("literal", key.offset, key.text))
            elif self._is("("):
                self._take()
                parts.append(self._expression(0))
                self._expect(")")
            else:
                raise self._unexpected()
            self._expect(":")
            parts.append(self._expression(0))
        self._take()
        return self._node("map", brace.offset, None, *parts)

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._is(".", "?."):
                mark = self._take()
                optional = mark.text == "?."
                if optional and self._is("["):
                    node = self._bracket(node, True)
                    continue
                if self._token.kind != "name" and not (self._token.kind == "operator" and self._token.text.isalpha()):
                    raise self._unexpected()
                node = self._node("member", self._token.offset, self._take().text, node, optional=optional)
            elif self._is("["):
                node = self._bracket(node, False)
            else:
                return node

    def _bracket(self, node: Node, optional: bool) -> Node:
        offset = self._take().offset
        start: Node | None = None
        if not self._is(":"):
            start = self._expression(0)
            if self._is("]"):
                self._take()
                return self._node("index", offset, None, node, start, optional=optional)
        self._expect(":")
        end = None if self._is("]") else self._expression(0)
        self._expect("]")
        return self._node("slice", offset, None, node, start, end)

    def _piped(self, value: Node) -> Node:
        name = self._token
        self._name()
        if not self._is("("):
            raise self._unexpected()
        return self._postfix(self._call(name, (value,)))

    def _call(self, name: Token, given: tuple[Node, ...]) -> Node:
        self._take()
        parts = list(given)
        predicates = PREDICATES.get(name.text)
        while not self._is(")"):
            if len(parts) > len(given):
                self._expect(",")
                if self._is(")"):
                    break
            if predicates is not None and len(parts) == 1:
                parts.append(self._predicate())
            else:
                parts.append(self._expression(0))
        self._take()
        return self._node("call", name.offset, name.text, *parts)

    def _predicate(self) -> Node:
        offset = self._token.offset
        if self._is("{"):
            self._take()
            body = self._sequence()
            self._expect("}")
        else:
            body = self._expression(0)
        return self._node("predicate", offset, None, body)
