"""Tests of :mod:`kdns.plugins.rewrite.names`."""

from __future__ import annotations

from hypothesis import given
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
from kdns.wire.names import BadName, from_text, spelled_from_text, to_text

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

ALIKE = [
    (MatchKind.EXACT, "alias.example.org.", "cluster.local.", True),
    (MatchKind.EXACT, "web.cluster.local.", "cluster.local.", False),
    (MatchKind.EXACT, "cluster.local.", "cluster.local.", True),
    (MatchKind.EXACT, "alias.example.org.", ".", False),
    (MatchKind.SUFFIX, ".old.local.", "cluster.local.", True),
    (MatchKind.SUFFIX, ".local.", "cluster.local.", False),
    (MatchKind.SUFFIX, ".svc.cluster.local.", "cluster.local.", False),
    (MatchKind.PREFIX, "foo.", "cluster.local.", False),
    (MatchKind.SUBSTRING, "foo.", "cluster.local.", False),
]


class MatchTests(SynchronousTestCase):
    """Which names a rule is about, and what it makes of them."""

    def test_replaced(self) -> None:
        """Each kind of match replaces what it found."""
        for kind, text, replacement, name, wanted in REPLACED:
            match = NameMatch(kind, text, Regexp(text) if kind is MatchKind.REGEX else None)
            self.assertEqual(match.replaced(name, replacement), wanted, (kind, text, name))
            self.assertEqual(match.fits(name), wanted is not None, (kind, text, name))

    def test_alike(self) -> None:
        """Names below a zone are alike to a rule that can fit none of them."""
        for kind, text, zone, wanted in ALIKE:
            self.assertIs(NameMatch(kind, text).alike_below(zone), wanted, (kind, text, zone))
        self.assertFalse(NameMatch(MatchKind.REGEX, "x", Regexp("x")).alike_below("cluster.local."))

    @given(
        st.sampled_from(list(MatchKind)),
        st.text("ab.", max_size=6),
        st.text("ab.", max_size=6),
        st.sampled_from(["a.b.", "b."]),
    )
    def test_alike_is_true(self, kind: MatchKind, text: str, left: str, zone: str) -> None:
        """Where names below a zone are said to be alike, none of them fits."""
        match = NameMatch(kind, absolute(text), Regexp(text.replace(".", "[.]")) if kind is MatchKind.REGEX else None)
        name = f"{left}.{zone}" if left else zone
        if name != zone and match.alike_below(zone):
            self.assertFalse(match.fits(name))

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

    @given(st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=5))
    def test_any_name(self, labels: list[bytes]) -> None:
        """Any bytes survive the way through presentation form."""
        name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
        self.assertEqual(changed_name(lambda text: text, name), name.lower())
        self.assertEqual(from_text(to_text(name)), name.lower())
