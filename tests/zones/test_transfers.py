# -*- test-case-name: tests.zones.test_transfers -*-
"""Transfers, out and in: against each other, and against dnspython's own."""

from __future__ import annotations

from itertools import pairwise

import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.versioned
import dns.xfr
import dns.zone
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import AA, AXFR, IXFR, QR, SOA, TXT
from kdns.wire.names import from_text, to_text
from kdns.wire.query import HEADER
from kdns.wire.records import Record, wire_record
from kdns.zones import history as module
from kdns.zones.history import Comparison, Delta, History
from kdns.zones.incoming import (
    IncomingTransfer,
    State,
    TransferFailed,
    soa_of_reply,
    soa_query,
    transfer_query,
)
from kdns.zones.outgoing import MESSAGE, Reply, answer_ixfr, full, incremental, messages
from kdns.zones.zone import Zone
from tests.zones.support import texts, zone_of

ORIGIN = from_text("example.org")
IDENT = 4711


def zone_text(serial: int, lines: set[str]) -> str:
    """A zone with a serial and some records."""
    head = f"$TTL 300\n@ SOA ns admin {serial} 7200 1800 86400 60\n@ NS ns\nns A 192.0.2.53\n"
    return head + "".join(f"{line}\n" for line in sorted(lines))


def reply(qtype: int = AXFR) -> Reply:
    """What all messages have in common."""
    return Reply(IDENT, QR, ORIGIN + qtype.to_bytes(2, "big") + b"\x00\x01", b"")


def compared(old: Zone, new: Zone) -> Delta | None:
    """What changed."""
    comparison = Comparison(old, new)
    for _ in comparison.steps():
        pass
    return comparison.delta


def received(sent: list[bytes], current: Zone | None = None) -> IncomingTransfer:
    """What comes of some messages."""
    transfer = IncomingTransfer(ORIGIN, IDENT, current)
    for message in sent:
        for _ in transfer.feed(message):
            pass
    for _ in transfer.finish():
        pass
    return transfer


LINES = st.sets(
    st.tuples(
        st.sampled_from(["a", "b", "a.b", "*", "_s._tcp", "UP"]),
        st.sampled_from(["A 10.0.0.1", "A 10.0.0.2", "TXT x", "SRV 0 0 80 a", "MX 5 b", "NSEC b A"]),
    ).map(" ".join),
    max_size=10,
)


