# -*- test-case-name: tests.wire.test_ageing -*-
"""
Count down the TTLs of a finished message without parsing it again.

A reply that is sent repeatedly shows TTLs that go down with time (RFC 1035 section 4.1.3). The places of the TTLs are found once; each
change is a copy with some bytes overwritten.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from struct import Struct
from struct import error as _StructError

from kdns.wire.constants import OPT
from kdns.wire.names import MalformedName, skip_name
from kdns.wire.query import RECORD_HEAD

_COUNTS = Struct("!HHHH")


def ttl_places(reply: bytes) -> Sequence[int]:
    """
    The offsets of the TTLs in a message.

    :param reply: a message behind its identifier; it may be cut inside an OPT that comes last.
    :raises kdns.wire.names.MalformedName: it is not a message.
    """
    places = array("H")  # a tuple of numbers would take more memory than the message
    head = RECORD_HEAD.unpack_from
    try:
        questions, *counts = _COUNTS.unpack_from(reply, 2)
        offset = 10
        for _ in range(questions):
            offset = skip_name(reply, offset) + 4
        for _ in range(sum(counts)):
            offset = offset + 2 if reply[offset] >= 0xC0 else skip_name(reply, offset)
            rtype, _, _, length = head(reply, offset)
            if rtype != OPT:
                places.append(offset + 4)
            offset += 10 + length
    except (_StructError, IndexError):
        raise MalformedName("the message ends within a record") from None
    return places


def aged(reply: bytes, places: Sequence[int], seconds: int) -> bytes:
    """A copy of a message in which every TTL is *seconds* less, but not below 0."""
    message = bytearray(reply)
    lowered: dict[bytes, bytes] = {}
    for place in places:
        ttl = reply[place : place + 4]
        less = lowered.get(ttl)
        if less is None:
            less = lowered[ttl] = max(0, int.from_bytes(ttl, "big") - seconds).to_bytes(4, "big")
        message[place : place + 4] = less
    return bytes(message)
