# -*- test-case-name: tests.wire.test_tsig -*-
"""
TSIG (RFC 8945): take the record that signs a message off, compute a MAC, and append a record to a message.

Which keys there are, and how a message with a wrong signature is answered, is left to the caller.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from struct import Struct
from struct import error as _StructError
from typing import Any, NamedTuple

from kdns.wire.names import MalformedName, from_text, read_name, skip_name
from kdns.wire.query import HEADER, RECORD_HEAD

TSIG = 250
ANY_CLASS = 255

BADSIG, BADKEY, BADTIME = 16, 17, 18
"""Errors in the record (RFC 8945 section 3)."""

FUDGE = 300
"""Seconds that the client's clock may differ from the time in a reply (RFC 8945 section 10)."""

ALGORITHMS: dict[bytes, Callable[[], Any]] = {
    from_text(f"hmac-{name}"): getattr(hashlib, name) for name in ("sha1", "sha224", "sha256", "sha384", "sha512")
}
"""Hash functions by the algorithm's name in wire form, lower case. MD5 is left out: it is broken."""

_TIMES = Struct("!HIH")
"""Upper 16 and lower 32 bits of the time, and the fudge."""

_TAIL = Struct("!HHH")
"""Original identifier, error, length of the other data."""


class Tsig(NamedTuple):
    """A TSIG record."""

    key: bytes
    """Name in wire form, in the client's spelling; *algorithm* likewise."""

    algorithm: bytes
    time: int
    """Unix seconds at which the message was signed."""

    fudge: int
    """Seconds that the receiver's clock may differ from *time*."""

    mac: bytes
    ident: int
    """The original identifier of the message, which a forwarder may have changed."""

    error: int = 0
    other: bytes = b""
    """The server's time, where the error is BADTIME."""

    def timers(self) -> bytes:
        """Time and fudge, as they are signed."""
        return _TIMES.pack(self.time >> 32 & 0xFFFF, self.time & 0xFFFFFFFF, self.fudge)

    def variables(self) -> bytes:
        """The fields that are signed (RFC 8945 section 4.3.3)."""
        names = self.key.lower() + b"\x00\xff\x00\x00\x00\x00" + self.algorithm.lower()
        return names + self.timers() + self.error.to_bytes(2, "big") + len(self.other).to_bytes(2, "big") + self.other

    def record(self) -> bytes:
        """The record in wire form."""
        rdata = b"".join(
            (
                self.algorithm,
                self.timers(),
                len(self.mac).to_bytes(2, "big"),
                self.mac,
                _TAIL.pack(self.ident, self.error, len(self.other)),
                self.other,
            )
        )
        return self.key + RECORD_HEAD.pack(TSIG, ANY_CLASS, 0, len(rdata)) + rdata


class MalformedTsig(ValueError):
    """The TSIG record of a message cannot be read, or is not the last record."""


def split(message: bytes) -> tuple[bytes, Tsig] | None:
    """
    A message without its TSIG record, and the record; None when it has none.

    :param message: a whole message, or nothing at all.
    :raises MalformedTsig: the answer is FORMERR (RFC 8945 section 5.1).
    """
    if len(message) < 12:
        return None
    ident, flags, questions, answers, authorities, additionals = HEADER.unpack_from(message)
    if not additionals:
        return None
    offset, found = 12, None
    try:
        for _ in range(questions):
            offset = skip_name(message, offset) + 4
        for index in range(answers + authorities + additionals):
            if offset == len(message):
                break  # fewer records than the header counts, which read_query() lets pass
            if found is not None:
                raise MalformedTsig("TSIG record is not the last one")
            start = offset
            offset = skip_name(message, offset)
            rtype, rclass, ttl, length = RECORD_HEAD.unpack_from(message, offset)
            offset += 10 + length
            if rtype == TSIG:
                if index < answers + authorities or rclass != ANY_CLASS or ttl:
                    raise MalformedTsig("TSIG record in a wrong section or class, or with a TTL")
                found = start, _read(message, start, offset)
    except (MalformedName, _StructError, IndexError) as error:
        raise MalformedTsig(str(error)) from error
    if found is None:
        return None
    start, tsig = found
    head = HEADER.pack(ident, flags, questions, answers, authorities, additionals - 1)
    return head + message[12:start], tsig


def _read(message: bytes, start: int, end: int) -> Tsig:
    """
    :raises MalformedTsig: the fields do not fill the rdata.
    """
    if end > len(message):
        raise MalformedTsig("TSIG record runs over the end of the message")
    key, offset = read_name(message, start)
    algorithm, offset = read_name(message, offset + 10)
    upper, lower, fudge = _TIMES.unpack_from(message, offset)
    size = int.from_bytes(message[offset + 8 : offset + 10], "big")
    mac = message[offset + 10 : offset + 10 + size]
    offset += 10 + size
    ident, error, other = _TAIL.unpack_from(message, offset)
    offset += 6
    if offset + other != end:
        raise MalformedTsig("fields of the TSIG record do not fill it")
    return Tsig(key, algorithm, upper << 32 | lower, fudge, mac, ident, error, message[offset:end])


def mac_of(
    secret: bytes, tsig: Tsig, message: bytes, previous: bytes | None = None, *, timers_only: bool = False
) -> bytes:
    """
    The MAC of a message.

    :param message: without its TSIG record.
    :param previous: the MAC of the query, or of the previous message of the same reply (RFC 8945 section 5.3.1); None for a query.
    :param timers_only: true for all messages of a reply but the first.
    """
    made = hmac.new(secret, digestmod=ALGORITHMS[tsig.algorithm.lower()])
    if previous is not None:
        made.update(len(previous).to_bytes(2, "big") + previous)
    made.update(tsig.ident.to_bytes(2, "big") + message[2:])
    made.update(tsig.timers() if timers_only else tsig.variables())
    return made.digest()


def append(message: bytes, tsig: Tsig) -> bytes:
    """A message with a TSIG record behind its other records."""
    additionals = int.from_bytes(message[10:12], "big") + 1
    return b"".join((message[:10], additionals.to_bytes(2, "big"), message[12:], tsig.record()))
