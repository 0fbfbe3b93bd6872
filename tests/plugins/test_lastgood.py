"""Sudden denials of names that were good."""

from __future__ import annotations

from typing import Any

import dns.message
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, records
from kdns.core.request import Request
from kdns.core.validity import FROM_UPSTREAM
from kdns.plugins.lastgood import DAY, DISTRUST, MOST_RECORDS, TTL, GoodAnswers, directive
from kdns.server.assembly import read_text
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import CD, EDE_STALE_ANSWER, EDE_STALE_NXDOMAIN, NXDOMAIN, QR, RD, SERVFAIL
from kdns.wire.message import scan
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa, ns, soa
from kdns.wire.render import render
from tests.conformance.world import MemoryWorld

NAME = from_text("www.a.test")
START = soa(from_text("a.test"), 30, NAME, NAME, (1, 2, 3, 4, 5))
GOOD = Answer(body=records([a_or_aaaa(NAME, 300, b"\x0a\x00\x00\x01")]))
GONE = Answer(NXDOMAIN, body=records(authority=[START]))
NODATA = Answer(body=records(authority=[START]))


class LastgoodTests(SynchronousTestCase):
    """An upstream that says what a test wants."""

    def setUp(self) -> None:
        self.says = GOOD
        self.bench = PluginBench(directive, "lastgood a.test", upstream=self.upstream)

    def upstream(self, request: Request) -> Answer:
        return replace(self.says, validity=FROM_UPSTREAM, source="forward")

    def ask(self, says: Answer, name: str = "www.a.test", qtype: str = "A", **about: Any) -> Answer:
        """What becomes of what the upstream says."""
        self.says = says
        found: Answer = self.bench.ask(name, qtype, **about)
        return found

    def given(self) -> float:
        return self.bench.context.registry.counter("kdns_lastgood_answers_total", "").counter().value

    def test_denied(self) -> None:
        """For a minute the good answer is given, with a short TTL and the reason; then the denial is believed, and stays so."""
        for denial, ede in ((GONE, EDE_STALE_NXDOMAIN), (NODATA, EDE_STALE_ANSWER), (Answer(), EDE_STALE_ANSWER)):
            self.assertEqual(self.ask(GOOD).source, "forward")
            self.bench.advance(1000)
            for passed in (0, 30):
                self.bench.advance(passed)
                answer = self.ask(denial)
                self.assertEqual(
                    (answer.source, answer.rcode, [one.ttl for one in answer.answer]), ("lastgood", 0, [TTL])
                )
                text = f"the upstream denies since {passed} s what it answered before"
                self.assertEqual(answer.ede, ((ede, text),))
            self.bench.advance(DISTRUST - 30)
            for _ in range(2):
                self.assertEqual(self.ask(denial).source, "forward")
        self.assertEqual(self.given(), 6)

    def test_back(self) -> None:
        """A name that is good again begins anew: the next denial has a minute of its own."""
        self.ask(GOOD)
        self.ask(GONE)
        self.bench.advance(50)
        self.assertEqual(self.ask(GOOD).source, "forward")
        self.bench.advance(50)
        self.assertEqual(self.ask(GONE).source, "lastgood")

    def test_never_good(self) -> None:
        """A name that was not good, not for this type, or not within a day, is denied at once."""
        self.ask(GOOD)
        self.assertEqual(self.ask(GONE, "other.a.test").rcode, NXDOMAIN)
        self.assertEqual(self.ask(NODATA, qtype="AAAA").source, "forward")
        self.bench.advance(DAY)
        self.assertEqual(self.ask(GONE).rcode, NXDOMAIN)

    def test_other_zones(self) -> None:
        """Names outside the zones are left alone, as are those who check for themselves."""
        self.ask(GOOD, "www.b.test")
        self.assertEqual(self.ask(GONE, "www.b.test").rcode, NXDOMAIN)
        self.ask(GOOD, flags=RD | CD)
        self.assertEqual(self.ask(GONE, flags=RD | CD).rcode, NXDOMAIN)

    def test_failures(self) -> None:
        """A failure is no denial, and a referral is none either; neither begins the minute."""
        self.ask(GOOD)
        for says in (Answer(SERVFAIL), Answer(body=records(authority=[ns(from_text("a.test"), 30, NAME)]))):
            self.assertEqual(self.ask(says).source, "forward")
        self.bench.advance(DISTRUST)
        self.assertEqual(self.ask(GONE).source, "lastgood")

    def test_relayed(self) -> None:
        """An upstream's message is remembered as well; one of very many records is not."""
        for many, source in ((1, "lastgood"), (MOST_RECORDS + 1, "forward")):
            body = records([a_or_aaaa(NAME, 300, bytes((10, 0, 0, last))) for last in range(many)])
            message = render(1, QR, NAME + b"\x00\x01\x00\x01", body.sections(), b"", 65535, 65535)
            self.ask(Answer(body=scan(message)))
            self.assertEqual(self.ask(GONE).source, source)
            self.ask(GOOD)

    def test_bound(self) -> None:
        """There are never more than the bound; what was good least lately goes first."""
        answers = GoodAnswers(3)
        for number in (0, 1, 2, 0, 3):
            answers.learn((b"%d" % number, 1, False), GOOD, float(number))
        self.assertEqual([key[0] for key in answers.known], [b"2", b"0", b"3"])

    def test_parse(self) -> None:
        """Zones are needed, and several directives add up."""
        bench = PluginBench(directive, "lastgood a.test\nlastgood b.test c.test")
        self.assertEqual(bench.config, frozenset(map(from_text, ("a.test", "b.test", "c.test"))))
        for text in ("lastgood", "lastgood a..b"):
            self.assertIn("lastgood", self.bench.error(text))

    def test_repeated(self) -> None:
        """Good answers and denials that are believed are repeated as they are."""
        self.bench.check_repeats(["www.a.test", "www.b.test"], qtypes=("A", "TXT"))

    def test_fast_path(self) -> None:
        """Names in the zones are seen here, others keep the fast path."""
        link: Any = self.bench.builder.links[0]
        admits = link.fast_effect("", b"\0").admits
        self.assertEqual([admits(from_text(name), 1, "") for name in ("www.a.test", "www.b.test")], [False, True])

    def test_explain(self) -> None:
        """An explanation says what is remembered, and for how long a denial is not believed."""
        link: Any = self.bench.builder.links[0]
        request = a_request("www.a.test")
        self.assertEqual(link.explain_passed(request, GOOD), [])
        self.ask(GOOD)
        self.bench.advance(7)
        self.assertIn("7 s ago", link.explain_passed(request, GOOD)[0].text)
        self.ask(GONE)
        self.bench.advance(20)
        self.assertIn("for 40 s more", link.explain_passed(request, GONE)[0].text)


