# -*- test-case-name: tests.corefile.test_lexer -*-
"""
Text to tokens: where the words of a Corefile begin and end, and on which line.

Braces, ``import`` and environment references mean nothing here; they are text for the parser to judge. There is no text that this
module refuses: a quote that is never closed ends with the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kdns.corefile.errors import Place

BYTE_ORDER_MARK = "\ufeff"

BLANKS = r"\t\n\v\f\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Unicode's White_Space without CR, for a character class; Python's ``\\s`` would add the controls 1C to 1F."""

_PIECE = re.compile(
    rf"""
      (?P<nothing> [{BLANKS}\r]+ | \#[^\n]* )
    | " (?P<quoted> [^"\\]* (?: \\. [^"\\]* )* ) (?: (?P<closed>") | \\?\Z )
    | (?P<bare> [^{BLANKS}\r\#"] [^{BLANKS}\#]* )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """
    One word of a Corefile.

    :ivar text: the word without its quotes; after parsing, with environment references replaced.
    :ivar file: the file it stands in, as that file was named.
    :ivar line: the line where it begins, from 1.
    :ivar starts_line: no earlier token ends on its line. What an ``import`` brings in always starts a line.
    """

    text: str
    file: str
    line: int
    starts_line: bool = False

    @property
    def place(self) -> Place:
        """Where the word begins."""
        return Place(self.file, self.line)


def tokens_of(text: str, file: str) -> Iterator[Token]:
    """The tokens of *text* in order; *file* is the name that errors will show."""
    line = 1
    last_line = 0  # where the token before this one ended
    for piece in _PIECE.finditer(text.removeprefix(BYTE_ORDER_MARK)):
        whole = piece[0]
        if piece["nothing"] is None:
            word = _word(piece)
            if word is not None:
                yield Token(word, file, line, line != last_line)
                last_line = line + whole.count("\n")
        line += whole.count("\n")


def _word(piece: re.Match[str]) -> str | None:
    """The text of a token, or ``None`` for a quote opened by the very last character, which CoreDNS overlooks."""
    bare: str | None = piece["bare"]
    if bare is not None:
        return bare.replace("\r", "")
    quoted: str = piece["quoted"]
    if not quoted and piece["closed"] is None:
        return None
    return _ESCAPE.sub(lambda escape: '"' if escape[1] == '"' else escape[0], quoted)
