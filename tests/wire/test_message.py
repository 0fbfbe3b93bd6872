"""Messages from elsewhere: scanned, patched, and taken apart when it must be."""

from __future__ import annotations

import dns.message
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import CNAME, COOKIE, IN, NXDOMAIN, QR, RA, RD, SOA, A
from kdns.wire.message import (
    ADDITIONAL,
    ANSWER,
    AUTHORITY,
    CHECKED_AT_ONCE,
    MOST_TAKEN_APART,
    MalformedMessage,
    Relayed,
    scan,
)
from kdns.wire.names import BadName, from_text, spelled_from_text
from kdns.wire.query import HEADER
from kdns.wire.records import Record, a_or_aaaa, cname, soa
from kdns.wire.render import render
from tests.wire.support import REPEATABLE, decoded, sections

NAME = from_text("web.example.com.")
TARGET = from_text("www.example.com.")
ZONE = from_text("example.com.")
QUESTION = NAME + b"\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x0c\x00\x0a\x00\x0812345678"
RECORDS: tuple[list[Record], list[Record], list[Record]] = (
    [cname(NAME, 300, TARGET), a_or_aaaa(TARGET, 60, bytes((192, 0, 2, 1)))],
    [],
    [],
)


def a_reply(opt: bytes = OPT, flags: int = QR | RD | RA) -> bytes:
    """A compressed reply."""
    return render(7, flags, QUESTION, RECORDS, opt, 65535, 0)


