# -*- test-case-name: tests.plugins.log -*-
"""Size, flags and class of a reply, the same in logs and metrics."""

from __future__ import annotations

from kdns.core.answer import Kind
from kdns.core.observe import Exchange
from kdns.core.reply import copied_flags
from kdns.wire.constants import NXDOMAIN
from kdns.wire.message import Relayed
from kdns.wire.names import MalformedName

DROPPED = "dropped"
"""The zone of an exchange that no server block took."""

_OPT_HEAD = 11
"""Bytes of an OPT without options (RFC 6891 section 6.1.2)."""


def reply_size(exchange: Exchange) -> int:
    """
    Bytes of the reply as the chain made it: uncompressed and not truncated; 0 when nothing was sent.

    An OPT of the answer's own counts; the one that the server adds for the client does not.
    """
    if exchange.reply is None:
        return 0
    answer = exchange.answer
    try:
        size = answer.body.uncompressed_size(exchange.request.question)
    except MalformedName:
        return len(exchange.reply)  # an upstream's record that cannot be read
    body = answer.body
    if isinstance(body, Relayed):
        if body.opt is not None:
            size += body.opt.end - body.opt.start
    elif answer.options is not None and exchange.request.edns is not None:
        size += _OPT_HEAD + sum(4 + len(data) for _, data in answer.options)
    return size


def reply_flags(exchange: Exchange) -> int:
    """The second word of the reply's header; for an internal look-up, which has no message, as it would have been sent."""
    reply = exchange.reply
    if reply is not None and len(reply) >= 4:
        return reply[2] << 8 | reply[3]
    return copied_flags(exchange.request.flags) | exchange.answer.flags


def reply_class(exchange: Exchange) -> str:
    """The class for the filters of ``log``: ``success``, ``denial`` or ``error``."""
    answer = exchange.answer
    if exchange.reply is None:
        return "error"
    if answer.rcode == NXDOMAIN:
        return "denial"  # with or without the SOA that a cache would need
    kind = answer.kind(exchange.request.qtype)
    if kind is Kind.NODATA:
        return "denial"
    return "error" if kind is Kind.ERROR else "success"
