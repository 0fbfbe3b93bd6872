"""Answers are signed for those who ask for it; dnspython validates them, whatever keeps them in front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.fast_path import NO_EFFECT
from kdns.core.request import Transport
from kdns.core.validity import ALWAYS
from kdns.plugins.dnssec.config import directive
from kdns.plugins.dnssec.link import MANY, SIGNS
from kdns.plugins.dnssec.store import REFRESH
from kdns.server.table import TableBudget
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import AAAA, DNSKEY, DO, MX, NSEC, RRSIG, A
from kdns.wire.names import from_text
from kdns.wire.query import Edns
from kdns.wire.records import a_or_aaaa
from tests.conformance.cases import CASES
from tests.conformance.world import MemoryWorld, placed
from tests.signing_keys import validated, write_key

ORIGIN = dns.name.from_text("example.org.")
ZONE = """$ORIGIN example.org.
$TTL 60
@ SOA ns admin 1 2 3 4 5
@ NS ns
ns A 192.0.2.53
www A 192.0.2.1
www A 192.0.2.2
www A 192.0.2.3
Mixed MX 10 Mail
mail A 192.0.2.4
alias CNAME www
dangling CNAME nobody
*.w TXT "wild"
sub NS ns.sub
ns.sub A 192.0.2.60
"""
COREFILE = """
example.org:{{PORT}} {
    prometheus
    loadbalance
    cache 30
    dnssec {
        key file keys
    }
    file db
}
.:{{PORT}} {
    dnssec example.com {
        key file com
    }
    forward . {{UPSTREAM}}
}
"""

QUESTIONS = (
    ("www.example.org.", "A"), ("WwW.example.org.", "A"), ("www.example.org.", "AAAA"), ("www.example.org.", "DS"),
    ("nobody.example.org.", "A"), ("nobody.example.org.", "TXT"), ("mixed.example.org.", "MX"), ("alias.example.org.", "A"),
    ("alias.example.org.", "TXT"), ("dangling.example.org.", "A"), ("x.w.example.org.", "TXT"), ("x.w.example.org.", "A"),
    ("example.org.", "SOA"), ("example.org.", "NS"), ("example.org.", "DNSKEY"), ("example.org.", "MX"), ("x.sub.example.org.", "A"),
    ("sub.example.org.", "DS"), ("sub.example.org.", "NS"), ("nobody.example.org.", "NSEC"), ("www.example.com.", "A"),
)  # fmt: skip


class WorldTests(SynchronousTestCase):
    """A server with a cache and the answer table in front of *dnssec*."""

    def start(self, keys: str = "k1", **algorithms: int) -> None:
        """Start it, with keys of these algorithms."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for name, algorithm in (algorithms or {"k1": 13}).items():
            write_key(folder, name, algorithm=algorithm, flags=256 if name.startswith("z") else 257)
        write_key(folder, "com", "example.com.")
        named = " ".join(str(folder / name) for name in keys.split())
        corefile = COREFILE.replace("key file keys", f"key file {named}").replace("file com", f"file {folder}/com")
        corefile = corefile.replace("    prometheus\n", "    prometheus 127.0.0.1:9153\n")
        self.world = MemoryWorld(placed(corefile, {"db": ZONE}, folder))
        self.world.start()
        self.addCleanup(lambda: self.assertEqual(self.world.stop(), []))
        self.keys: dict[dns.name.Name, Any] = {}
        for zone in ("example.org.", "example.com."):
            origin = dns.name.from_text(zone)
            found = self.ask(zone, "DNSKEY")
            self.keys[origin] = found.find_rrset(found.answer, origin, dns.rdataclass.IN, dns.rdatatype.DNSKEY)

    def ask(
        self, qname: str, qtype: str, *, do: bool = True, proto: str = "udp", size: int = 4096
    ) -> dns.message.Message:
        """The reply to a question."""
        query = dns.message.make_query(qname, qtype, use_edns=0, payload=size, want_dnssec=do)
        reply, _ = self.world.ask(query.to_wire(), proto)
        assert reply is not None
        return dns.message.from_wire(reply)

    def check(self, reply: dns.message.Message, where: str) -> None:
        """All that must be signed is, and well."""
        now = self.world.reactor.seconds()
        signed: set[tuple[dns.name.Name, int]] = set()
        for section in (reply.answer, reply.authority, reply.additional):
            signed |= set(validated(section, self.keys, now))
        referral = not reply.answer and not any(one.rdtype == dns.rdatatype.SOA for one in reply.authority)
        for section in (reply.answer, reply.authority):
            for rrset in section:
                needed = rrset.rdtype != dns.rdatatype.RRSIG and not (referral and rrset.rdtype == dns.rdatatype.NS)
                self.assertEqual((rrset.name, int(rrset.rdtype)) in signed, needed, f"{where}: {rrset}")

    def ask_all(self) -> None:
        """Ask everything thrice, with DO and without, over both transports, and then once more with time in between."""
        for turn in range(4):
            if turn == 3:
                self.world.reactor.advance(7.0)
            for qname, qtype in QUESTIONS:
                for proto in ("udp", "tcp"):
                    where = f"{qname} {qtype} {proto}, time {turn}"
                    self.check(self.ask(qname, qtype, proto=proto), where)
                    plain = self.ask(qname, qtype, do=False, proto=proto)
                    found = [one for part in (plain.answer, plain.authority, plain.additional) for one in part]
                    self.assertFalse([one for one in found if one.rdtype in (RRSIG, NSEC)], where)
                    missing = qname.startswith(("nobody", "dangling"))
                    self.assertEqual(plain.rcode(), dns.rcode.NXDOMAIN if missing else dns.rcode.NOERROR, where)

    def test_thrice(self) -> None:
        """An ECDSA key that signs everything."""
        self.start()
        self.ask_all()

    def test_several_keys(self) -> None:
        """Keys of several algorithms, some for the keys alone."""
        self.start("k1 k2 z1 z2", k1=13, k2=15, z1=15, z2=8)
        self.ask_all()
        rrsigs = [
            rdata for rrset in self.ask("www.example.org.", "A").answer if rrset.rdtype == RRSIG for rdata in rrset
        ]
        self.assertEqual(sorted(int(rdata.algorithm) for rdata in rrsigs), [8, 15])

    def test_small(self) -> None:
        """A reply that does not fit with its signatures has TC."""
        self.start("k1 k2", k1=8, k2=10)
        found = self.ask("example.org.", "NS", size=512)
        self.assertTrue(found.flags & dns.flags.TC)
        self.assertFalse(self.ask("example.org.", "NS", size=512, proto="tcp").flags & dns.flags.TC)

    def test_metrics(self) -> None:
        """Hits count sets of records, repeated replies included; misses those that were signed."""
        self.start()
        registry = self.world.context.registry

        def counts() -> tuple[float, float]:
            self.world.context.tallies.fold()
            labels = ("dns://:1053",)
            hits, misses = (
                registry.counter(f"coredns_dnssec_cache_{name}_total", "", ["server"]).counter(*labels).value
                for name in ("hits", "misses")
            )
            return hits, misses

        hits, misses = counts()
        self.ask("www.example.com.", "A")
        self.assertEqual(counts(), (hits, misses + 1))
        for number in range(1, 4):
            self.ask("www.example.com.", "A")
            self.assertEqual(counts(), (hits + number, misses + 1))


