# -*- test-case-name: tests.zones.test_index -*-
"""The ordered map does what a dictionary and a sorted list would."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.zones import index as module
from kdns.zones.index import CHUNK, Index

KEYS = st.binary(max_size=3)


class IndexTests(SynchronousTestCase):
    """kdns.zones.index.Index."""

    def setUp(self) -> None:
        """Chunks so small that a few keys make many."""
        self.patch(module, "CHUNK", 2)

    @given(st.lists(st.tuples(KEYS, st.one_of(st.none(), st.binary(max_size=2)))), KEYS)
    def test_as_a_dictionary(self, changes: list[tuple[bytes, bytes | None]], probe: bytes) -> None:
        """Whatever is put and removed, all questions have the answers of a dictionary."""
        index = Index()
        wanted: dict[bytes, bytes] = {}
        for key, value in changes:
            if value is None:
                index.remove(key)
                wanted.pop(key, None)
            else:
                index.put(key, value)
                wanted[key] = value
        items = sorted(wanted.items())
        self.assertEqual(list(index.items()), items)
        self.assertEqual(len(index), len(items))
        self.assertEqual(index.get(probe), wanted.get(probe))
        self.assertEqual(index.floor(probe), max((item for item in items if item[0] <= probe), default=None))
        self.assertEqual(index.lower(probe), max((item for item in items if item[0] < probe), default=None))
        self.assertEqual(index.last(), items[-1] if items else None)
        self.assertEqual(index.has_below(probe), any(key.startswith(probe) and key != probe for key in wanted))

    def test_freed_in_parts(self) -> None:
        """A map can be emptied an entry at a time, and is as good as new then."""
        index = Index()
        for number in range(10):
            index.put(b"%d" % number, b"")
        for left in range(9, -1, -1):
            index.popitem()
            self.assertEqual((len(index), len(list(index.items()))), (left, left))
        index.put(b"x", b"")
        self.assertEqual(list(index.items()), [(b"x", b"")])


class LargeIndexTests(SynchronousTestCase):
    """An index with chunks of their real size."""

    def test_in_order_and_at_random(self) -> None:
        """Keys that come in order fill their chunks; keys in any order are found as well."""
        keys = [b"%06d" % number for number in range(CHUNK * 5)]
        for order in (keys, Random(1).sample(keys, len(keys))):
            index = Index()
            for key in order:
                index.put(key, key)
            self.assertEqual([key for key, _ in index.items()], keys)
            self.assertTrue(all(index.get(key) == key for key in keys))
