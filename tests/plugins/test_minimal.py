"""Sections that nobody needs are left out of positive answers."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, records
from kdns.core.request import Request
from kdns.core.validity import ALWAYS
from kdns.plugins.minimal import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import EDE, NXDOMAIN, QR, SERVFAIL
from kdns.wire.message import scan
from kdns.wire.names import from_text
from kdns.wire.records import Record, a_or_aaaa, cname, ns, soa
from kdns.wire.render import render

NAME, SERVER = from_text("www.a.test"), from_text("ns.a.test")
ADDRESS = a_or_aaaa(NAME, 30, b"\x0a\x00\x00\x01")
AUTHORITY, GLUE = ns(from_text("a.test"), 30, SERVER), a_or_aaaa(SERVER, 30, b"\x0a\x00\x00\x02")
START = soa(from_text("a.test"), 30, SERVER, SERVER, (1, 2, 3, 4, 5))
WHOLE = records([ADDRESS], [AUTHORITY], [GLUE])


class MinimalTests(SynchronousTestCase):
    """An upstream that says what a test wants."""

    def counts(self, answer: Answer, qtype: str = "A") -> tuple[int, int, int]:
        """The records in the sections of what becomes of an answer."""

        def says(request: Request) -> Answer:
            return replace(answer, validity=ALWAYS)

        self.bench = PluginBench(directive, "minimal", upstream=says)
        self.said = self.bench.ask("www.a.test", qtype)
        return self.said.body.counts

    def test_positive(self) -> None:
        """A positive answer keeps its answer section alone; one that ends in an alias is positive, too."""
        self.assertEqual(self.counts(Answer(body=WHOLE)), (1, 0, 0))
        self.assertEqual(self.counts(Answer(body=records([cname(NAME, 5, SERVER)], [AUTHORITY], [GLUE]))), (1, 0, 0))
        self.assertEqual(self.counts(Answer(body=WHOLE), "ANY"), (1, 0, 0))

    def test_relayed(self) -> None:
        """So does an upstream's message; one that cannot be read is left as it is."""
        question = NAME + b"\x00\x01\x00\x01"
        message = render(1, QR, question, WHOLE.sections(), b"", 512, 512)
        self.assertEqual(self.counts(Answer(body=scan(message))), (1, 0, 0))
        self.assertEqual(self.said.sections()[0], (ADDRESS,))
        broken = Record(NAME, 5, 1, 30, b"\x3f")  # a CNAME that ends within a label
        message = render(1, QR, question, ((broken,), (AUTHORITY,), ()), b"", 65535, 65535)
        self.assertEqual(self.counts(Answer(body=scan(message)), "CNAME"), (1, 1, 0))

    def test_others(self) -> None:
        """Denials, referrals, failures and transfers are left as they are."""
        for answer, qtype in (
            (Answer(NXDOMAIN, body=records(authority=[START])), "A"),
            (Answer(body=records(authority=[START])), "A"),
            (Answer(body=records(authority=[AUTHORITY], additional=[GLUE])), "A"),
            (Answer(SERVFAIL, body=WHOLE), "A"),
            (Answer(body=WHOLE), "AXFR"),
            (Answer(body=WHOLE), "IXFR"),
        ):
            self.assertEqual(self.counts(answer, qtype), answer.body.counts, (answer, qtype))

    def test_options_stay(self) -> None:
        """The OPT speaks of the message, and is kept."""
        self.counts(Answer(body=WHOLE, options=((EDE, b"\x00\x04"),)))
        self.assertEqual(self.said.options, ((EDE, b"\x00\x04"),))

    def test_repeated(self) -> None:
        """The question alone decides."""
        self.counts(Answer(body=WHOLE))
        self.bench.check_repeats(["www.a.test"], qtypes=("A", "AAAA"))

    def test_explain(self) -> None:
        """An explanation says how much was left out."""
        self.counts(Answer(body=WHOLE))
        (link,) = self.bench.builder.links
        notes = [link.explain_passed(a_request("www.a.test"), answer) for answer in (Answer(body=WHOLE), Answer())]
        self.assertEqual([len(each) for each in notes], [1, 0])
        self.assertIn("1 authority and 1 additional", notes[0][0].text)
