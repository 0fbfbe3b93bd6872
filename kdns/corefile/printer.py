# -*- test-case-name: tests.corefile.test_printer -*-
"""
Writing server blocks down as text that parses to the same blocks: imports resolved, references replaced, comments gone.

Decides where a word needs quotes. A few words have no spelling, because environment values may hold what no Corefile can: those are
refused rather than changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kdns.corefile.environment import has_reference
from kdns.corefile.lexer import BLANKS, BYTE_ORDER_MARK
from kdns.corefile.tree import Directive, ServerBlock

_NEEDS_QUOTES = re.compile(rf'\A\Z|\A"|[{BLANKS}\r#]')
_UNQUOTABLE = re.compile(r'(?<!\\)(?:\\\\)*\\(?:"|\Z)')
_INDENT = "    "


def format_blocks(blocks: Iterable[ServerBlock]) -> str:
    """
    The text of *blocks*, keys separated by commas, a directive or option on each line.

    :raises ValueError: a word cannot be written.
    """
    text = "\n".join(_block(block) for block in blocks)
    return BYTE_ORDER_MARK + text if text.startswith(BYTE_ORDER_MARK) else text  # the first one would be dropped


def _block(block: ServerBlock) -> str:
    if block.key_texts == ("import",):
        raise ValueError("a key alone that reads 'import' would be read as an import")
    keys = [*(format_word(key.text + ",") for key in block.keys[:-1]), format_word(block.keys[-1].text)]
    body = "".join(_directive(directive) for directive in block.directives.values())
    return f"{' '.join(keys)} {{\n{body}}}\n"


def _directive(directive: Directive) -> str:
    out: list[str] = []
    depth = 1
    for token in directive.tokens:
        if token.text == "import" and token.starts_line:
            raise ValueError("an option that reads 'import' would be read as an import")
        if token.text == "}":
            depth -= 1
        out.append("\n" + _INDENT * depth if token.starts_line else " ")
        out.append(format_word(token.text))
        if token.text == "{":
            depth += 1
    return "".join(out).lstrip("\n") + "\n"


def format_word(text: str) -> str:
    """
    A word as a Corefile spells it, in quotes where it needs them.

    :raises ValueError: it has no spelling.
    """
    if has_reference(text):
        raise ValueError(f"{text!r} would be read as a reference to the environment")
    if not _NEEDS_QUOTES.search(text):
        return text
    if _UNQUOTABLE.search(text):
        raise ValueError(f"no way to write {text!r} in a Corefile")
    return '"' + text.replace('"', '\\"') + '"'
