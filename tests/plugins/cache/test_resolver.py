"""The cache in a chain: hits and misses, what the answer table may hold, prefetching, serving what is stale, counters."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Reply, chain
from kdns.core.failure import ResolutionFailed
from kdns.core.fast_path import Effect
from kdns.core.metrics import Gauge
from kdns.core.reply import render_reply
from kdns.core.request import Request, Transport
from kdns.core.stamps import Stamp, stand
from kdns.core.validity import ALWAYS, FROM_UPSTREAM, Validity, Varies, by_client
from kdns.plugin.seam import Resource
from kdns.plugins.cache import directive
from kdns.wire.constants import (
    AA,
    AAAA,
    AD,
    AXFR,
    EDE_STALE_ANSWER,
    EDE_STALE_NXDOMAIN,
    NXDOMAIN,
    RA,
    RD,
    REFUSED,
    SERVFAIL,
    A,
)
from kdns.wire.message import ANSWER, MOST_TAKEN_APART, Relayed, scan
from kdns.wire.names import ROOT, from_text
from kdns.wire.query import Edns
from kdns.wire.records import a_or_aaaa
from tests.plugins.cache.upstream import Upstream, address, no_such_name, relayed
from tests.support import FakeServer, a_house, a_request, built, now

SEQ = a_request("seq.example.com")
DO = Edns(1232, 0x8000, 0, b"")
CLUSTER = from_text("cluster.local")


class CacheTestCase(SynchronousTestCase):
    """A chain of a cache and an upstream, at 1000 s of the clock."""

    def start(self, *options: str, words: str = "cache", ttl: int = 300) -> None:
        """Begin with a cache that has these options."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.context = a_house(self.clock)
        corefile = ".:53 {\n" + words + " {\n" + "\n".join(options) + "\n}\n}\n"
        self.builder = built(directive, corefile, self.context)
        self.upstream = Upstream(ttl=ttl)
        (self.link,) = self.builder.links
        self._chain = chain([*self.builder.links, self.upstream])

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def ask(self, request: Request = SEQ) -> Answer:
        """The answer that is there at once."""
        return now(self._chain(request))

    def later(self, request: Request = SEQ) -> Reply:
        """Whatever the chain says."""
        return self._chain(request)

    def last(self, answer: Answer) -> int:
        """The last octet of the first address."""
        return answer.sections()[0][0].rdata[-1]

    def count(self, name: str, *types: str) -> float:
        """A counter's value for the listener."""
        family = next(f for f in self.context.registry.families() if f.name == f"coredns_cache_{name}")
        values = ("dns://:53", *types, ".", "")
        cell = family.counter(*values)
        return cell.read() if isinstance(cell, Gauge) and cell.read is not None else cell.value


