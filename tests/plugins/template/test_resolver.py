"""Tests of :mod:`kdns.plugins.template.resolver`, its metrics among them."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer, records
from kdns.core.chain import Reply
from kdns.core.failure import RcodeOnly, ResolutionFailed
from kdns.core.request import Request
from kdns.core.validity import ALWAYS, FROM_UPSTREAM, ONCE, Validity
from kdns.plugins.template import directive
from kdns.plugins.template.resolver import TemplateLink
from kdns.testing.plugin import PluginBench
from kdns.testing.records import parse_record
from kdns.wire.constants import AA, AAAA, NOERROR, NXDOMAIN, REFUSED, SERVFAIL, TC, TXT, A
from kdns.wire.names import ROOT, from_text, to_text
from kdns.wire.presentation import record_line
from tests.support import FakeServer, a_house, a_request, built, now

HOST = 'template IN A a.test {\n match ^h(?P<n>[0-9]+)[.]\n answer "{{ .Name }} 60 IN A 10.0.0.{{ .Group.n }}"\n}'


def lines(answer: Answer) -> list[str]:
    """The records of the answer section as text."""
    return [" ".join(map(str, record_line(record))) for record in answer.answer]


def nobody(request: Request) -> Reply:
    """A next plugin that must not be asked."""
    raise AssertionError(f"{request} was passed on")


class Asking(SynchronousTestCase):
    """Asks links."""

    def setUp(self) -> None:
        """A context, and a server that answers look-ups."""
        self.context = a_house(Clock())
        self.resolved: list[Request] = []
        self.inner: Reply = Answer(body=records([parse_record("target.test. 30 A 10.0.0.9")]), validity=FROM_UPSTREAM)
        self.server = FakeServer(resolve=self.resolve)

    def resolve(self, request: Request) -> Reply:
        """Remember the request."""
        self.resolved.append(request)
        return self.inner

    def link(self, text: str) -> TemplateLink:
        """The link of a block with these lines."""
        (made,) = built(directive, f". {{\n{text}\n}}\n", self.context).links
        assert isinstance(made, TemplateLink)
        return made

    def ask(self, text: str, name: str, qtype: int = A) -> Answer:
        """The answer of a link, which must not pass on."""
        reply = self.link(text).answer(a_request(name, qtype, server=self.server), nobody)
        return self.successResultOf(reply) if isinstance(reply, Deferred) else now(reply)

    def count(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of a metric by its labels."""
        (family,) = [each for each in self.context.registry.families() if each.name == f"coredns_template_{name}_total"]
        return {labels: cell.value for labels, cell in family.cells.items()}  # type: ignore[union-attr]


class AnswerTests(Asking):
    """What templates answer."""

    def test_answer(self) -> None:
        """An authoritative answer, and a count for each time that it is given."""
        answer = self.ask(HOST, "H5.A.test")
        self.assertEqual(lines(answer), ["h5.a.test. 60 IN A 10.0.0.5"])
        self.assertEqual(
            (answer.rcode, answer.flags, answer.source, answer.validity), (NOERROR, AA, "template", ALWAYS)
        )
        labels = ("dns://:53", "a.test.", "", "IN", "A")
        self.assertEqual(self.count("matches"), {labels: 1})
        for charge in answer.charges:
            charge.charge(3)
        self.assertEqual(self.count("matches"), {labels: 4})

    def test_rcode_and_ede(self) -> None:
        """A code with an Extended DNS Error is one message."""
        answer = self.ask("template IN A {\n rcode REFUSED\n ederror 21 no\n}", "a.test")
        self.assertEqual((answer.rcode, answer.flags, answer.ede), (REFUSED, AA, ((21, "no"),)))

    def test_servfail(self) -> None:
        """SERVFAIL is a code without a message; nothing is rendered."""
        text = 'template IN A {\n rcode SERVFAIL\n answer "{{ .Foo }}"\n}'
        self.assertEqual(self.assertRaises(RcodeOnly, self.ask, text, "a.test").rcode, SERVFAIL)
        self.assertEqual(self.count("template_failures"), {})

    def test_not_matched(self) -> None:
        """A template that takes the query and does not fit it is SERVFAIL."""
        self.assertEqual(self.assertRaises(RcodeOnly, self.ask, HOST, "x.a.test").rcode, SERVFAIL)

    def test_passed_on(self) -> None:
        """What no template takes is the next plugin's."""
        answer = Answer(NXDOMAIN, validity=ALWAYS)
        request = a_request("x.other.test")
        self.assertIs(self.link(HOST).answer(request, lambda asked: answer), answer)

    def test_failures(self) -> None:
        """A record that cannot be made is SERVFAIL with a reason, and counted where it failed."""
        error = self.assertRaises(ResolutionFailed, self.ask, HOST, "h300.a.test")
        self.assertEqual(error.text, "bad A A: '10.0.0.300'")
        labels = ("dns://:53", "a.test.", "", "IN", "A", "answer", "{{.Name}} 60 IN A 10.0.0.{{.Group.n}}")
        self.assertEqual(self.count("rr_failures"), {labels: 1})
        error = self.assertRaises(ResolutionFailed, self.ask, 'template IN A {\n authority "{{ .Foo }}"\n}', "a.test")
        self.assertIn("can't evaluate field Foo", error.text)
        self.assertEqual(
            self.count("template_failures"), {("dns://:53", ".", "", "IN", "A", "authority", "{{.Foo}}"): 1}
        )
        error = self.assertRaises(ResolutionFailed, self.ask, "template IN A {\n expr 1 % 0 == 1\n}", "a.test")
        self.assertEqual(error.text, "integer divide by zero")


