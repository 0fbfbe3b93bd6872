# -*- test-case-name: tests.wire.test_rotation -*-
"""
The orders of the address records in a finished reply.

A reply that is sent again and again should name each address first equally often. The records of one address set follow one another and
differ in their rdata only, so the next order is the same bytes, cut in two and joined the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import groupby
from math import lcm
from typing import TypeAlias

from kdns.wire.constants import AAAA, A
from kdns.wire.names import skip_name
from kdns.wire.query import HEADER, RECORD_HEAD

Preferred: TypeAlias = tuple[IPv4Network | IPv6Network, ...]
"""Networks whose addresses come first, in the order of the networks."""

MOST_KEPT = 16
"""Orders of one reply that are kept; with more, each is made when its turn comes."""

LARGE = 2048
"""Bytes of a reply whose orders are not kept: making one takes microseconds, and keeping them many times the memory of the reply."""


class Rotation:
    """All orders of one finished reply."""

    __slots__ = ("_kept", "_parts", "_turn", "turns")

    def __init__(self, parts: Sequence[tuple[int, int, int]]) -> None:
        """
        :param parts: offset of the first record, bytes of a record, and how many follow one another, for each set that rotates.
        """
        self._parts = parts
        counts = [count for _, _, count in parts]
        cycle = lcm(*counts)
        self.turns = cycle if cycle <= MOST_KEPT else max(counts)
        """Orders until the first one comes again."""

        self._turn = 0
        self._kept: list[bytes | None] | None = [None] * self.turns if self.turns <= MOST_KEPT else None

    def forget(self) -> None:
        """The reply changed, though not its length: make the orders from the new one."""
        if self._kept is not None:
            self._kept = [None] * self.turns

    def next(self, reply: bytes) -> bytes:
        """
        The order whose turn it is.

        :param reply: the first order, identifier left out.
        """
        self._turn = turn = (self._turn + 1) % self.turns
        if not turn:
            return reply
        if self._kept is None or len(reply) > LARGE:
            return self.order(reply, turn)
        kept = self._kept[turn]
        if kept is None:
            kept = self._kept[turn] = self.order(reply, turn)
        return kept

    def order(self, reply: bytes, turn: int) -> bytes:
        """The order that comes *turn* turns after the first; *reply* is the first."""
        pieces: list[bytes] = []
        done = 0
        for start, step, count in self._parts:
            cut = start + turn % count * step
            end = start + count * step
            pieces += (reply[done:start], reply[cut:end], reply[start:cut])
            done = end
        pieces.append(reply[done:])
        return b"".join(pieces)


def rotation_of(reply: bytes, prefer: Preferred = ()) -> Rotation | None:
    """
    The orders of a reply, identifier left out; None when it has only one.

    :param prefer: addresses of these networks stand in front of the others of their set; those of one network rotate by themselves.
    :raises kdns.wire.names.MalformedName, struct.error, IndexError: it is not a whole message.
    """
    message = b"\x00\x00" + reply
    _, _, questions, *counts = HEADER.unpack_from(message)
    offset = 12
    for _ in range(questions):
        offset = skip_name(message, offset) + 4
    parts: list[tuple[int, int, int]] = []
    left = sum(counts)
    while left > 0:
        start = offset
        head = skip_name(message, offset) + 10
        rtype, _, _, length = RECORD_HEAD.unpack_from(message, head - 10)
        offset = head + length
        left -= 1
        if rtype not in (A, AAAA):
            continue
        same, step = message[start:head], offset - start
        while left and message.startswith(same, offset):
            offset += step
            left -= 1
        count = (offset - start) // step
        begin = start
        for size in _runs(message, head, step, length, count, prefer) if prefer else (count,):
            if size > 1:
                parts.append((begin - 2, step, size))
            begin += size * step
    return Rotation(parts) if parts else None


def _runs(message: bytes, rdata: int, step: int, length: int, count: int, prefer: Preferred) -> Iterator[int]:
    """How many addresses of a set that follow one another are preferred alike, again and again."""
    places = range(rdata, rdata + count * step, step)
    for _, run in groupby(places, lambda place: preference(message[place : place + length], prefer)):
        yield sum(1 for _ in run)


def preference(address: bytes, prefer: Preferred) -> int:
    """Which of the networks a packed address is in first; behind all of them for one that is in none, and for rdata of another length."""
    if len(address) in (4, 16):
        parsed = ip_address(address)
        for place, network in enumerate(prefer):
            if parsed in network:
                return place
    return len(prefer)


__all__ = ["MOST_KEPT", "Preferred", "Rotation", "preference", "rotation_of"]