class HitTests(CacheTestCase):
    """The first reply and those after it."""

    def test_first_and_second(self) -> None:
        """A hit shows what is left of the TTL, has AA set, and asks nobody."""
        self.start()
        first = self.ask()
        self.assertEqual((first.flags, first.body.lowest_ttl, first.source), (RA, 300, "forward"))
        self.clock.advance(2.2)
        second = self.ask()
        self.assertEqual((second.flags, second.body.lowest_ttl, second.source), (AA | RA, 298, "cache"))
        self.assertEqual(len(self.upstream.asked), 1)
        self.assertEqual(scan(render_reply(SEQ, second)).record(scan(render_reply(SEQ, second)).slots[0]).ttl, 298)

    def test_expiry(self) -> None:
        """An entry serves until its TTL has passed and not a moment longer."""
        self.start(ttl=10)
        self.ask()
        self.clock.advance(9.9)
        self.assertEqual(self.ask().body.lowest_ttl, 1)
        self.clock.advance(0.1)
        self.assertEqual(self.last(self.ask()), 2)

    def test_keepttl(self) -> None:
        """With ``keepttl`` hits show the TTL as it was stored, and hold until the end."""
        self.start("keepttl")
        self.ask()
        self.clock.advance(7.5)
        answer = self.ask()
        self.assertEqual((answer.body.lowest_ttl, answer.validity.until), (300, 1300.0))

    def test_other_zones_pass(self) -> None:
        """What is not in the zones of the cache does not concern it."""
        self.start(words="cache example.org")
        self.ask()
        self.ask()
        self.assertEqual(len(self.upstream.asked), 2)
        self.assertEqual(self.upstream.asked[0].flags, RD)

    def test_queries_passed_on_ask_for_authenticity(self) -> None:
        """AD is set towards the plugins behind and not shown to a client that did not ask."""
        self.start()
        self.upstream.script = lambda request: relayed(request, (address("a.test"),), flags=RA | AD)
        for request, wanted in (
            (a_request("a.test"), 0),
            (a_request("a.test", flags=RD | AD), AD),
            (a_request("a.test", edns=DO), AD),
            (a_request("a.test", edns=DO), AD),
            (a_request("b.test"), 0),
        ):
            self.assertEqual(self.ask(request).flags & AD, wanted)
        self.assertTrue(all(request.flags & AD for request in self.upstream.asked))

    def test_spelling(self) -> None:
        """Owner names stay as stored, the question is the client's."""
        self.start()
        self.ask()
        shouted = a_request("SEQ.example.com")
        message = scan(render_reply(shouted, self.ask(shouted)))
        assert message.question is not None
        self.assertEqual(message.question[0], shouted.spelled)
        self.assertEqual(message.record(message.slots[0]).owner, SEQ.qname)
        self.assertEqual(len(self.upstream.asked), 1)

    def test_spelling_of_many_records(self) -> None:
        """A reply of thousands of records is not taken apart for the spelling of its owner names."""
        self.start()
        many = [a_or_aaaa(SEQ.qname, 300, number.to_bytes(4, "big")) for number in range(MOST_TAKEN_APART + 1)]
        self.upstream.script = lambda request: relayed(request, many)
        kept = self.ask()
        shouted = a_request("SEQ.example.com")
        answer = self.ask(shouted)
        assert isinstance(answer.body, Relayed) and isinstance(kept.body, Relayed)
        self.assertIs(answer.body.slots, kept.body.slots)
        message = scan(render_reply(replace(shouted, transport=Transport.TCP), answer))
        assert message.question is not None
        self.assertEqual(message.question[0], shouted.spelled)
        self.assertEqual(len(list(message.records(ANSWER))), len(many))
        self.assertEqual(len(self.upstream.asked), 1)

    def test_rcode_only_failures_are_not_kept(self) -> None:
        """A failure without a message is asked for again."""
        self.start()
        self.upstream.script = self.upstream.fail
        for _ in range(2):
            self.assertRaises(ResolutionFailed, self.ask)
        self.assertEqual(len(self.upstream.asked), 2)

    def test_servfail_gives_way(self) -> None:
        """A SERVFAIL is kept for a moment, but takes no place of an answer that still holds."""
        self.start("prefetch 1 1m 90%", "success 1000 100 5")
        self.ask()
        self.clock.advance(10)
        self.upstream.script = lambda request: relayed(request, rcode=SERVFAIL)
        self.ask()
        self.assertEqual(self.last(self.ask()), 1)
        other = a_request("fail.example.com")
        self.assertEqual((self.ask(other).flags, self.ask(other).flags), (RA, AA | RA))

    def test_transfers_pass(self) -> None:
        """A transfer goes through unkept, with the TTLs it has."""
        self.start()
        transfer = a_request("example.com", AXFR)
        self.ask(transfer)
        self.ask(transfer)
        self.assertEqual(len(self.upstream.asked), 2)

    def test_an_answer_to_another_question(self) -> None:
        """It is passed on, counted and not kept."""
        self.start()
        other = a_request("other.example.com").question
        self.upstream.script = lambda request: relayed(request, (address("a.test"),), question=other)
        self.ask()
        self.ask()
        self.assertEqual((len(self.upstream.asked), self.count("drops_total")), (2, 2))

    def test_waiting(self) -> None:
        """What comes later is kept from the moment it comes."""
        self.start()
        self.upstream.script = self.upstream.wait
        waiting = self.later()
        assert isinstance(waiting, Deferred)
        self.clock.advance(3)
        self.upstream.waiting[0].callback(relayed(SEQ, (address("seq.example.com"),)))
        self.assertEqual(self.successResultOf(waiting).body.lowest_ttl, 300)
        self.assertEqual(self.ask().body.lowest_ttl, 300)

    def test_wildcard(self) -> None:
        """The wildcard that an answer came from is known of hits too."""
        self.start()

        def script(request: Request) -> Answer:
            assert request.metadata is not None
            request.metadata["zone/wildcard"] = lambda: "*.example.com."
            return self.upstream.numbered(request)

        self.upstream.script = script
        self.ask(replace(SEQ, metadata={}))
        again = replace(SEQ, metadata={})
        self.ask(again)
        self.assertEqual(again.metadata, {"zone/wildcard": "*.example.com."})

    def test_silence_is_passed(self) -> None:
        """A plugin that says nothing at all is not quoted."""
        self.start()
        self.upstream.script = lambda request: Answer(silent=True)
        self.assertTrue(self.ask().silent)
        self.assertTrue(self.ask().silent)


