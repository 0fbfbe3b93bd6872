"""Tests of :mod:`kdns.plugins.template.config`; the golden errors are those of ``tests.conformance``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugins.template import directive
from kdns.plugins.template.config import Config
from kdns.wire.constants import ANY, ANY_CLASS, IN, NOTIMP, NXDOMAIN, A
from kdns.wire.names import ROOT, from_text
from tests.support import parsed


def config(text: str) -> Config:
    """The config of a block with these lines in it."""
    made: Config = parsed(directive, f"b.test:53 10.0.0.0/24 {{\n{text}\n}}\n")
    return made


MISTAKES = [
    ("template IN", "Wrong argument count or unexpected line ending after 'IN'"),
    ("template in A", "invalid query class in"),
    ("template IN TYPE65280", "invalid RR class TYPE65280"),
    ("template IN A {\n match [\n}", "could not parse regex: [, error parsing regexp: missing closing ]: `[`"),
    ("template IN A {\n match " + "a" * 10001 + "\n}", "regex pattern too long: 10001 > 10000"),
    ("template IN A {\n answer {{.X\n}", "could not compile template: {{.X, template: answer:1: unclosed action"),
    ("template IN A {\n rcode 3\n}", "unknown rcode 3"),
    (
        "template IN A {\n ederror 65536 text\n}",
        'error parsing extended DNS error code text, strconv.ParseUint: parsing "65536": value out of range',
    ),
    ("template IN A {\n var len 1\n}", 'variable name "len" is reserved'),
    ("template IN A {\n var and 1\n}", 'variable name "and" is reserved'),
    ("template IN A {\n var group 1\n}", 'variable name "group" is reserved'),
    ("template IN A {\n var a-b 1\n}", 'invalid variable name "a-b"'),
    (
        "template IN A {\n expr name() + 1\n}",
        "could not compile expression: invalid operation: + (mismatched types string and int) (1:8)\n | name() + 1\n | .......^",
    ),
]


class ConfigTests(SynchronousTestCase):
    """Words of the Corefile."""

    def test_defaults(self) -> None:
        """A template without options answers all names of the block's zones, with nothing."""
        (template,) = config("template IN A")
        self.assertEqual((template.qclass, template.qtype), (IN, A))
        self.assertEqual(template.zones, (from_text("0.0.10.in-addr.arpa"), from_text("b.test")))
        self.assertEqual([regexp.text for regexp in template.matches], [".*"])
        self.assertEqual((template.records, template.rcode, template.ede, template.fallthrough), ((), 0, None, ()))

    def test_options(self) -> None:
        """All options; lines of one kind add up."""
        (template,) = config(
            'template ANY ANY a.test X.A.test {\n match ^a ^b\n match ^c\n answer "{{ .Name }} A 10.0.0.1" "{{ .Name }} A 10.0.0.2"\n'
            ' authority "ns"\n additional "x"\n answer last\n rcode NXDOMAIN\n rcode NOTIMPL\n ederror 21 "no such thing"\n'
            " var v len(name())\n var w v + 1\n expr v > 3\n expr w < 100\n fallthrough a.test\n upstream\n}"
        )
        self.assertEqual((template.qclass, template.qtype), (ANY_CLASS, ANY))
        self.assertEqual(template.zones, (from_text("x.a.test"), from_text("a.test")))
        self.assertEqual([regexp.text for regexp in template.matches], ["^a", "^b", "^c"])
        self.assertEqual(
            [(record.section.value, record.shown) for record in template.records],
            [
                ("answer", "{{.Name}} A 10.0.0.1"),
                ("answer", "{{.Name}} A 10.0.0.2"),
                ("answer", "last"),
                ("additional", "x"),
                ("authority", "ns"),
            ],
        )
        self.assertEqual((template.rcode, template.ede), (NOTIMP, (21, "no such thing")))
        self.assertEqual([variable.name for variable in template.variables], ["v", "w"])
        self.assertEqual(len(template.conditions), 2)
        self.assertEqual(template.fallthrough, (from_text("a.test"),))

    def test_fallthrough(self) -> None:
        """Without zones it is for all names, and the last line counts."""
        (template,) = config("template IN A {\n fallthrough a.test\n fallthrough\n}")
        self.assertEqual(template.fallthrough, (ROOT,))

    def test_many(self) -> None:
        """All templates of a block, in file order."""
        self.assertEqual(
            [template.type_text for template in config("template IN A\ntemplate IN MX\ntemplate IN NS")],
            ["A", "MX", "NS"],
        )

    def test_rcode(self) -> None:
        """Codes are written in capitals."""
        self.assertEqual(config("template IN A {\n rcode NXDOMAIN\n}")[0].rcode, NXDOMAIN)

    def test_mistakes(self) -> None:
        """What cannot be is refused in the words that operators know, before anything runs."""
        for text, wanted in MISTAKES:
            error = str(self.assertRaises(CorefileError, config, text))
            self.assertEqual(error.partition(" - Error during parsing: ")[2], wanted, text)

    def test_equal(self) -> None:
        """Equal words make equal values."""
        text = 'template IN A {\n match ^a\n answer "{{ .Name }} A 10.0.0.1"\n var v 1\n expr v == 1\n}'
        self.assertEqual(config(text), config(text))
        self.assertEqual(hash(config(text)), hash(config(text)))
