# -*- test-case-name: tests.zones.test_transfers -*-
"""
The history of a zone: what changed from one version to the next, for IXFR (RFC 1995).

Differences are kept in memory and bounded; a client that has a version from before them gets the whole zone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from kdns.wire.constants import IN, SOA
from kdns.wire.records import Record
from kdns.zones.index import Index
from kdns.zones.nodes import Datum, unpack
from kdns.zones.zone import Zone, hashed_owner, serial_of

MAX_RECORDS = 100_000
"""Records in all differences of a zone together; about 20 MB."""

MAX_VERSIONS = 100

STEP = 256
"""Names to compare before the caller may do something else."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What changed from one version to the next."""

    old: Record
    """The SOA before."""

    new: Record
    removed: tuple[Record, ...]
    """Without SOA records."""

    added: tuple[Record, ...]

    @property
    def size(self) -> int:
        """How many records it has."""
        return len(self.removed) + len(self.added)


class History:
    """The latest differences of one zone, oldest first, each from the version that the one before led to."""

    def __init__(self) -> None:
        self._deltas: deque[Delta] = deque()
        self._size = 0

    def add(self, delta: Delta | None) -> None:
        """Note a change; None means that it is not known, so that nothing older is of use."""
        if delta is None or (self._deltas and self._deltas[-1].new.rdata != delta.old.rdata):
            self._deltas.clear()
            self._size = 0
        if delta is not None:
            self._deltas.append(delta)
            self._size += delta.size
        while self._deltas and (self._size > MAX_RECORDS or len(self._deltas) > MAX_VERSIONS):
            self._size -= self._deltas.popleft().size

    def since(self, serial: int, now: int) -> list[Delta] | None:
        """The differences from the version with one serial to the one with another; None when they are not all known."""
        if not self._deltas or serial_of(self._deltas[-1].new.rdata) != now:
            return None
        found: list[Delta] = []
        for delta in reversed(self._deltas):
            found.append(delta)
            if serial_of(delta.old.rdata) == serial:
                return found[::-1]
        return None


class Comparison:
    """Find what changed between two versions of a zone; the result is there when :meth:`steps` has ended."""

    def __init__(self, old: Zone, new: Zone) -> None:
        self._old = old
        self._new = new
        self._removed: list[Record] = []
        self._added: list[Record] = []
        self.delta: Delta | None = None
        """None when so much changed that the whole zone is the better answer."""

    def steps(self) -> Iterator[None]:
        """Compare; each step is short."""
        old, new = self._old, self._new
        most = min(MAX_RECORDS, max(old.records, new.records))
        pairs = [(old.index, new.index, False)]
        pairs.append((_hashes(old), _hashes(new), True))
        for before, after, hashed in pairs:
            for _ in self._compare(before, after, hashed):
                if len(self._removed) + len(self._added) > most:
                    return
                yield
        self.delta = Delta(old.soa, new.soa, tuple(self._removed), tuple(self._added))

    def _compare(self, before: Index, after: Index, hashed: bool) -> Iterator[None]:
        ones, others = before.items(), after.items()
        one, other = next(ones, None), next(others, None)
        count = 0
        while one is not None or other is not None:
            count += 1
            if not count % STEP:
                yield
            if other is None or (one is not None and one[0] < other[0]):
                assert one is not None
                self._note(one[0], unpack(one[1]), [], hashed)
                one = next(ones, None)
            elif one is None or other[0] < one[0]:
                self._note(other[0], [], unpack(other[1]), hashed)
                other = next(others, None)
            else:
                if one[1] != other[1]:
                    self._note(one[0], unpack(one[1]), unpack(other[1]), hashed)
                one, other = next(ones, None), next(others, None)
        yield

    def _note(self, key: bytes, before: list[Datum], after: list[Datum], hashed: bool) -> None:
        there, then = set(before), set(after)
        for data, known, zone, into in (
            (before, then, self._old, self._removed),
            (after, there, self._new, self._added),
        ):
            for datum in data:
                if datum not in known and datum.rtype != SOA:
                    owner = hashed_owner(key, zone.origin) if hashed else zone.owner(key, datum.rtype)
                    into.append(Record(owner, datum.rtype, IN, datum.ttl, datum.rdata))


def _hashes(zone: Zone) -> Index:
    return zone.nsec3.index if zone.nsec3 is not None else Index()
