"""Surprises of *rewrite* and *template*."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.checking.findings import Severity
from tests.checking.support import warnings


def warned(*lines: str) -> list[tuple[int, str]]:
    """Line and text of the warnings about a block; its lines begin at 2."""
    text = "\n".join(["a.test {", *lines, " whoami", "}", ""])
    found = [one for one in warnings(text) if one.severity is Severity.WARNING]
    return [(one.line, f"{one.text} ({one.suggestion})" if one.suggestion else one.text) for one in found]


class RewriteTests(SynchronousTestCase):
    """Rules."""

    def test_never_tried(self) -> None:
        """Behind a rule that fires for every query and ends the list none is tried."""
        for rule in ("edns0 nsid set", "edns0 local unset 1", "cname a.test b.test", "edns0 subnet set 24 56"):
            found = warned(f" rewrite {rule}", " rewrite name a.test b.test", " rewrite {\n  type A AAAA\n }")
            text = (
                "this rule is never tried: the one in line 2 fires for every query and ends the list"
                " (write rewrite continue there, or put it last)"
            )
            self.assertEqual(found, [(3, text), (4, text)], rule)
        for rule in (
            "continue edns0 nsid set",
            "edns0 nsid replace",
            "edns0 local set 1 {client_ip}",
            "edns0 subnet append 24 56",
        ):
            self.assertEqual(warned(f" rewrite {rule}", " rewrite name a.test b.test"), [], rule)

    def test_no_dot(self) -> None:
        """Names end in a dot, so an expression that ends in a letter fits none."""
        wanted = [(2, r"the expression fits no name: names end in a dot ((.*)\.b\.test[.]$)")]
        self.assertEqual(warned(r" rewrite name regex (.*)\.b\.test$ {1}.test answer auto"), wanted)
        self.assertEqual(warned(r" rewrite ttl regex (.*)\.b\.test$ 5"), wanted)
        for regexp in (r"test\.$", "test[.]$", "test", "(a|test.)$", "a$|b"):
            self.assertEqual(warned(f" rewrite ttl regex {regexp} 5"), [], regexp)

    def test_costs(self) -> None:
        """Counts inside counts make thousands of states, all of which a name can keep busy."""
        ((line, text),) = warned(" rewrite ttl regex (((a?){30}){30})b 5")
        self.assertEqual(line, 2)
        self.assertRegex(text, r"has \d{4} states: a long name can take it 3\d ms")
        for regexp in ("[a-z]{1,63}[.]test[.]$", "|".join(f"host{number}[.]example[.]com" for number in range(300))):
            self.assertEqual(warned(f" rewrite ttl regex {regexp} 5"), [], regexp[:40])

    def test_owner(self) -> None:
        """A reply whose owner is another name than was asked for."""
        wanted = "replies have the new name as their owner, and many clients take them for no answer (add answer auto)"
        for kind in ("prefix", "suffix", "substring", "regex"):
            self.assertEqual(warned(f" rewrite name {kind} a b"), [(2, wanted)], kind)
            self.assertEqual(warned(f" rewrite name {kind} a b answer auto"), [], kind)
            self.assertEqual(warned(f" rewrite name {kind} a b answer name c d"), [], kind)
        self.assertEqual(warned(" rewrite name a b"), [])


class TemplateTests(SynchronousTestCase):
    """Templates."""

    def test_no_dot(self) -> None:
        """As for rules."""
        found = warned(" template IN A {\n  match ^x ^a[.]test$\n  fallthrough\n }")
        self.assertEqual(found, [(2, "the expression fits no name: names end in a dot (^a[.]test[.]$)")])

    def test_end(self) -> None:
        """A template that takes some names of a zone and keeps the others from the plugins behind it."""
        wanted = "names of b.test. that it does not fit are SERVFAIL: without fallthrough whoami is not asked (add fallthrough)"
        for line in ("match ^x", "expr true"):
            self.assertEqual(warned(f" template IN A b.test {{\n  {line}\n }}"), [(2, wanted)], line)
            self.assertEqual(warned(f" template IN A b.test {{\n  {line}\n  fallthrough\n }}"), [], line)
        self.assertEqual(warned(" template IN A b.test"), [])
