# -*- test-case-name: tests.server.test_table -*-
"""
Keys of the answer table: the bytes of a query behind its identifier, and what may stand in front of them and at their end.

A key begins with the query's flags, whose first byte is below 0x80, or with :data:`IPV6`, or with :data:`GROUP` and four bytes.
"""

from __future__ import annotations

IPV6 = b"\xff"
"""In front of the key of an IPv6 client: its replies are compressed from a smaller size on."""

GROUP = b"\xfe"
"""In front of the number of a client's group."""

COOKIE_OPTION = b"\x00\x0a\x00\x08"
"""Code and length of an EDNS option that holds a client cookie alone (RFC 7873 section 4)."""

COOKIE = 8
"""Bytes of a client cookie."""

NO_COOKIE = bytes(COOKIE)
"""Stands in for the client's cookie in the key of an entry."""

OPT_HEAD = 11
"""Bytes of an OPT without options (RFC 6891 section 6.1.2)."""


QUERY_HEAD = 10
"""Bytes between what stands in front and the question: the header behind the identifier."""


def head_of(key: bytes) -> int:
    """Bytes in front of the question."""
    first = key[0] if key else 0
    if first < 0xFE:
        return QUERY_HEAD
    return QUERY_HEAD + (1 if first == 0xFF else 5)
