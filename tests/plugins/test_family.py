"""Addresses of one family alone."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, records
from kdns.core.request import Request
from kdns.core.validity import ALWAYS
from kdns.plugins.family import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import AD, NXDOMAIN, QR, RA, SERVFAIL
from kdns.wire.message import scan
from kdns.wire.names import from_text
from kdns.wire.presentation import record_line
from kdns.wire.records import Record, a_or_aaaa, cname, soa
from kdns.wire.render import render

NAME, TARGET = from_text("www.a.test"), from_text("web.b.test")
FOUR, SIX = a_or_aaaa(NAME, 30, b"\x0a\x00\x00\x01"), a_or_aaaa(NAME, 40, bytes(15) + b"\x01")
START = soa(from_text("a.test"), 30, NAME, NAME, (1, 2, 3, 4, 5))


class FamilyTests(SynchronousTestCase):
    """An upstream that says what a test wants."""

    def said(self, answer: Answer, qtype: str, family: str = "ipv4") -> Answer:
        """What becomes of an answer."""

        def says(request: Request) -> Answer:
            return replace(answer, validity=ALWAYS)

        self.bench = PluginBench(directive, f"family {family}", upstream=says)
        found: Answer = self.bench.ask("www.a.test", qtype)
        return found

    def lines(self, answer: Answer) -> list[str]:
        """All records as text."""
        return [" ".join(map(str, record_line(record))) for section in answer.sections() for record in section]

    def test_parse(self) -> None:
        """One of two words, once."""
        bench = PluginBench(directive, "family ipv6")
        self.assertEqual(bench.config, "ipv6")
        for text in ("family", "family ipv5", "family ipv4 ipv6", "family ipv4\nfamily ipv6"):
            self.assertIn("family", bench.error(text))

    def test_other(self) -> None:
        """The other family has no records, and an SOA with the TTL that they had."""
        for family, qtype, record in (("ipv4", "AAAA", SIX), ("ipv6", "A", FOUR)):
            answer = self.said(Answer(flags=RA | AD, body=records([record])), qtype, family)
            name, ttl = "www.a.test.", record.ttl
            self.assertEqual(self.lines(answer), [f"{name} {ttl} IN SOA {name} nobody.invalid. 1 3600 3600 3600 3600"])
            self.assertEqual((answer.rcode, answer.flags, answer.answer), (0, RA, ()))

    def test_alias(self) -> None:
        """An alias stays; there is nothing where it leads."""
        target = SIX._replace(owner=TARGET)
        answer = self.said(Answer(body=records([cname(NAME, 5, TARGET), target, target])), "AAAA")
        first, second = self.lines(answer)
        self.assertEqual((first, second.split(" SOA ")[0]), ("www.a.test. 5 IN CNAME web.b.test.", "web.b.test. 40 IN"))

    def test_one(self) -> None:
        """The family itself, and all other types, are left alone."""
        for qtype, record in (("A", FOUR), ("TXT", Record(NAME, 16, 1, 30, b"\x01x"))):
            self.assertEqual(self.said(Answer(body=records([record])), qtype).answer, (record,))

    def test_denials(self) -> None:
        """A name that does not exist does not exist in either family; NODATA and failures are as they were."""
        for answer in (
            Answer(NXDOMAIN, body=records(authority=[START])),
            Answer(body=records(authority=[START])),
            Answer(SERVFAIL),
            Answer(body=records([cname(NAME, 5, TARGET)], [START])),
        ):
            self.assertEqual(self.lines(self.said(answer, "AAAA")), self.lines(answer))

    def test_relayed(self) -> None:
        """An upstream's message, of thousands of records and one that cannot be read."""
        question = NAME + b"\x00\x1c\x00\x01"
        many = records([cname(NAME, 5, TARGET), *[SIX._replace(owner=TARGET)] * 2000])
        answer = self.said(Answer(body=scan(render(1, QR, question, many.sections(), b"", 65535, 65535))), "AAAA")
        self.assertEqual(answer.body.counts, (1, 1, 0))

    def test_repeated(self) -> None:
        """The question alone decides; the answer holds as long as the one that it was made of."""
        self.said(Answer(body=records([SIX])), "AAAA")
        self.bench.check_repeats(["www.a.test"], qtypes=("A", "AAAA", "TXT"))

    def test_fast_path(self) -> None:
        """The other types keep the fast path."""
        link: Any = PluginBench(directive, "family ipv4").builder.links[0]
        effect = link.fast_effect("", b"\0")
        self.assertEqual(effect and effect.not_types, frozenset((28,)))

    def test_explain(self) -> None:
        """An explanation says that addresses are left out."""
        (link,) = PluginBench(directive, "family ipv4").builder.links
        for qtype, wanted in (("AAAA", 1), ("A", 0)):
            came = Answer(body=records([SIX]))
            self.assertEqual(len(link.explain_passed(a_request("www.a.test", qtype), came)), wanted)
