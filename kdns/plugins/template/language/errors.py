"""What can be wrong with a template; the texts are those of Go's text/template."""

from __future__ import annotations


class TemplateSyntaxError(ValueError):
    """
    A text is no template.

    :ivar line: from 1.
    :ivar column: from 1, in characters.
    """

    def __init__(self, name: str, line: int, column: int, reason: str) -> None:
        super().__init__(f"template: {name}:{line}: {reason}")
        self.line = line
        self.column = column
        self.reason = reason


class TemplateError(Exception):
    """A template could not be carried out with its data, or would have used too many steps or made too much text."""


class CallFailed(Exception):
    """A function was called with what it does not take; the evaluator says where."""