class ScanTests(SynchronousTestCase):
    """What is known of a message without taking it apart."""

    def test_facts(self) -> None:
        """Flags, counts, question, types, TTLs, response code and options."""
        found = scan(a_reply())
        self.assertEqual(found.flags, QR | RD | RA)
        self.assertEqual(found.counts, (2, 0, 0))
        self.assertEqual(found.question, (NAME, A, IN))
        self.assertEqual(found.types(ANSWER), [CNAME, A])
        self.assertEqual(found.types(AUTHORITY), [])
        self.assertEqual(found.types(ADDITIONAL), [])
        self.assertEqual(found.least_ttl, 60)
        self.assertEqual(found.rcode, 0)
        self.assertEqual(found.options, [(COOKIE, b"12345678")])
        self.assertIsNone(scan(a_reply(b"")).options)

    def test_extended_rcode(self) -> None:
        """The upper bits of the response code are the OPT's."""
        opt = b"\x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x00"
        self.assertEqual(scan(render(7, QR | 7, QUESTION, ((), (), ()), opt, 512, 512)).rcode, 23)

    def test_ttl_with_top_bit(self) -> None:
        """A TTL with the top bit set counts as zero."""
        record = Record(NAME, A, IN, 0x80000001, bytes(4))
        self.assertEqual(scan(render(7, QR, QUESTION, ([record], [], []), b"", 512, 512)).least_ttl, 0)

    def test_no_records(self) -> None:
        """There is no lowest TTL of nothing."""
        self.assertIsNone(scan(render(7, QR | NXDOMAIN, QUESTION, ((), (), ()), b"", 512, 512)).least_ttl)

    def test_octets_behind(self) -> None:
        """Octets behind the last record are cut off."""
        self.assertEqual(scan(a_reply() + b"garbage").message, a_reply())

    def test_malformed(self) -> None:
        """Queries, two questions, and what ends too early are no replies."""
        whole = a_reply()
        for message in (
            b"",
            whole[:11],
            a_reply(flags=RD),
            HEADER.pack(7, QR, 2, 0, 0, 0) + QUESTION * 2,
            HEADER.pack(7, QR, 1, 0, 0, 0),
            HEADER.pack(7, QR, 1, 0, 0, 0) + NAME,
            HEADER.pack(7, QR, 1, 1, 0, 0) + QUESTION,
        ):
            self.assertRaises(MalformedMessage, scan, message)
        for size in range(12, len(whole)):
            self.assertRaises(MalformedMessage, scan, whole[:size])

    @REPEATABLE
    @given(sections)
    def test_round_trip(self, parts: tuple[list[Record], list[Record], list[Record]]) -> None:
        """The records of a compressed message come out whole, with their own TTLs or another."""
        message = render(7, QR, QUESTION, parts, OPT, 65535, 0)
        found = scan(message)
        self.assertEqual(found.sections(), tuple(map(tuple, parts)))
        self.assertEqual(
            found.with_ttl(9).sections(), tuple(tuple(row._replace(ttl=9) for row in part) for part in parts)
        )
        plain = render(7, QR, QUESTION, parts, b"", 65535, 65535)
        self.assertEqual(found.uncompressed_size(), len(plain))

    def test_size_of_many(self) -> None:
        """Hundreds of records are not looked at for the size: it is that of the message, without its OPT."""
        many = tuple(Record(QUESTION[:-4], A, IN, 60, bytes(4)) for _ in range(MOST_TAKEN_APART + 1))
        message = render(7, QR, QUESTION, (many, (), ()), OPT, 65535, 0)
        self.assertEqual(scan(message).uncompressed_size(), len(message) - len(OPT))

    def test_check_in_steps(self) -> None:
        """Each step looks at some of the records, and together they look at all."""
        many = [Record(QUESTION[:-4], A, IN, 60, bytes(4)) for _ in range(2 * CHECKED_AT_ONCE + 1)]
        self.assertEqual(len(list(scan(render(7, QR, QUESTION, (many, (), ()), b"", 65535, 0)).checking())), 3)
        for place in (0, CHECKED_AT_ONCE, len(many) - 1):
            bad = [*many]
            bad[place] = Record(QUESTION[:-4], A, IN, 60, bytes(3))
            steps = scan(render(7, QR, QUESTION, (bad, (), ()), b"", 65535, 0)).checking()
            for _ in range(place // CHECKED_AT_ONCE):
                next(steps)
            self.assertRaises(MalformedMessage, next, steps)


class PatchTests(SynchronousTestCase):
    """The message of an upstream for another client."""

    def patched(self, found: Relayed, question: bytes, ttl: int | None) -> bytes:
        """A whole message around what was patched."""
        body = (found if ttl is None else found.with_ttl(ttl)).patched(question)
        assert body is not None
        return HEADER.pack(1, QR, 1, *found.counts) + body

    def test_spelling(self) -> None:
        """The question is the client's; records that point into it take its spelling."""
        question = spelled_from_text("WEB.Example.COM.") + b"\x00\x01\x00\x01"
        message = self.patched(scan(a_reply()), question, None)
        read = dns.message.from_wire(message)
        self.assertEqual(str(read.question[0].name), "WEB.Example.COM.")
        self.assertEqual(str(read.answer[0].name), "WEB.Example.COM.")
        self.assertEqual(read.edns, -1)
        self.assertEqual([row.ttl for row in decoded(message)[0]], [300, 60])

    def test_ttl(self) -> None:
        """All TTLs are exchanged, and nothing else."""
        message = self.patched(scan(a_reply()), QUESTION, 17)
        self.assertEqual(decoded(message)[0], [row._replace(ttl=17) for row in RECORDS[0]])

    def test_other_length(self) -> None:
        """A question of another length cannot be put in place."""
        self.assertIsNone(scan(a_reply()).patched(TARGET[1:] + b"\x00\x01\x00\x01"))

    def test_records_behind_opt(self) -> None:
        """An OPT that is not the last record is not cut out in place: what is behind it may be pointed at."""
        glue = render(7, QR, b"", ((), (), [a_or_aaaa(ZONE, 5, bytes(4))]), b"", 512, 512)[12:]
        message = HEADER.pack(7, QR, 1, 0, 0, 2) + QUESTION + OPT + glue
        found = scan(message)
        self.assertIsNone(found.patched(QUESTION))
        self.assertEqual(found.sections()[2], (a_or_aaaa(ZONE, 5, bytes(4)),))

    def test_negative(self) -> None:
        """An answer with an SOA keeps it."""
        record = soa(ZONE, 60, ZONE, ZONE, (1, 2, 3, 4, 5))
        found = scan(render(7, QR | NXDOMAIN, QUESTION, ((), [record], ()), b"", 512, 0))
        self.assertEqual(found.types(AUTHORITY), [SOA])
        self.assertEqual(decoded(self.patched(found, QUESTION, 5))[1], [record._replace(ttl=5)])


class AnyOctetsTests(SynchronousTestCase):
    """What comes from an upstream raises nothing but what is said."""

    def check(self, message: bytes) -> None:
        """A message, or no message."""
        try:
            found = scan(message)
        except MalformedMessage:
            return
        self.assertLessEqual(len(found.message), len(message))
        self.assertEqual(sum(found.counts), len(found.slots))
        self.assertIsInstance(found.options or [], list)
        self.assertGreaterEqual(found.rcode, 0)
        for body in (found, found.with_ttl(30)):
            body.patched(QUESTION)
        try:
            found.sections()
            found.uncompressed_size()
        except BadName:
            pass

    @REPEATABLE
    @given(st.binary(max_size=300))
    def test_noise(self, message: bytes) -> None:
        """Noise, made to look like a reply."""
        self.check(message)
        self.check(message[:2] + b"\x81\x80" + message[4:])

    @REPEATABLE
    @given(st.data())
    def test_mutated(self, data: st.DataObject) -> None:
        """A reply in which some octets are changed, and perhaps the end is missing."""
        message = bytearray(a_reply())
        for _ in range(data.draw(st.integers(1, 6))):
            message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
        self.check(bytes(message[: data.draw(st.integers(0, len(message)))]))
