# -*- test-case-name: tests.zones.test_rdata -*-
"""
Rdata from the words of a master file to wire form.

The types that make up nearly all of large zones are read here, at about a microsecond each. All others, and whatever is unusual in these,
go to dnspython, which takes twenty times as long.

Names in NS, SOA, CNAME, MX, SVCB and HTTPS are lower-cased, as CoreDNS does; those of other types keep their letters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from struct import Struct
from struct import error as StructError

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from kdns.wire.constants import AAAA, CNAME, DNAME, HTTPS, MX, NS, PTR, SOA, SRV, SVCB, TXT, A, type_text
from kdns.wire.names import MAX_LABEL, MAX_NAME, ROOT, BadName, spelled_from_text

SPF = 99
MAX_TEXT = 16 * 1024
"""Bytes of rdata text that dnspython is given: it reads about a megabyte a second, and one record is read in one go."""

_TTL_PART = re.compile(rb"(\d+)([smhdwSMHDW]?)")
_TTL = re.compile(rb"(?:\d+[smhdwSMHDW])*\d+[smhdwSMHDW]?")
_UNITS = {b"": 1, b"s": 1, b"m": 60, b"h": 3600, b"d": 86400, b"w": 604800}
_ESCAPE = re.compile(rb"\\(\d\d\d|.)", re.DOTALL)
_HIGH = re.compile(rb"[\x80-\xff]")
_DOTTED = re.compile(rb"(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})")

_LENGTHS = {length: bytes((length,)) for length in range(1, MAX_LABEL + 1)}

_SHORT = Struct("!H")
_SRV = Struct("!HHH")
_SOA = Struct("!IIIII")


class BadRdata(ValueError):
    """Words are no rdata of their type."""

    def __init__(self, reason: str, word: bytes) -> None:
        super().__init__(reason)
        self.reason = reason
        self.word = word
        """The word that is wrong."""


def parse_ttl(word: bytes) -> int | None:
    """Seconds from a text like ``300`` or ``1h30m``; None when it is none."""
    if word.isdigit():
        seconds = int(word) if len(word) <= 10 else 1 << 32
    elif _TTL.fullmatch(word) and len(word) <= 64:
        seconds = sum(int(count) * _UNITS[unit.lower()] for count, unit in _TTL_PART.findall(word))
    else:
        return None
    return seconds if seconds < 1 << 32 else None


def parse_name(word: bytes, origin: bytes) -> bytes:
    """
    A name in wire form, with its spelling; one without a final dot is relative to *origin*.

    :raises BadName: it is none.
    """
    if word == b"@":
        return origin
    if b"\\" in word or word == b".":
        name = spelled_from_text(word)
        if not word.endswith(b".") or _ends_escaped(word):
            name = name[:-1] + origin
    else:
        absolute = word[-1:] == b"."
        labels = (word[:-1] if absolute else word).split(b".")
        try:
            name = b"".join([_LENGTHS[len(label)] + label for label in labels]) + (ROOT if absolute else origin)
        except KeyError:
            raise BadName("label of no byte or of more than 63") from None
    if len(name) > MAX_NAME:
        raise BadName(f"name of {len(name)} bytes")
    return name


def _ends_escaped(word: bytes) -> bool:
    """Whether the final dot is part of a label: an odd number of backslashes is before it."""
    head = word[:-1]
    return (len(head) - len(head.rstrip(b"\\"))) % 2 == 1


def character_string(word: bytes) -> bytes:
    """The bytes of a word, quoted or not, without its escapes (RFC 1035 section 5.1)."""
    if word[:1] == b'"':
        word = word[1:-1]
    if b"\\" in word:
        word = _ESCAPE.sub(_unescaped, word)
    return word


def _unescaped(match: re.Match[bytes]) -> bytes:
    text = match[1]
    if len(text) == 3:
        value = int(text)
        if value > 255:
            raise BadName(f"escape \\{value} is no byte")
        return bytes((value,))
    return text


def _address(words: Sequence[bytes], origin: bytes) -> bytes:
    (word,) = words
    if not _DOTTED.fullmatch(word):
        raise ValueError(word)
    return bytes(map(int, word.split(b".")))


def _address6(words: Sequence[bytes], origin: bytes) -> bytes:
    (word,) = words
    if b"%" in word:
        raise ValueError(word)
    return IPv6Address(word.decode("ascii")).packed


def _lower_name(words: Sequence[bytes], origin: bytes) -> bytes:
    (word,) = words
    return parse_name(word, origin).lower()


def _spelled_name(words: Sequence[bytes], origin: bytes) -> bytes:
    (word,) = words
    return parse_name(word, origin)


def _mx(words: Sequence[bytes], origin: bytes) -> bytes:
    preference, target = words
    return _SHORT.pack(int(preference)) + parse_name(target, origin).lower()


def _srv(words: Sequence[bytes], origin: bytes) -> bytes:
    priority, weight, port, target = words
    return _SRV.pack(int(priority), int(weight), int(port)) + parse_name(target, origin)


def _soa(words: Sequence[bytes], origin: bytes) -> bytes:
    mname, rname, serial, *times = words
    numbers = [int(serial)] + [parse_ttl(word) for word in times]
    names = parse_name(mname, origin) + parse_name(rname, origin)
    return names.lower() + _SOA.pack(*numbers)


def _txt(words: Sequence[bytes], origin: bytes) -> bytes:
    if words and words[0] == b"\\#":
        raise ValueError("generic form")
    parts = []
    for word in words:
        string = character_string(word)
        # A string over 255 bytes is cut into several, as CoreDNS and BIND's tools do.
        pieces = [string[at : at + 255] for at in range(0, len(string), 255)] or [b""]
        parts += [bytes((len(piece),)) + piece for piece in pieces]
    if not parts:
        raise ValueError("no string")
    return b"".join(parts)


_PARSERS: dict[int, Callable[[Sequence[bytes], bytes], bytes]] = {
    A: _address,
    AAAA: _address6,
    NS: _lower_name,
    CNAME: _lower_name,
    PTR: _spelled_name,
    DNAME: _spelled_name,
    MX: _mx,
    SRV: _srv,
    SOA: _soa,
    TXT: _txt,
    SPF: _txt,
}


_ONE_WORD = frozenset((A, AAAA, NS, CNAME, PTR, DNAME))


def parse_rdata(rtype: int, words: Sequence[bytes], origin: bytes) -> bytes:
    """
    Rdata in uncompressed wire form.

    :param words: as they stand in the file, quotes and escapes included.
    :raises BadRdata: they are none.
    """
    parser = _PARSERS.get(rtype)
    if parser is not None:
        try:
            rdata = parser(words, origin)
        except (ValueError, OSError, StructError, TypeError):  # also: too few words, or a number that does not fit
            pass
        else:
            if len(rdata) <= 0xFFFF:
                return rdata
            raise BadRdata(f"bad {type_text(rtype)}, more than 65535 bytes", words[-1][:32])
        if rtype in _ONE_WORD and len(words) > 1 and words[0] != b"\\#":
            raise BadRdata("garbage after rdata", words[1])
    return _by_dnspython(rtype, words, origin)


def _by_dnspython(rtype: int, words: Sequence[bytes], origin: bytes) -> bytes:
    text = b" ".join(words)
    last = words[-1] if words else b""
    name = type_text(rtype)
    if len(text) > MAX_TEXT:
        raise BadRdata(f"{name} of more than {MAX_TEXT} bytes of text", last[:32])
    # dnspython takes letters beyond ASCII for an internationalised name; here they are the bytes that they are.
    plain = _HIGH.sub(lambda match: b"\\%03d" % match[0][0], text).decode("ascii")
    try:
        rdata = dns.rdata.from_text(
            dns.rdataclass.IN,
            dns.rdatatype.RdataType.make(rtype),
            plain,
            origin=dns.name.Name(_labels(origin)),
            relativize=False,
        )
        wire = rdata.to_wire()
    except (dns.exception.DNSException, ValueError, OverflowError, IndexError, StructError) as error:
        raise BadRdata(_reason(name, error), last) from error
    if wire is None or len(wire) > 0xFFFF:
        raise BadRdata(f"bad {name}", last)
    return _lower_target(wire) if rtype in (SVCB, HTTPS) else bytes(wire)


def _labels(name: bytes) -> list[bytes]:
    labels = []
    at = 0
    while size := name[at]:
        labels.append(name[at + 1 : at + 1 + size])
        at += 1 + size
    return [*labels, b""]


def _reason(name: str, error: Exception) -> str:
    """Go's words for the commonest, dnspython's for the rest."""
    if name in ("A", "AAAA"):
        return f"bad {name} {name}"
    text = str(error).partition("\n")[0]
    return f"bad {name}: {text}" if text else f"bad {name}"


def _lower_target(wire: bytes) -> bytes:
    """SVCB and HTTPS (RFC 9460 section 2.2) with the target, which is behind a number of two bytes, in lower case."""
    end = 2
    while wire[end]:
        end += 1 + wire[end]
    return wire[:2] + wire[2:end].lower() + wire[end:]
