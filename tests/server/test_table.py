"""The answer table: what is found in it, for how long, and how much room it takes."""

from __future__ import annotations

import dns.message
import dns.rrset
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.observe import Exchange
from kdns.core.stamps import MOVES, Stamp
from kdns.core.validity import Validity
from kdns.server.table import ENTRY_OCTETS, GIVEN_OCTETS, AnswerTable, TableBudget, Uses
from tests.support import a_request

REPLY = b"\x00\x00" + b"r" * 98


def put(table: AnswerTable, key: bytes, now: float = 0.0, name: str = "web.", **fields: object) -> bool:
    """Enter a reply that may be repeated."""
    hold = Validity(**{"repeat": True, **fields})  # type: ignore[arg-type]  # fields of Validity
    answer = Answer(validity=hold)
    exchange = Exchange(a_request(name), answer, REPLY, ".", "", 0.0)
    return table.put(key, REPLY, hold, exchange, now)


class ValidityTests(SynchronousTestCase):
    """How long an entry holds."""

    def setUp(self) -> None:
        self.room = TableBudget(1_000_000)
        self.table = self.room.table()

    def test_found(self) -> None:
        """A reply is found by the octets of the query behind its identifier, and has none itself."""
        self.assertTrue(put(self.table, b"query"))
        entry = self.table.get(b"query", 0.0)
        assert entry is not None
        self.assertEqual(entry.reply, REPLY[2:])
        self.assertIsNone(self.table.get(b"other", 0.0))

    def test_stamps_are_looked_at_again(self) -> None:
        """Any stamp that moves has those of an entry looked at; if none of them did, it stands, and who looks for himself sees so."""
        mine, other = Stamp(), Stamp()
        put(self.table, b"query", stamps=(mine.ref(),))
        entry = self.table.get(b"query", 0.0)
        assert entry is not None
        self.assertIs(entry.moves, MOVES[0])
        other.bump()
        self.assertIsNot(entry.moves, MOVES[0])
        self.assertIs(self.table.get(b"query", 0.0), entry)
        self.assertIs(entry.moves, MOVES[0])
        mine.bump()
        self.assertIsNone(self.table.get(b"query", 0.0))

    def test_not_repeated(self) -> None:
        """An answer for one query is not entered."""
        self.assertFalse(put(self.table, b"query", repeat=False))

    def test_letters_by_chance(self) -> None:
        """A query with capital letters is entered when it comes a second time, so that random spellings leave nothing."""
        self.assertEqual([put(self.table, b"query", name="wEb.") for _ in range(2)], [False, True])
        self.assertFalse(put(self.table, b"other", name="WEB."))

    def test_until(self) -> None:
        """An entry is gone at the end of its time, and one whose time is over is never entered."""
        put(self.table, b"query", until=5.0)
        self.assertIsNotNone(self.table.get(b"query", 4.999))
        self.assertIsNone(self.table.get(b"query", 5.0))
        self.assertEqual(len(self.table), 0)
        self.assertFalse(put(self.table, b"query", now=5.0, until=5.0))

    def test_stamps(self) -> None:
        """An entry is gone as soon as one of its stamps moved."""
        stamps = [Stamp(), Stamp(), Stamp()]
        put(self.table, b"query", stamps=tuple(stamp.ref() for stamp in stamps))
        self.assertIsNotNone(self.table.get(b"query", 0.0))
        stamps[2].bump()
        self.assertIsNone(self.table.get(b"query", 0.0))

    def test_stale_when_entered(self) -> None:
        """A reply made from data that changed while it was waited for is never given."""
        stamp = Stamp()
        noted = stamp.ref()
        stamp.bump()
        put(self.table, b"query", stamps=(noted,))
        self.assertIsNone(self.table.get(b"query", 0.0))


class CountDownTests(SynchronousTestCase):
    """Entries whose TTLs go down."""

    def setUp(self) -> None:
        self.table = TableBudget(1_000_000).table()
        query = dns.message.make_query("web.prod.", "A")
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text("web.prod.", 30, "IN", "A", "10.0.0.1", "10.0.0.2"))
        self.reply = reply.to_wire()
        holds = Validity(True, until=40.0, counts_from=11.0)
        exchange = Exchange(a_request("web."), Answer(validity=holds), self.reply, ".", "", 0.0)
        self.assertTrue(self.table.put(b"query", self.reply, holds, exchange, 10.0))

    def ttls(self, now: float) -> list[int] | None:
        """The TTLs that clients are told, in all orders of the reply."""
        entry = self.table.get(b"query", now)
        if entry is None:
            return None
        return [
            dns.message.from_wire(b"\0\0" + octets).answer[0].ttl for octets in {entry.next_reply(), entry.next_reply()}
        ]

    def test_down(self) -> None:
        """The TTL is a second less for each second, however seldom somebody asks, until the entry's time is over."""
        for now, ttl in ((10.0, 30), (10.99, 30), (11.0, 29), (11.5, 29), (12.0, 28), (17.3, 23), (39.9, 1)):
            self.assertEqual(self.ttls(now), [ttl], now)
        self.assertIsNone(self.ttls(40.0))
        self.assertEqual(len(self.table), 0)

    def test_who_looks_for_himself(self) -> None:
        """The time that an entry shows is that of its next change, and of its end."""
        entry = self.table.get(b"query", 12.5)
        assert entry is not None
        self.assertEqual(entry.until, 13.0)
        self.table.get(b"query", 39.5)
        self.assertEqual(entry.until, 40.0)

    def test_rotating(self) -> None:
        """All orders count down, those made before too."""
        self.table.get(b"query", 13.5)
        entry = self.table.get(b"query", 13.5)
        assert entry is not None
        entry.rotate(())
        self.assertEqual(self.ttls(13.5), [27, 27])
        self.assertEqual(self.ttls(20.0), [20, 20])

    def test_no_message(self) -> None:
        """What cannot be walked through is given as long as it is as it was, and then no more."""
        holds = Validity(True, until=40.0, counts_from=11.0)
        exchange = Exchange(a_request("web."), Answer(validity=holds), b"\0" * 12, ".", "", 0.0)
        self.table.put(b"other", b"\0\0\0\0\0\x09\0", holds, exchange, 10.0)
        self.assertIsNotNone(self.table.get(b"other", 10.5))
        self.assertIsNone(self.table.get(b"other", 11.0))


