"""Tests of :mod:`kdns.plugins.template.choice`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.expression.environment import Seen
from kdns.core.request import Request
from kdns.plugins.template import directive
from kdns.plugins.template.choice import (
    ConditionFailed,
    Matched,
    NotMatched,
    PassOn,
    RecordFailed,
    choose,
    make_records,
)
from kdns.plugins.template.config import Config, Section
from kdns.plugins.template.data import TemplateSubject
from kdns.wire.constants import AAAA, ANY, ANY_CLASS, CH, TXT, A
from kdns.wire.presentation import record_line
from tests.support import a_request, parsed


def config(text: str) -> Config:
    """The templates of a block with these lines in it."""
    made: Config = parsed(directive, f". {{\n{text}\n}}\n")
    return made


class ChoiceTests(SynchronousTestCase):
    """Which template answers."""

    def chosen(self, templates: Config, request: Request) -> Matched | NotMatched | PassOn:
        """What becomes of a request."""
        return choose(templates, TemplateSubject(request))

    def test_zone_class_type(self) -> None:
        """A template takes queries of its class and type in its zones; ANY, of either side, fits everything."""
        templates = config("template IN A a.test")
        for name, qtype, qclass, wanted in (
            ("a.test", A, 1, Matched), ("x.A.test", A, 1, Matched), ("xa.test", A, 1, PassOn), ("test", A, 1, PassOn),
            ("a.test", AAAA, 1, PassOn), ("a.test", A, CH, PassOn), ("a.test", ANY, 1, Matched), ("a.test", A, ANY_CLASS, Matched),
        ):  # fmt: skip
            self.assertIsInstance(
                self.chosen(templates, a_request(name, qtype, qclass=qclass)), wanted, (name, qtype, qclass)
            )
        self.assertIsInstance(self.chosen(config("template ANY ANY"), a_request("x", TXT, qclass=CH)), Matched)

    def test_longest_zone(self) -> None:
        """The longest of the template's zones counts."""
        choice = self.chosen(config("template IN A test a.test"), a_request("x.a.test"))
        assert isinstance(choice, Matched)
        self.assertEqual(choice.zone, "a.test.")

    def test_first_expression(self) -> None:
        """The first expression that fits supplies the groups; names are matched in lower case with their dot."""
        templates = config("template IN A {\n match ^(a)[.] ^(?P<n>.)[.]test[.]$\n}")
        subject = TemplateSubject(a_request("B.test"))
        choice = choose(templates, subject)
        assert isinstance(choice, Matched)
        self.assertEqual(choice.regexp, "^(?P<n>.)[.]test[.]$")
        self.assertEqual((subject.groups, subject.group("n")), (("b.test.", "b"), "b"))

    def test_fallthrough(self) -> None:
        """Where nothing fits, the query goes on for names of the zones that fall through, and has no answer otherwise."""
        templates = config("template IN A {\n match ^a\n fallthrough x.test\n}\ntemplate IN A {\n match ^b\n}")
        for name, wanted in (
            ("a.y.test", Matched),
            ("b.x.test", Matched),
            ("b.y.test", NotMatched),
            ("c.x.test", NotMatched),
        ):
            self.assertIsInstance(self.chosen(templates, a_request(name)), wanted, name)
        self.assertIsInstance(
            self.chosen(config("template IN A {\n match ^a\n fallthrough\n}"), a_request("b")), PassOn
        )

    def test_conditions(self) -> None:
        """All conditions must be true, and nothing but true is; variables are computed in their order."""
        for lines, wanted in (
            ("expr true", Matched), ("expr false", NotMatched), ("expr 1", NotMatched), ("expr true\n expr false", NotMatched),
            ("var a len(name())\n var b a + 1\n expr b == 10", Matched), ("match ^(x)\n expr group(1) == 'x' && group('n') == ''", Matched),
            ("expr type() == 'A' and class() == 'IN'", Matched), ("expr metadata('a/b') == ''", Matched),
        ):  # fmt: skip
            self.assertIsInstance(
                self.chosen(config(f"template IN A {{\n {lines}\n}}"), a_request("x.test.a")), wanted, lines
            )

    def test_conditions_that_fail(self) -> None:
        """What cannot be computed is a failure, even where the query could go on."""
        for line in ("expr [1][5] == 1", "var a 1 % 0", "expr incidr(client_ip(), 'x')"):
            templates = config(f"template IN A {{\n {line}\n fallthrough\n}}")
            self.assertRaises(ConditionFailed, self.chosen, templates, a_request("x.test"))

    def test_seen(self) -> None:
        """What all templates that were tried looked at counts, those that did not match too."""
        templates = config("template IN A {\n expr client_ip() == '10.0.0.1'\n fallthrough\n}\ntemplate IN A")
        subject = TemplateSubject(a_request("x.test"))
        self.assertIsInstance(choose(templates, subject), Matched)
        self.assertEqual(subject.seen, Seen.ELSE)
        subject = TemplateSubject(a_request("x.test"))
        choose(config("template IN A {\n expr size() > 3\n}"), subject)
        self.assertEqual(subject.seen, Seen.MESSAGE)


class RecordTests(SynchronousTestCase):
    """What templates make."""

    def made(self, lines: str, name: str = "h5.a.test") -> dict[Section, list[str]]:
        """The records of a template for a name, as text."""
        subject = TemplateSubject(a_request(name))
        choice = choose(config(f"template IN A a.test {{\n{lines}\n}}"), subject)
        assert isinstance(choice, Matched)
        made = make_records(choice, subject)
        return {section: [" ".join(map(str, record_line(each))) for each in found] for section, found in made.items()}

    def test_sections(self) -> None:
        """Each option fills its section, in the order written; a text without a record adds none."""
        made = self.made(
            ' match ^h(?P<n>[0-9]+)[.]\n answer "{{ .Name }} 60 A 10.0.0.{{ .Group.n }}" "{{ if false }}x{{ end }}"\n'
            ' additional "x 60 A 10.0.0.1"\n authority "{{ .Zone }} NS ns.{{ .Zone }}"\n answer "{{ .Name }} 60 A 10.0.1.{{ .Group.n }}"'
        )
        wanted = {
            Section.ANSWER: ["h5.a.test. 60 IN A 10.0.0.5", "h5.a.test. 60 IN A 10.0.1.5"],
            Section.ADDITIONAL: ["x. 60 IN A 10.0.0.1"],
            Section.AUTHORITY: ["a.test. 3600 IN NS ns.a.test."],
        }
        self.assertEqual(made, wanted)

    def test_failures(self) -> None:
        """A failure says which record it is of, and whether its text was made."""
        for text, rendered in (("{{ .Foo }}", False), ("x A 10.0.0.300", True), ("$INCLUDE /etc/passwd", True)):
            error = self.assertRaises(RecordFailed, self.made, f' answer "{text}"')
            self.assertEqual((error.rendered, error.record.section), (rendered, Section.ANSWER), text)

    def test_budget(self) -> None:
        """The records of a reply share what they may take, and to read them is a part of it."""
        for line, most in (
            (' answer "{{ range 300 }}{{ print . }}{{ end }}"\n', 1),
            (f' answer "x TXT {"a" * 3000}"\n', 2),
        ):
            self.assertRaises(RecordFailed, self.made, line * (most + 1))
        self.assertEqual(len(self.made(f' answer "x TXT {"a" * 3000}"\n' * 2)[Section.ANSWER]), 2)
