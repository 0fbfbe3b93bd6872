# -*- test-case-name: tests.zones.test_index -*-
"""
An ordered map from keys to the records of a name: what a zone's data lie in.

It is a list of chunks, each a sorted list of keys with the list of their values. Compared with one dictionary and one sorted list this
takes half the memory, never copies a large table in one go (a dictionary of a million entries takes 50 ms to grow), and answers what DNS
asks of an order: the name before, and whether anything exists below a name.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

CHUNK = 512
"""Keys of a chunk after it was split; up to twice as many before."""


class Index:
    """Keys and values, both bytes; equal values may be one object."""

    __slots__ = ("_first", "_keys", "_size", "_values")

    def __init__(self) -> None:
        self._first: list[bytes] = []
        """The lowest key of each chunk."""

        self._keys: list[list[bytes]] = []
        self._values: list[list[bytes]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        chunk = bisect_right(self._first, key) - 1
        if chunk < 0:
            return None
        keys = self._keys[chunk]
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            return self._values[chunk][at]
        return None

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        chunk = bisect_right(self._first, key) - 1
        if chunk < 0:
            if not self._first:
                self._new_chunk(0, [key], [value])
                self._size = 1
                return
            chunk = 0
            self._first[0] = key
        keys, values = self._keys[chunk], self._values[chunk]
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            values[at] = value
            return
        self._size += 1
        if at == len(keys) >= CHUNK and chunk + 1 == len(self._keys):
            # Data that come in order, as they do from a signed file or a transfer, fill each chunk instead of leaving it half empty.
            self._new_chunk(chunk + 1, [key], [value])
            return
        keys.insert(at, key)
        values.insert(at, value)
        if len(keys) >= 2 * CHUNK:
            self._new_chunk(chunk + 1, keys[CHUNK:], values[CHUNK:])
            del keys[CHUNK:], values[CHUNK:]

    def remove(self, key: bytes) -> None:
        """Forget a key; nothing happens when there is none."""
        chunk = bisect_right(self._first, key) - 1
        if chunk < 0:
            return
        keys = self._keys[chunk]
        at = bisect_left(keys, key)
        if at == len(keys) or keys[at] != key:
            return
        self._size -= 1
        del keys[at], self._values[chunk][at]
        if not keys:
            del self._first[chunk], self._keys[chunk], self._values[chunk]
        elif not at:
            self._first[chunk] = keys[0]

    def floor(self, key: bytes) -> tuple[bytes, bytes] | None:
        """The highest key up to and including *key*, with its value."""
        chunk = bisect_right(self._first, key) - 1
        if chunk < 0:
            return None
        at = bisect_right(self._keys[chunk], key) - 1
        return self._keys[chunk][at], self._values[chunk][at]

    def lower(self, key: bytes) -> tuple[bytes, bytes] | None:
        """The highest key below *key*, with its value."""
        chunk = bisect_left(self._first, key) - 1
        if chunk < 0:
            return None
        at = bisect_left(self._keys[chunk], key) - 1
        return self._keys[chunk][at], self._values[chunk][at]

    def last(self) -> tuple[bytes, bytes] | None:
        """The highest key of all, with its value."""
        return (self._keys[-1][-1], self._values[-1][-1]) if self._keys else None

    def has_below(self, prefix: bytes) -> bool:
        """Whether a longer key begins with *prefix*."""
        chunk = bisect_right(self._first, prefix) - 1
        if chunk >= 0:
            keys = self._keys[chunk]
            at = bisect_right(keys, prefix)
            if at < len(keys):
                return keys[at].startswith(prefix)
        chunk += 1
        return chunk < len(self._first) and self._first[chunk].startswith(prefix)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys in order with their values; the map must not change meanwhile."""
        for keys, values in zip(self._keys, self._values, strict=True):
            yield from zip(keys, values, strict=True)

    def copy_from(self, other: Index) -> Iterator[None]:
        """Become a copy of another map, which must not change meanwhile; keys and values are shared. Each step is short."""
        for keys, values in zip(other._keys, other._values, strict=True):
            self._new_chunk(len(self._keys), keys[:], values[:])
            self._size += len(keys)
            yield

    def popitem(self) -> None:
        """Drop the last entry: a large map is not freed in one turn."""
        keys = self._keys[-1]
        keys.pop()
        self._values[-1].pop()
        self._size -= 1
        if not keys:
            self._keys.pop()
            self._values.pop()
            self._first.pop()

    def _new_chunk(self, at: int, keys: list[bytes], values: list[bytes]) -> None:
        self._first.insert(at, keys[0])
        self._keys.insert(at, keys)
        self._values.insert(at, values)