class FullTests(SynchronousTestCase):
    """AXFR."""

    @given(LINES)
    @settings(max_examples=40, deadline=None)
    def test_round_trip(self, lines: set[str]) -> None:
        """What is sent is what arrives, here and at dnspython."""
        zone = zone_of(zone_text(1, lines))
        sent = list(messages(reply(), ORIGIN, full(zone)))
        self.assertEqual(list(zone.wire_records()), [wire_record(record) for record in zone.all_records()])
        arrived = received(sent).zone
        assert arrived is not None
        self.assertEqual(texts(arrived.all_records()), texts(zone.all_records()))
        reference = dns.zone.Zone("example.org.", relativize=False)
        with dns.xfr.Inbound(reference, dns.rdatatype.AXFR) as inbound:
            for message in sent:
                done = inbound.process_message(dns.message.from_wire(message, xfr=True))
        self.assertTrue(done)
        self.assertEqual(len(list(reference.iterate_rdatas())), zone.records)

    def test_sizes(self) -> None:
        """Messages are filled up to a size, counted without compression, and each has the question and AA."""
        zone = zone_of(zone_text(1, {f'h{n} TXT "{"x" * 250}"' for n in range(300)}))
        sent = list(messages(reply(), ORIGIN, full(zone)))
        self.assertEqual(len(sent), 4)
        for message in sent:
            ident, flags, questions, count, _, _ = HEADER.unpack_from(message)
            self.assertEqual((ident, flags, questions), (IDENT, QR | AA, 1))
            self.assertLess(len(message), MESSAGE)
            self.assertGreater(count, 0)
            parsed = dns.message.from_wire(message, one_rr_per_rrset=True)
            self.assertEqual(len(parsed.answer), count)
        self.assertEqual(len(received(sent).zone.rrset(b"h299\x00", TXT)), 1)  # type: ignore[union-attr]

    def test_letters(self) -> None:
        """The letters of a question are not those of the zone's names."""
        zone = zone_of(zone_text(1, {"a A 10.0.0.1"}))
        spelled = Reply(IDENT, QR, b"\x07eXample\x03org\x00\x00\xfc\x00\x01", b"")
        (message,) = messages(spelled, ORIGIN, full(zone))
        self.assertEqual(message.count(b"eXample"), 1)
        self.assertEqual(texts(received([message]).zone.all_records()), texts(zone.all_records()))  # type: ignore[union-attr]

    def test_long_work_is_cut(self) -> None:
        """A message of many records gives way in between, and so does putting them in order."""
        zone = zone_of(zone_text(1, {f"h{n} A 10.0.0.1" for n in range(700)}))
        transfer = IncomingTransfer(ORIGIN, IDENT)
        (message,) = messages(reply(), ORIGIN, full(zone))
        self.assertGreater(len(list(transfer.feed(message))), 8)

    def test_refused(self) -> None:
        """What is no transfer of this zone fails with a reason."""
        zone = zone_of(zone_text(1, {"a A 10.0.0.1"}))
        records = list(full(zone))
        (good,) = messages(reply(), ORIGIN, records)
        other = zone_of(zone_text(1, set()), "example.net")
        (foreign,) = messages(
            Reply(IDENT, QR, from_text("example.net") + b"\x00\xfc\x00\x01", b""), other.origin, full(other)
        )
        for sent, reason in (
            (b"", "cut short"),
            (good[:-3], "cut short"),
            (b"\x00\x00" + good[2:], "no reply"),
            (good[:3] + b"\x05" + good[4:], "bad xfr rcode: 5"),
            (foreign, "question about example.net"),
            (next(messages(reply(), ORIGIN, records[1:])), "no SOA"),
            (next(messages(reply(), ORIGIN, records[:-1])), "ended early"),
            (next(messages(reply(), ORIGIN, [*records, records[1]])), "behind the end"),
            (
                next(messages(reply(), ORIGIN, [*records[:-1], wire_record(zone_of(zone_text(2, set())).soa)])),
                "another",
            ),
        ):
            with self.assertRaisesRegex(TransferFailed, reason):
                received([sent])
        with self.assertRaisesRegex(TransferFailed, "behind the end"):
            received([good, good])

    def test_malformed_records(self) -> None:
        """Rdata that do not fit their type would break answers later: the transfer fails."""
        zone = zone_of(zone_text(1, set()))
        soa = wire_record(zone.soa)
        for rtype, rdata in (
            (1, b"\x01\x02\x03"),
            (28, bytes(4)),
            (2, b"\x00\x00"),
            (65, b"\x00\x01\x05a"),
            (65, b"\x00\x01\xc0\x0c"),
            (50, b"\x01"),
            (51, b""),
            (46, b""),
        ):
            bad = wire_record(Record(ORIGIN, rtype, 1, 5, rdata))
            with self.assertRaisesRegex(TransferFailed, "malformed"):
                received(list(messages(reply(), ORIGIN, [soa, bad, soa])))

    @given(st.binary(max_size=60), st.integers(0, 200), st.binary(min_size=1, max_size=3))
    @settings(deadline=None)
    def test_any_bytes(self, noise: bytes, at: int, change: bytes) -> None:
        """Any bytes, and any change of a good message, are taken or fail cleanly."""
        (good,) = messages(reply(), ORIGIN, full(zone_of(zone_text(1, {"a A 10.0.0.1", "b MX 1 a"}))))
        for message in (good[:4] + b"\x00\x01\x00\x02" + noise, good[:at] + change + good[at + len(change) :]):
            try:
                received([message])
            except TransferFailed:
                continue