class GivenTests(SynchronousTestCase):
    """What an entry takes once it was given again."""

    def test_takes_less(self) -> None:
        """Entries that were given take less room, so that more of them fit; what is dropped gives back what it took then."""
        room = TableBudget(20 * ENTRY_OCTETS)
        table = room.table()
        for number in range(8):
            put(table, b"query %d" % number)
        before = room.young
        for number in range(8):
            entry = table.get(b"query %d" % number, 0.0)
            assert entry is not None
            table.was_given(entry)
        self.assertEqual(before - room.young, 8 * (ENTRY_OCTETS - GIVEN_OCTETS))
        for number in range(8):
            put(table, b"query %d" % number, until=1.0)
            self.assertIsNone(table.get(b"query %d" % number, 2.0))
        self.assertEqual((room.young, room.turns), (0, 0))


class RoomTests(SynchronousTestCase):
    """TableBudget, and who makes way."""

    def test_flood(self) -> None:
        """What is asked for keeps its place, while names that are asked once drive out each other."""
        room = TableBudget(100_000)
        table = room.table()
        put(table, b"popular")
        for number in range(10_000):
            put(table, b"flood-%d" % number)
            if not number % 20:
                self.assertIsNotNone(table.get(b"popular", 0.0), number)
        self.assertLessEqual(len(table) * (ENTRY_OCTETS + len(REPLY)), 110_000)
        self.assertGreater(room.turns, 50)

    def test_unused_goes(self) -> None:
        """What is not asked for is gone after two generations."""
        room = TableBudget(20_000)
        table = room.table()
        put(table, b"once")
        while room.turns < 2:
            put(table, b"flood-%d" % (len(table) + 1000 * room.turns))
        self.assertIsNone(table.get(b"once", 0.0))

    def test_shared(self) -> None:
        """Tables share their room: one that fills makes all grow old."""
        room = TableBudget(20_000)
        one, two = room.table(), room.table()
        put(one, b"one")
        while room.turns < 2:
            put(two, b"two-%d" % (len(two) + 1000 * room.turns))
        self.assertEqual(len(one), 0)

    def test_promoted(self) -> None:
        """An entry that moves back to the young generation is counted in one of them."""
        room = TableBudget(4 * ENTRY_OCTETS)
        table = room.table()
        put(table, b"query")
        put(table, b"other")
        self.assertEqual((room.turns, room.young), (1, 0))
        self.assertIsNotNone(table.get(b"query", 0.0))
        self.assertEqual(
            (room.young + room.old, room.young),
            (2 * (ENTRY_OCTETS + 5 + len(REPLY)),) * 1 + (ENTRY_OCTETS + 5 + len(REPLY),),
        )

    def test_replaced(self) -> None:
        """An entry that is entered again takes its room once."""
        room = TableBudget(1_000_000)
        table = room.table()
        for _ in range(5):
            put(table, b"query")
        self.assertEqual(len(table), 1)
        self.assertEqual(room.young, ENTRY_OCTETS + 5 + len(REPLY))

    def test_counts(self) -> None:
        """What was dropped to make room and what did not hold any more is counted; so is what tables did that are not used any more."""
        room = TableBudget(20_000)
        table = room.table()
        put(table, b"short", until=1.0)
        table.get(b"short", 2.0)
        while room.turns < 2:
            put(table, b"flood-%d" % (len(table) + 1000 * room.turns))
        self.assertEqual(room.outdated, 1)
        self.assertGreater(room.evicted, 2)
        table.given, table.made_before, table.asked = 10, 4, 3
        room.leave(table)
        room.table().given = 1
        self.assertEqual(room.uses(), Uses(7, 4, 3))

    def test_clear(self) -> None:
        """A new configuration forgets all answers; a table that leaves takes its own along."""
        room = TableBudget(1_000_000)
        one, two = room.table(), room.table()
        put(one, b"query")
        put(two, b"query")
        room.leave(two)
        self.assertEqual((len(one), len(two)), (1, 0))
        room.clear()
        self.assertEqual((len(one), room.young, room.old), (0, 0, 0))

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(st.sampled_from("pgx"), st.integers(0, 30), st.integers(0, 20)), max_size=200))
    def test_any_history(self, steps: list[tuple[str, int, int]]) -> None:
        """Whatever happens, no entry is given past its end, and the room that is counted stays within bounds."""
        octets = 20 * ENTRY_OCTETS
        entry_octets = ENTRY_OCTETS + len(REPLY)  # and one or two of the key
        room = TableBudget(octets)
        table = room.table()
        ends: dict[bytes, float] = {}
        now = 0.0
        for what, number, seconds in steps:
            key = b"%d" % number
            if what == "p":
                if put(table, key, now, until=now + seconds):
                    ends[key] = now + seconds
            elif what == "g":
                entry = table.get(key, now)
                if entry is not None:
                    self.assertLess(now, ends[key])
            else:
                now += seconds / 4
            self.assertLessEqual(room.young * 2, octets)
            self.assertGreaterEqual(room.young, 0)
            # The entry that fills the young generation is still one of it.
            self.assertLessEqual(len(table) * entry_octets, octets + entry_octets + 2)
