# -*- test-case-name: tests.zones.test_keys -*-
"""Keys order names as DNSSEC does, and lose nothing."""

from __future__ import annotations

import dns.name
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.names import from_labels, from_text, parent
from kdns.zones.keys import APEX, ancestors, key_of, name_of, parent_key, wildcard_key

ORIGIN = from_text("example.org")

LABELS = st.lists(
    st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"a", b"\x00", b"\x01", b"\x01\x00", b"*", b"\xff"])),
    max_size=5,
)


def name(labels: list[bytes]) -> bytes:
    """The name of some labels in the zone, in lower case."""
    return (from_labels(labels)[:-1] + ORIGIN).lower()


class KeyTests(SynchronousTestCase):
    """kdns.zones.keys."""

    @given(LABELS)
    def test_round_trip(self, labels: list[bytes]) -> None:
        """A key has all that the name had."""
        self.assertEqual(name_of(key_of(name(labels), ORIGIN), ORIGIN), name(labels))

    @given(LABELS, LABELS)
    def test_canonical_order(self, one: list[bytes], other: list[bytes]) -> None:
        """Keys compare as dnspython's canonical order has it."""
        first, second = (dns.name.from_wire(name(labels), 0)[0] for labels in (one, other))
        keys = key_of(name(one), ORIGIN), key_of(name(other), ORIGIN)
        self.assertEqual(keys[0] < keys[1], first < second)
        self.assertEqual(keys[0] == keys[1], first == second)

    @given(LABELS)
    def test_ancestors(self, labels: list[bytes]) -> None:
        """The way down from the apex ends at the name, one label at a time."""
        whole = name(labels)
        names = [name_of(key, ORIGIN) for key in ancestors(key_of(whole, ORIGIN))]
        wanted = []
        while whole != ORIGIN:
            wanted.append(whole)
            whole = parent(whole)
        self.assertEqual(names, wanted[::-1])

    @given(LABELS.filter(bool))
    def test_parent(self, labels: list[bytes]) -> None:
        """The parent's key is without the last label, and begins the child's."""
        key = key_of(name(labels), ORIGIN)
        self.assertEqual(name_of(parent_key(key), ORIGIN), parent(name(labels)))
        self.assertTrue(key.startswith(parent_key(key)))

    def test_wildcard(self) -> None:
        """The wildcard is one label below."""
        self.assertEqual(
            name_of(wildcard_key(key_of(from_text("w.example.org"), ORIGIN)), ORIGIN), from_text("*.w.example.org")
        )
        self.assertEqual(key_of(ORIGIN, ORIGIN), APEX)
