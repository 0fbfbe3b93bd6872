"""What becomes of a message that asks: a query, a finished reply, or silence."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rcode
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import CLIENT_SUBNET, COOKIE, DO, FORMERR, NOTIMP, NSID, SERVFAIL
from kdns.wire.query import Query, options_of, pack_options, read_query
from tests.wire.support import REPEATABLE

HEAD = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
QUESTION = b"\x03WeB\x04prod\x00\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00"


def counts(questions: int, answers: int = 0, authorities: int = 0, additionals: int = 0, flags: int = 0x0100) -> bytes:
    """A header."""
    words = (0x1234, flags, questions, answers, authorities, additionals)
    return b"".join(word.to_bytes(2, "big") for word in words)


class AdmittedTests(SynchronousTestCase):
    """Messages that are queries."""

    def query(self, message: bytes) -> Query:
        """The query that a message is."""
        found = read_query(message)
        assert isinstance(found, Query), found
        return found

    def test_plain(self) -> None:
        """Name in both spellings, type, class, identifier and flags."""
        found = self.query(HEAD + QUESTION)
        self.assertEqual(found, Query(0x1234, 0x0100, b"\x03WeB\x04prod\x00", b"\x03web\x04prod\x00", 1, 1, None))

    def test_edns(self) -> None:
        """Size, DO, version and options are read from the OPT."""
        message = dns.message.make_query("web.prod.", "AAAA", use_edns=0, payload=1232, want_dnssec=True)
        message.use_edns(
            0, message.ednsflags | 1, 1232, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")]
        )
        edns = self.query(message.to_wire()).edns
        assert edns is not None
        self.assertEqual((edns.size, edns.version, edns.flags), (1232, 0, DO | 1))
        self.assertTrue(edns.do)
        self.assertEqual(options_of(edns.options), [(COOKIE, b"12345678")])

    def test_other_version(self) -> None:
        """Another EDNS version is not judged here."""
        opt = b"\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00"
        edns = self.query(counts(1, 0, 0, 1) + QUESTION + opt).edns
        assert edns is not None
        self.assertEqual(edns.version, 1)

    def test_opt_elsewhere(self) -> None:
        """An OPT counts in the additional section only."""
        self.assertIsNone(self.query(counts(1, 1) + QUESTION + OPT).edns)

    def test_promised_records(self) -> None:
        """Records that are promised and are not there are let pass, as CoreDNS does."""
        self.assertIsNone(self.query(counts(1, 1, 1, 2) + QUESTION).edns)

    def test_notify(self) -> None:
        """NOTIFY is admitted."""
        self.assertEqual(self.query(counts(1, flags=0x2000) + QUESTION).flags, 0x2000)

    def test_octets_behind(self) -> None:
        """Octets behind a message without records are not looked at."""
        self.query(HEAD + QUESTION + b"garbage")


class RefusedTests(SynchronousTestCase):
    """Messages that are answered at once, or not at all."""

    def test_silence(self) -> None:
        """Under 12 octets, and replies: two servers shall never talk to each other for ever."""
        for size in range(12):
            self.assertIsNone(read_query((HEAD + QUESTION)[:size]))
        self.assertIsNone(read_query(counts(1, flags=0x8100) + QUESTION))

    def reply(self, message: bytes) -> dns.message.Message:
        """The reply that is given at once."""
        found = read_query(message)
        assert isinstance(found, bytes), found
        return dns.message.from_wire(found)

    def test_opcode(self) -> None:
        """Other opcodes are NOTIMP."""
        for opcode in (1, 2, 3, 5, 6, 15):
            found = self.reply(counts(1, flags=opcode << 11) + QUESTION)
            self.assertEqual((found.rcode(), found.opcode()), (NOTIMP, opcode))

    def test_counts(self) -> None:
        """No question, two questions, or records that no query has are FORMERR."""
        for head in (counts(0), counts(2), counts(1, 2), counts(1, 0, 2), counts(1, 0, 0, 3)):
            self.assertEqual(self.reply(head + QUESTION).rcode(), FORMERR)

    def test_header_alone(self) -> None:
        """A header that promises a question and ends is SERVFAIL, as CoreDNS says."""
        self.assertEqual(self.reply(HEAD).rcode(), SERVFAIL)

    def test_bad_question(self) -> None:
        """Pointers, unknown label types, names without an end or over 255 octets, and what is cut short are FORMERR."""
        long = (b"\x3f" + b"a" * 63) * 4 + b"\x00"
        for question in (
            b"\xc0\x0c\x00\x01\x00\x01",
            b"\x41a\x00\x00\x01\x00\x01",
            b"\x03we",
            b"\x03web",
            b"\x03web\x00",
            b"\x03web\x00\x00\x01\x00",
            long + b"\x00\x01\x00\x01",
        ):
            found = self.reply(HEAD + question)
            self.assertEqual((found.rcode(), found.question), (FORMERR, []), question)

    def test_bad_records(self) -> None:
        """A record that is cut short, or an option that is, is FORMERR with the question."""
        for records in (
            b"\x00",
            OPT[:-1],
            OPT[:-1] + b"\x05",
            OPT[:-1] + b"\x03\x00\x0a\x00",
            OPT[:-1] + b"\x05\x00\x0a\x00\x02a",
            b"\xc0",
        ):
            found = self.reply(counts(1, 0, 0, 1) + QUESTION + records)
            self.assertEqual(found.rcode(), FORMERR, records)
            self.assertEqual(str(found.question[0].name), "WeB.prod.")

    def test_bad_opt(self) -> None:
        """Two OPTs, and an OPT whose owner is not the root, are FORMERR (RFC 6891 sections 6.1.1 and 6.1.2)."""
        for name, records in (
            ("two", OPT + OPT),
            ("owned by a name", b"\x01x" + OPT),
            ("owned through a pointer", b"\xc0\x15" + OPT[1:]),
        ):
            found = self.reply(counts(1, 0, 0, 2) + QUESTION + records)
            self.assertEqual(found.rcode(), FORMERR, name)

    def test_cookie_lengths(self) -> None:
        """A cookie has 8 bytes, or 16 to 40 with a server's part; any other length is FORMERR (RFC 7873 section 5.2.2)."""
        for length in range(50):
            option = pack_options([(NSID, b""), (COOKIE, bytes(length))])
            records = OPT[:-2] + len(option).to_bytes(2, "big") + option
            found = read_query(counts(1, 0, 0, 1) + QUESTION + records)
            self.assertEqual(isinstance(found, Query), length == 8 or 16 <= length <= 40, length)
            if isinstance(found, bytes):
                self.assertEqual(dns.message.from_wire(found).rcode(), FORMERR)

    def test_cut_inside_a_cookie(self) -> None:
        """A query that ends inside its cookie is FORMERR."""
        whole = counts(1, 0, 0, 1) + QUESTION + OPT[:-1] + b"\x0c\x00\x0a\x00\x0812345678"
        for cut in range(1, 9):
            self.assertEqual(self.reply(whole[:-cut]).rcode(), FORMERR)

    def test_flags(self) -> None:
        """A reply to what cannot be read keeps RD and CD, and has neither AA nor Z."""
        found = read_query(counts(0, flags=0x07FF & 0x7FFF))
        assert isinstance(found, bytes)
        self.assertEqual(
            int.from_bytes(found[2:4], "big"), 0x8000 | 0x0200 | 0x0100 | 0x0080 | 0x0020 | 0x0010 | FORMERR
        )


