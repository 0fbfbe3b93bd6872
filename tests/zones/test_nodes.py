# -*- test-case-name: tests.zones.test_nodes -*-
"""Nodes hold what was packed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import NS, RRSIG, A
from kdns.zones.nodes import Datum, has_type, pack, rrset, signatures, unpack, wire_records

DATA = st.lists(st.builds(Datum, st.integers(1, 5), st.integers(0, 2**31 - 1), st.binary(max_size=8)), max_size=6)


class NodeTests(SynchronousTestCase):
    """kdns.zones.nodes."""

    @given(DATA, st.integers(1, 6))
    def test_round_trip(self, data: list[Datum], rtype: int) -> None:
        """Every record is found again, with its type, in its order."""
        data.sort(key=lambda datum: datum.rtype)
        node = pack(data)
        self.assertEqual(unpack(node), data)
        self.assertEqual(rrset(node, rtype), [datum for datum in data if datum.rtype == rtype])
        self.assertEqual(has_type(node, rtype), any(datum.rtype == rtype for datum in data))
        self.assertEqual(b"".join(wire_records(node)), node)
        self.assertEqual(len(list(wire_records(node))), len(data))

    def test_signatures(self) -> None:
        """Signatures are found by the type that they cover."""
        node = pack([Datum(A, 1, b"\x00" * 4), Datum(RRSIG, 1, b"\x00\x01one"), Datum(RRSIG, 1, b"\x00\x02two")])
        self.assertEqual(signatures(node, A), [Datum(RRSIG, 1, b"\x00\x01one")])
        self.assertEqual(signatures(node, NS), [Datum(RRSIG, 1, b"\x00\x02two")])
