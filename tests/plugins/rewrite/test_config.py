"""Tests of :mod:`kdns.plugins.rewrite.config`; the golden errors are those of ``tests.conformance``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.regexp import Regexp
from kdns.corefile.errors import CorefileError
from kdns.plugins.rewrite import directive
from kdns.plugins.rewrite.config import Config, entry
from kdns.plugins.rewrite.names import MatchKind, NameMatch, RegexChange
from kdns.plugins.rewrite.options import Action, SubnetPrefix
from kdns.plugins.rewrite.replies import CnameChange, RcodeChange, TtlChange
from kdns.plugins.rewrite.rules import (
    ClassRule,
    CnameRule,
    NameAnswer,
    NameRule,
    OptionRule,
    ReplyRule,
    Rule,
    SubnetRule,
    TypeRule,
)
from tests.support import parsed

EXACT = NameMatch(MatchKind.EXACT, "a.test.")

RULES: list[tuple[str, Rule]] = [
    ("name a.test b.test", NameRule(EXACT, "b.test.", auto=True)),
    ("NAME EXACT A.test B.TEST answer auto", NameRule(EXACT, "b.test.", auto=True)),
    ("name exact a.test *.b.test", NameRule(EXACT, "*.b.test.", auto=True)),
    ("name prefix foo bar", NameRule(NameMatch(MatchKind.PREFIX, "foo."), "bar.")),
    (
        "name regex (a)(b) {1}.x answer name c d value (e) {1}",
        NameRule(
            NameMatch(MatchKind.REGEX, "(a)(b)", Regexp("(a)(b)")),
            "{1}.x.",
            (NameAnswer(False, RegexChange(Regexp("c"), "d.")), NameAnswer(True, RegexChange(Regexp("(e)"), "{1}."))),
        ),
    ),
    ("type a AAAA", TypeRule(1, 28)),
    ("type ANY HINFO", TypeRule(255, 13)),
    ("class ch in", ClassRule(3, 1)),
    ("ttl a.test 30", ReplyRule(EXACT, TtlChange(30, 30))),
    ("ttl exact a.test 10-20", ReplyRule(EXACT, TtlChange(10, 20))),
    ("ttl exact a.test -20", ReplyRule(EXACT, TtlChange(0, 20))),
    ("ttl exact a.test 10-", ReplyRule(EXACT, TtlChange(10, 0x7FFFFFFF))),
    ("rcode a.test nxdomain 0", ReplyRule(EXACT, RcodeChange(3, 0))),
    ("cname a.test b.test", CnameRule(CnameChange(EXACT, "b.test."))),
    ("cname suffix .A.test. .b.test.", CnameRule(CnameChange(NameMatch(MatchKind.SUFFIX, ".a.test."), ".b.test."))),
    (r"cname regex \D b.", CnameRule(CnameChange(NameMatch(MatchKind.REGEX, r"\D", Regexp(r"\D")), "b."))),
    ("edns0 local set 65_001 0xabcd", OptionRule(Action.SET, 65001, b"\xab\xcd")),
    ("edns0 local append 0b101 text revert", OptionRule(Action.APPEND, 5, b"text", revert=True)),
    ("edns0 local unset 0o17", OptionRule(Action.UNSET, 15)),
    ("edns0 nsid set", OptionRule(Action.SET, 3)),
    ("edns0 nsid replace revert", OptionRule(Action.REPLACE, 3, revert=True)),
    ("edns0 nsid unset", OptionRule(Action.UNSET, 3)),
    ("edns0 subnet set 24 56 revert", SubnetRule(Action.SET, SubnetPrefix(24, 56), True)),
    ("edns0 subnet unset", SubnetRule(Action.UNSET, SubnetPrefix(0, 0))),
]  # fmt: skip

MISTAKES = [
    ("", "no rule type specified for rewrite"),
    ("stop", "stop rule must begin with a rule type"),
    ("frob a b", 'invalid rule type "frob"'),
    ("name regex a b answer", "invalid arguments for regex rule"),
    ("name regex a b answer auto answer", "type missing for answer rule for regex rule"),
    ("name regex a b answer value ( c", "value answer rule for regex rule: invalid regex matching pattern: ("),
    (
        "name regex a b answer name a {1}",
        "name answer rule for regex rule: the rewrite regex pattern ({1}) uses more subexpressions than its corresponding matching"
        " regex pattern (a)",
    ),
    ("name regex " + "a" * 10001 + " b", "regex pattern too long: 10001 > 10000"),
    ("ttl regex " + "a" * 10001 + " 5", "regex pattern too long in a ttl rule: 10001 > 10000"),
    ("ttl a.test 4294967296", "invalid TTL '4294967296' for a ttl rule"),
    ("ttl a.test 1-2-3", "invalid TTL '1-2-3' for a ttl rule"),
    ("rcode exact a.test NXDOMAIN NOERROR x", "invalid matching RCODE '' for a rcode rule"),
    ("cname regex ( b", "invalid cname rewrite regex pattern: error parsing regexp: missing closing ): `(`"),
    ("edns0 local set 65536 a", 'strconv.ParseUint: parsing "65536": value out of range'),
    ("edns0 local set 1__0 a", 'strconv.ParseUint: parsing "1__0": invalid syntax'),
    ("edns0 local set 09 a", 'strconv.ParseUint: parsing "09": invalid syntax'),
    ("edns0 local set 1 0xg0", "encoding/hex: invalid byte: U+0067 'g'"),
    ("edns0 local set 1 0xabc", "encoding/hex: odd length hex string"),
    ("edns0 local set 1 {frob}", 'unsupported variable name "{frob}"'),
    ("edns0 subnet set 33 56", "invalid IPv4 bit mask length 33"),
]


class ConfigTests(SynchronousTestCase):
    """Words of the Corefile."""

    def test_rules(self) -> None:
        """Each field with its forms."""
        for words, wanted in RULES:
            self.assertEqual(entry(words.split()).rule, wanted, words)

    def test_stop(self) -> None:
        """A rule ends the list unless it says continue."""
        modes = {mode: entry(f"{mode} type A AAAA".split()).stop for mode in ("", "stop", "continue", "CONTINUE")}
        self.assertEqual(modes, {"": True, "stop": True, "continue": False, "CONTINUE": False})

    def test_mistakes(self) -> None:
        """What is no rule is refused in the words that operators know."""
        for words, wanted in MISTAKES:
            error = self.assertRaises(CorefileError, parsed, directive, f". {{\n rewrite {words}\n}}\n")
            self.assertEqual(str(error), f"plugin/rewrite: {wanted}", words)

    def test_block(self) -> None:
        """All words of an option block make one rule, whatever lines they stand on."""
        config = parsed(
            directive, ". {\n rewrite continue {\n name\n exact\n a.test b.test\n }\n rewrite type A AAAA\n}\n"
        )
        assert isinstance(config, Config)
        self.assertEqual(
            [each.rule for each in config.entries], [NameRule(EXACT, "b.test.", auto=True), TypeRule(1, 28)]
        )
        self.assertEqual(config.entries[0].text, "continue name exact a.test b.test")

    def test_equal(self) -> None:
        """Equal words make equal values, so a reload knows that nothing changed."""
        text = ". {\n rewrite name regex (a) {1} answer auto\n rewrite edns0 local set 1 {client_ip}\n}\n"
        self.assertEqual(parsed(directive, text), parsed(directive, text))
        self.assertEqual(hash(parsed(directive, text)), hash(parsed(directive, text)))
