# -*- test-case-name: tests.plugins.clouddns.test_clouddns -*-
"""The JSON of Google Cloud DNS. No I/O."""

from __future__ import annotations

import msgspec

from kdns.plugins.stores.zones import RecordSet


class BadAnswer(ValueError):
    """Bytes are no answer of Google."""


class _Set(msgspec.Struct):
    name: str
    type: str
    ttl: int = 0
    rrdatas: list[str] | None = None
    """Missing in a set with a routing policy."""


class _List(msgspec.Struct):
    rrsets: list[_Set] | None = None
    nextPageToken: str = ""


class _Error(msgspec.Struct):
    message: str = ""


class _Failed(msgspec.Struct):
    error: _Error


_DECODER = msgspec.json.Decoder(_List)


def parse_listing(body: bytes) -> tuple[list[RecordSet], str]:
    """
    Read a page.

    :return: its record sets, and the token of the next page or an empty text.
    :raises BadAnswer: *body* is no page.
    """
    try:
        found = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"an answer that is not Google's: {error}") from None
    sets = [RecordSet(one.name, one.type, one.ttl, one.rrdatas) for one in found.rrsets or () if one.rrdatas]
    return sets, found.nextPageToken


def error_text(body: bytes) -> str:
    """What an error says; empty when it is none."""
    try:
        return msgspec.json.decode(body, type=_Failed).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
