"""Tests of :mod:`kdns.plugins.template.record`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.template.record import BadRecord, record_from_text
from kdns.wire.presentation import record_line

RECORDS = [
    # text, owner, TTL, class, type, rdata
    ("x.test. A 10.0.0.1", ("x.test.", 3600, "IN", "A", "10.0.0.1")),
    ("x.test. 60 A 10.0.0.1", ("x.test.", 60, "IN", "A", "10.0.0.1")),
    ("x.test. 60 in a 10.0.0.1", ("x.test.", 60, "IN", "A", "10.0.0.1")),
    ("x.test. IN 1h30m A 10.0.0.1", ("x.test.", 5400, "IN", "A", "10.0.0.1")),
    ("x 60 IN A 10.0.0.1", ("x.", 60, "IN", "A", "10.0.0.1")),
    ("@ 60 IN A 10.0.0.1", (".", 60, "IN", "A", "10.0.0.1")),
    (" 60 IN A 10.0.0.1", (".", 60, "IN", "A", "10.0.0.1")),
    ("x.test. 60 CH TXT ch", ("x.test.", 60, "CH", "TXT", '"ch"')),
    ('x.test. TXT "a-"b"-c"', ("x.test.", 3600, "IN", "TXT", '"a-" "b" "-c"')),
    ('x.test. TXT "two\nlines"', ("x.test.", 3600, "IN", "TXT", '"two\\010lines"')),
    ('x.test. TXT "a;b" ; comment', ("x.test.", 3600, "IN", "TXT", '"a;b"')),
    ("x.test. SOA ns. admin. (1 2\n 3 4 5)", ("x.test.", 3600, "IN", "SOA", "ns. admin. 1 2 3 4 5")),
    ("x.test. MX ( 10 mail.test. )", ("x.test.", 3600, "IN", "MX", "10 mail.test.")),
    ("x.test. TYPE65280 \\# 2 abcd", ("x.test.", 3600, "IN", "TYPE65280", "\\# 2 ABCD")),
    ("; first a comment\n\nx.test. A 10.0.0.1\ny.test. A wrong", ("x.test.", 3600, "IN", "A", "10.0.0.1")),
    ("$TTL 5\n$ORIGIN t.\nx A 10.0.0.1", ("x.t.", 5, "IN", "A", "10.0.0.1")),
    ("a\\.b.test. A 10.0.0.1", ("a\\.b.test.", 3600, "IN", "A", "10.0.0.1")),
]

NOTHING = ["", "  ", "\n\n", "; comment", "$TTL 60", "\t; x\n"]

MISTAKES = [
    ("x.test. 60 IN A not-an-address", "bad A A: 'not-an-address'"),
    ("x.test. 60 IN A 10.0.0.300", "bad A A: '10.0.0.300'"),
    ("x.test. 60 IN FROB x", "not a TTL: 'FROB'"),
    ("x.test. 60 IN", "not a record: 'IN'"),
    ("x.test.", "not a record: 'x.test.'"),
    ("x.test. OPT x", "type that has no records: OPT"),
    ("x.test. AXFR x", "type that has no records: AXFR"),
    ("x..test. A 10.0.0.1", "bad owner name: label of no byte or of more than 63"),
    ('x.test. TXT "a', "unbalanced quotes"),
    ("x.test. TXT (a", "unbalanced brackets"),
    ("x.test. TXT " + "a" * 4096, "text of more than 4096 bytes"),
    ("x.test. TXT a)", "extra closing brace"),
    ("$INCLUDE /etc/passwd", "directive not taken here: '$INCLUDE'"),
    ("$GENERATE 1-9 x A 10.0.0.1", "directive not taken here: '$GENERATE'"),
    ("$TTL x", "directive not taken here: '$TTL'"),
]


WORDS = [
    *["x.test.", "60", "IN", "CH", "A", "TXT", "SOA", "SVCB", "10.0.0.1", "(", ")", ";", "$TTL", "@", "a=", "'"], '"', "\n", "\\", "\udcff",
]  # fmt: skip


class RecordTests(SynchronousTestCase):
    """Texts that templates make."""

    def test_records(self) -> None:
        """The first record of a text, with what stands for what it leaves out."""
        for text, wanted in RECORDS:
            record = record_from_text(text)
            assert record is not None, text
            self.assertEqual(tuple(record_line(record)), wanted, text)

    def test_nothing(self) -> None:
        """A text without a record makes none."""
        for text in NOTHING:
            self.assertIsNone(record_from_text(text), text)

    def test_mistakes(self) -> None:
        """What is no record is refused, and no file is ever opened."""
        for text, wanted in MISTAKES:
            self.assertEqual(str(self.assertRaises(BadRecord, record_from_text, text)), wanted, text)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.lists(st.sampled_from(WORDS), max_size=8))
    def test_any_words(self, words: list[str]) -> None:
        """Whatever a text is, it is a record, none, or refused."""
        for text in (" ".join(words), "".join(words)):
            try:
                record = record_from_text(text)
            except BadRecord as error:
                self.assertTrue(str(error))
            else:
                self.assertTrue(record is None or len(record.rdata) < 65536)
