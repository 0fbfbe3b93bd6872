"""A listener: what becomes of every message, and who is told of it."""

from __future__ import annotations

import dns.message
import dns.rcode
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer, Sections
from kdns.core.chain import Reply
from kdns.core.failure import ResolutionFailed
from kdns.core.metrics import Counter
from kdns.core.request import Request, Transport
from kdns.core.validity import ALWAYS, ONCE, Validity
from kdns.server.datagrams import DatagramShell
from kdns.server.table import TableBudget
from kdns.wire.constants import AA, NXDOMAIN, RA, REFUSED, SERVFAIL, TC
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa
from tests.server.support import Asker, Counting, Slow, a_block, address, another, zones_of

WEB = dns.message.make_query("web.prod.", "A", id=7)
WITH_OPT = dns.message.make_query("web.prod.", "A", id=7, use_edns=0)


def codes(message: dns.message.Message) -> list[int]:
    """The info codes of the Extended DNS Errors in a reply."""
    return [
        int.from_bytes((option.to_wire() or b"")[:2], "big") for option in message.options if int(option.otype) == 15
    ]


class AdmissionTests(SynchronousTestCase):
    """Before any plugin is asked."""

    def test_answer(self) -> None:
        """A query is answered at once where the answer is there."""
        found = Asker(zones_of(root=a_block())).read(WEB)
        self.assertEqual((found.id, found.rcode()), (7, 0))
        self.assertEqual(str(found.answer[0]), "web.prod. 30 IN A 10.96.0.1")

    def test_ignored(self) -> None:
        """Replies and fragments of a header get nothing, and are counted."""
        asker = Asker(zones_of(root=a_block()))
        reply = dns.message.make_response(WEB).to_wire()
        self.assertEqual(asker.ask(reply) + asker.ask(b"") + asker.ask(b"\x00" * 11), [])
        self.assertEqual(asker.value("kdns_malformed_queries_total", "ignored"), 3)

    def test_malformed(self) -> None:
        """What cannot be served is answered at once, and counted."""
        asker = Asker(zones_of(root=a_block()))
        self.assertEqual(asker.read(WEB.to_wire()[:-1]).rcode(), dns.rcode.FORMERR)
        self.assertEqual(asker.value("kdns_malformed_queries_total", "answered"), 1)

    def test_badvers(self) -> None:
        """Another EDNS version is BADVERS; no block is told."""
        observer = Counting()
        query = dns.message.make_query("web.prod.", "A", use_edns=1)
        found = Asker(zones_of(root=a_block(address, observer))).read(query)
        self.assertEqual((found.rcode(), found.edns), (dns.rcode.BADVERS, 0))
        self.assertEqual(observer.exchanges, [])

    def test_class(self) -> None:
        """Classes other than IN are refused, unless a block of the listener takes them."""
        query = dns.message.make_query("version.bind.", "TXT", "CH")
        self.assertEqual(Asker(zones_of(root=a_block())).read(query).rcode(), REFUSED)
        lifted = zones_of(root=a_block(), example_org=a_block(any_class=True))
        self.assertEqual(Asker(lifted).read(query).rcode(), 0)

    def test_refused(self) -> None:
        """What no block takes is refused; all observers of the listener are told, once each."""
        observer = Counting()
        block = a_block(address, observer)
        found = Asker(zones_of(example_org=block, example_net=block)).read(WEB)
        self.assertEqual((found.rcode(), found.flags & AA), (REFUSED, 0))
        self.assertEqual([exchange.zone for exchange in observer.exchanges], ["dropped"])

    def test_zone(self) -> None:
        """A request knows the zone that took it."""
        seen: list[bytes] = []

        def say(request: Request) -> Reply:
            seen.append(request.zone)
            return address(request)

        observer = Counting()
        Asker(zones_of(root=a_block(), prod=a_block(say, observer))).read(WEB)
        self.assertEqual(seen, [from_text("prod.")])
        self.assertEqual(observer.exchanges[0].zone, "prod.")


