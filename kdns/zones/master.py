# -*- test-case-name: tests.zones.test_master -*-
"""
Master files (RFC 1035 section 5): directives, owners, TTLs and types; what a record's data mean is left to ``rdata``.

Reading is a generator, because a file may have a million records: its caller advances it for as long as a turn may take. A plain line takes
about four microseconds; only lines with quotes, parentheses, escapes or comments are taken apart character by character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from os.path import dirname, join
from typing import BinaryIO, TypeAlias

from kdns.core.text import reason_of
from kdns.wire.constants import RRSIG, SOA, SRV, class_number, type_number
from kdns.wire.names import BadName
from kdns.zones.rdata import BadRdata, parse_name, parse_rdata, parse_ttl
from kdns.zones.zone import BadZone, timers_of

MAX_RECORD = 320 * 1024
"""Bytes of a record's text at most: 65535 bytes of rdata with each written as an escape."""

MAX_DEPTH = 7
"""``$INCLUDE`` within ``$INCLUDE``."""

MAX_STEPS = 65536
"""Records of one ``$GENERATE``."""

LINES = 32
"""Lines between two places where the caller may do something else."""

Open: TypeAlias = Callable[[str], BinaryIO]
"""Open a file for reading; raises OSError. Only regular files may be opened: reading must not wait."""

Add: TypeAlias = Callable[[bytes, int, int, bytes, bytes | None], object]
"""Take a record: owner in lower case, type, TTL, rdata, and the owner as spelled where that is to be kept."""

_UNUSUAL = re.compile(rb'[";()\\]')
_TOKEN = re.compile(
    rb"""
    [ \t\r\n\f\v]+ |
    (?P<comment>;.*) |
    (?P<quoted>"(?:[^"\\\n]|\\[^\n])*") |
    (?P<bracket>[()]) |
    (?P<word>(?:[^ \t\r\n\f\v";()\\]|\\[^\n])+) |
    (?P<wrong>[^\n])
    """,
    re.VERBOSE,
)
_GENERATED = re.compile(rb"\\\$|\$\$|\$\{([^}]*)\}|\$")
_FORMAT = re.compile(rb"([+-]?\d{1,10})(?:,(\d{1,4})(?:,([doxX]))?)?")
_RANGE = re.compile(rb"(\d{1,10})-(\d{1,10})(?:/(\d{1,10}))?")


class MasterError(BadZone):
    """A master file is wrong at a place."""

    def __init__(self, path: str, line: int, column: int, reason: str, token: bytes) -> None:
        self.path = path
        self.line = line
        self.column = column
        """Where the token ends."""

        self.reason = reason
        self.token = token.decode("utf-8", "backslashreplace")
        super().__init__(str(self))

    def __str__(self) -> str:
        quoted = self.token.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.path}: dns: {self.reason}: "{quoted}" at line: {self.line}:{self.column}'


class _Wrong(Exception):
    """Something is wrong with a token of the record that is being read."""

    def __init__(self, reason: str, token: bytes) -> None:
        self.reason = reason
        self.token = token