class AnyOctetsTests(SynchronousTestCase):
    """What comes from the network raises nothing."""

    def check(self, message: bytes) -> None:
        """A query, a reply with the same identifier, or nothing."""
        found = read_query(message)
        if isinstance(found, bytes):
            self.assertEqual(found[:2], message[:2])
            self.assertTrue(found[2] & 0x80)
            self.assertLessEqual(len(found), len(message))
            dns.message.from_wire(found)
        elif found is not None:
            self.assertEqual(found.spelled.lower(), found.qname)
            self.assertEqual(message[12 : 12 + len(found.spelled)], found.spelled)

    @REPEATABLE
    @given(st.binary(max_size=600))
    def test_noise(self, message: bytes) -> None:
        """Noise."""
        self.check(message)

    @REPEATABLE
    @given(st.binary(max_size=100), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 3))
    def test_noise_behind_header(self, rest: bytes, one: int, two: int, three: int, four: int) -> None:
        """Noise behind a header that could be one."""
        self.check(counts(one, two, three, four) + rest)

    @REPEATABLE
    @given(st.data())
    def test_mutated(self, data: st.DataObject) -> None:
        """A query with an EDNS option in which some octets are changed."""
        message = bytearray(counts(1, 0, 0, 1) + QUESTION + OPT[:-1] + b"\x0c\x00\x0a\x00\x0812345678")
        for _ in range(data.draw(st.integers(1, 5))):
            message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
        self.check(bytes(message[: data.draw(st.integers(0, len(message)))]))


class OptionTests(SynchronousTestCase):
    """EDNS options in rdata."""

    @REPEATABLE
    @given(st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=20))))
    def test_round_trip(self, options: list[tuple[int, bytes]]) -> None:
        """What is packed comes out again."""
        self.assertEqual(options_of(pack_options(options)), options)

    def test_cut_short(self) -> None:
        """An option that is cut short is left out."""
        whole = pack_options([(COOKIE, b"12345678"), (CLIENT_SUBNET, b"abcd")])
        for size in range(12, len(whole)):
            self.assertEqual(options_of(whole[:size]), [(COOKIE, b"12345678")])
