# -*- test-case-name: tests.plugins.dnssec.test_store -*-
"""The signatures that were made, by what they cover: a core module of *dnssec*."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import NamedTuple

from kdns.wire.query import RECORD_HEAD
from kdns.zones.signing import Rrset

LIFETIME = 8 * 86400
"""Seconds from the making of a signature to its expiration."""

CLOCK_SKEW = 3 * 3600
"""Seconds by which the inception is earlier than the making: clocks of validators may be slow."""

REFRESH = 2 * 86400
"""A signature with fewer seconds left is made again."""


class Signatures(NamedTuple):
    """The signatures of one RRset."""

    rdatas: tuple[bytes, ...]
    """Rdata of RRSIG records, one for each key."""

    expiration: int
    """Unix seconds."""

    @property
    def good_until(self) -> int:
        """Until when they may be given out, in Unix seconds."""
        return self.expiration - REFRESH


def digest_of(signer: bytes, rrset: Rrset) -> bytes:
    """
    What signatures are kept under: a hash of all that they cover, but for the TTL, which is the same in all of them.

    The order of the records and the letter case of owners make no difference: a shuffled set is signed once.
    """
    hashed = blake2b(signer, digest_size=20)
    hashed.update(rrset.owner)
    for rdata in rrset.rdatas:
        hashed.update(RECORD_HEAD.pack(rrset.rtype, rrset.rclass, 0, len(rdata)) + rdata)
    return hashed.digest()


class SignatureStore:
    """A bounded number of signed RRsets; the one that was not used for longest makes room."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[bytes, Signatures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, digest: bytes, now: float) -> Signatures | None:
        """
        The signatures of an RRset, if they are good at *now*, in Unix seconds.

        Where the clock was set back to before they were made, they are not.
        """
        found = self._entries.get(digest)
        if found is None:
            return None
        if not found.expiration - LIFETIME - CLOCK_SKEW <= now < found.good_until:
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return found

    def put(self, digest: bytes, signatures: Signatures) -> None:
        self._entries[digest] = signatures
        self._entries.move_to_end(digest)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