class HoldTests(CacheTestCase):
    """For whom and until when the answer table may repeat what the cache said."""

    def test_a_hit_holds_until_it_expires(self) -> None:
        """The table repeats a hit, and is told when what is left of the second is over and TTLs change."""
        self.start(ttl=10)
        self.ask()
        for at, shows in ((0.0, 1001.0), (0.25, 1001.0), (4.0, 1005.0), (5.0, 1010.0)):
            self.clock.advance(at)
            holds = self.ask().validity
            self.assertEqual((holds.repeat, holds.until, holds.counts_from), (True, 1010.0, shows))

    def test_the_first_reply_stands_for_the_entry(self) -> None:
        """The reply is repeated from the first one on as what the entry says, and counted as a hit."""
        stamp = Stamp()
        for option, shows in (("servfail 5s", 1001.0), ("keepttl", inf)):
            for own in (Validity(True, stamps=(stamp.ref(),)), FROM_UPSTREAM.narrowed(stamps=(stamp.ref(),))):
                for flags in (AA, RA, AA | RA, 0):
                    self.start(option)
                    answer = Answer(body=Sections(answer=(address("a.test", ttl=30),)), validity=own, flags=flags)
                    self.upstream.script = lambda request, answer=answer: answer
                    first, second = self.ask(), self.ask()
                    self.assertEqual(first.validity, Validity(True, 1030.0, own.stamps, True, shows))
                    self.assertEqual((first.flags, first.repeat_flags), (flags, second.flags))
                    self.assertEqual((first.validity, first.body), (second.validity, second.body))
                    self.assertEqual(first.charges, second.charges)
                    self.assertEqual((self.count("misses_total"), self.count("hits_total", "success")), (1, 1))

    def test_the_first_reply_does_not_stand_for_another(self) -> None:
        """Not where the entry says less, nor where its hits are counted for prefetching."""
        for option, options in (("servfail 5s", ((8, b"\x00\x01\x00\x00"),)), ("prefetch 2", None)):
            self.start(option)
            answer = Answer(body=Sections(answer=(address("a.test", ttl=30),)), validity=ALWAYS, options=options)
            self.upstream.script = lambda request, answer=answer: answer
            self.assertFalse(self.ask().validity.repeat, option)

    def test_what_is_not_kept_holds_as_it_did(self) -> None:
        """Cluster data behind ``disable`` is held by the table; repetitions count as misses."""
        self.start("disable success")
        stamp = Stamp()
        own = Validity(True, stamps=(stamp.ref(),))
        self.upstream.script = lambda request: Answer(
            body=Sections(answer=(address("a.test", ttl=1),)), validity=own, flags=AA | AD
        )
        answer = self.ask()
        self.assertEqual((answer.validity, answer.body.lowest_ttl, answer.flags), (own, 5, AA))
        for charge in answer.charges:
            charge.charge(7)
        self.assertEqual((self.count("requests_total"), self.count("misses_total")), (8, 8))

    def test_repetitions_count_as_hits(self) -> None:
        """What the table repeats is charged like what the cache says itself."""
        self.start()
        self.ask()
        for charge in self.ask().charges:
            charge.charge(10)
        self.assertEqual((self.count("requests_total"), self.count("hits_total", "success")), (12, 11))
        self.assertEqual(self.count("misses_total"), 1)

    def test_a_moved_stamp_is_a_miss_at_once(self) -> None:
        """A change is visible to the next query whatever TTL the old answer had."""
        self.start("serve_stale 1h")
        stamp = Stamp()
        self.upstream.script = lambda request: replace(
            self.upstream.numbered(request), validity=FROM_UPSTREAM.narrowed(stamps=(stamp.ref(),))
        )
        self.ask()
        hit = self.ask()
        self.assertEqual(self.last(hit), 1)
        self.assertTrue(stand(hit.validity.stamps))
        stamp.bump()
        self.assertFalse(stand(hit.validity.stamps))
        self.assertEqual(self.last(self.ask()), 2)
        self.clock.advance(400)
        stamp.bump()
        self.assertEqual(self.last(self.ask()), 3)

    def test_answers_for_one_query(self) -> None:
        """An answer for one query is not kept: the plugins behind are asked each time."""
        self.start()
        self.upstream.script = lambda request: replace(self.upstream.numbered(request), validity=Validity())
        self.assertEqual([self.last(self.ask()) for _ in range(3)], [1, 2, 3])

    def test_audience(self) -> None:
        """Where a plugin behind tells clients apart, so do the entries."""
        self.start()
        self.upstream.varies = by_client(lambda client: client.rpartition(".")[0])
        self.link.placed([self.upstream])
        clients = [a_request("a.test", client=client) for client in ("10.0.0.1", "10.0.1.1", "10.0.0.2", "10.0.1.2")]
        self.assertEqual([self.last(self.ask(request)) for request in clients], [1, 2, 1, 2])

    def test_transport(self) -> None:
        """The same for transports and listeners."""
        self.start()
        self.upstream.varies = Varies(transport=True)
        self.link.placed([self.upstream])
        requests = [a_request("a.test", transport=transport) for transport in (Transport.UDP, Transport.TCP) * 2]
        self.assertEqual([self.last(self.ask(request)) for request in requests], [1, 2, 1, 2])