class MasterReader:
    """Read a master file and those that it includes."""

    def __init__(
        self, open_file: Open, path: str, origin: bytes, add: Add, shown: str = "", ttl: int | None = None
    ) -> None:
        """
        :param path: what is opened; files named by ``$INCLUDE`` are found relative to its folder.
        :param origin: the zone's name, in wire form.
        :param shown: what errors call the file; the path when it is not given.
        :param ttl: of records in front of the first that has one; None where such a record is an error.
        """
        self._open = open_file
        self._path = path
        self._origin = origin
        self._add = add
        self._shown = shown or path
        self._depth = 0
        self._owner: bytes | None = None
        self._spelled = b""
        self._word = b""
        """What the owner was made of, with the origin of now."""

        self._ttl = ttl
        self._by_directive = False
        self._minimum: int | None = None
        """The SOA's, once it was read."""

    def read(self) -> Iterator[None]:
        """
        Read the file; each step takes well below a millisecond.

        :raises MasterError: something in it is wrong.
        :raises OSError: it cannot be opened or read.
        """
        with self._open(self._path) as file:
            number = 0
            while line := file.readline(MAX_RECORD + 1):
                number += 1
                if not number % LINES:
                    yield
                if len(line) > MAX_RECORD:
                    raise MasterError(self._shown, number, MAX_RECORD, "line too long", line[:32])
                start = number
                whole = [line]
                try:
                    if _UNUSUAL.search(line) is None:
                        words = line.split()
                    else:
                        words = []
                        depth = self._scan(line, words, 0)
                        size = len(line)
                        while depth:
                            more = file.readline(MAX_RECORD + 1)
                            number += 1
                            size += len(more)
                            if not more:
                                raise _Wrong("unbalanced brackets", b"(")
                            if size > MAX_RECORD:
                                raise _Wrong("record too long", more[:32])
                            whole.append(more)
                            depth = self._scan(more, words, depth)
                            if not number % LINES:
                                yield
                    if not words:
                        continue
                    if words[0][0] == 0x24 and line[0] not in b" \t":  # "$"
                        yield from self._directive(words, line)
                    else:
                        self._record(words, line[0] in b" \t")
                except _Wrong as wrong:
                    raise self._error(wrong.reason, wrong.token, whole, start) from None
                except BadName as error:
                    raise self._error(str(error), words[0], whole, start) from error
                except BadRdata as error:
                    raise self._error(error.reason, error.word, whole, start) from error
                except MasterError:
                    raise
                except BadZone as error:
                    raise self._error(str(error), words[-1], whole, start) from error

    def _error(self, reason: str, token: bytes, lines: list[bytes], line: int) -> MasterError:
        text = b"".join(lines)
        at = max(text.rfind(token), 0)
        line += text.count(b"\n", 0, at)
        end = at + len(token)
        column = end - (text.rfind(b"\n", 0, at) + 1)
        return MasterError(self._shown, line, column + (text[end : end + 1] in (b" ", b"\t")), reason, token)

    @staticmethod
    def _scan(line: bytes, words: list[bytes], depth: int) -> int:
        """Add the words of a line, and say how many brackets are open after it."""
        joint = -1
        for match in _TOKEN.finditer(line):
            kind = match.lastgroup
            if kind == "quoted" and match.start() == joint:
                words[-1] += match[0]  # key="value" of SVCB records is one word
            elif kind in ("word", "quoted"):
                words.append(match[0])
                joint = match.end() if match[0][-1] == 0x3D else -1
            elif kind == "bracket":
                depth += 1 if match[0] == b"(" else -1
                if depth < 0:
                    raise _Wrong("extra closing brace", b")")
            elif kind == "wrong":
                raise _Wrong("unbalanced quotes" if match[0] == b'"' else "bad escape", match[0])
        return depth

    # Records

    def _record(self, words: list[bytes], same_owner: bool) -> None:
        if same_owner:
            if self._owner is None:
                raise _Wrong("no owner", words[0])
            at = 0
        else:
            if words[0] != self._word:
                try:
                    self._spelled = parse_name(words[0], self._origin)
                except BadName:
                    raise _Wrong("bad owner name", words[0]) from None
                self._owner = self._spelled.lower()
                self._word = words[0]
            at = 1
        owner = self._owner
        assert owner is not None
        ttl: int | None = None
        with_class = False
        while True:
            if at >= len(words):
                raise _Wrong("not a record" if at > 1 else "not a TTL", words[-1])
            word = words[at]
            at += 1
            rtype = _TYPES.get(word)
            if rtype is not None:
                break
            if not with_class and _CLASSES.get(word) is not None:
                with_class = True
            elif ttl is None and (ttl := parse_ttl(word)) is not None:
                pass
            else:
                # Rare spellings: other types, TYPE123, CLASS32, lower-case letters.
                text = word.decode("ascii", "replace")
                rtype = type_number(text)
                if rtype is not None:
                    break
                if with_class or class_number(text) is None:
                    raise _Wrong("not a TTL", word)
                with_class = True
        data = words[at:]
        if ttl is not None:
            if not self._by_directive:
                self._ttl = ttl
        elif self._ttl is not None:
            ttl = self._ttl
        elif not with_class:
            raise _Wrong("missing TTL with no previous value", word)
        if rtype in _META:
            raise _Wrong("type that has no records", word)
        rdata = parse_rdata(rtype, data, self._origin)
        if rtype == SOA:
            self._minimum = timers_of(rdata).minimum
        if ttl is None:
            ttl = self._minimum
            if ttl is None:
                raise _Wrong("missing TTL with no previous value", word)
        # CoreDNS shows the owner of an SRV record as it is spelled, and no other.
        self._add(owner, rtype, ttl, rdata, self._spelled if rtype == SRV else None)

    # Directives

    def _directive(self, words: list[bytes], line: bytes) -> Iterator[None]:
        name, arguments = words[0].upper(), words[1:]
        if name == b"$TTL":
            if len(arguments) != 1 or (ttl := parse_ttl(arguments[0])) is None:
                raise _Wrong("expecting $TTL value, not this...", arguments[0] if arguments else name)
            self._ttl, self._by_directive = ttl, True
        elif name == b"$ORIGIN":
            if len(arguments) != 1:
                raise _Wrong("bad origin name", arguments[0] if arguments else name)
            try:
                self._origin = parse_name(arguments[0], self._origin)
            except BadName:
                raise _Wrong("bad origin name", arguments[0]) from None
            self._word = b""
        elif name == b"$INCLUDE":
            yield from self._include(arguments)
        elif name == b"$GENERATE":
            yield from self._generate(line)
        else:
            raise _Wrong("unknown directive", words[0])

    def _include(self, arguments: list[bytes]) -> Iterator[None]:
        if len(arguments) not in (1, 2):
            raise _Wrong("garbage after $INCLUDE", arguments[-1] if arguments else b"$INCLUDE")
        name = arguments[0].strip(b'"')
        if self._depth >= MAX_DEPTH:
            raise _Wrong("too deeply nested $INCLUDE", arguments[0])
        origin = self._origin
        if len(arguments) == 2:
            try:
                origin = parse_name(arguments[1], self._origin)
            except BadName:
                raise _Wrong("bad origin name", arguments[1]) from None
        text = name.decode("utf-8", "surrogateescape")
        inner = MasterReader(self._open, join(dirname(self._path), text), origin, self._add, text)
        inner._depth = self._depth + 1
        inner._ttl, inner._by_directive, inner._minimum = self._ttl, self._by_directive, self._minimum
        try:
            yield from inner.read()
        except OSError as error:
            raise _Wrong(f"failed to open `{text}': open {text}: {reason_of(error)}", arguments[0]) from error
        self._minimum = inner._minimum

    def _generate(self, line: bytes) -> Iterator[None]:
        words: list[bytes] = []
        if self._scan(line, words, 0):
            raise _Wrong("brackets in $GENERATE", b"(")
        if len(words) < 4:
            raise _Wrong("bad $GENERATE", words[-1])
        match = _RANGE.fullmatch(words[1])
        if match is None:
            raise _Wrong("bad range in $GENERATE range", words[1])
        start, stop, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if stop < start or step < 1 or stop > 0x7FFFFFFF or (stop - start) // step >= MAX_STEPS:
            raise _Wrong("bad range in $GENERATE range", words[1])
        template = b" ".join(words[2:])
        if template[:1] == b"$" and words[2].upper() in (b"$GENERATE", b"$INCLUDE", b"$ORIGIN", b"$TTL"):
            raise _Wrong("nested $GENERATE", words[2])
        for count, number in enumerate(range(start, stop + 1, step)):

            def expand(match: re.Match[bytes], number: int = number) -> bytes:
                return _expansion(match, number)

            made: list[bytes] = []
            text = _GENERATED.sub(expand, template)
            if len(text) > MAX_RECORD:
                raise _Wrong("record too long", words[2])
            self._scan(text, made, 0)
            try:
                self._record(made, False)
            except (BadName, BadRdata) as error:
                raise _Wrong(f"{error} in record {count + 1} of $GENERATE", words[1]) from error
            if not count % LINES:
                yield


