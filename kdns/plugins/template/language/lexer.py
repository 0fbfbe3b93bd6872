# -*- test-case-name: tests.plugins.template.language.test_parser -*-
"""The text of a template -> tokens: text between actions, and the words inside ``{{ }}``."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from enum import Enum, auto
from typing import NamedTuple

from kdns.plugins.template.language.errors import TemplateSyntaxError


class TokenKind(Enum):
    """What a token is."""

    TEXT = auto()
    OPEN = auto()
    CLOSE = auto()
    SPACE = auto()
    PIPE = auto()
    COMMA = auto()
    DECLARE = auto()
    ASSIGN = auto()
    LEFT_PAREN = auto()
    RIGHT_PAREN = auto()
    DOT = auto()
    FIELD = auto()
    VARIABLE = auto()
    IDENTIFIER = auto()
    KEYWORD = auto()
    BOOL = auto()
    NIL = auto()
    STRING = auto()
    CHAR = auto()
    NUMBER = auto()
    END = auto()


class Token(NamedTuple):
    """
    A token and where it begins.

    :ivar text: as written.
    :ivar offset: characters from the beginning of the template.
    """

    kind: TokenKind
    text: str
    offset: int


KEYWORDS = frozenset({"block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"})

_SPACES = " \t\r\n"
_TRIM_LEFT = re.compile(r"\{\{-[ \t\r\n]")
_TRIM_RIGHT = re.compile(r"[ \t\r\n]-\}\}")
_COMMENT = re.compile(r"\{\{(?:-[ \t\r\n]+)?/\*")
_WORDS = (
    (TokenKind.SPACE, re.compile(r"[ \t\r\n]+")),
    (TokenKind.STRING, re.compile(r'"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`')),
    (TokenKind.CHAR, re.compile(r"'(?:[^'\\\n]|\\[^\n])*'")),
    (TokenKind.VARIABLE, re.compile(r"\$\w*")),
    (TokenKind.NUMBER, re.compile(r"[+-]?(?:\d|\.\d)(?:[eEpP][+-]|[\w.])*")),
    (TokenKind.FIELD, re.compile(r"\.\w+")),
    (TokenKind.DOT, re.compile(r"\.")),
    (TokenKind.IDENTIFIER, re.compile(r"\w+")),
    (TokenKind.DECLARE, re.compile(r":=")),
    (TokenKind.ASSIGN, re.compile(r"=")),
    (TokenKind.PIPE, re.compile(r"\|")),
    (TokenKind.COMMA, re.compile(r",")),
    (TokenKind.LEFT_PAREN, re.compile(r"\(")),
    (TokenKind.RIGHT_PAREN, re.compile(r"\)")),
)
_ENDED = (TokenKind.VARIABLE, TokenKind.FIELD, TokenKind.DOT, TokenKind.IDENTIFIER)
"""Tokens that a space, a sign or the end of the action must follow."""


def tokens(name: str, text: str) -> Iterator[Token]:
    """
    The tokens of a template, then one END.

    :raises TemplateSyntaxError: at what is no token.
    """
    return _Lexer(name, text).tokens()


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, each from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


class _Lexer:
    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._at = 0

    def tokens(self) -> Iterator[Token]:
        text = self._text
        trimmed = False  # the action before ended in -}}
        while True:
            start = self._at
            opening = text.find("{{", start)
            end = len(text) if opening < 0 else opening
            piece = text[start:end]
            if trimmed:
                piece = piece.lstrip(_SPACES)
            trims_left = opening >= 0 and _TRIM_LEFT.match(text, opening) is not None
            if trims_left:
                piece = piece.rstrip(_SPACES)
            if piece:
                yield Token(TokenKind.TEXT, piece, start)
            if opening < 0:
                yield Token(TokenKind.END, "", len(text))
                return
            self._at = opening
            if comment := _COMMENT.match(text, opening):
                trimmed = self._comment(comment.end())
                continue
            yield Token(TokenKind.OPEN, "{{", opening)
            self._at = opening + (3 if trims_left else 2)
            closed = yield from self._action(opening)
            trimmed = closed.startswith("-")

    def _comment(self, start: int) -> bool:
        """Skip a comment; returns whether it trims what follows."""
        end = self._text.find("*/", start)
        if end < 0:
            raise self._error("unclosed comment")
        trims = _TRIM_RIGHT.match(self._text, end + 2) is not None
        if not trims and not self._text.startswith("}}", end + 2):
            raise self._error("comment ends before closing delimiter")
        self._at = end + (6 if trims else 4)
        return trims

    def _action(self, opening: int) -> Generator[Token, None, str]:
        """The tokens of an action; returns its closing delimiter."""
        text = self._text
        depth = 0
        while True:
            at = self._at
            trims = _TRIM_RIGHT.match(text, at) is not None
            if trims or text.startswith("}}", at):
                if depth:
                    raise self._error("unclosed left paren")
                self._at = at + (4 if trims else 2)
                yield Token(TokenKind.CLOSE, "}}", at)
                return "-}}" if trims else "}}"
            if at >= len(text):
                self._at = opening
                raise self._error("unclosed action")
            token = self._word()
            if token.kind is TokenKind.SPACE:
                # A space in front of -}} belongs to the delimiter.
                end = at + len(token.text)
                if _TRIM_RIGHT.match(text, end - 1):
                    end -= 1
                    token = token._replace(text=text[at:end])
                self._at = end
                yield token
                continue
            self._at = at + len(token.text)
            depth += (token.kind is TokenKind.LEFT_PAREN) - (token.kind is TokenKind.RIGHT_PAREN)
            if depth < 0:
                self._at = at
                raise self._error("unexpected right paren")
            yield token

    def _word(self) -> Token:
        at = self._at
        for kind, pattern in _WORDS:
            if match := pattern.match(self._text, at):
                return self._checked(kind, match[0])
        character = self._text[at]
        if character == '"':
            raise self._error("unterminated quoted string")
        if character == "`":
            raise self._error("unterminated raw quoted string")
        if character == "'":
            raise self._error("unterminated character constant")
        if character == ":":
            raise self._error("expected :=")
        if character in "+-":
            raise self._error(f'bad number syntax: "{character}"')
        raise self._error(
            f"unexpected {_named(character)} in command"
            if character.isascii()
            else f"bad character {_named(character)}"
        )

    def _checked(self, kind: TokenKind, word: str) -> Token:
        at = self._at
        if kind is TokenKind.IDENTIFIER:
            if word in KEYWORDS:
                kind = TokenKind.KEYWORD
            elif word in ("true", "false"):
                kind = TokenKind.BOOL
            elif word == "nil":
                kind = TokenKind.NIL
        elif kind is TokenKind.SPACE:
            return Token(kind, word, at)
        if kind in _ENDED:
            after = self._text[at + len(word) : at + len(word) + 1]
            if after and after not in " \t\r\n.,|:=()" and not self._text.startswith("}}", at + len(word)):
                raise self._error(f"bad character {_named(after)}")
        return Token(kind, word, at)

    def _error(self, reason: str) -> TemplateSyntaxError:
        line, column = position(self._text, self._at)
        return TemplateSyntaxError(self._name, line, column, reason)


def _named(character: str) -> str:
    """A character as Go's ``%#U`` prints it."""
    code = f"U+{ord(character):04X}"
    return f"{code} '{character}'" if character.isprintable() else code
