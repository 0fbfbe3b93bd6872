# -*- test-case-name: tests.core.test_regexp -*-
"""
Regular expressions in RE2 syntax, as Corefiles contain them, turned into Python's.

Decides what an expression means: the two languages share most of their syntax, but not flags in the middle, ``$``, ``\\z``, classes and
the rest. What RE2 does not have (back references, looking around) is refused, in Go's words. Matching is left to :mod:`re`, which may
backtrack where RE2 would not: match texts of bounded length only.

Unicode classes (``\\pL``) are refused too: what kdns matches are names and messages in ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_LENGTH = 10_000
"""Characters of an expression."""

MAX_REPEAT = 1000
"""The highest count in braces that RE2 takes."""

MAX_DEPTH = 100
"""Groups inside groups; each costs stack."""

_TOP = 0x10FFFF
_Ranges = list[tuple[int, int]]

_DIGIT: _Ranges = [(0x30, 0x39)]
_SPACE: _Ranges = [(0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)]
_WORD: _Ranges = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
_UPPER: _Ranges = [(0x41, 0x5A)]
_LOWER: _Ranges = [(0x61, 0x7A)]
_PERL = {"d": _DIGIT, "s": _SPACE, "w": _WORD}
_POSIX: dict[str, _Ranges] = {
    "alnum": _DIGIT + _UPPER + _LOWER,
    "alpha": _UPPER + _LOWER,
    "ascii": [(0, 0x7F)],
    "blank": [(0x09, 0x09), (0x20, 0x20)],
    "cntrl": [(0, 0x1F), (0x7F, 0x7F)],
    "digit": _DIGIT,
    "graph": [(0x21, 0x7E)],
    "lower": _LOWER,
    "print": [(0x20, 0x7E)],
    "punct": [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)],
    "space": [(0x09, 0x0D), (0x20, 0x20)],
    "upper": _UPPER,
    "word": _WORD,
    "xdigit": _DIGIT + [(0x41, 0x46), (0x61, 0x66)],
}
_CONTROLS = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_REPEAT = re.compile(r"\{([0-9]+)(,([0-9]*))?\}")
_FLAGS = re.compile(r"\(\?([imsU]*)(-([imsU]+))?([:)])")
_OCTAL = re.compile(r"0[0-7]{0,2}|[1-7][0-7]{1,2}")
_HEX = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})")
_POSIX_CLASS = re.compile(r"\[:(\^?)([A-Za-z]+):\]")


class BadRegexp(ValueError):
    """
    A text is no regular expression; the message is in Go's words.

    :ivar reason: what is wrong.
    :ivar part: the part of the expression that is.
    """

    def __init__(self, reason: str, part: str) -> None:
        super().__init__(f"error parsing regexp: {reason}: `{part}`")
        self.reason = reason
        self.part = part


def compile_regexp(text: str) -> re.Pattern[str]:
    """
    The Python pattern for an RE2 expression; match it with ``search``, as RE2's expressions are not anchored.

    :raises BadRegexp: *text* is not in RE2's syntax, or too long.
    """
    if len(text) > MAX_LENGTH:
        raise BadRegexp(f"expression too long, {len(text)} > {MAX_LENGTH} characters", text[:20] + "...")
    translated = _Translator(text).whole()
    try:
        return re.compile(translated)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadRegexp(str(error), text) from error


class _Translator:
    """One pass over an expression; flags live as long as the group they stand in."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._flags: frozenset[str] = frozenset()
        self._names: set[str] = set()
        self._depth = 0

    def whole(self) -> str:
        """The expression in Python's syntax."""
        translated = self._alternatives()
        if self._at < len(self._text):
            raise BadRegexp("unexpected )", self._text)
        return translated

    def _alternatives(self) -> str:
        """Branches up to a closing parenthesis, which is left to the caller, or to the end."""
        flags = self._flags
        out: list[str] = []
        before: str | None = None  # the repetition that stands directly before this place
        start = True  # nothing stands here that could be repeated
        while self._at < len(self._text) and self._text[self._at] != ")":
            char = self._text[self._at]
            if char == "|":
                self._at += 1
                out.append("|")
                before, start = None, True
                continue
            repeat = self._repeat_here()
            if repeat is not None:
                source, translated = repeat
                if start:
                    raise BadRegexp("missing argument to repetition operator", source)
                if before is not None:
                    raise BadRegexp("invalid nested repetition operator", before + source)
                out[-1] = f"(?:{out[-1]}){translated}"
                before = source
                continue
            atom = self._atom(char)
            before = None
            if atom is not None:
                out.append(atom)
                start = False
        self._flags = flags
        return "".join(out)

    def _repeat_here(self) -> tuple[str, str] | None:
        """A repetition as it is written and in Python's syntax; None when none stands here."""
        char = self._text[self._at]
        if char in "*+?":
            source = translated = char
        elif char == "{" and (match := _REPEAT.match(self._text, self._at)):
            source = translated = match[0]
            least, most = int(match[1]), int(match[3] or match[1])
            if max(least, most) > MAX_REPEAT or least > most:
                raise BadRegexp("invalid repeat count", source)
        else:
            return None
        self._at += len(source)
        lazy = self._text.startswith("?", self._at)
        if lazy:
            self._at += 1
        return source + ("?" if lazy else ""), translated + ("?" if lazy != ("U" in self._flags) else "")

    def _atom(self, char: str) -> str | None:
        """What one construct matches, in Python's syntax; None when it only sets flags."""
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        self._at += 1
        if char == ".":
            return r"[\s\S]" if "s" in self._flags else r"[^\n]"
        if char == "^":
            return "(?m:^)" if "m" in self._flags else r"\A"
        if char == "$":
            return "(?m:$)" if "m" in self._flags else r"\Z"
        return self._literal(ord(char))

    def _group(self) -> str | None:
        opening = self._text[self._at :]
        flags = self._flags
        if not opening.startswith("(?"):
            self._at += 1
            prefix = "("
        elif opening.startswith(("(?P<", "(?<")):
            prefix = self._named(opening)
        elif match := _FLAGS.match(self._text, self._at):
            self._at = match.end()
            self._flags = (flags | frozenset(match[1])) - frozenset(match[3] or "")
            if match[4] == ")":
                return None
            prefix = "(?:"
        else:
            known = re.match(r"\(\?[imsU-]*", opening)
            end = known.end() if known else 2
            if end >= len(opening):
                raise BadRegexp("missing closing )", self._text)
            raise BadRegexp("invalid or unsupported Perl syntax", opening[: end + 1])
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadRegexp("expression nests too deeply", self._text)
        inner = self._alternatives()
        self._depth -= 1
        if self._at >= len(self._text):
            raise BadRegexp("missing closing )", self._text)
        self._at += 1
        self._flags = flags
        return f"{prefix}{inner})"

    def _named(self, opening: str) -> str:
        end = opening.find(">")
        if end < 0:
            raise BadRegexp("invalid named capture", opening)
        name = opening[opening.index("<") + 1 : end]
        if not re.fullmatch(r"[A-Za-z0-9_]+", name):
            raise BadRegexp("invalid named capture", opening[: end + 1])
        if name in self._names:
            raise BadRegexp("duplicate capture group name", name)
        self._names.add(name)
        self._at += end + 1
        # Python wants an identifier; a group called 1st is counted but has no name here.
        return f"(?P<{name}>" if name.isidentifier() else "("

    def _escape(self) -> str:
        letter = self._text[self._at + 1 : self._at + 2]
        if letter in ("A", "z", "b", "B"):
            self._at += 2
            return {"A": r"\A", "z": r"\Z", "b": r"(?a:\b)", "B": r"(?a:\B)"}[letter]
        if letter == "Q":
            end = self._text.find(r"\E", self._at + 2)
            quoted = self._text[self._at + 2 : end if end >= 0 else len(self._text)]
            self._at = end + 2 if end >= 0 else len(self._text)
            # A repetition behind it concerns the last character alone, so that is put back as an escape of its own.
            if len(quoted) > 1 and self._at < len(self._text) and self._text[self._at] in "*+?{":
                self._text = self._text[: self._at] + rf"\x{{{ord(quoted[-1]):x}}}" + self._text[self._at :]
                quoted = quoted[:-1]
            return "".join(self._literal(ord(char)) for char in quoted)
        ranges = self._perl_class()
        if ranges is not None:
            return _set(ranges)
        return self._literal(self._escaped_char())

    def _perl_class(self) -> _Ranges | None:
        """The ranges of ``\\d`` and the like, if one stands here."""
        letter = self._text[self._at + 1 : self._at + 2]
        if letter in ("p", "P"):
            raise BadRegexp("invalid character class range (kdns has no Unicode classes)", self._text[self._at :][:12])
        ranges = _PERL.get(letter.lower())
        if ranges is None:
            return None
        self._at += 2
        return ranges if letter.islower() else _complement(ranges)

    def _escaped_char(self) -> int:
        """The character that a backslash and what follows it stand for."""
        rest = self._text[self._at + 1 :]
        if not rest:
            raise BadRegexp("trailing backslash at end of expression", "")
        letter = rest[0]
        if match := _OCTAL.match(rest):
            code, length = int(match[0], 8), match.end()
        elif match := _HEX.match(rest):
            code, length = int(match[1] or match[2], 16), match.end()
        elif letter in _CONTROLS:
            code, length = _CONTROLS[letter], 1
        elif letter.isascii() and not letter.isalnum():
            code, length = ord(letter), 1
        else:
            code, length = _TOP + 1, 1
        if code > _TOP:
            raise BadRegexp("invalid escape sequence", self._text[self._at : self._at + 1 + length])
        self._at += 1 + length
        return code

    def _class(self) -> str:
        start = self._at
        self._at += 1
        negated = self._text.startswith("^", self._at)
        if negated:
            self._at += 1
        ranges: _Ranges = []
        first = True
        while first or not self._text.startswith("]", self._at):
            first = False
            if self._at >= len(self._text):
                raise BadRegexp("missing closing ]", self._text[start:])
            if match := _POSIX_CLASS.match(self._text, self._at):
                known = _POSIX.get(match[2])
                if known is None:
                    raise BadRegexp("invalid character class range", match[0])
                ranges += _complement(known) if match[1] else known
                self._at = match.end()
                continue
            perl = self._perl_class() if self._text.startswith("\\", self._at) else None
            ranges += [self._class_range(start)] if perl is None else perl
        self._at += 1
        translated = _set(ranges, negated)
        return f"(?i:{translated})" if "i" in self._flags else translated

    def _class_range(self, start: int) -> tuple[int, int]:
        begin = self._at
        low = self._class_char(start)
        if not self._text.startswith("-", self._at) or self._text.startswith("-]", self._at):
            return low, low
        self._at += 1
        high = self._class_char(start)
        if high < low:
            raise BadRegexp("invalid character class range", self._text[begin : self._at])
        return low, high

    def _class_char(self, start: int) -> int:
        if self._at >= len(self._text):
            raise BadRegexp("missing closing ]", self._text[start:])
        if self._text[self._at] == "\\":
            return self._escaped_char()
        self._at += 1
        return ord(self._text[self._at - 1])

    def _literal(self, code: int) -> str:
        escaped = re.escape(chr(code))
        return f"(?i:{escaped})" if "i" in self._flags else escaped


def _complement(ranges: Iterable[tuple[int, int]]) -> _Ranges:
    out: _Ranges = []
    position = 0
    for low, high in sorted(ranges):
        if low > position:
            out.append((position, low - 1))
        position = max(position, high + 1)
    if position <= _TOP:
        out.append((position, _TOP))
    return out


def _set(ranges: Iterable[tuple[int, int]], negated: bool = False) -> str:
    inner = "".join(_code(low) if low == high else f"{_code(low)}-{_code(high)}" for low, high in ranges)
    return f"[{'^' if negated else ''}{inner}]"


def _code(code: int) -> str:
    return f"\\U{code:08x}"
