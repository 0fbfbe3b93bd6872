"""Tests of :mod:`kdns.plugins.rewrite.names`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.regexp import Regexp
from kdns.plugins.rewrite.names import (
    MatchKind,
    NameMatch,
    RegexChange,
    SuffixUndone,
    Undone,
    absolute,
    changed_name,
    filled,
    references,
)
from kdns.wire.names import BadName, from_text, is_subdomain, spelled_from_text, to_text

REPLACED = [
    # kind, what is looked for, replacement, name, wanted
    (MatchKind.EXACT, "a.test.", "b.test.", "a.test.", "b.test."),
    (MatchKind.EXACT, "a.test.", "b.test.", "x.a.test.", None),
    (MatchKind.PREFIX, "foo.", "bar.", "foo.x.test.", "bar.x.test."),
    (MatchKind.PREFIX, "foo.", "bar.", "foobar.test.", None),
    (MatchKind.SUFFIX, ".old.test.", ".new.test.", "www.old.test.", "www.new.test."),
    (MatchKind.SUFFIX, ".old.test.", ".new.test.", "old.test.", None),
    (MatchKind.SUFFIX, "old.test.", "new.test.", "sold.test.", "snew.test."),
    (MatchKind.SUBSTRING, "a.", "b.", "a.xa.test.", "b.xb.test."),
    (MatchKind.REGEX, r"^(.*)-(.*)[.]two[.]test[.]$", "{2}.{1}.", "a-b.two.test.", "b.a."),
    (MatchKind.REGEX, "x", "y.", "abc.", None),
]

ZONES = [
    (MatchKind.EXACT, "alias.example.org.", "alias.example.org"),
    (MatchKind.SUFFIX, ".old.local.", "old.local"),
    (MatchKind.SUFFIX, "old.local.", "local"),
    (MatchKind.SUFFIX, ".", "."),
]


class MatchTests(SynchronousTestCase):
    """Which names a rule is about, and what it makes of them."""

    def test_replaced(self) -> None:
        """Each kind of match replaces what it found."""
        for kind, text, replacement, name, wanted in REPLACED:
            match = NameMatch(kind, text, Regexp(text) if kind is MatchKind.REGEX else None)
            self.assertEqual(match.replaced(name, replacement), wanted, (kind, text, name))
            self.assertEqual(match.fits(name), wanted is not None, (kind, text, name))

    def test_zone(self) -> None:
        """Where the names are that can fit."""
        for kind, text, zone in ZONES:
            self.assertEqual(NameMatch(kind, text).zone, from_text(zone), (kind, text))
        for kind in (MatchKind.PREFIX, MatchKind.SUBSTRING):
            self.assertIsNone(NameMatch(kind, "foo.").zone)
        self.assertIsNone(NameMatch(MatchKind.REGEX, "x", Regexp("x")).zone)
        self.assertIsNone(NameMatch(MatchKind.EXACT, "a..b.").zone)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.sampled_from([MatchKind.EXACT, MatchKind.SUFFIX]), st.text("ab.", max_size=6), st.text("ab.", max_size=6))
    def test_zone_is_true(self, kind: MatchKind, text: str, name: str) -> None:
        """A name that fits is in the zone."""
        match = NameMatch(kind, absolute(text))
        try:
            wire = from_text(absolute(name))
        except BadName:
            return
        if match.zone is not None and match.fits(absolute(name)):
            self.assertTrue(is_subdomain(wire, match.zone))

    def test_references(self) -> None:
        """Groups are filled in once: what a name holds is no reference. Unknown groups stay."""
        self.assertEqual(filled("{1}.{0}.{2}.{9}", ("whole", "{2}", "b")), "{2}.whole.b.{9}")
        self.assertEqual(references("{1}.{1}.{0}.{100}.{101}.{x}"), 3)

    def test_absolute(self) -> None:
        """Names get lower case and a final dot; an escaped dot is no final one."""
        self.assertEqual([absolute(text) for text in ("A.b", "a.", ".", "a\\.")], ["a.b.", "a.", ".", "a\\.."])


class ChangeTests(SynchronousTestCase):
    """Names of replies."""

    def test_undone(self) -> None:
        """The name that a rule made, and names below it, go back; letter case does not matter."""
        change = Undone("mid.test.", "step.test.")
        for name, wanted in (
            ("Mid.Test.", "step.test."),
            ("X.mid.test.", "X.step.test."),
            ("amid.test.", None),
            ("test.", None),
        ):
            self.assertEqual(change(name), wanted, name)
        self.assertEqual(Undone(".", "root.test.")("."), "root.test.")
        self.assertIsNone(Undone(".", "root.test.")("a."))

    def test_suffix_undone(self) -> None:
        """The end that a suffix rule writes becomes the one that it looks for."""
        change = SuffixUndone(".new.test.", ".old.test.")
        self.assertEqual(change("www.NEW.test."), "www.old.test.")
        self.assertIsNone(change("new.test."))

    def test_regex(self) -> None:
        """A name in which an expression is found is replaced as a whole."""
        change = RegexChange(Regexp("(.*)[.]z[.]"), "{1}.a.")
        self.assertEqual(change("www.z.test."), "www.a.")
        self.assertIsNone(change("www.test."))

    def test_wire(self) -> None:
        """Names change in wire form; one that stays is the same object, and one that is none is refused."""
        name = spelled_from_text("WWW.z.test")
        self.assertEqual(changed_name(lambda text: text.lower(), name), from_text("www.z.test"))
        self.assertIs(changed_name(lambda text: None, name), name)
        error = self.assertRaises(BadName, changed_name, lambda text: "a..b.", name)
        self.assertEqual(str(error), "a..b.")

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=5))
    def test_any_name(self, labels: list[bytes]) -> None:
        """Any bytes survive the way through presentation form."""
        name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
        self.assertEqual(changed_name(lambda text: text, name), name.lower())
        self.assertEqual(from_text(to_text(name)), name.lower())
