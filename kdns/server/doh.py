# -*- test-case-name: tests.server.test_doh -*-
"""
What a request over HTTP means, and what is said to it (RFC 8484): the message in a GET or a POST, and the status, headers and body of a
response. Connections and versions of HTTP are left to :mod:`kdns.server.https`.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from kdns.wire.constants import NOERROR, NS, NXDOMAIN, OPT, RCODE_MASK, SERVFAIL, SOA
from kdns.wire.names import skip_name
from kdns.wire.query import HEADER, RECORD_HEAD

PATH = b"/dns-query"

MOST_BODY = 65_536
"""Bytes of a POST. What follows the message in it is passed over."""

MOST_TEXT = 87_382
"""Characters of a GET's message: 65,536 bytes in base64url."""

MOST_AGE = 3600
"""Seconds that an HTTP cache may keep a response at most."""

SHORT_AGE = 5
"""The same for failures, and for what has no records."""

MOST_LOOKED_AT = 100
"""Records that are looked at for the lowest TTL; a response with more is not kept by HTTP caches, since thousands take milliseconds."""

_TEXT = re.compile(rb"[A-Za-z0-9_-]+")


class Response(NamedTuple):
    """A response of HTTP."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    """In lower case, without the date."""


def _failure(status: int, text: bytes) -> Response:
    headers = (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", b"%d" % len(text)),
    )
    return Response(status, text, headers)


BAD_REQUEST = _failure(400, b"invalid request\n")
NOT_FOUND = _failure(404, b"\n")
NO_RESPONSE = _failure(500, b"No response\n")
"""The server block says nothing at all."""

STATUSES = (200, 400, 404, 500)


def message_of(method: bytes, target: bytes, body: bytes) -> bytes | Response:
    """
    The DNS message of a request, or the response where it has none.

    :param target: path and query of the URL.
    """
    path, _, query = target.partition(b"?")
    if (unquote_to_bytes(path) if b"%" in path else path) != PATH:
        return NOT_FOUND
    if method == b"POST":
        return body if 0 < len(body) <= MOST_BODY else BAD_REQUEST
    if method != b"GET":
        return BAD_REQUEST
    found = [value for name, _, value in (part.partition(b"=") for part in query.split(b"&")) if name == b"dns"]
    if len(found) != 1:
        return BAD_REQUEST
    text = unquote_to_bytes(found[0]) if b"%" in found[0] else found[0]
    # RFC 8484 section 6: without padding.
    if len(text) > MOST_TEXT or len(text) % 4 == 1 or not _TEXT.fullmatch(text):
        return BAD_REQUEST
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def response_of(reply: bytes) -> Response:
    """The response that carries a reply."""
    headers = (
        (b"content-type", b"application/dns-message"),
        (b"cache-control", b"max-age=%d" % max_age(reply)),
        (b"content-length", b"%d" % len(reply)),
    )
    return Response(200, reply, headers)


def response_to(reply: bytes, refused: bool) -> Response:
    """
    The response to a query.

    :param reply: empty where the server block says nothing.
    :param refused: whether no plugin saw the query: CoreDNS has a status in place of most such replies.
    """
    if not reply:
        return NO_RESPONSE
    return BAD_REQUEST if refused and reply[3] & RCODE_MASK != SERVFAIL else response_of(reply)


def max_age(reply: bytes) -> int:
    """Seconds that an HTTP cache may keep a reply that kdns made: no longer than any of its records (RFC 8484 section 5.1)."""
    _, flags, questions, answers, authorities, additionals = HEADER.unpack_from(reply)
    if answers + authorities + additionals > MOST_LOOKED_AT:
        return 0
    offset = 12
    for _ in range(questions):
        offset = skip_name(reply, offset) + 4
    lowest: int | None = None
    authority = set()
    for index in range(answers + authorities + additionals):
        offset = skip_name(reply, offset)
        rtype, _, ttl, length = RECORD_HEAD.unpack_from(reply, offset)
        offset += 10 + length
        if rtype != OPT:
            lowest = ttl if lowest is None else min(lowest, ttl)
            if answers <= index < answers + authorities:
                authority.add(rtype)
    rcode = flags & RCODE_MASK
    denies = not answers and SOA in authority
    refers = not answers and NS in authority and not denies
    if lowest is None or refers or rcode not in (NOERROR, NXDOMAIN) or (rcode == NXDOMAIN and not denies):
        return SHORT_AGE
    return min(lowest, MOST_AGE)


@lru_cache(maxsize=1)
def date(now: int) -> bytes:
    """The header of that name, for Unix seconds."""
    return formatdate(now, usegmt=True).encode()
