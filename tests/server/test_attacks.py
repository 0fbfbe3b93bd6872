# -*- test-case-name: tests.server.test_attacks -*-
"""What goes wrong behind a listener, or is made to go wrong, and what clients may still rely on."""

from __future__ import annotations

from typing import Any

import dns.message
import dns.rcode
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.observe import Exchange, Repeat
from kdns.server.table import Room
from kdns.wire.constants import SERVFAIL
from tests.server.support import Asker, Counting, Slow, a_block, address, another, zones_of

QUERY = dns.message.make_query("web.example.", "A")


def raising(*arguments: Any) -> Any:
    """What somebody forgot to think of."""
    raise ZeroDivisionError("unforeseen")


class Broken(Counting):
    """An observer that raises whenever it is told anything."""

    def finished(self, exchange: Exchange) -> None:
        """Raise."""
        raising()

    def repeat(self, exchange: Exchange) -> Repeat:
        """Raise."""
        return raising()  # type: ignore[no-any-return]  # it never returns


class BrokenEachTime(Counting):
    """An observer that raises for each repetition."""

    def repeat(self, exchange: Exchange) -> Repeat:
        """Raise later."""
        return Repeat(each=raising)


class UnforeseenTests(SynchronousTestCase):
    """Whatever plugins and observers raise, the client is answered and the socket lives on."""

    def panics(self, asker: Asker, many: int) -> None:
        """Nothing else was logged, and all of it was counted."""
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), many)
        self.assertEqual(asker.value("coredns_panics_total"), many)

    def test_filter(self) -> None:
        """A filter that raises is SERVFAIL with the question, not an exception in whoever read the datagram."""
        asker = Asker(zones_of(root=a_block(filters=(raising,))))
        reply = asker.read(QUERY)
        self.assertEqual((reply.rcode(), reply.question), (dns.rcode.SERVFAIL, QUERY.question))
        self.panics(asker, 1)

    def test_metadata(self) -> None:
        """A source of metadata that raises is SERVFAIL too."""
        asker = Asker(zones_of(root=a_block(collect=raising)))
        self.assertEqual(asker.read(QUERY).rcode(), dns.rcode.SERVFAIL)
        self.panics(asker, 1)

    def test_answer_that_is_none(self) -> None:
        """A plugin whose Deferred brings no answer is SERVFAIL, not silence."""
        waiting: Deferred[Any] = Deferred()
        for say in (lambda request: succeed(None), lambda request: waiting):
            replies = Asker(zones_of(root=a_block(say))).ask(QUERY)
            if not replies:
                waiting.callback(None)
            self.assertEqual([reply[3] & 15 for reply in replies], [SERVFAIL])
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_observers(self) -> None:
        """Observers that raise neither keep replies back nor keep other observers from counting."""
        counting = Counting()
        asker = Asker(zones_of(root=a_block(address, Broken(), counting, BrokenEachTime())))
        table = Room(10_000).table()
        (first,) = asker.ask(QUERY, table=table)
        entry = table.get(QUERY.to_wire()[2:], 0.0)
        assert entry is not None
        self.assertEqual(asker.listener.again(entry), first[2:])
        asker.listener.gave(entry, QUERY.to_wire(), "127.0.0.1", 4321, 0.0)
        asker.house.tallies.fold()
        self.assertEqual(counting.count.value, 2)
        self.panics(asker, 3)


class CrowdTests(SynchronousTestCase):
    """A silent upstream fills the queue of those that wait."""

    def test_memory_is_still_answered(self) -> None:
        """What need not wait is answered although nobody else may wait."""
        slow = Slow()
        zones = zones_of(root=a_block(slow), cluster_local=a_block())
        asker = Asker(zones, most_waiting=1)
        asker.ask(QUERY)
        self.assertEqual(asker.read(dns.message.make_query("web.cluster.local.", "A")).rcode(), dns.rcode.NOERROR)

    def test_who_must_wait_is_told(self) -> None:
        """One too many is SERVFAIL at once, and what was begun for it is dropped."""
        slow = Slow()
        asker = Asker(zones_of(root=a_block(slow)), most_waiting=1)
        first = asker.ask(QUERY)
        self.assertEqual(asker.read(dns.message.make_query("b.example.", "A")).rcode(), dns.rcode.SERVFAIL)
        self.assertEqual(([request.qname for request in slow.cancelled], first), ([b"\x01b\x07example\x00"], []))
        self.assertEqual(asker.value("kdns_waiting_rejects_total"), 1)


class ReloadTests(SynchronousTestCase):
    """Nothing of an old configuration is told to those who come under a new one."""

    def test_late_answers_are_not_entered(self) -> None:
        """A query that waits over a reload gets its answer, and only it: the table is the new configuration's."""
        slow = Slow()
        asker = Asker(zones_of(root=a_block(slow)))
        table = Room(10_000).table()
        replies = asker.ask(QUERY, table=table)
        asker.listener.serve(zones_of(root=a_block()))
        slow.give()
        self.assertEqual((len(replies), len(table)), (1, 0))

    def test_lookups_inside_die(self) -> None:
        """What another block said inside holds no longer than that block is served: a cache may outlive a reload."""
        counting = Counting()
        asker = Asker(zones_of(root=a_block(address, counting)))
        asker.ask(QUERY)
        asked = counting.exchanges[0].request
        answer = asker.listener.resolve(another(asked, "inside.example."))
        assert isinstance(answer, Answer)
        before = [stamp.version == version for stamp, version in answer.holds.stamps]
        asker.listener.serve(zones_of(root=a_block()))
        after = [stamp.version == version for stamp, version in answer.holds.stamps]
        self.assertEqual((before, after), ([True], [False]))
