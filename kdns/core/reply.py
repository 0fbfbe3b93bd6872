# -*- test-case-name: tests.core.test_reply -*-
"""
Turn an answer into the message for one client: header, spelling, size, EDNS.

This is the one place that makes a reply, whichever plugin answered and whichever transport sends it.
"""

from __future__ import annotations

from struct import Struct

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
    OPT,
    PADDING,
    QR,
    RCODE_MASK,
    RD,
    TC,
    TCP_KEEPALIVE,
)
from kdns.wire.message import ADDITIONAL, ANSWER, AUTHORITY, Relayed
from kdns.wire.names import MalformedName
from kdns.wire.query import HEADER, Edns, options_of, pack_options
from kdns.wire.render import render, render_compressed

PLAIN_LIMIT_IPV4 = 1480
PLAIN_LIMIT_IPV6 = 1220
"""
Bytes over UDP above which names are compressed although the client takes more.

A larger datagram is sent in fragments, and one lost fragment loses the reply.
"""

ECHOED_OPTIONS = frozenset((NSID, EXPIRE, COOKIE, TCP_KEEPALIVE, PADDING))
"""Options of the query that are echoed in a reply without options of its own."""

ECHOED_OVER_UDP = ECHOED_OPTIONS - {TCP_KEEPALIVE}
"""The same over UDP, where the keepalive option must be ignored (RFC 7828 section 3.3.2)."""

HOP_BY_HOP = frozenset((COOKIE, TCP_KEEPALIVE, PADDING))
"""
Options between two hosts (RFC 7873, RFC 7828, RFC 7830). Those of an upstream are not for clients; those of a query are echoed in each of
its replies.
"""

_OPT = Struct("!BHHBBHH")
"""An OPT without its rdata (RFC 6891 section 6.1.2)."""

KEPT_FLAGS = 0xFF00
"""DO and the upper Z bits, which are echoed in a reply without options of its own."""


PADDED = frozenset((Transport.TLS, Transport.HTTPS, Transport.QUIC, Transport.HTTPS3, Transport.GRPC))
"""Transports over which replies are padded: somebody who sees the sizes of encrypted messages could guess the names in them."""

PADDED_SIZE = 468
"""Bytes of which a padded reply has a multiple (RFC 8467 section 4.1)."""


def render_reply(request: Request, answer: Answer) -> bytes:
    """The whole message for the client, identifier included."""
    opt = reply_opt(request, answer)
    seal = answer.seal
    signature = 0 if seal is None else seal.size
    reply = _rendered(request, answer, opt, signature)
    if request.edns is not None and request.transport in PADDED and _pads(request.edns):
        reply = _padded(reply, len(opt), signature)
    return reply if seal is None else seal.sign(reply)


def _pads(edns: Edns) -> bool:
    """Whether the client pads its queries: then its replies are padded, too (RFC 7830 section 4)."""
    return any(code == PADDING for code, _ in options_of(edns.options))


def _padded(reply: bytes, opt_size: int, signature: int) -> bytes:
    """
    A reply with padding in its OPT, which comes last.

    It is the first option, so that a client's cookie stays at the end, where the answer table looks for it.

    :param signature: bytes that will follow the OPT.
    """
    size = -(len(reply) + 4 + signature) % PADDED_SIZE
    if len(reply) + 4 + size + signature > 65535:
        return reply
    length = len(reply) - opt_size + 9
    options = length + 2
    more = int.from_bytes(reply[length:options], "big") + 4 + size
    return b"".join((reply[:length], more.to_bytes(2, "big"), pack_options([(PADDING, bytes(size))]), reply[options:]))


def _rendered(request: Request, answer: Answer, opt: bytes, signature: int) -> bytes:
    flags = copied_flags(request.flags) | answer.flags | answer.rcode & RCODE_MASK
    if answer.rd is not None:
        flags = flags | RD if answer.rd else flags & ~RD
    limit = plain_limit = request.limit - signature
    if request.transport is Transport.UDP:
        plain_limit = (PLAIN_LIMIT_IPV6 if request.ipv6 else PLAIN_LIMIT_IPV4) - signature
    question = request.question
    body = answer.body
    if not isinstance(body, Relayed):
        return render(request.ident, flags, question, body.sections(), opt, limit, plain_limit)
    patched = body.patched(question)
    if patched is not None and 12 + len(patched) + len(opt) <= (limit if body.compressed else min(limit, plain_limit)):
        answers, authorities, additionals = body.counts
        counts = (1, answers, authorities, additionals + (1 if opt else 0))
        return HEADER.pack(request.ident, flags, *counts) + patched + opt
    # Records are taken out of the message one by one, and only as many as fit.
    sections = [body.records(section) for section in (ANSWER, AUTHORITY, ADDITIONAL)]
    try:
        return render_compressed(request.ident, flags, question, sections, opt, limit)
    except MalformedName:
        # A record that cannot be read cannot be made smaller either.
        return render_compressed(request.ident, flags | TC, question, (), opt, limit)


def error_reply(ident: int, flags: int, rcode: int, question: bytes) -> bytes:
    """An error reply that no plugin made, without an OPT; *flags* are the query's."""
    return HEADER.pack(ident, copied_flags(flags) | rcode & RCODE_MASK, 1 if question else 0, 0, 0, 0) + question


def ede_opt(code: int, text: str) -> bytes:
    """An OPT with an Extended DNS Error (RFC 8914 section 2), for a reply that no plugin made."""
    option = pack_options([(EDE, code.to_bytes(2, "big") + text.encode())])
    return b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00" + len(option).to_bytes(2, "big") + option


def badvers_reply(ident: int, flags: int, question: bytes) -> bytes:
    """BADVERS: 0 is the highest EDNS version that kdns speaks (RFC 6891 section 6.1.3)."""
    opt = b"\x00\x00\x29\x00\x00\x01\x00\x00\x00\x00\x00"
    return HEADER.pack(ident, copied_flags(flags), 1, 0, 0, 1) + question + opt


def copied_flags(flags: int) -> int:
    """The header flags of a reply to a query with *flags*: RD and CD are copied for QUERY, and mean nothing for other opcodes."""
    opcode = flags & OPCODE_MASK
    return QR | opcode if opcode else QR | flags & (RD | CD)


def reply_opt(request: Request, answer: Answer) -> bytes:
    """
    The OPT of the reply, with the client's payload size and DO bit; empty for a client that sent none (RFC 6891 section 6.1.1).

    It carries the answer's options, or without any those of the query that are echoed. An upstream's message has the upstream's options;
    the query's hop-by-hop options are echoed with them.
    """
    edns = request.edns
    if edns is None:
        return b""
    flags = edns.flags & (KEPT_FLAGS if answer.options is None else DO)
    rdata = edns.options
    if rdata:
        echoed = ECHOED_OVER_UDP if request.transport is Transport.UDP else ECHOED_OPTIONS
        if answer.options is not None:
            echoed = echoed & HOP_BY_HOP if isinstance(answer.body, Relayed) else frozenset()
        if request.transport in PADDED:
            echoed = echoed - {PADDING}
        rdata = pack_options([option for option in options_of(rdata) if option[0] in echoed])
    if answer.options:
        rdata = pack_options(answer.options) + rdata
    if answer.ede:
        rdata += pack_options([(EDE, code.to_bytes(2, "big") + text.encode()) for code, text in answer.ede])
    # The fourth field is the upper eight bits of the response code, the fifth the version.
    return _OPT.pack(0, OPT, request.edns_size, answer.rcode >> 4 & 0xFF, 0, flags, len(rdata)) + rdata
