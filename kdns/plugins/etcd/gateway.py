# -*- test-case-name: tests.plugins.etcd.test_fake -*-
"""
The JSON gateway of etcd 3.4 and later: what is asked, and what the answers mean. No I/O.

Keys and values are base 64, numbers of 64 bits are texts, and what is zero or empty is left out.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, TypeVar

import msgspec

PAGE = 500
"""Keys of one answer, so that neither end works long on it."""


class BadAnswer(ValueError):
    """Bytes are no answer of etcd."""


class Header(msgspec.Struct):
    revision: int = 0


class KeyValue(msgspec.Struct):
    key: bytes = b""
    value: bytes = b""
    mod_revision: int = 0
    lease: int = 0


class Range(msgspec.Struct):
    """The answer to a read of keys."""

    header: Header = msgspec.field(default_factory=Header)
    kvs: list[KeyValue] = []
    more: bool = False
    count: int = 0
    """Keys in the whole range, whatever the page holds."""


class Event(msgspec.Struct):
    kv: KeyValue
    type: str = "PUT"


class Watched(msgspec.Struct):
    """One message of a watch."""

    header: Header = msgspec.field(default_factory=Header)
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    """Not 0: the revision to begin from is gone, and this is the oldest that there is."""

    cancel_reason: str = ""
    fragment: bool = False
    """Whether more messages of the same revision follow."""

    events: list[Event] = []


class Failed(msgspec.Struct):
    """An error; the gateway has had several forms of it."""

    message: str = ""
    error: str = ""
    code: int = 0
    grpc_code: int = 0


class Line(msgspec.Struct):
    """One line of a watch."""

    result: Watched | None = None
    error: Failed | None = None


class LeaseLeft(msgspec.Struct):
    """The time that a lease has."""

    TTL: int = 0
    grantedTTL: int = 0


class Token(msgspec.Struct):
    token: str = ""


T = TypeVar("T")
_DECODERS: dict[type[Any], Any] = {
    kind: msgspec.json.Decoder(kind, strict=False) for kind in (Range, Line, LeaseLeft, Token, Failed)
}


def decode(kind: type[T], body: bytes) -> T:
    """
    Read an answer.

    :raises BadAnswer: it is none of that kind.
    """
    try:
        found: T = _DECODERS[kind].decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"an answer that is not etcd's: {error}") from None
    return found


def failure_text(body: bytes) -> str:
    """The reason in an error's body; empty when there is none."""
    try:
        found = decode(Failed, body)
    except BadAnswer:
        return ""
    return found.message or found.error


def range_end(prefix: bytes) -> bytes:
    """The end of the range of all keys with a prefix; a byte of zero stands for the end of all keys."""
    for at in range(len(prefix) - 1, -1, -1):
        if prefix[at] < 0xFF:
            return prefix[:at] + bytes((prefix[at] + 1,))
    return b"\x00"


def coded(data: bytes) -> str:
    """Bytes as JSON of the gateway has them."""
    return b64encode(data).decode()


def range_request(prefix: bytes, after: bytes = b"", revision: int = 0) -> bytes:
    """
    Ask for a page of keys.

    :param after: the last key of the page before.
    :param revision: the revision that the first page was of.
    """
    key = after + b"\x00" if after else prefix
    return msgspec.json.encode(
        {"key": coded(key), "range_end": coded(range_end(prefix)), "limit": str(PAGE), "revision": str(revision)}
    )


def count_request(prefix: bytes) -> bytes:
    """Ask how many keys there are, and for the revision of now: etcd need not read them."""
    return msgspec.json.encode({"key": coded(prefix), "range_end": coded(range_end(prefix)), "count_only": True})


def probe_request(prefix: bytes, revision: int) -> bytes:
    """Ask whether a key has changed since a revision, and how many keys there are: etcd reads all of them."""
    return msgspec.json.encode(
        {
            "key": coded(prefix),
            "range_end": coded(range_end(prefix)),
            "limit": "1",
            "keys_only": True,
            "min_mod_revision": str(revision + 1),
        }
    )


def watch_request(prefix: bytes, revision: int) -> bytes:
    """Ask for all changes behind a revision."""
    return msgspec.json.encode(
        {
            "create_request": {
                "key": coded(prefix),
                "range_end": coded(range_end(prefix)),
                "start_revision": str(revision + 1),
                "progress_notify": True,
                "fragment": True,
            }
        }
    )


def lease_request(number: int) -> bytes:
    """Ask how long a lease lasts."""
    return msgspec.json.encode({"ID": str(number)})


def login_request(user: str, password: str) -> bytes:
    """Ask for a token."""
    return msgspec.json.encode({"name": user, "password": password})