class ValidityTests(Asking):
    """For whom and how long answers hold."""

    def test_by_what_was_read(self) -> None:
        """The furthest that was looked at decides."""
        for line, wanted in (
            ('answer "{{ .Name }} TXT {{ .Type }}"', ALWAYS),
            ('answer "{{ .Name }} TXT {{ .Message.RecursionDesired }}"', Validity(True, cache=False)),
            ('answer "{{ .Name }} TXT {{ .Remote }}"', ONCE),
            ("expr client_ip() != ''", ONCE),
            ("expr size() > 3", Validity(True, cache=False)),
            ("expr name() != ''", ALWAYS),
        ):
            self.assertEqual(self.ask(f"template IN A {{\n {line}\n}}", "a.test").validity, wanted, line)

    def test_passed_on(self) -> None:
        """What the next plugin says holds no further than what was looked at to ask it."""
        for condition, wanted in (
            ("name() == 'x'", ALWAYS),
            ("size() == 0", Validity(True, cache=False)),
            ("port() == '0'", ONCE),
        ):
            link = self.link(f"template IN A {{\n expr {condition}\n fallthrough\n}}")
            answer = now(link.answer(a_request("a.test"), lambda asked: Answer(validity=ALWAYS)))
            self.assertEqual(answer.validity, wanted, condition)

    def test_fast_path(self) -> None:
        """Templates of one type for the whole block are about that type; others about their zones."""
        for text, types, zones in (
            ("template IN A a.test", [], ["a.test"]),
            ("template IN AAAA", [AAAA], []),
            ("template ANY TXT . a.test", [TXT], []),
            ("template IN ANY", [], ["."]),
            ("template CH TXT", [], []),
            ("template IN A\ntemplate IN ANY a.test b.test", [A], ["a.test", "b.test"]),
        ):
            link = self.link(text)
            self.assertEqual(link.fast_effect("dns://:53", ROOT).not_types, frozenset(types), text)
            self.assertEqual(link.fast_sources(), dict.fromkeys(map(from_text, zones)), text)


class CnameTests(Asking):
    """Targets that are looked up through the server."""

    text = 'template IN ANY {\n answer "{{ .Name }} 60 IN CNAME target.test."\n}'

    def test_followed(self) -> None:
        """Clients who ask for addresses get those of the target, whatever its response code; others do not."""
        self.inner = Answer(NXDOMAIN, TC, records([parse_record("target.test. 30 A 10.0.0.9")]), validity=FROM_UPSTREAM)
        for qtype, looked_up in ((A, True), (AAAA, True), (TXT, False)):
            self.resolved.clear()
            answer = self.ask(self.text, "a.test", qtype)
            found = ["target.test. 30 IN A 10.0.0.9"] if looked_up else []
            self.assertEqual(lines(answer), ["a.test. 60 IN CNAME target.test.", *found])
            self.assertEqual((answer.rcode, answer.flags), (NOERROR, AA | TC if looked_up else AA))
            self.assertEqual(answer.validity, Validity(cache=True) if looked_up else ALWAYS)
            self.assertEqual(
                [(to_text(each.qname), each.qtype) for each in self.resolved], [("target.test.", qtype)] * looked_up
            )

    def test_no_reply(self) -> None:
        """Without an answer for the target the CNAME stands alone."""
        self.inner = NO_REPLY
        self.assertEqual(lines(self.ask(self.text, "a.test")), ["a.test. 60 IN CNAME target.test."])

    def test_later(self) -> None:
        """The answer waits for the look-up."""
        waiting: Deferred[Answer] = Deferred()
        self.inner = waiting
        reply = self.link(self.text).answer(a_request("a.test", server=self.server), nobody)
        assert isinstance(reply, Deferred)
        self.assertNoResult(reply)
        waiting.callback(Answer(body=records([parse_record("target.test. 30 A 10.0.0.9")])))
        self.assertEqual(self.successResultOf(reply).answer_count(), 2)

    def test_circle(self) -> None:
        """A target that is the name asked for is not looked up; nor are two names each other's for ever."""
        answer = self.ask(self.text, "target.test")
        self.assertEqual((lines(answer), self.resolved), (["target.test. 60 IN CNAME target.test."], []))
        bench = PluginBench(
            directive,
            'template IN A a.test {\n answer "{{ .Name }} CNAME b.test."\n}\n'
            'template IN A b.test {\n answer "{{ .Name }} CNAME a.test."\n}',
        )
        self.assertEqual(lines(bench.ask("a.test")), ["a.test. 3600 IN CNAME b.test.", "b.test. 3600 IN CNAME a.test."])


