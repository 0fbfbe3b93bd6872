# -*- test-case-name: tests.server.test_attacks -*-
"""What goes wrong behind a listener, or is made to go wrong, and what clients may still rely on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import dns.message
import dns.rcode
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.observe import Exchange, Repeat
from kdns.core.request import Request
from kdns.core.validity import NOTHING
from kdns.plugin.seam import Filter, StreamTimeouts
from kdns.plugin.turns import TURN_SECONDS, TurnQueue
from kdns.plugins.forward.forwarder import Forwarder
from kdns.server.assembly import Configuration, read_text
from kdns.server.service import KdnsService
from kdns.server.streams import ACCEPTED_AT_ONCE
from kdns.server.table import TableBudget
from kdns.testing.memory import MemoryReactor
from kdns.wire.constants import SERVFAIL
from tests.server.support import Asker, Counting, Slow, a_block, a_house, address, another, zones_of
from tests.server.test_streams import PORT, Client, StreamCase, _Connect, asking, framed

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
        asker = Asker(zones_of(root=a_block(filters=(Filter(raising, NOTHING),))))
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
        table = TableBudget(10_000).table()
        (first,) = asker.ask(QUERY, table=table)
        again = asker.listener.replay.at_hand(table, QUERY.to_wire()[2:], QUERY.id, "127.0.0.1", 4321, 0.0)
        self.assertEqual(again, first[2:])
        asker.context.tallies.fold()
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
        table = TableBudget(10_000).table()
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
        before = [stamp.version == version for stamp, version in answer.validity.stamps]
        asker.listener.serve(zones_of(root=a_block()))
        after = [stamp.version == version for stamp, version in answer.validity.stamps]
        self.assertEqual((before, after), ([True], [False]))


class HeldUpstream(DatagramProtocol):
    """An upstream that answers when the test says so."""

    transport: Any  # Twisted's own annotation of IUDPTransport cannot be called

    def __init__(self) -> None:
        self.held: list[tuple[bytes, Any]] = []

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """Hold it."""
        self.held.append((data, addr))

    def answer(self) -> None:
        """Answer all that is held, with an empty NOERROR."""
        for query, asker in self.held:
            self.transport.write(query[:2] + b"\x81\x80" + query[4:], asker)
        self.held.clear()


class Collecting(DatagramProtocol):
    """A client that keeps the response codes of what it is told."""

    transport: Any  # as above

    def __init__(self) -> None:
        self.rcodes: list[int] = []

    def ask(self, port: int, name: str) -> None:
        """Ask for a name."""
        self.transport.write(dns.message.make_query(name, "A").to_wire(), ("127.0.0.1", port))

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """Keep it."""
        self.rcodes.append(data[3] & 15)


class RunningReloadTests(SynchronousTestCase):
    """Reloads and the end of a whole service, while queries wait for an upstream."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.upstream, self.client = HeldUpstream(), Collecting()
        self.reactor.listenUDP(5300, self.upstream, "127.0.0.1")
        self.reactor.listenUDP(0, self.client, "127.0.0.1")
        self.text = ".:1053 {\n bind 127.0.0.1\n forward . 127.0.0.1:5300\n}\n"
        self.service = KdnsService(a_house(self.reactor), lambda: read_text(self.text, {}))
        self.service.startService()
        self.reactor.settle()
        self.successResultOf(self.service.when_running())
        self.taken_over: list[Configuration] = []
        self.service.taken_over = self.taken_over.append

    def tearDown(self) -> None:
        if self.service.running:
            self.stopped()

    def stopped(self) -> None:
        """End the service."""
        ended = self.service.stopService()
        self.reactor.settle()
        self.successResultOf(ended)

    def ask(self, name: str) -> None:
        """Send a query, and let it reach whom it reaches."""
        self.client.ask(1053, name)
        self.reactor.settle()

    def test_waiting_over_a_change_of_upstream(self) -> None:
        """A query under way to an upstream that the new configuration does not have still gets its answer."""
        self.ask("a.example.")
        self.text = self.text.replace("5300", "5301")
        reload = self.service.reload()
        self.reactor.advance(0.2)
        self.assertTrue(self.successResultOf(reload))
        self.upstream.answer()
        self.reactor.advance(0.2)
        self.assertEqual(self.client.rcodes, [0])

    def test_upstream_that_stays_silent(self) -> None:
        """The old configuration is not kept longer than its queries may wait."""
        assert self.service.configuration is not None
        (old,) = self.service.configuration.resources
        stopped: list[float] = []
        self.patch(old, "stop", lambda: stopped.append(self.reactor.seconds()))
        self.ask("a.example.")
        self.text = self.text.replace("5300", "5301")
        self.service.reload()
        self.reactor.pump([0.1] * 39)
        self.assertEqual((self.client.rcodes, stopped), ([], []))
        self.reactor.pump([0.05] * 3)
        self.assertEqual((self.client.rcodes, [round(when, 2) for when in stopped]), ([SERVFAIL], [4.05]))

    def test_asked_for_during_a_reload(self) -> None:
        """A reload that is asked for while another is under way is not forgotten; a storm of them is one."""
        starting: Deferred[None] = Deferred()
        self.patch(Forwarder, "start", lambda forwarder: starting)
        self.text = self.text.replace("5300", "5301")
        self.service.reload()
        self.text = self.text.replace("5301", "5302")
        for _ in range(100):
            self.service.reload()
        starting.callback(None)
        self.reactor.advance(0.1)
        self.assertEqual(len(self.taken_over), 2)
        assert self.service.configuration is not None
        self.assertEqual(self.service.configuration.corefile.fingerprint, read_text(self.text, {}).fingerprint)

    def test_end(self) -> None:
        """A query that waits at the end gets its answer, and the end waits for it; nobody new is served meanwhile over TCP."""
        self.ask("a.example.")
        ended = self.service.stopService()
        self.reactor.advance(0.2)
        self.assertNoResult(ended)
        self.upstream.answer()
        self.reactor.advance(0.1)
        self.successResultOf(ended)
        self.assertEqual(self.client.rcodes, [0])

    def test_end_with_a_silent_upstream(self) -> None:
        """The end waits no longer than the query does, and who asked is told so, while there is a socket to say it with."""
        self.ask("a.example.")
        ended = self.service.stopService()
        self.reactor.pump([0.05] * 120)
        self.successResultOf(ended)
        self.assertEqual(self.client.rcodes, [SERVFAIL])

    def test_end_during_a_reload(self) -> None:
        """An end while a reload waits for old queries is quiet, and answers them."""
        self.ask("a.example.")
        self.text = self.text.replace("5300", "5301")
        reload = self.service.reload()
        self.reactor.settle()
        ended = self.service.stopService()
        self.upstream.answer()
        self.reactor.advance(0.1)
        self.successResultOf(ended)
        self.assertEqual((self.client.rcodes, self.service.running), ([0], 0))
        self.assertTrue(self.successResultOf(reload))

    def test_waiting_at_a_port_that_goes(self) -> None:
        """A query that waits at a port that the new configuration does not have gets its answer; then the port closes."""
        self.ask("a.example.")
        self.text = self.text.replace("1053", "1054")
        self.service.reload()
        self.reactor.advance(0.2)
        self.upstream.answer()
        self.reactor.advance(0.2)
        self.assertEqual(self.client.rcodes, [0])
        self.ask("b.example.")
        self.assertEqual(self.client.rcodes, [0])


