# -*- test-case-name: tests.plugins.etcd.test_resolver -*-
"""The link of *etcd*: what an answer holds for, with table and cache in front, and what an operator is told."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Reply, Sections
from kdns.core.request import Request
from kdns.core.stamps import Stamp, StampRef
from kdns.core.validity import FROM_UPSTREAM
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.etcd.config import EtcdConfig, parse
from kdns.plugins.etcd.leases import Lease
from kdns.plugins.etcd.records import RecordIndex
from kdns.plugins.etcd.records import parse as parse_record
from kdns.plugins.etcd.resolver import MOST_OUTSIDE, EtcdLink
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import AA, EDE_STALE_ANSWER, EDE_STALE_NXDOMAIN, NXDOMAIN, REFUSED, SERVFAIL, A
from kdns.wire.names import from_text, to_text
from kdns.wire.records import a_or_aaaa


class Store:
    """Keys that the test sets."""

    def __init__(self) -> None:
        self.index = RecordIndex()
        self.synced = True
        self.why = "refused"
        self.serial = 7
        self.stale: str | None = None
        self.stamp = Stamp()

    def put(self, key: str, lease: Lease | None = None, **fields: Any) -> None:
        """Set a key."""
        path = tuple(part.encode() for part in key.split("/"))
        entry = parse_record(path, json.dumps(fields).encode())
        entry.lease = lease
        self.index.put(entry)

    def remove(self, key: str) -> None:
        """Delete a key."""
        self.index.remove(tuple(part.encode() for part in key.split("/")))

    def set_stale(self, text: str | None) -> None:
        """Begin or end to be stale."""
        self.stale = text
        self.stamp.bump()

    def staleness(self) -> tuple[str, StampRef] | None:
        """See :class:`kdns.plugins.etcd.resolver.Store`."""
        return None if self.stale is None else (self.stale, self.stamp.ref())

    def fresh(self) -> StampRef:
        """See :class:`kdns.plugins.etcd.resolver.Store`."""
        return self.stamp.ref()

    def freshness(self) -> list[str]:
        """See :class:`kdns.plugins.etcd.resolver.Store`."""
        return ["from the test"]


class Directive:
    """``etcd`` on that store."""

    name = "etcd"

    def __init__(self, store: Store) -> None:
        self.store = store

    def parse(self, tokens: Dispenser, block: Block) -> EtcdConfig:
        """As the real one."""
        return parse(tokens, block)

    def build(self, config: EtcdConfig, builder: BlockBuilder) -> None:
        """As the real one, without connections."""
        builder.link(EtcdLink(config, self.store, builder.context.clock))


def upstream(request: Request) -> Reply:
    """Knows ``www.example.com``, and fails for ``lame.example.com``."""
    if request.qname == from_text("lame.example.com"):
        return Answer(SERVFAIL, validity=FROM_UPSTREAM)
    if request.qname == from_text("www.example.com") and request.qtype == A:
        record = a_or_aaaa(request.spelled, 60, bytes((192, 0, 2, 81)))
        return Answer(body=Sections((record,)), validity=FROM_UPSTREAM)
    return Answer(NXDOMAIN, validity=FROM_UPSTREAM)


class LinkTests(SynchronousTestCase):
    """kdns.plugins.etcd.resolver."""

    def setUp(self) -> None:
        self.store = store = Store()
        store.put("test/s/www", host="10.0.0.1")
        store.put("test/s/cn", host="www.s.test")
        store.put("test/s/out", host="www.example.com")
        store.put("test/s/lame", host="lame.example.com")
        store.put("test/s/_tcp/_web/a", host="10.0.0.2", port=80)
        store.put("test/s/_tcp/_web/b", host="www.example.com", port=81)
        self.bench = PluginBench(Directive(store), "etcd s.test {\n fallthrough fall.s.test\n}", upstream)
        self.addCleanup(self.bench.stop)

    def shown(self, answer: Answer) -> list[str]:
        """The answer section."""
        return [f"{to_text(one.owner)} {one.ttl} {one.rtype} {one.rdata.hex()}" for one in answer.answer]

    def test_repeats_across_changes(self) -> None:
        """Table and cache in front never say what etcd no longer says, whatever changes."""
        names = [
            f"{name}s.test"
            for name in ("www.", "x.www.", "cn.", "out.", "_web._tcp.", "new.", "*.", "a.*.", "any._tcp.", "")
        ] + ["www.fall.s.test", "www.example.com"]

        def change() -> None:
            self.store.put("test/s/www", host="10.0.0.9")
            self.store.put("test/s/www/x", host="10.0.0.8")
            self.store.put("test/s/new/deep/er", host="10.0.0.7")
            self.store.remove("test/s/_tcp/_web/a")
            self.store.put("test/s/fall/www", host="10.0.0.6")
            self.store.put("test/s/dns/apex/a", host="10.0.0.5")

        self.bench.check_repeats(names, qtypes=("A", "AAAA", "TXT", "SRV", "SOA", "NS", "CNAME"), change=change)

        def mend() -> None:
            self.store.remove("test/s/www/x")
            self.store.put("test/s/cn", host="new.s.test")
            self.store.put("test/s/out", text="not a name")
            self.store.set_stale("old")

        self.bench.check_repeats(names, qtypes=("A", "AAAA", "TXT", "SRV"), change=mend)

    def test_lease(self) -> None:
        """The TTL follows the lease, within its limits; a repeated reply is at most a second behind."""
        lease = Lease(1)
        lease.ends = 100.0
        self.store.put("test/s/leased", lease, host="10.0.0.3")
        answer = self.bench.ask("leased.s.test")
        self.assertEqual(answer.answer[0].ttl, 100)
        self.assertEqual(answer.validity.until, 1.0)
        self.bench.advance(50)
        self.assertEqual(self.bench.ask("leased.s.test").answer[0].ttl, 50)
        self.bench.advance(40)
        self.assertEqual(self.bench.ask("leased.s.test").answer[0].ttl, 30)
        lease.ends = 1_000_000.0
        self.assertEqual(self.bench.ask("leased.s.test").answer[0].ttl, 86400)

    def test_not_read_yet(self) -> None:
        """Until etcd was read, its names are SERVFAIL, which nothing keeps, and others are passed on."""
        self.store.synced = False
        answer = self.bench.ask("www.s.test")
        self.assertEqual((answer.rcode, answer.flags), (SERVFAIL, AA))
        self.assertFalse(answer.validity.repeat or answer.validity.cacheable)
        self.assertEqual(len(self.bench.ask("www.example.com").answer), 1)
        self.assertEqual([note.missing for note in self.explain("www.s.test")], [True])

    def test_stale(self) -> None:
        """Answers from an etcd that is away say so, and are kept for thirty seconds at most."""
        self.store.set_stale("etcd was not heard of for 40 s")
        answer = self.bench.ask("www.s.test")
        self.assertEqual(self.shown(answer), ["www.s.test. 30 1 0a000001"])
        self.assertEqual(answer.ede, ((EDE_STALE_ANSWER, "etcd was not heard of for 40 s"),))
        self.assertEqual(self.bench.ask("nope.s.test").ede[0][0], EDE_STALE_NXDOMAIN)
        outside = self.bench.ask("out.s.test")
        self.assertEqual((outside.ede[0][0], outside.answer[0].ttl), (EDE_STALE_ANSWER, 30))
        self.store.set_stale(None)
        self.assertEqual(self.bench.ask("www.s.test").ede, ())

    def test_outside(self) -> None:
        """What an alias leads to outside is looked up; where that fails without an address, so does the answer."""
        answer = self.bench.ask("out.s.test")
        self.assertEqual([one.rtype for one in answer.answer], [5, 1])
        self.assertFalse(answer.validity.repeat)
        self.assertEqual(self.bench.ask("lame.s.test").rcode, SERVFAIL)
        services = self.bench.ask("_web._tcp.s.test", "SRV")
        self.assertEqual((len(services.answer), len(services.additional)), (2, 2))

    def test_outside_waits(self) -> None:
        """The look-up may have to wait."""
        waiting: list[Deferred[Answer]] = []

        def slow(request: Request) -> Reply:
            waiting.append(Deferred())
            return waiting[-1]

        bench = PluginBench(Directive(self.store), "etcd s.test", slow)
        self.addCleanup(bench.stop)
        reply = bench._ask(a_request("out.s.test", server=bench._listener))
        assert isinstance(reply, Deferred)
        self.assertNoResult(reply)
        waiting[0].callback(Answer(NXDOMAIN, validity=FROM_UPSTREAM))
        self.assertEqual([one.rtype for one in self.successResultOf(reply).answer], [5])

    def test_many_outside(self) -> None:
        """Names outside are looked up at the same time, a bounded number of them; when the client waits no more, none is left."""
        for number in range(200):
            self.store.put(f"test/s/many/{number:03}", host=f"h{number}.example.com", port=1)
        waiting: list[Deferred[Answer]] = []
        cancelled: list[object] = []

        def slow(request: Request) -> Reply:
            waiting.append(Deferred(cancelled.append))
            return waiting[-1]

        bench = PluginBench(Directive(self.store), "etcd s.test", slow)
        self.addCleanup(bench.stop)
        reply = bench._ask(a_request("many.s.test", "SRV", server=bench._listener))
        assert isinstance(reply, Deferred)
        self.assertEqual(len(waiting), MOST_OUTSIDE)
        reply.addErrback(lambda failure: None)
        reply.cancel()
        self.assertEqual(len(cancelled), MOST_OUTSIDE)
        second = bench._ask(a_request("many.s.test", "SRV", server=bench._listener))
        assert isinstance(second, Deferred)
        for one in waiting[MOST_OUTSIDE:]:
            one.callback(Answer(NXDOMAIN, validity=FROM_UPSTREAM))
        self.assertEqual(len(self.successResultOf(second).answer), 200)

    def test_fallthrough(self) -> None:
        """A name without a key goes on where that is wished, and comes back with its first key."""
        self.assertEqual(self.bench.ask("www.fall.s.test").flags & AA, 0)
        self.store.put("test/s/fall/www", host="10.0.0.6")
        self.assertEqual(self.shown(self.bench.ask("www.fall.s.test")), ["www.fall.s.test. 300 1 0a000006"])

    def test_transfer(self) -> None:
        """There are no transfers."""
        self.assertEqual(self.bench.ask("s.test", "AXFR").rcode, REFUSED)

    def explain(self, name: str, qtype: str = "A") -> Any:
        """What the link says about a question."""
        link = self.bench.builder.links[0]
        return list(link.explain(a_request(name, qtype, server=self.bench._listener)))

    def test_explained(self) -> None:
        """The key, and what is there or missing."""
        (note,) = self.explain("www.s.test")
        self.assertEqual(
            (note.text, note.missing), ("zone s.test., key /skydns/test/s/www: 1 record, of which 1 answers", False)
        )
        (note,) = self.explain("nope.s.test")
        self.assertEqual(
            (note.text, note.missing), ("zone s.test., key /skydns/test/s/nope: there is no key at or below it", True)
        )
        (note,) = self.explain("nope.fall.s.test")
        self.assertFalse(note.missing)
        (note,) = self.explain("www.example.com")
        self.assertIn("not for this name", note.text)
        self.assertIn(
            "looked up through the server: www.example.com.", [note.text for note in self.explain("out.s.test")]
        )
        self.store.index.put_broken((b"test", b"s", b"bad"))
        (note,) = self.explain("bad.s.test")
        self.assertIn("cannot be read", note.text)
        self.assertEqual(self.bench.ask("bad.s.test").rcode, SERVFAIL)
        self.store.set_stale("old")
        self.assertEqual(list(self.bench.builder.links[0].freshness()), ["from the test", "stale: old"])

    def test_loops(self) -> None:
        """Aliases that lead in a circle, to themselves or very far end, and so do those that branch."""
        self.store.put("test/s/l1", host="l2.s.test")
        self.store.put("test/s/l2", host="l1.s.test")
        self.store.put("test/s/self", host="x.self.s.test")
        for name in ("l1", "self"):
            answer = self.bench.ask(f"{name}.s.test")
            self.assertEqual((answer.rcode, answer.answer), (0, ()))
        for number in range(30):
            for branch in range(5):
                self.store.put(f"test/s/c{number}/{branch}", host=f"c{number + 1}.s.test")
        self.store.put("test/s/c30", host="10.0.0.1")
        self.assertEqual(self.bench.ask("c0.s.test").answer, ())
        self.assertEqual(len(self.bench.ask("c29.s.test").answer), 2)
