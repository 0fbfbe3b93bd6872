# -*- test-case-name: tests.plugins.template.test_record -*-
"""
The text that a template makes -> a record.

The text is a master file (RFC 1035 section 5.1) whose first record counts: origin ``.``, class IN and a TTL of an hour unless it says
otherwise. Unlike in a file, a line may end inside quotes.
"""

from __future__ import annotations

import re

from kdns.wire.constants import IN, OPT, class_number, type_number
from kdns.wire.names import ROOT, BadName
from kdns.wire.records import Record
from kdns.zones.rdata import BadRdata, parse_name, parse_rdata, parse_ttl

DEFAULT_TTL = 3600

MAX_TEXT = 4096
"""Bytes of a text: to read so many takes 3 ms at most."""

_TOKEN = re.compile(
    rb"""
    (?P<space>[ \t\r\f\v]+) |
    (?P<line>\n) |
    (?P<comment>;[^\n]*) |
    (?P<quoted>"[^"\\]*(?:\\.[^"\\]*)*") |
    (?P<bracket>[()]) |
    (?P<word>(?:[^ \t\r\n\f\v";()\\]|\\[^\n])+) |
    (?P<wrong>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class BadRecord(ValueError):
    """A text is no record."""


def record_from_text(text: str) -> Record | None:
    """
    The first record of a text; None when there is none, only blanks, comments and directives.

    :raises BadRecord: the text is not in the form of a master file, or too long.
    """
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > MAX_TEXT:
        raise BadRecord(f"text of more than {MAX_TEXT} bytes")
    origin, ttl = ROOT, DEFAULT_TTL
    for words, blank in _lines(data):
        if words[0][:1] == b"$" and not blank:
            directive = words[0].upper()
            if directive == b"$ORIGIN" and len(words) == 2:
                origin = _name(words[1], origin)
                continue
            found = parse_ttl(words[1]) if directive == b"$TTL" and len(words) == 2 else None
            if found is None:
                raise BadRecord(f"directive not taken here: {_shown(words[0])}")
            ttl = found
            continue
        return _record(words, blank, origin, ttl)
    return None


def _lines(data: bytes) -> list[tuple[list[bytes], bool]]:
    """The words of each line that has some, and whether it begins with a blank; brackets join lines."""
    lines: list[tuple[list[bytes], bool]] = []
    words: list[bytes] = []
    blank = False
    depth = 0
    joint = -1
    for match in _TOKEN.finditer(data):
        kind = match.lastgroup
        if kind == "line":
            if not depth:
                if words:
                    lines.append((words, blank))
                words, blank = [], False
        elif kind == "space":
            blank = blank or not words
        elif kind in ("word", "quoted"):
            word = match[0].replace(b"\n", b"\\010") if kind == "quoted" else match[0]
            if kind == "quoted" and match.start() == joint:
                words[-1] += word  # key="value" of SVCB records is one word
            else:
                words.append(word)
            joint = match.end() if word[-1] == 0x3D else -1
        elif kind == "bracket":
            depth += 1 if match[0] == b"(" else -1
            if depth < 0:
                raise BadRecord("extra closing brace")
        elif kind == "wrong":
            raise BadRecord("unbalanced quotes" if match[0] == b'"' else "bad escape")
    if depth:
        raise BadRecord("unbalanced brackets")
    if words:
        lines.append((words, blank))
    return lines


def _record(words: list[bytes], blank: bool, origin: bytes, default_ttl: int) -> Record:
    owner = origin
    at = 0
    if not blank:
        owner = _name(words[0], origin)
        at = 1
    ttl: int | None = None
    rclass: int | None = None
    while at < len(words):
        word = words[at]
        at += 1
        text = word.decode("ascii", "replace")
        rtype = type_number(text)
        if rtype is not None and (text.upper() != "ANY" or rclass is not None):
            break
        if rclass is None and (found := class_number(text)) is not None:
            rclass = found
        elif ttl is None and (found := parse_ttl(word)) is not None:
            ttl = found
        else:
            raise BadRecord(f"not a TTL: {_shown(word)}")
    else:
        raise BadRecord(f"not a record: {_shown(words[-1])}")
    if rtype == OPT or 249 <= rtype <= 255:
        raise BadRecord(f"type that has no records: {text}")
    try:
        rdata = parse_rdata(rtype, words[at:], origin)
    except BadRdata as error:
        raise BadRecord(f"{error.reason}: {_shown(error.word)}") from None
    except BadName as error:
        raise BadRecord(str(error)) from None
    return Record(owner, rtype, IN if rclass is None else rclass, default_ttl if ttl is None else ttl, rdata)


def _name(word: bytes, origin: bytes) -> bytes:
    try:
        return parse_name(word, origin)
    except BadName as error:
        raise BadRecord(f"bad owner name: {error}") from None


def _shown(word: bytes) -> str:
    return ascii(word[:60].decode("utf-8", "replace"))
