# -*- test-case-name: tests.wire.test_ageing -*-
"""
Count down the TTLs of a finished message, without taking it apart.

A reply that is given again for a while shows TTLs that go down with time (RFC 1035 section 4.1.3). Where they stand in the message is found
once; a change is then a copy with a few octets put in.
"""

from __future__ import annotations

from struct import Struct
from struct import error as _StructError

from kdns.wire.constants import OPT
from kdns.wire.names import MalformedName, skip_name
from kdns.wire.query import RECORD_HEAD

_COUNTS = Struct("!HHHH")
_TTL = Struct("!I")


def ttl_places(reply: bytes) -> tuple[int, ...]:
    """
    Where the TTLs stand in a message.

    :param reply: a message behind its identifier; it may be cut inside an OPT that comes last.
    :raises kdns.wire.names.MalformedName: it is no message.
    """
    places = []
    try:
        questions, *counts = _COUNTS.unpack_from(reply, 2)
        offset = 10
        for _ in range(questions):
            offset = skip_name(reply, offset) + 4
        for _ in range(sum(counts)):
            offset = skip_name(reply, offset)
            rtype, _, _, length = RECORD_HEAD.unpack_from(reply, offset)
            if rtype != OPT:
                places.append(offset + 4)
            offset += 10 + length
    except _StructError:
        raise MalformedName("the message ends within a record") from None
    return tuple(places)


def aged(reply: bytes, places: tuple[int, ...], seconds: int) -> bytes:
    """A copy of a message in which each TTL is so many seconds less; none goes below 0."""
    octets = bytearray(reply)
    for place in places:
        (ttl,) = _TTL.unpack_from(octets, place)
        _TTL.pack_into(octets, place, max(0, ttl - seconds))
    return bytes(octets)
