# -*- test-case-name: tests.plugins.log -*-
"""What logs and metrics say of a reply, in one place, so that both say the same."""

from __future__ import annotations

from kdns.core.answer import Kind
from kdns.core.observe import Exchange
from kdns.wire.constants import CD, QR, RD
from kdns.wire.names import MalformedName

DROPPED = "dropped"
"""The zone of an exchange that no server block took."""

_OPT_HEAD = 11
"""Octets of an OPT without options (RFC 6891 section 6.1.2)."""


def reply_size(exchange: Exchange) -> int:
    """
    Octets of the reply as the chain made it: uncompressed, before anything was left out; 0 when nothing was sent.

    An OPT that came with the answer counts, the one that the server adds for the client does not.
    """
    if exchange.reply is None:
        return 0
    answer = exchange.answer
    try:
        size = answer.uncompressed_size(exchange.request.question)
    except MalformedName:
        return len(exchange.reply)  # an upstream's record that cannot be taken apart
    if answer.relayed is not None:
        if answer.relayed.opt is not None:
            size += answer.relayed.opt.end - answer.relayed.opt.start
    elif answer.options is not None and exchange.request.edns is not None:
        size += _OPT_HEAD + sum(4 + len(data) for _, data in answer.options)
    return size


def reply_flags(exchange: Exchange) -> int:
    """The second word of the reply's header as it was sent, or would have been where an inner lookup has no message."""
    reply = exchange.reply
    if reply is not None and len(reply) >= 4:
        return reply[2] << 8 | reply[3]
    answer = exchange.answer
    return QR | exchange.request.flags & (RD | CD) | answer.flags


def reply_class(exchange: Exchange) -> str:
    """``success``, ``denial`` or ``error``, as ``log`` sorts replies."""
    if exchange.reply is None:
        return "error"
    kind = exchange.answer.kind(exchange.request.qtype)
    if kind in (Kind.SUCCESS, Kind.DELEGATION):
        return "success"
    return "denial" if kind in (Kind.NODATA, Kind.NXDOMAIN) else "error"