class ExplainTests(Asking):
    """What an operator is told."""

    def notes(self, text: str, name: str) -> list[tuple[str, bool]]:
        """The notes for a name."""
        return [(note.text, note.missing) for note in self.link(text).explain(a_request(name))]

    def test_notes(self) -> None:
        """Which template answers, and why none does."""
        self.assertEqual(
            self.notes(HOST, "h5.a.test"), [("template IN A a.test.: the name matches ^h(?P<n>[0-9]+)[.]", False)]
        )
        self.assertEqual(
            self.notes(HOST, "x.a.test"),
            [("template IN A a.test.: nothing of it fits the name, and there is no fallthrough", True)],
        )
        self.assertEqual(
            self.notes(HOST, "x.test"),
            [("no template is for this name, class and type; the next plugin is asked", False)],
        )
        self.assertEqual(
            self.notes(HOST, "h300.a.test")[1],
            ("the answer {{.Name}} 60 IN A 10.0.0.{{.Group.n}} fails: bad A A: '10.0.0.300'", True),
        )
        self.assertIn(
            "the client", self.notes('template IN A {\n answer "{{ .Name }} A {{ .Remote }}"\n}', "a.test")[1][0]
        )
        self.assertTrue(self.notes("template IN A {\n expr 1 % 0 == 1\n}", "a.test")[0][1])


LINES = (
    "match ^a",
    "match ^a ^b",
    "expr client_ip() == '10.0.0.1'",
    "expr incidr(client_ip(), '10.0.0.0/8')",
    "expr proto() == 'udp'",
    "expr type() == 'A'",
    "expr size() > 28",
    "expr int(port()) > 0",
    "var v client_ip()",
    "rcode NXDOMAIN",
    "fallthrough",
    "fallthrough b.test",
    'answer "{{ .Name }} 60 IN TXT {{ .Type }}"',
    'answer "{{ .Name }} 60 IN TXT {{ .Remote }}"',
    'answer "{{ .Name }} 60 IN TXT {{ if eq .Type `A` }}{{ .Message.Id }}{{ end }}x"',
    'answer "{{ .Name }} 60 IN TXT {{ .Var }}"',
    'answer "{{ .Name }} 60 IN A 10.0.0.{{ len .Name }}"',
    'answer "{{ .Name }} 60 IN CNAME b.a.test."',
    'answer "{{ .Foo }}"',
    'additional "{{ .Question.Name }} 60 IN TXT {{ .Message.RecursionDesired }}"',
)
HEADS = ("template IN A", "template IN ANY a.test", "template ANY ANY", "template IN TXT b.test a.test")


class RepeatTests(SynchronousTestCase):
    """The answer table and the cache never say what the chain would not say now."""

    def test_random_templates(self) -> None:
        """With any templates, questions that are asked again and again, by any client, are answered as if nothing were kept."""
        for seed in range(60):
            chance = Random(seed)
            text = "\n".join(
                f"{chance.choice(HEADS)} {{\n {chr(10).join(chance.sample(LINES, chance.randint(0, 4)))}\n}}"
                for _ in range(chance.randint(1, 3))
            )
            bench = PluginBench(directive, text)
            try:
                bench.check_repeats(["a.test", "b.a.test", "b.test", "x"], qtypes=[A, TXT])
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {text}") from error
            finally:
                bench.stop()