class PrefetchTests(CacheTestCase):
    """Refreshing before the end what is asked for often."""

    def test_popular_entries_are_refreshed(self) -> None:
        """Within the last tenth of its time an entry with enough hits is asked for again, as if over TCP."""
        self.start("prefetch 2", ttl=100)
        self.ask()
        self.clock.advance(50)
        self.ask()
        self.clock.advance(40)
        self.assertEqual(self.last(self.ask()), 1)
        self.assertEqual(self.upstream.asked[-1].transport, Transport.TCP)
        answer = self.ask()
        self.assertEqual((self.last(answer), answer.body.lowest_ttl), (2, 100))
        self.assertEqual(self.count("prefetch_total"), 1)

    def test_unpopular_entries_are_not(self) -> None:
        """Too few hits, or too long a pause between them, and the entry just expires."""
        self.start("prefetch 3 20s", ttl=100)
        self.ask()
        for step in (10, 10, 70.5, 1):
            self.clock.advance(step)
            self.ask()
        self.assertEqual(self.count("prefetch_total"), 0)

    def test_one_at_a_time(self) -> None:
        """While a refresh is under way no second one begins; the hits counted so far stay with the entry."""
        self.start("prefetch 1 1m 90%", ttl=100)
        self.ask()
        self.clock.advance(10)
        self.upstream.script = self.upstream.wait
        self.ask()
        self.ask()
        self.assertEqual(len(self.upstream.waiting), 1)
        self.upstream.waiting[0].callback(relayed(SEQ, (address("seq.example.com", 9, 100),)))
        self.assertEqual(self.last(self.ask()), 9)
        self.clock.advance(10)
        self.ask()
        self.assertEqual(len(self.upstream.waiting), 2)
        self.upstream.waiting[1].callback(no_such_name(SEQ))

    def test_the_table_leaves_hits_to_be_seen(self) -> None:
        """Until an entry is popular, and again when it is time, each query must come to the cache."""
        self.start("prefetch 2 1m 10%", ttl=100)
        self.upstream.script = None
        self.ask()
        self.assertFalse(self.ask().validity.repeat)
        self.assertTrue(self.ask().validity.repeat)
        self.clock.advance(89.5)
        self.ask()
        self.assertEqual(self.ask().validity.until, 1090.0)
        self.upstream.script = self.upstream.wait
        self.clock.advance(0.5)
        self.assertFalse(self.ask().validity.repeat)
        self.upstream.waiting[0].callback(relayed(SEQ, (address("seq.example.com"),)))

    def test_failure(self) -> None:
        """A refresh that fails leaves the entry as it was and is tried again with the next hit."""
        self.start("prefetch 1 1m 90%", ttl=100)
        self.ask()
        self.clock.advance(10)
        self.upstream.script = self.upstream.fail
        self.assertEqual(self.last(self.ask()), 1)
        self.upstream.script = None
        self.assertEqual(self.last(self.ask()), 1)
        self.assertEqual(self.last(self.ask()), 3)

    def test_a_bug_behind_is_logged(self) -> None:
        """What nobody foresaw is logged once and not swallowed."""
        self.start("prefetch 1 1m 90%", ttl=100)
        self.ask()
        self.clock.advance(10)

        def broken(request: Request) -> Answer:
            raise ZeroDivisionError

        self.upstream.script = broken
        self.assertEqual(self.last(self.ask()), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class StaleImmediateTests(CacheTestCase):
    """Expired entries, served at once."""

    def test_stale_then_fresh(self) -> None:
        """The expired entry is served with TTL 0 and refreshed behind the client's back."""
        self.start("serve_stale 1h", ttl=10)
        self.ask()
        self.clock.advance(10)
        self.upstream.script = self.upstream.wait
        stale = self.ask()
        self.assertEqual((self.last(stale), stale.body.lowest_ttl, stale.flags), (1, 0, AA | RA))
        self.assertEqual((stale.ede, stale.validity.repeat), (((EDE_STALE_ANSWER, ""),), False))
        self.ask()
        self.assertEqual(len(self.upstream.waiting), 1)
        self.upstream.waiting[0].callback(relayed(SEQ, (address("seq.example.com", 9),)))
        fresh = self.ask()
        self.assertEqual((self.last(fresh), fresh.body.lowest_ttl, fresh.ede), (9, 300, ()))
        self.assertEqual((self.count("served_stale_total"), self.count("prefetch_total")), (2, 1))
        self.assertEqual((self.count("hits_total", "success"), self.count("misses_total")), (3, 1))

    def test_denials(self) -> None:
        """NXDOMAIN is served stale too, and says so."""
        self.start("serve_stale 1h immediate 30s")
        self.upstream.script = no_such_name
        self.ask()
        self.clock.advance(61)
        self.upstream.script = self.upstream.fail
        stale = self.ask()
        self.assertEqual((stale.rcode, stale.body.lowest_ttl, stale.ede), (NXDOMAIN, 30, ((EDE_STALE_NXDOMAIN, ""),)))

    def test_too_old(self) -> None:
        """After the time allowed the client waits again."""
        self.start("serve_stale 1m", ttl=10)
        self.ask()
        self.clock.advance(70)
        self.assertEqual(self.last(self.ask()), 2)

    def test_failures_of_the_upstream(self) -> None:
        """Neither SERVFAIL nor silence takes the place of an expired entry."""
        self.start("serve_stale 1h", ttl=10)
        self.ask()
        self.clock.advance(20)
        for script in (self.upstream.fail, lambda request: relayed(request, rcode=SERVFAIL)):
            self.upstream.script = script
            for _ in range(2):
                self.assertEqual(self.last(self.ask()), 1)
        self.assertEqual(len(self.upstream.asked), 5)

    def test_recheck(self) -> None:
        """After a failed refresh the next is tried when the time is up, and until then the table may repeat the reply."""
        self.start("serve_stale 1h immediate 0s 30s", ttl=10)
        self.ask()
        self.clock.advance(20)
        self.upstream.script = lambda request: relayed(request, rcode=REFUSED)
        self.ask()
        held = self.ask()
        self.assertEqual(len(self.upstream.asked), 2)
        self.assertEqual((held.validity.repeat, held.validity.until), (True, 1050.0))
        for charge in held.charges:
            charge.charge(3)
        self.assertEqual(self.count("served_stale_total"), 5)
        self.clock.advance(30)
        self.ask()
        self.assertEqual(len(self.upstream.asked), 3)

    def test_prefer_positive(self) -> None:
        """With the policy a denial does not take the place of an expired positive answer, without it it does."""
        for options, rcode in (((), NXDOMAIN), (("serve_stale_policy prefer_positive",), 0)):
            self.start("serve_stale 1h", *options, ttl=10)
            self.ask()
            self.clock.advance(20)
            self.upstream.script = no_such_name
            self.ask()
            self.assertEqual(self.ask().rcode, rcode)

    def test_stopping_cancels(self) -> None:
        """A refresh under way ends with the service."""
        self.start("serve_stale 1h", ttl=10)
        self.ask()
        self.clock.advance(20)
        self.upstream.script = self.upstream.wait
        self.ask()
        (stores,) = self.builder.resources
        assert isinstance(stores, Resource)
        stores.stop()
        self.assertTrue(self.upstream.waiting[0].called)
        self.assertEqual(self.count("entries", "success"), 0)


class StaleVerifyTests(CacheTestCase):
    """Expired entries, served when asking brings nothing."""

    def expire(self, *options: str) -> None:
        """An entry that has expired, and an upstream that makes one wait."""
        self.start(*options, ttl=10)
        self.ask()
        self.clock.advance(20)
        self.upstream.script = self.upstream.wait

    def waiting(self) -> Deferred[Answer]:
        """Ask, and wait."""
        reply = self.later()
        assert isinstance(reply, Deferred)
        return reply

    def test_at_once(self) -> None:
        """What the plugins behind know at once is the reply, or the expired entry if that is nothing."""
        self.expire("serve_stale 1h verify")
        self.upstream.script = self.upstream.fail
        self.assertEqual(self.last(self.ask()), 1)
        self.upstream.script = lambda request: relayed(request, rcode=SERVFAIL)
        self.assertEqual(self.last(self.ask()), 1)
        self.upstream.script = None
        fresh = self.ask()
        self.assertEqual((self.last(fresh), fresh.flags, fresh.body.lowest_ttl), (4, RA, 10))

    def test_verified(self) -> None:
        """The client gets what the upstream says, denials too."""
        self.expire("serve_stale 1h verify")
        reply = self.waiting()
        self.upstream.waiting[0].callback(no_such_name(SEQ))
        self.assertEqual(self.successResultOf(reply).rcode, NXDOMAIN)
        self.assertEqual(self.ask().flags, AA | RA)

    def test_failed(self) -> None:
        """An upstream that fails gives way to the expired entry."""
        self.expire("serve_stale 1h verify")
        reply = self.waiting()
        self.upstream.fail_later()
        answer = self.successResultOf(reply)
        self.assertEqual((self.last(answer), answer.body.lowest_ttl), (1, 0))
        self.assertEqual(self.count("served_stale_total"), 1)

    def test_too_slow(self) -> None:
        """After the time-out the expired entry is served; what comes then is kept."""
        self.expire("serve_stale 1h verify 200ms")
        reply = self.waiting()
        self.clock.advance(0.1)
        self.assertNoResult(reply)
        self.clock.advance(0.1)
        self.assertEqual(self.last(self.successResultOf(reply)), 1)
        self.upstream.waiting[0].callback(relayed(SEQ, (address("seq.example.com", 9),)))
        self.assertEqual(self.last(self.ask()), 9)

    def test_in_time(self) -> None:
        """The timer of a query that is answered in time is gone."""
        self.expire("serve_stale 1h verify 200ms")
        reply = self.waiting()
        self.upstream.waiting[0].callback(relayed(SEQ, (address("seq.example.com", 9),)))
        self.assertEqual(self.last(self.successResultOf(reply)), 9)

    def test_cancelled(self) -> None:
        """A client that is gone takes its query along."""
        self.expire("serve_stale 1h verify 1s")
        gone: list[bool] = []
        self.upstream.script = lambda request: Deferred(lambda _: gone.append(True))
        reply = self.waiting()
        reply.addErrback(lambda failure: failure.trap(CancelledError))
        reply.cancel()
        self.assertEqual(gone, [True])

    def test_recheck(self) -> None:
        """After a failure the expired entry is served without asking until the time is up."""
        self.expire("serve_stale 1h verify 0s 0s 30s")
        self.upstream.script = self.upstream.fail
        for _ in range(3):
            self.assertEqual(self.last(self.ask()), 1)
        self.assertEqual(len(self.upstream.asked), 2)


class MetricsTests(CacheTestCase):
    """Counters of each listener."""

    def test_entries_and_evictions(self) -> None:
        """The gauge follows the stores, and what had to go is counted by kind."""
        self.start("denial 1024")
        self.ask()
        self.upstream.script = no_such_name
        for number in range(1030):
            self.ask(a_request(f"n{number}.example.com"))
        self.assertEqual((self.count("entries", "success"), self.count("entries", "denial")), (1, 1024))
        self.assertEqual(self.count("evictions_total", "denial"), 6)

    def test_listeners_count_apart(self) -> None:
        """Each listener has counters of its own, the entries are shared."""
        self.start()
        self.ask()
        self.ask(replace(SEQ, server=FakeServer("dns://127.0.0.1:53")))
        lines = "\n".join(self.context.registry.lines())
        self.assertIn('coredns_cache_misses_total{server="dns://:53",zones=".",view=""} 1', lines)
        self.assertIn('coredns_cache_hits_total{server="dns://127.0.0.1:53",type="success",zones=".",view=""} 1', lines)

    def test_zones_are_joined(self) -> None:
        """The label shows all zones of the cache."""
        self.start(words="cache example.com example.org")
        self.ask(a_request("a.example.com", AAAA))
        self.assertIn('zones="example.com.,example.org."', "\n".join(self.context.registry.lines()))


class AnswerOfRecordsTests(CacheTestCase):
    """Answers that kdns made itself."""

    def test_records(self) -> None:
        """Records are kept as they are and shown with the TTL that is left."""
        self.start()
        make: Callable[[Request], Answer] = lambda request: Answer(  # noqa: E731 - a script is one expression
            flags=AA, body=Sections(answer=(address("a.test", ttl=30),)), validity=ALWAYS
        )
        self.upstream.script = make
        self.ask()
        self.clock.advance(3)
        answer = self.ask()
        self.assertEqual(answer.sections()[0], (address("a.test", ttl=27),))
        self.assertTrue(answer.validity.repeat)
        self.assertEqual(from_text("a.test"), answer.sections()[0][0].owner)


class FastPathTests(CacheTestCase):
    """What the cache says it does to queries of the fast path."""

    def effect(self, zone: bytes) -> Effect | None:
        """For names in a zone."""
        return self.link.fast_effect("dns://:53", zone)

    def test_kept(self) -> None:
        """A repetition is a hit."""
        self.start()
        for zone in (CLUSTER, ROOT):
            effect = self.effect(zone)
            assert effect is not None
            self.assertTrue(effect.keeps)
            self.assertNotIn(effect.first, (effect.again_success, effect.again_denial))

    def test_disabled(self) -> None:
        """Names of a zone that is not kept are made each time; those of other zones are kept; below the root the cache looks at each."""
        self.start("disable success cluster.local", "disable denial cluster.local")
        effect, other, outside = map(self.effect, (CLUSTER, from_text("in-addr.arpa"), ROOT))
        assert effect is not None and other is not None and outside is not None and outside.keep is not None
        self.assertEqual((effect.keeps, other.keeps), (False, True))
        self.assertEqual((effect.again_success, effect.again_denial), (effect.first, effect.first))
        self.assertEqual(effect.first, other.first)
        self.assertTrue(outside.keep.has(from_text("web.cluster.local"), A, RD))
        self.assertFalse(outside.keep.has(from_text("www.example.org"), A, RD))

    def test_partly_disabled(self) -> None:
        """Where it depends on the answer, or on the name, the cache is asked."""
        self.start("disable success cluster.local")
        self.assertIsNone(self.effect(CLUSTER))
        self.start("disable success svc.cluster.local", "disable denial svc.cluster.local")
        self.assertIsNone(self.effect(CLUSTER))

    def test_looked_at(self) -> None:
        """With prefetch or stale answers each query must be seen."""
        for option in ("prefetch 2", "serve_stale"):
            self.start(option)
            self.assertIsNone(self.effect(ROOT), option)