class GreedyStreamTests(StreamCase):
    """TCP clients that take more than they give."""

    def test_few_replies_that_nobody_takes(self) -> None:
        """A client that leaves a few replies lying, too few to hold it up, is closed all the same when it is idle."""
        self.serve(a_block())
        self.reactor.window = 100
        client = self.connect()
        client.transport.pauseProducing()
        self.send(client, framed(*(asking(number) for number in range(50))))
        self.reactor.advance(StreamTimeouts().idle + 0.1)
        self.assertEqual(self.metric("kdns_stream_connections"), 1)
        self.reactor.advance(StreamTimeouts().write)
        self.assertEqual(self.metric("kdns_stream_connections"), 0)

    def test_flood_of_connections(self) -> None:
        """Hundreds of connections at once are accepted over many turns."""
        self.serve(a_block())
        clients = [Client() for _ in range(300)]
        self.clients += clients
        for client in clients:
            self.reactor.connectTCP("127.0.0.1", PORT, _Connect(client))
        counts = [0]
        while counts[-1] < 300 and len(counts) < 300:
            self.reactor.turn()
            counts.append(int(self.metric("kdns_stream_connections")))
        self.assertEqual(counts[-1], 300)
        self.assertLessEqual(max(after - before for before, after in pairwise(counts)), ACCEPTED_AT_ONCE + 20)

    def test_long_pipeline(self) -> None:
        """Thousands of queries in one read are answered over many turns, so that others have theirs in between."""
        asked = [0]

        def say(request: Request) -> Answer:
            asked[-1] += 1
            return address(request)

        self.serve(a_block(say))
        now = [0.0]

        def clock() -> float:
            now[0] += TURN_SECONDS / 20
            return now[0]

        self.context.clock = clock
        self.context.turns = TurnQueue(self.reactor, clock)
        client = self.connect()
        client.transport.write(framed(*(asking(number, f"n{number}.example.") for number in range(1000))))
        while len(asked) < 1000 and sum(asked) < 1000:
            asked.append(0)
            self.reactor.turn()
        self.reactor.settle()
        self.assertEqual(client.idents, list(range(1000)))
        self.assertLess(max(asked), 20)
