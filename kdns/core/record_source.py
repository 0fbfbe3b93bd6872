# -*- test-case-name: tests.core.test_record_source -*-
"""
Answers that a plugin has as records, for the fast path (:mod:`kdns.core.fast_path`).

What is unusual is left to the chain: sets that *loadbalance* may order, unless they are the whole answer; aliases; and negative answers
without an SOA, which no cache keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import inf
from typing import NamedTuple

from kdns.core.fast_path import Limit, Made
from kdns.core.stamps import StampRef
from kdns.wire.constants import AAAA, MX, NXDOMAIN, SOA, A
from kdns.wire.query import RECORD_HEAD
from kdns.wire.records import Record

ORDERED = frozenset((A, AAAA, MX))
"""Types whose sets *loadbalance* orders."""


class FoundRecords(NamedTuple):
    """The three sections of an authoritative answer, and what it depends on."""

    rcode: int
    answer: Sequence[Record]
    authority: Sequence[Record]
    additional: Sequence[Record]
    stamps: tuple[StampRef, ...]


class RecordSource:
    """
    A :class:`~kdns.core.fast_path.Source` made of records.

    :param find: the answer to a name in lower case and a type, of class IN; None when the chain must be asked.
    :param keeps: whether a cache in front gives all records of an answer one TTL, made of their lowest by the limits.
    """

    success_ttl = denial_ttl = None

    def __init__(
        self, find: Callable[[bytes, int], FoundRecords | None], success_ttl: Limit, denial_ttl: Limit, keeps: bool
    ) -> None:
        self._find = find
        self._success_ttl = success_ttl
        self._denial_ttl = denial_ttl
        self._keeps = keeps

    def answer(self, qname: bytes, qtype: int, now: float) -> Made | None:
        """See :meth:`kdns.core.fast_path.Source.answer`."""
        found = self._find(qname, qtype)
        if found is None:
            return None
        rcode, answer, authority, additional, stamps = found
        if answer:
            if rcode or any(record.rtype != qtype for record in answer):
                return None
        elif (rcode and rcode != NXDOMAIN) or not any(record.rtype == SOA for record in authority):
            return None
        ttl, until = None, inf
        if self._keeps:
            lowest = min(record.ttl for records in (answer, authority, additional) for record in records)
            ttl = self._success_ttl(lowest) if answer else self._denial_ttl(lowest)
            if ttl <= 0:
                return None
            until = now + ttl
        parts = [_wire(record, ttl) for record in answer]
        rotates = 0
        if len(parts) > 1 and qtype in ORDERED:
            rotates = len(parts[0])
            if qtype == MX or any(len(part) != rotates for part in parts):
                return None
        if len(additional) > 1 and _several(additional):
            return None
        parts += [_wire(record, ttl) for records in (authority, additional) for record in records]
        return (rcode, (len(answer), len(authority), len(additional)), b"".join(parts), stamps, until, rotates, None)

    def note(self, key: Hashable) -> StampRef:
        raise AssertionError("its answers have no keys")


def _wire(record: Record, ttl: int | None) -> bytes:
    owner, rtype, rclass, own_ttl, rdata = record
    return owner + RECORD_HEAD.pack(rtype, rclass, own_ttl if ttl is None else ttl, len(rdata)) + rdata


def _several(records: Sequence[Record]) -> bool:
    """Whether a name has more than one address of a family."""
    sets = [(record.owner.lower(), record.rtype) for record in records if record.rtype in ORDERED]
    return len(sets) != len(set(sets))


__all__ = ["FoundRecords", "RecordSource"]
