"""Messages that kdns makes, read by dnspython: nothing changes on the way, and nothing is bigger than it may be."""

from __future__ import annotations

from collections.abc import Iterator

import dns.message
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import IN, QR, TC, A
from kdns.wire.message import scan
from kdns.wire.names import from_text
from kdns.wire.records import Record, a_or_aaaa, cname, srv
from kdns.wire.render import render, render_compressed, uncompressed_size
from tests.wire.support import REPEATABLE, decoded, names, sections

NAME = from_text("web.prod.svc.cluster.local.")
QUESTION = NAME + b"\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00"
Sections = tuple[list[Record], list[Record], list[Record]]


class WholeTests(SynchronousTestCase):
    """Messages that fit."""

    @REPEATABLE
    @given(names(), sections, st.sampled_from([b"", OPT]))
    def test_plain(self, name: bytes, parts: Sections, opt: bytes) -> None:
        """Without compression every octet comes back."""
        question = name + b"\x00\x01\x00\x01"
        message = render(7, QR, question, parts, opt, 65535, 65535)
        self.assertEqual(decoded(message), parts)
        self.assertEqual(len(message), uncompressed_size(question, parts) + len(opt))
        self.assertEqual(dns.message.from_wire(message).edns, 0 if opt else -1)

    @REPEATABLE
    @given(names(), sections, st.sampled_from([b"", OPT]))
    def test_compressed(self, name: bytes, parts: Sections, opt: bytes) -> None:
        """Compressed, the records are the same to the letter, and the message is no longer than without."""
        question = name + b"\x00\x01\x00\x01"
        message = render(7, QR, question, parts, opt, 65535, 0)
        self.assertEqual(decoded(message), parts)
        self.assertLessEqual(len(message), uncompressed_size(question, parts) + len(opt))
        self.assertEqual(message[len(message) - len(opt) :], opt)
        self.assertFalse(message[2] & TC >> 8)

    @REPEATABLE
    @given(names(), sections)
    def test_own_reader(self, name: bytes, parts: Sections) -> None:
        """What is rendered is scanned to the same records."""
        message = render(7, QR, name + b"\x00\x01\x00\x01", parts, OPT, 65535, 0)
        found = scan(message)
        self.assertEqual(found.sections(), tuple(map(tuple, parts)))
        self.assertEqual(found.question, (name, 1, 1))

    def test_compression(self) -> None:
        """Owners and the targets of old types are compressed; the target of an SRV never is (RFC 3597)."""
        target = from_text("a.prod.svc.cluster.local.")
        parts: Sections = (
            [cname(NAME, 5, target), srv(NAME, 5, 0, 1, 80, target)],
            [],
            [a_or_aaaa(target, 5, bytes(4))],
        )
        message = render(7, QR, QUESTION, parts, b"", 512, 0)
        self.assertEqual(message.count(b"\x07cluster\x05local\x00"), 2)
        # Question, three owners of two octets, CNAME rdata of four, SRV plain: the last owner points into the CNAME.
        wanted = 12 + len(QUESTION) + (2 + 10 + 4) + (2 + 10 + 6 + len(target)) + (2 + 10 + 4)
        self.assertEqual(len(message), wanted)

    def test_no_question(self) -> None:
        """A message may have no question."""
        message = render(7, QR, b"", ((), (), ()), OPT, 512, 512)
        self.assertEqual(dns.message.from_wire(message).question, [])

    def test_far_names(self) -> None:
        """No pointer points behind what 14 bits can name, and nothing is lost there."""
        owners = [
            from_text(f"host-{number}.very-long-name-of-a-service.prod.svc.cluster.local.") for number in range(900)
        ]
        parts: Sections = ([a_or_aaaa(owner, 5, bytes(4)) for owner in owners] * 2, [], [])
        message = render(7, QR, QUESTION, parts, b"", 65535, 0)
        self.assertGreater(len(message), 0x4000)
        self.assertEqual(decoded(message)[0], parts[0])


class TruncatedTests(SynchronousTestCase):
    """Messages that do not fit."""

    @REPEATABLE
    @given(names(), sections, st.sampled_from([b"", OPT]), st.integers(min_value=280, max_value=700))
    def test_limit(self, name: bytes, parts: Sections, opt: bytes, limit: int) -> None:
        """Never above the limit; whole records in their order, then nothing more, and TC exactly when one is missing."""
        question = name + b"\x00\x01\x00\x01"
        message = render(7, QR, question, parts, opt, limit, limit)
        self.assertLessEqual(len(message), limit)
        found = decoded(message)
        everything = [(number, record) for number, section in enumerate(parts) for record in section]
        kept = [(number, record) for number, section in enumerate(found) for record in section]
        self.assertEqual(kept, everything[: len(kept)])
        self.assertEqual(bool(message[2] & TC >> 8), len(kept) < len(everything))
        self.assertEqual(message[len(message) - len(opt) :], opt)

    def test_ends_where_no_more_fits(self) -> None:
        """Of an answer of thousands of records only so many are looked at as fit, and one."""
        looked_at = 0

        def endless() -> Iterator[Record]:
            nonlocal looked_at
            while True:
                looked_at += 1
                yield a_or_aaaa(NAME, 5, looked_at.to_bytes(4, "big"))

        message = render_compressed(7, QR, QUESTION, (endless(), (), ()), OPT, 512)
        count = len(decoded(message)[0])
        self.assertGreater(count, 20)
        self.assertEqual(looked_at, count + 1)

    def test_first_that_is_too_much(self) -> None:
        """The first record that does not fit ends everything, even where a smaller one would."""
        small = a_or_aaaa(NAME, 5, bytes(4))
        big = Record(NAME, 65280, IN, 5, bytes(600))
        message = render(7, QR, QUESTION, ([small, big, small], [], [small]), b"", 512, 512)
        self.assertEqual(decoded(message), ([small], [], []))
        self.assertTrue(message[2] & TC >> 8)

    def test_exactly(self) -> None:
        """A message of exactly the limit is whole, one octet less room and a record goes."""
        records = [a_or_aaaa(NAME, 5, bytes((10, 0, 0, number))) for number in range(20)]
        size = len(render(7, QR, QUESTION, (records, [], []), OPT, 65535, 0))
        whole = render(7, QR, QUESTION, (records, [], []), OPT, size, 0)
        self.assertEqual((len(whole), whole[2] & TC >> 8), (size, 0))
        cut = render(7, QR, QUESTION, (records, [], []), OPT, size - 1, 0)
        self.assertEqual(len(decoded(cut)[0]), 19)
        self.assertTrue(cut[2] & TC >> 8)

    def test_tc_is_kept(self) -> None:
        """TC that is set already stays."""
        message = render(7, QR | TC, QUESTION, ([], [], []), b"", 512, 512)
        self.assertTrue(message[2] & TC >> 8)

    def test_types(self) -> None:
        """The question decides nothing: a type is kept whatever was asked."""
        self.assertEqual(A, 1)
        record = Record(NAME, 65280, IN, 5, b"\x01")
        self.assertEqual(decoded(render(7, QR, QUESTION, ([record], [], []), b"", 512, 512))[0], [record])
