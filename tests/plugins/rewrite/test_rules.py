"""Tests of :mod:`kdns.plugins.rewrite.rules`."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.rewrite.config import entry
from kdns.plugins.rewrite.replies import CnameChange, OwnerChange, RcodeChange, ReplyChange, TtlChange, ValueChange
from kdns.plugins.rewrite.rules import InvalidName, Query, Reach, RuleList, apply
from kdns.wire.constants import AAAA, CH, HINFO, IN, TXT, A
from kdns.wire.names import from_text, to_text
from tests.support import a_request


def a_query(name: str, qtype: int = A, qclass: int = IN, options: tuple[tuple[int, bytes], ...] = ()) -> Query:
    """A query as it comes to the rules."""
    request = a_request(name, qtype, qclass=qclass)
    return Query(request, to_text(request.qname), qtype, qclass, options)


def fired(rules: Sequence[str], query: Query) -> list[str]:
    """The rules that fire, as they are written."""
    return [each.text for each in apply(RuleList([entry(rule.split()) for rule in rules]), query)]


class OrderTests(SynchronousTestCase):
    """Which rules fire, and what each sees."""

    def test_first(self) -> None:
        """The first rule that fits ends the list."""
        rules = ["name a.test b.test", "name prefix x. y.", "name suffix .test .other"]
        query = a_query("x.test")
        self.assertEqual(fired(rules, query), ["name prefix x. y."])
        self.assertEqual(query.name, "y.test.")

    def test_continue(self) -> None:
        """Behind a rule that says continue further rules see what it made."""
        rules = ["continue name a.test b.test", "continue type A AAAA", "name b.test c.test", "type AAAA TXT"]
        query = a_query("A.test")
        self.assertEqual(fired(rules, query), rules[:3])
        self.assertEqual((query.name, query.qtype), ("c.test.", AAAA))

    def test_by_name(self) -> None:
        """Rules about one name are tried in their order among the others, also those about a name that a rule made."""
        rules = [
            "continue name c.test d.test", "continue name a.test b.test", "continue ttl suffix .test 5", "continue ttl b.test 6",
            "continue name b.test c.test", "continue rcode c.test 0 3", "continue name c.test e.test", "continue ttl a.test 7",
        ]  # fmt: skip
        query = a_query("a.test")
        self.assertEqual(fired(rules, query), rules[1:7])
        self.assertEqual(query.name, "e.test.")

    def test_always(self) -> None:
        """A rule that always fires hides those behind it."""
        query = a_query("a.test")
        self.assertEqual(fired(["edns0 nsid set", "name a.test b.test"], query), ["edns0 nsid set"])

    def test_invalid_name(self) -> None:
        """A text that is no name ends the query."""
        for replacement in ("x" * 64 + ".{1}", "{1}..x"):
            error = self.assertRaises(
                InvalidName, fired, [f"name regex ^(.*)[.]bad[.]$ {replacement}"], a_query("a.bad")
            )
            self.assertIn("invalid name after rewrite: ", str(error))


class FieldTests(SynchronousTestCase):
    """What each field changes."""

    def test_type_and_class(self) -> None:
        """Type and class are compared and replaced."""
        query = a_query("a.test", TXT, CH)
        fired(["continue type TXT HINFO", "continue class CH IN", "continue class HS IN"], query)
        self.assertEqual((query.qtype, query.qclass), (HINFO, IN))

    def test_changes(self) -> None:
        """What is done to the reply, in the order of the rules and of what they say."""
        rules = [
            "continue name regex (.*)[.]a[.]test[.] {1}.b.test answer auto value x y.",
            "continue name suffix .b.test .c.test answer name x y. value z w.",
            "continue name prefix www. web.",
            "continue ttl suffix .c.test 10-20",
            "continue rcode suffix .c.test NXDOMAIN NOERROR",
            "continue cname exact a.test b.test",
        ]
        query = a_query("www.a.test")
        self.assertEqual(len(fired(rules, query)), len(rules))
        kinds = [type(change) for change in query.changes]
        wanted: list[type[ReplyChange]] = [
            OwnerChange, ValueChange, ValueChange, OwnerChange, ValueChange, TtlChange, RcodeChange, CnameChange,
        ]  # fmt: skip
        self.assertEqual(kinds, wanted)
        self.assertEqual(query.name, "web.c.test.")

    def test_no_answer(self) -> None:
        """Only exact rules change names of replies back without being told."""
        for rule, wanted in (("name a.test b.test", 2), ("name exact a.test b.test", 2), ("name prefix a. b.", 0)):
            query = a_query("a.test")
            fired([rule], query)
            self.assertEqual(len(query.changes), wanted, rule)

    def test_options(self) -> None:
        """Options are changed one after another, and can be taken back."""
        query = a_query("a.test", options=((65001, b"x"),))
        rules = [
            "continue edns0 local replace 65001 0xabcd revert",
            "continue edns0 local append 65001 hello",
            "continue edns0 local set 0xfdea {qname}",
            "continue edns0 local set 65003 {a/b}",
            "continue edns0 subnet set 24 56",
            "continue edns0 nsid set",
        ]
        self.assertEqual(fired(rules, query), rules[:3] + rules[4:])
        wanted = ((65001, b"\xab\xcd"), (65002, b"a.test."), (8, b"\0\1\x18\0\x7f\0\0"), (3, b""))
        self.assertEqual(query.options, wanted)
        self.assertEqual([(undo.code, undo.old) for undo in query.undos], [(65001, b"x")])

    def test_spelling(self) -> None:
        """{qname} is the name as it is spelled at this moment."""
        query = a_query("Web.test")
        fired(
            [
                "continue edns0 local set 65001 {qname}",
                "continue name web.test x.test",
                "edns0 local set 65002 {qname}",
            ],
            query,
        )
        self.assertEqual(query.options, ((65001, b"Web.test."), (65002, b"x.test.")))

    def test_reach(self) -> None:
        """Which queries a rule can be about."""
        for rule, wanted in (
            ("name a.test b.test", Reach((from_text("a.test"),))),
            ("ttl suffix .a.test 5", Reach((from_text("a.test"),))),
            ("rcode a.test NXDOMAIN NOERROR", Reach((from_text("a.test"),))),
            ("type A AAAA", Reach(types=frozenset((A,)))),
            ("class CH IN", Reach()),
        ):
            self.assertEqual(entry(rule.split()).rule.reach(), wanted, rule)
        for rule in (
            "name prefix a b",
            "ttl regex a 5",
            "class IN CH",
            "cname a b",
            "edns0 nsid set",
            "edns0 subnet unset",
        ):
            self.assertIsNone(entry(rule.split()).rule.reach(), rule)
