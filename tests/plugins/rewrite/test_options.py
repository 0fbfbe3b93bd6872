"""Tests of :mod:`kdns.plugins.rewrite.options`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.request import Metadata
from kdns.plugins.rewrite.options import VARIABLES, Action, Option, SubnetPrefix, changed, metadata_value
from tests.support import a_request

A, B = (65001, b"a"), (65002, b"b")
NEW = (65001, b"new")

RESULTS: list[tuple[Action, tuple[Option, ...], tuple[Option, ...] | None]] = [
    (Action.SET, (), (NEW,)),
    (Action.SET, (B,), (B, NEW)),
    (Action.SET, (B, A, A), (B, NEW, A)),
    (Action.APPEND, (B,), (B, NEW)),
    (Action.APPEND, (A,), (A,)),
    (Action.REPLACE, (A, B), (NEW, B)),
    (Action.REPLACE, (B,), None),
    (Action.UNSET, (A, B, A), (B,)),
    (Action.UNSET, (B,), (B,)),
]

OPTIONS = st.lists(st.tuples(st.integers(65001, 65003), st.binary(max_size=3)), max_size=4).map(tuple)


class ActionTests(SynchronousTestCase):
    """What actions do with options."""

    def test_results(self) -> None:
        """Set, append, replace and unset."""
        for action, options, wanted in RESULTS:
            result = changed(options, action, *NEW)
            self.assertEqual(None if result is None else result[0], wanted, (action, options))

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(OPTIONS, st.sampled_from([Action.SET, Action.APPEND, Action.REPLACE]), st.integers(65001, 65003))
    def test_undo(self, options: tuple[Option, ...], action: Action, code: int) -> None:
        """What an action did can be taken back."""
        result = changed(options, action, code, b"new")
        if result is not None:
            after, undo = result
            self.assertEqual(after if undo is None else undo.applied(after), options)

    def test_undo_of_nothing(self) -> None:
        """A reply that does not have the option stays as it is."""
        result = changed((A,), Action.SET, *NEW)
        assert result is not None
        assert result[1] is not None
        self.assertEqual(result[1].applied((B,)), (B,))


class DataTests(SynchronousTestCase):
    """What options hold."""

    def test_subnet(self) -> None:
        """RFC 7871 section 6: family, source prefix, scope 0, and as many bytes as the prefix needs, without bits behind it."""
        for prefix, client, wanted in (
            ((24, 56), "10.1.2.3", "000118000a0102"),
            ((0, 0), "10.1.2.3", "00010000"),
            ((32, 56), "10.1.2.3", "000120000a010203"),
            ((20, 56), "10.1.255.3", "000114000a01f0"),
            ((24, 56), "2001:db8:1:2ff::1", "0002380020010db8000102"),
            ((24, 128), "2001:db8::1", "0002800020010db8000000000000000000000001"),
        ):
            self.assertEqual(SubnetPrefix(*prefix).option(client).hex(), wanted, (prefix, client))

    def test_variables(self) -> None:
        """Variables are bytes of the query and its connection."""
        request = a_request("www.test", client="10.0.0.1", client_port=1234)
        found = {name: read(request, "Www.test.", 28) for name, read in VARIABLES.items()}
        self.assertEqual(
            found,
            {
                "{qname}": b"Www.test.",
                "{qtype}": b"\0\x1c",
                "{client_ip}": b"\x0a\0\0\x01",
                "{client_port}": b"\x04\xd2",
                "{protocol}": b"udp",
                "{server_ip}": b"\x7f\0\0\x01",
                "{server_port}": b"\0\x35",
            },
        )

    def test_metadata(self) -> None:
        """A label of metadata is text, or computed; without one there is no value."""
        metadata: Metadata = {"a/b": "x", "a/c": lambda: "y"}
        request = a_request("www.test", metadata=metadata)
        read = [metadata_value(label)(request, "", 1) for label in ("a/b", "a/c", "a/d")]
        self.assertEqual(read, [b"x", b"y", None])
        self.assertIsNone(metadata_value("a/b")(a_request("www.test"), "", 1))
