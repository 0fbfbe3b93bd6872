# -*- test-case-name: tests.core.test_reply -*-
"""
From an answer to the octets for one client: header, spelling, size, EDNS.

This is the one place that turns an :class:`~kdns.core.answer.Answer` into a message, whichever plugin made it and whichever transport
sends it.
"""

from __future__ import annotations

from kdns.core.answer import Answer
from kdns.core.request import Request, Transport
from kdns.wire.constants import (
    CD,
    COOKIE,
    DO,
    EDE,
    EXPIRE,
    NSID,
    OPCODE_MASK,
    PADDING,
    QR,
    RCODE_MASK,
    RD,
    TCP_KEEPALIVE,
)
from kdns.wire.names import MalformedName
from kdns.wire.query import HEADER, options_of, pack_options
from kdns.wire.render import render

PLAIN_LIMIT_IPV4 = 1480
PLAIN_LIMIT_IPV6 = 1220
"""Octets over UDP above which names are compressed although the client could take more: a fragment may get lost."""

ECHOED_OPTIONS = frozenset((NSID, EXPIRE, COOKIE, TCP_KEEPALIVE, PADDING))
"""Options of the query that come back in a reply that has no OPT of its own."""


KEPT_FLAGS = 0xFF00
"""DO and the upper of the Z bits, which come back in a reply that has no OPT of its own."""


def render_reply(request: Request, answer: Answer) -> bytes:
    """The message for the client; its first two octets are the identifier of the query."""
    opt = _opt(request, answer)
    flags = QR | request.flags & (OPCODE_MASK | RD | CD) | answer.flags | answer.rcode & RCODE_MASK
    limit = request.limit
    plain_limit = limit
    if request.transport is Transport.UDP:
        plain_limit = PLAIN_LIMIT_IPV6 if request.ipv6 else PLAIN_LIMIT_IPV4
    question = request.question
    relayed = answer.relayed
    if relayed is not None:
        body = relayed.patched(question, answer.ttl)
        if body is not None and 12 + len(body) + len(opt) <= min(limit, plain_limit):
            answers, authorities, additionals = relayed.counts
            counts = (1, answers, authorities, additionals + (1 if opt else 0))
            return HEADER.pack(request.ident, flags, *counts) + body + opt
    try:
        sections = answer.sections()
    except MalformedName:
        # An upstream's record that cannot be taken apart cannot be made smaller either.
        return render(request.ident, flags | 0x0200, question, ((), (), ()), opt, limit, limit)
    return render(request.ident, flags, question, sections, opt, limit, plain_limit)


def error_reply(ident: int, flags: int, rcode: int, question: bytes) -> bytes:
    """A reply of the server's own without any plugin and without an OPT; *flags* are the query's."""
    kept = QR | flags & (OPCODE_MASK | RD | CD) | rcode & RCODE_MASK
    return HEADER.pack(ident, kept, 1 if question else 0, 0, 0, 0) + question


def badvers_reply(ident: int, flags: int, question: bytes) -> bytes:
    """BADVERS: the highest EDNS version that is understood here is 0 (RFC 6891 section 6.1.3)."""
    opt = b"\x00\x00\x29\x00\x00\x01\x00\x00\x00\x00\x00"
    return HEADER.pack(ident, QR | flags & (OPCODE_MASK | RD), 1, 0, 0, 1) + question + opt


def _opt(request: Request, answer: Answer) -> bytes:
    """
    The OPT of the reply: only for clients that sent one (RFC 6891 section 6.1.1), with their payload size and DO bit.

    Options are the reply's own; without any, those of the query that may be echoed.
    """
    edns = request.edns
    if edns is None:
        return b""
    flags = edns.flags
    if answer.options is not None:
        options = list(answer.options)
        flags &= DO
    else:
        options = [option for option in options_of(edns.options) if option[0] in ECHOED_OPTIONS]
        flags &= KEPT_FLAGS
    for code, text in answer.ede:
        options.append((EDE, code.to_bytes(2, "big") + text.encode()))
    rdata = pack_options(options)
    return b"".join(
        (
            b"\x00\x00\x29",
            request.edns_size.to_bytes(2, "big"),
            bytes((answer.rcode >> 4 & 0xFF, 0)),
            flags.to_bytes(2, "big"),
            len(rdata).to_bytes(2, "big"),
            rdata,
        )
    )