COREFILE = """\
.:{{PORT}} {
    cache 30
    lastgood example.com
    forward . {{UPSTREAM}}
}
"""


class ServerTests(SynchronousTestCase):
    """With cache and answer table in front of it."""

    def test_outage(self) -> None:
        """Two clients are told the good answer for a minute, over UDP and TCP, through a reload; then that there is none; then again."""
        world = MemoryWorld(COREFILE)
        world.start()

        def told() -> set[tuple[int, int]]:
            """Response codes, and the number of addresses."""
            found = set()
            for source in ("127.0.0.1", "127.0.0.2"):
                for proto in ("udp", "tcp", "udp"):
                    reply, _ = world.ask(dns.message.make_query("www.example.com.", "A").to_wire(), proto, source)
                    assert reply is not None
                    message = dns.message.from_wire(reply)
                    found.add((int(message.rcode()), len(message.answer)))
            return found

        upstream = world.upstream.upstream
        good = upstream.names[from_text("www.example.com")]
        self.assertEqual(told(), {(0, 1)})
        world.reactor.advance(31)
        del upstream.names[from_text("www.example.com")]
        for _ in range(5):
            self.assertEqual(told(), {(0, 1)})
            world.reactor.advance(6)
        done = world.service.adopt(read_text(world.corefile.replace("cache 30", "cache 20"), {}))
        world.reactor.advance(5)
        self.successResultOf(done)
        self.assertEqual(told(), {(0, 1)})
        world.reactor.advance(30)
        self.assertEqual(told(), {(NXDOMAIN, 0)})
        upstream.names[from_text("www.example.com")] = good
        world.reactor.advance(31)
        self.assertEqual(told(), {(0, 1)})
        self.assertEqual(world.stop(), [])