class IncrementalTests(SynchronousTestCase):
    """IXFR."""

    @given(st.lists(LINES, min_size=2, max_size=4))
    @settings(max_examples=60, deadline=None)
    def test_round_trip(self, versions: list[set[str]]) -> None:
        """From any version, the differences lead to the newest, here and at dnspython."""
        zones = [zone_of(zone_text(serial, lines)) for serial, lines in enumerate(versions, 1)]
        history = History()
        for old, new in pairwise(zones):
            history.add(compared(old, new))
        last = zones[-1]
        for zone in zones[:-1]:
            deltas = history.since(zone.serial, last.serial)
            if deltas is None:
                continue
            sent = list(messages(reply(IXFR), ORIGIN, incremental(last, deltas)))
            transfer = received(sent, zone)
            assert transfer.zone is not None
            self.assertEqual(texts(transfer.zone.all_records()), texts(last.all_records()))
            self.assertEqual(transfer.zone.records, last.records)
            self.assertEqual(transfer.deltas, deltas)
            reference = dns.versioned.Zone("example.org.", relativize=False)
            with reference.writer() as writer:
                for record in zone.all_records():
                    rdata = dns.rdata.from_wire(
                        dns.rdataclass.IN,
                        dns.rdatatype.RdataType.make(record.rtype),
                        record.rdata,
                        0,
                        len(record.rdata),
                    )
                    writer.add(dns.name.from_text(to_text(record.owner)), record.ttl, rdata)
            with dns.xfr.Inbound(reference, dns.rdatatype.IXFR, serial=zone.serial) as inbound:
                for message in sent:
                    inbound.process_message(dns.message.from_wire(message, xfr=True))
            self.assertEqual(len(list(reference.iterate_rdatas())), last.records)

    def test_what_is_answered(self) -> None:
        """Nothing new, differences, or everything."""
        one, two = (
            zone_of(zone_text(1, {f"h{n} A 10.0.0.1" for n in range(9)})),
            zone_of(zone_text(2, {f"h{n} A 10.0.0.1" for n in range(8)})),
        )
        history = History()
        history.add(compared(one, two))
        for serial, word, count in ((2, "noop", 1), (1, "incremental", 5), (0, "full", 12), (3, "full", 12)):
            kind, records = answer_ixfr(two, history, serial)
            self.assertEqual((kind, len(list(records))), (word, count))
        self.assertEqual(answer_ixfr(two, None, 1)[0], "full")

    def test_whole_zone_in_reply(self) -> None:
        """A primary may send everything to one who asked for differences."""
        one, two = zone_of(zone_text(1, {"a A 10.0.0.1"})), zone_of(zone_text(2, {"b A 10.0.0.1"}))
        transfer = received(list(messages(reply(IXFR), ORIGIN, full(two))), one)
        assert transfer.zone is not None
        self.assertEqual((texts(transfer.zone.all_records()), transfer.deltas), (texts(two.all_records()), None))

    def test_nothing_new(self) -> None:
        """One SOA is the whole reply when there is nothing new."""
        one = zone_of(zone_text(1, set()))
        transfer = received(list(messages(reply(IXFR), ORIGIN, [wire_record(one.soa)])), one)
        self.assertEqual((transfer.zone, transfer.up_to_date), (None, True))

    def test_differences_that_do_not_fit(self) -> None:
        """Differences from another version than the one there is fail, and change nothing."""
        one, two = zone_of(zone_text(1, {"a A 10.0.0.1"})), zone_of(zone_text(2, {"b A 10.0.0.1"}))
        delta = compared(one, two)
        assert delta is not None
        with self.assertRaisesRegex(TransferFailed, "no such record to remove: a.example.org. A"):
            received(
                list(messages(reply(IXFR), ORIGIN, incremental(two, [delta]))), zone_of(zone_text(1, {"c A 10.0.0.1"}))
            )
        with self.assertRaisesRegex(TransferFailed, "do not follow"):
            three = zone_of(zone_text(3, set()))
            received(list(messages(reply(IXFR), ORIGIN, incremental(three, [delta, delta]))), one)

    def test_bounds(self) -> None:
        """The history forgets the oldest first, and a change of nearly everything is not kept."""
        self.patch(module, "MAX_RECORDS", 3)
        history = History()
        zones = [zone_of(zone_text(serial, {f"h{serial} A 10.0.0.1"})) for serial in range(1, 5)]
        for old, new in pairwise(zones):
            history.add(compared(old, new))
        self.assertIsNone(history.since(1, 4))
        self.assertIsNotNone(history.since(3, 4))
        self.assertIsNone(compared(zones[0], zone_of(zone_text(9, {f"x{n} A 10.0.0.1" for n in range(9)}))))
        history.add(None)
        self.assertIsNone(history.since(3, 4))


class QueryTests(SynchronousTestCase):
    """Queries to a primary."""

    def test_queries(self) -> None:
        """They are what dnspython reads."""
        zone = zone_of(zone_text(7, set()))
        for message, rdtype, authority in (
            (transfer_query(1, ORIGIN), dns.rdatatype.AXFR, 0),
            (transfer_query(1, ORIGIN, zone.soa), dns.rdatatype.IXFR, 1),
            (soa_query(1, ORIGIN), dns.rdatatype.SOA, 0),
        ):
            parsed = dns.message.from_wire(message)
            self.assertEqual((parsed.question[0].rdtype, len(parsed.authority)), (rdtype, authority))

    def test_soa_of_reply(self) -> None:
        """The SOA is found, or its absence told."""
        zone = zone_of(zone_text(7, set()))
        question = Reply(IDENT, QR, ORIGIN + SOA.to_bytes(2, "big") + b"\x00\x01", b"")
        self.assertEqual(
            soa_of_reply(next(messages(question, ORIGIN, [wire_record(zone.soa)])), IDENT, ORIGIN).rdata, zone.soa.rdata
        )
        with self.assertRaisesRegex(TransferFailed, "no SOA"):
            soa_of_reply(next(messages(question, ORIGIN, list(zone.wire_records())[1:])), IDENT, ORIGIN)
        self.assertIs(IncomingTransfer(ORIGIN, 1).state, State.START)
