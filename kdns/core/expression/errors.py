"""What can be wrong with an expression; the texts are those of expr-lang."""

from __future__ import annotations


class ExpressionSyntaxError(ValueError):
    """
    A text is no expression, or its types do not fit together.

    :ivar line: from 1.
    :ivar column: from 1, in characters.
    """

    def __init__(self, reason: str, text: str, offset: int) -> None:
        line_start = text.rfind("\n", 0, offset) + 1
        line_end = text.find("\n", offset)
        self.line = text.count("\n", 0, offset) + 1
        self.column = offset - line_start + 1
        self.reason = reason
        source = text[line_start : len(text) if line_end < 0 else line_end]
        where = f" ({self.line}:{self.column})\n | {source}\n | {'.' * (offset - line_start)}^"
        super().__init__(reason + where if text.strip() else reason)


class ExpressionError(Exception):
    """An expression could not be carried out, or would have taken too much work."""