def _expansion(match: re.Match[bytes], number: int) -> bytes:
    text = match[0]
    if text in (b"\\$", b"$$"):
        return b"$"
    if match[1] is None:
        return b"%d" % number
    form = _FORMAT.fullmatch(match[1])
    if form is None:
        raise _Wrong("bad base in $GENERATE", text)
    value = number + int(form[1])
    width, base = int(form[2] or 0), (form[3] or b"d").decode()
    if value < 0 or width > 255:
        raise _Wrong("bad offset in $GENERATE", text)
    return format(value, f"0{width}{base}").encode()


_TYPES: dict[bytes, int] = {
    word: number
    for name in (
        "A",
        "NS",
        "CNAME",
        "SOA",
        "PTR",
        "MX",
        "TXT",
        "AAAA",
        "SRV",
        "RRSIG",
        "NSEC",
        "NSEC3",
        "DS",
        "DNSKEY",
        "DNAME",
        "CAA",
    )
    if (number := type_number(name)) is not None
    for word in (name.encode(), name.lower().encode())
}
_CLASSES = {b"IN": 1, b"in": 1, b"CH": 3, b"HS": 4}
_META = frozenset((41, *range(249, 256)))
"""OPT, TKEY, TSIG, and types that only questions have."""

assert _TYPES[b"RRSIG"] == RRSIG