class LinkTests(SynchronousTestCase):
    """The link in front of a programmed upstream."""

    def bench(self, answer: Answer | None = None) -> PluginBench:
        """A bench whose upstream says one thing."""
        says = None if answer is None else (lambda request: answer)
        return PluginBench(directive, f"dnssec example.org {{\nkey file {CASES}/mat/csk\n}}", says)

    def ask(self, bench: PluginBench, qname: str, qtype: str | int = A) -> Answer:
        return bench.ask(qname, qtype, edns=Edns(4096, DO, 0, b""))

    def test_repeats(self) -> None:
        """Without DO nothing is different."""
        self.bench().check_repeats(["www.example.org", "example.org", "a.test"], qtypes=(A, AAAA, DNSKEY))

    def test_other_zones(self) -> None:
        """Names of other zones are not signed, whatever the answer."""
        bench = self.bench()
        self.assertEqual(self.ask(bench, "www.example.com").body.types(0), [A])
        self.assertEqual(self.ask(bench, "www.example.org").body.types(0), [A, RRSIG])
        (link,) = bench.builder.links
        for name, wanted in (
            ("example.com", NO_EFFECT),
            ("a.example.org", SIGNS),
            ("org", SIGNS),
            ("example.org", SIGNS),
        ):
            self.assertIs(link.fast_effect("dns://:53", from_text(name)), wanted)

    def test_large(self) -> None:
        """An answer of many records is put into order in a thread."""
        name = from_text("www.example.org")
        many = tuple(a_or_aaaa(name, 60, (0x0A000000 + number).to_bytes(4, "big")) for number in range(MANY + 1))
        found = self.ask(self.bench(Answer(body=Sections(many), validity=ALWAYS)), "www.example.org")
        self.assertEqual(found.body.counts, (MANY + 2, 0, 0))

    def test_until(self) -> None:
        """A reply that could be repeated for ever ends two days before its signatures."""
        name = from_text("www.example.org")
        body = Sections((a_or_aaaa(name, 60, bytes((192, 0, 2, 1))),))
        found = self.ask(self.bench(Answer(body=body, validity=ALWAYS)), "www.example.org")
        self.assertTrue(found.validity.repeat)
        self.assertAlmostEqual(found.validity.until, 6 * 86_400, delta=1)

    def test_weeks(self) -> None:
        """Through the answer table, over weeks, no client gets a signature that is about to expire."""
        name = from_text("www.example.org")
        body = Sections((a_or_aaaa(name, 60, bytes((192, 0, 2, 1))),))
        bench = self.bench(Answer(body=body, validity=ALWAYS))
        listener, table = bench._listener, TableBudget(1 << 20).table()
        query = dns.message.make_query("www.example.org.", "A", want_dnssec=True).to_wire()
        key = listener.table_key(query, "127.0.0.1")
        made = set()
        hits = 0
        for _ in range(30 * 4):
            bench.advance(6 * 3600)
            replies: list[bytes] = []
            hit = listener.replay.at_hand(table, key, 1, "127.0.0.1", 40212, bench.clock.seconds())
            hits += hit is not None
            if hit is None:
                listener.receive(query, Transport.UDP, "127.0.0.1", 40212, "::", replies.append, table, key)
            reply = dns.message.from_wire(replies[0] if hit is None else query[:2] + hit)
            (rrsig,) = (rdata for rrset in reply.answer if rrset.rdtype == RRSIG for rdata in rrset)
            self.assertGreater(rrsig.expiration - bench.context.wall(), REFRESH - 1)
            made.add(rrsig.expiration)
        self.assertEqual((len(made), hits), (5, 115))

    def test_as_it_is(self) -> None:
        """No reply at all, and a failure's, pass."""
        self.assertTrue(self.ask(self.bench(Answer(silent=True)), "www.example.org").silent)
        self.assertEqual(self.ask(self.bench(Answer(5)), "www.example.org").rcode, 5)

    def test_explained(self) -> None:
        """The keys are named, and what becomes of a denial."""
        (link,) = self.bench().builder.links

        def notes(qname: str, qtype: int, do: bool = True) -> list[str]:
            request = a_request(qname, qtype, edns=Edns(4096, DO, 0, b"") if do else None)
            return [note.text for note in link.explain(request)]

        self.assertEqual(notes("a.test", A), [])
        self.assertEqual(notes("www.example.org", MX), ["records of example.org. are signed with key 50029"])
        self.assertEqual(notes("www.example.org", MX, False), ["the client does not set DO, so nothing is signed"])
        self.assertEqual(notes("example.org", DNSKEY), ["the keys of example.org. are answered here: key 50029"])