class FailureTests(SynchronousTestCase):
    """What comes of plugins that fail."""

    def test_known(self) -> None:
        """A failure has its response code, and an Extended DNS Error for those who sent an OPT."""

        def say(request: Request) -> Reply:
            raise ResolutionFailed("nobody there", SERVFAIL, (23, "timeout"))

        observer = Counting()
        asker = Asker(zones_of(root=a_block(say, observer)))
        self.assertEqual(asker.read(WEB).edns, -1)
        found = asker.read(WITH_OPT)
        self.assertEqual((found.rcode(), codes(found)), (SERVFAIL, [23]))
        self.assertEqual([str(one.failure) for one in observer.exchanges], ["SERVFAIL: nobody there"] * 2)
        self.assertEqual(asker.value("coredns_panics_total"), 0)

    def check_panic(self, asker: Asker) -> None:
        """SERVFAIL, counted, with one traceback."""
        self.assertEqual(asker.read(WEB).rcode(), SERVFAIL)
        self.assertEqual(asker.value("coredns_panics_total"), 1)
        (logged,) = self.flushLoggedErrors(ZeroDivisionError)
        self.assertIn("say", logged.getTraceback())

    def test_unforeseen(self) -> None:
        """What nobody foresaw is SERVFAIL, counted, and logged with where it happened."""

        def say(request: Request) -> Reply:
            raise ZeroDivisionError("oops")

        observer = Counting()
        self.check_panic(Asker(zones_of(root=a_block(say, observer))))
        self.assertEqual(str(observer.exchanges[0].failure), "SERVFAIL: ZeroDivisionError: oops")

    def test_unforeseen_later(self) -> None:
        """The same from a coroutine."""

        async def say(request: Request) -> Answer:
            raise ZeroDivisionError("oops")

        self.check_panic(Asker(zones_of(root=a_block(say))))

    def test_cannot_be_rendered(self) -> None:
        """An answer of which no message can be made is SERVFAIL."""
        asker = Asker(zones_of(root=a_block(lambda request: address(request).with_ttl(-1))))
        self.assertEqual(asker.read(WEB).rcode(), SERVFAIL)
        self.assertEqual(asker.value("coredns_panics_total"), 1)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_observer(self) -> None:
        """An observer that fails takes nobody's reply away."""
        broken = Counting()
        broken.finished = lambda exchange: 1 / 0  # type: ignore[assignment]  # it breaks
        fine = Counting()
        asker = Asker(zones_of(root=a_block(address, broken, fine)))
        self.assertEqual(asker.read(WEB).rcode(), 0)
        self.assertEqual(len(fine.exchanges), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_silence(self) -> None:
        """A plugin may have nothing said: the transport gets no octets, and observers are told all the same."""
        observer = Counting()
        asker = Asker(zones_of(root=a_block(lambda request: NO_REPLY, observer)))
        self.assertEqual(asker.ask(WEB), [b""])
        self.assertIsNone(observer.exchanges[0].reply)


class WaitingTests(SynchronousTestCase):
    """Answers that come later."""

    def setUp(self) -> None:
        self.slow = Slow()
        self.observer = Counting()
        self.asker = Asker(zones_of(root=a_block(self.slow, self.observer)), most_waiting=3)

    def tearDown(self) -> None:
        self.asker.listener.stop()
        self.assertEqual(self.asker.reactor.leftovers(), [])

    def test_later(self) -> None:
        """An answer that comes later is sent when it comes, and the time it took is told."""
        replies = self.asker.ask(WEB)
        self.asker.reactor.advance(2.0)
        self.assertEqual(replies, [])
        self.slow.give()
        self.assertEqual(dns.message.from_wire(replies[0]).rcode(), 0)
        self.assertEqual(self.observer.exchanges[0].seconds, 2.0)
        self.assertEqual(len(self.asker.listener.waiting), 0)

    def test_deadline(self) -> None:
        """A query that is still open after 4.8 seconds is SERVFAIL with the reason, and what it waited for is cancelled."""
        early = self.asker.ask(WITH_OPT)
        self.asker.reactor.advance(1.0)
        late = self.asker.ask(WITH_OPT)
        self.asker.reactor.advance(3.79)
        self.assertEqual(early, [])
        self.asker.reactor.advance(0.02)
        self.assertEqual((len(early), len(late)), (1, 0))
        found = dns.message.from_wire(early[0])
        self.assertEqual((found.rcode(), codes(found)), (SERVFAIL, [22]))
        self.assertEqual(len(self.slow.cancelled), 1)
        self.asker.reactor.advance(1.0)
        self.assertEqual(len(late), 1)
        self.assertEqual(self.asker.value("kdns_deadline_exceeded_total"), 2)
        self.assertEqual(self.asker.value("coredns_panics_total"), 0)
        self.assertEqual(self.asker.reactor.getDelayedCalls(), [])

    def test_answer_after_deadline(self) -> None:
        """An answer that comes although it was cancelled goes nowhere."""
        forever: list[Deferred[Answer]] = []

        def say(request: Request) -> Reply:
            forever.append(Deferred(lambda cancelled: cancelled.callback(address(request))))
            return forever[-1]

        asker = Asker(zones_of(root=a_block(say)))
        replies = asker.ask(WEB)
        asker.reactor.advance(5.0)
        self.assertEqual([dns.message.from_wire(reply).rcode() for reply in replies], [SERVFAIL])

    def test_crowded(self) -> None:
        """When too many wait, further ones are told so at once; what has ended makes room."""
        for _ in range(3):
            self.asker.ask(WEB)
        found = self.asker.read(WITH_OPT)
        self.assertEqual((found.rcode(), codes(found)), (SERVFAIL, [0]))
        self.assertEqual(self.asker.value("kdns_waiting_rejects_total"), 1)
        self.slow.give()
        self.assertEqual(self.asker.ask(WEB), [])

    def test_stop(self) -> None:
        """The end of a listener answers all that wait, and cancels what they waited for."""
        replies = self.asker.ask(WITH_OPT)
        self.asker.listener.stop()
        found = dns.message.from_wire(replies[0])
        self.assertEqual((found.rcode(), codes(found)), (SERVFAIL, [0]))
        self.assertEqual(len(self.slow.cancelled), 1)

    def test_blocks_change(self) -> None:
        """A query that waits goes on with the block it came to; the next one is the new block's."""
        replies = self.asker.ask(WEB)
        self.asker.listener.serve(zones_of(root=a_block(lambda request: Answer(NXDOMAIN))))
        self.assertEqual(self.asker.read(WEB).rcode(), NXDOMAIN)
        self.slow.give()
        self.assertEqual(dns.message.from_wire(replies[0]).rcode(), 0)
        self.assertEqual(len(self.observer.exchanges), 1)


class InnerTests(SynchronousTestCase):
    """Requests that a plugin makes in its client's name."""

    def setUp(self) -> None:
        self.inner = Counting()
        self.outer = Counting()
        self.slow = Slow()
        self.found: list[Answer | Deferred[Answer]] = []
        self.qname = "www.example.com."

        def say(request: Request) -> Reply:
            self.found.append(request.server.resolve(another(request, self.qname)))
            return Answer()

        def broken(request: Request) -> Reply:
            raise ResolutionFailed("nobody there", SERVFAIL, (23, ""))

        def many(request: Request) -> Reply:
            records = tuple(a_or_aaaa(request.spelled, 5, bytes((10, 0, 0, number))) for number in range(100))
            return Answer(flags=RA, body=Sections(answer=records))

        self.asker = Asker(
            zones_of(
                prod=a_block(say, self.outer),
                example_com=a_block(address, self.inner),
                broken=a_block(broken, self.inner),
                slow=a_block(self.slow, self.inner),
                many=a_block(many, self.inner),
            )
        )

    def resolve(self, qname: str, **settings: Transport) -> Answer:
        """What a plugin gets for a name."""
        self.qname = qname
        self.asker.ask(WEB, **settings)
        answer = self.found[-1]
        assert isinstance(answer, Answer)
        return answer

    def test_answer(self) -> None:
        """The answer itself comes back, and the block's observers are told as if the client had asked."""
        answer = self.resolve("www.example.com.")
        self.assertEqual(answer.answer[0].owner, from_text("www.example.com."))
        self.assertEqual([one.request.qname for one in self.inner.exchanges], [from_text("www.example.com.")])
        self.assertEqual(self.inner.exchanges[0].zone, "example.com.")
        self.assertEqual(len(self.outer.exchanges), 1)

    def test_failure(self) -> None:
        """A failure is a response code, as the client would see it."""
        answer = self.resolve("x.broken.")
        self.assertEqual((answer.rcode, answer.ede), (SERVFAIL, ((23, ""),)))

    def test_refused(self) -> None:
        """What no block takes is refused."""
        self.assertEqual(self.resolve("x.nowhere.").rcode, REFUSED)
        self.assertEqual([one.zone for one in self.inner.exchanges], ["dropped"])

    def test_too_big(self) -> None:
        """TC is set when the client could not take all of it; over a stream it can."""
        self.assertEqual(self.resolve("x.many.").flags, RA | TC)
        self.assertEqual(self.resolve("x.many.", transport=Transport.TCP).flags, RA)

    def test_later(self) -> None:
        """It may wait; cancelling what waits cancels the plugin inside."""
        self.qname = "x.slow."
        self.asker.ask(WEB)
        self.asker.ask(WEB)
        one, two = self.found
        assert isinstance(one, Deferred)
        assert isinstance(two, Deferred)
        self.slow.give()
        self.assertEqual(self.successResultOf(one).rcode, 0)
        two.cancel()
        self.assertEqual(len(self.slow.cancelled), 1)
        self.failureResultOf(two)
        self.assertEqual(self.asker.value("coredns_panics_total"), 0)


class RepeatTests(SynchronousTestCase):
    """Answers given again out of the table count, and are told, exactly like those that plugins gave."""

    def both(self, validity: Validity, answer: Answer | None = None) -> tuple[Counting, Counter, list[bytes]]:
        """Ask ten times over a table, with answers that hold as *validity* says."""
        observer = Counting(each=True)
        charged = Counter()

        def say(request: Request) -> Reply:
            charged.inc()
            return replace(answer or address(request), validity=validity, charges=(charged,))

        asker = Asker(zones_of(root=a_block(say, observer)))
        table = TableBudget(1_000_000).table()
        shell = DatagramShell(asker.listener, table)
        replies: list[bytes] = []

        class Transport:
            """What is written goes into the list."""

            def write(self, data: bytes, addr: object) -> None:
                """Keep it."""
                replies.append(data)

        shell.transport = Transport()
        for number in range(10):
            asker.reactor.advance(0.5)
            query = dns.message.make_query("web.prod.", "A", id=number)
            shell.datagramReceived(query.to_wire(), ("10.0.0.9", 1000 + number))
        asker.context.tallies.fold()
        held = validity.repeat and validity.until > asker.reactor.seconds()
        self.assertEqual(len(table), 1 if held else 0)
        return observer, charged, replies

    def test_counted_alike(self) -> None:
        """Counters, charges and durations are equal whether the table answered or not."""
        fresh, fresh_charge, fresh_replies = self.both(ONCE)
        again, again_charge, again_replies = self.both(ALWAYS)
        self.assertEqual((len(fresh.exchanges), len(again.exchanges)), (10, 1))
        self.assertEqual(again_replies, fresh_replies)
        self.assertEqual(again.count.value, fresh.count.value)
        self.assertEqual(again_charge.value, fresh_charge.value)
        self.assertEqual(again.durations.counts, fresh.durations.counts)
        self.assertEqual(again.replay, [("10.0.0.9", 1000 + number, number) for number in range(1, 10)])

    def test_until(self) -> None:
        """A plugin is asked again when its answer does not hold any more."""
        observer, _, replies = self.both(Validity(True, 2.2))
        self.assertEqual(len(replies), 10)
        # Asked at 0.5 s, which validity until 2.2 s; from then on nothing is entered, since that is over.
        self.assertEqual(len(observer.exchanges), 1 + 6)

    def test_rotating(self) -> None:
        """The addresses of a repeated reply take turns in being first, and each reply is counted alike."""
        records = tuple(a_or_aaaa(from_text("web.prod."), 30, bytes((10, 0, 0, last))) for last in (1, 2))
        observer, charged, replies = self.both(ALWAYS, Answer(flags=AA, body=Sections(records), rotate=()))
        shown = [dns.message.from_wire(reply, one_rr_per_rrset=True).answer[0][0].address for reply in replies]
        self.assertEqual(shown, ["10.0.0.1", "10.0.0.2"] * 5)
        self.assertEqual((observer.count.value, charged.value), (10, 10))

    def test_other_flags(self) -> None:
        """A reply may have other flags from the second time on, as those of a cache have."""
        answer = Answer(flags=RA, repeat_flags=AA | RA)
        _, _, replies = self.both(ALWAYS, answer)
        self.assertEqual([reply[2] & 4 for reply in replies], [0] + [4] * 9)

    def test_silent_observer(self) -> None:
        """An observer that does not say what a repetition means is told of each query by itself."""
        observer = Counting()
        observer.repeats = False
        asker = Asker(zones_of(root=a_block(address, observer)))
        table = TableBudget(1_000_000).table()
        shell = DatagramShell(asker.listener, table)
        for number in range(3):
            shell.datagramReceived(dns.message.make_query("web.prod.", "A", id=number).to_wire(), ("10.0.0.9", 1000))
        self.assertEqual((len(table), len(observer.exchanges)), (0, 3))
