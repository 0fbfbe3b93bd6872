# -*- test-case-name: tests.core.test_text -*-
"""Text for operators: why the system refused, addresses with ports, and words from elsewhere that a terminal must not obey."""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]
_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def printable(text: str) -> str:
    """*text* with an escape, as Go writes it, for each character that is not printed: controls, direction marks, lone surrogates."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    shown = f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _ESCAPES.get(char, shown)


def reason_of(error: OSError) -> str:
    """Why the system refused, in the lower case of the middle of a sentence: ``no such file or directory``."""
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]


def checkout_path(path: str) -> str:
    """A path of the documents or examples where they are at hand, as in a checkout; empty in an installation, where it leads nowhere."""
    return path if (_CHECKOUT / path).exists() else ""


def bracketed(host: str) -> str:
    """A host as it stands in front of ``:PORT``; an IPv6 address needs brackets there."""
    return f"[{host}]" if ":" in host else host


def names_of(text: str) -> tuple[str, ...]:
    """The names of a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
