# -*- test-case-name: tests.core.expression.test_compiler -*-
"""The text of an expression -> tokens."""

from __future__ import annotations

import re
from typing import NamedTuple

from kdns.core.expression.errors import ExpressionSyntaxError


class Token(NamedTuple):
    """
    :ivar kind: ``number``, ``string``, ``name``, ``operator`` or ``end``.
    :ivar text: as written; of a string, what it stands for.
    :ivar offset: characters from the beginning.
    """

    kind: str
    text: str
    offset: int


WORD_OPERATORS = frozenset({"and", "contains", "endsWith", "in", "let", "matches", "not", "or", "startsWith"})

_SKIPPED = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_NUMBER = re.compile(
    r"0[xX][0-9A-Fa-f_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*(?:\.(?!\.)[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?"
)
_STRING = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_$][\w$]*")
_OPERATOR = re.compile(r"\*\*|\?\?|\?\.|\?:|&&|\|\||==|!=|<=|>=|\.\.|[-+*/%^<>!?:;,.|#()\[\]{}=]")
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"'`])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{3})|(.|$))", re.DOTALL
)
_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def tokens(text: str) -> list[Token]:
    """
    All tokens, then an ``end`` at the last character.

    :raises ExpressionSyntaxError: at what is no token.
    """
    found: list[Token] = []
    at = 0
    while True:
        if skipped := _SKIPPED.match(text, at):
            at = skipped.end()
        if at >= len(text):
            break
        for kind, pattern in (("number", _NUMBER), ("string", _STRING), ("name", _NAME), ("operator", _OPERATOR)):
            match = pattern.match(text, at)
            if match is not None:
                found.append(_token(kind, match[0], at, text))
                at = match.end()
                break
        else:
            reason = (
                "literal not terminated"
                if text[at] in "\"'`"
                else f"unrecognized character: U+{ord(text[at]):04X} '{text[at]}'"
            )
            raise ExpressionSyntaxError(reason, text, at)
    found.append(Token("end", "EOF", max(len(text.rstrip()) - 1, 0)))
    return found


def _token(kind: str, word: str, at: int, text: str) -> Token:
    if kind == "string":
        return Token(kind, word[1:-1] if word[0] == "`" else _unescaped(word[1:-1], text, at), at)
    if kind == "name" and word in WORD_OPERATORS:
        return Token("operator", word, at)
    return Token(kind, word, at)


def _unescaped(body: str, text: str, at: int) -> str:
    def replaced(match: re.Match[str]) -> str:
        letter, byte, short, long, octal, _ = match.groups()
        if letter is not None:
            return _CONTROLS.get(letter, letter)
        code = byte or short or long
        number = int(octal, 8) if octal else int(code, 16) if code else 0x110000
        if number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise ExpressionSyntaxError("unable to unescape string", text, at)
        return chr(number)

    return _ESCAPE.sub(replaced, body) if "\\" in body else body
