"""Tests of :mod:`kdns.plugins.rewrite.resolver`."""

from __future__ import annotations

from math import inf
from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer, records
from kdns.core.chain import Reply
from kdns.core.failure import RcodeOnly, ResolutionFailed
from kdns.core.fast_path import Effect
from kdns.core.request import Request
from kdns.core.validity import ALWAYS, EVERY_QUERY, FROM_UPSTREAM, NOTHING, Validity
from kdns.plugins.rewrite import directive
from kdns.plugins.rewrite.resolver import RewriteLink
from kdns.testing.plugin import PluginBench
from kdns.testing.records import parse_record
from kdns.wire.constants import AAAA, AXFR, BADVERS, COOKIE, NOERROR, NSID, NXDOMAIN, REFUSED, SERVFAIL, A
from kdns.wire.names import ROOT, from_text, to_text
from kdns.wire.presentation import record_line
from kdns.wire.query import Edns, pack_options
from kdns.wire.records import txt
from tests.support import FakeServer, a_request, now, parsed


def a_link(*rules: str) -> RewriteLink:
    """A link with these rules."""
    lines = "\n".join(f" rewrite {rule}" for rule in rules)
    return RewriteLink(parsed(directive, f". {{\n{lines}\n}}\n"))


class NextPlugin:
    """The rest of the chain: it remembers what it was asked."""

    def __init__(self, *texts: str, answer: Reply | Exception | None = None) -> None:
        self.asked: list[Request] = []
        made = Answer(body=records([parse_record(text) for text in texts]), validity=ALWAYS)
        self._answer = made if answer is None else answer

    def __call__(self, request: Request) -> Reply:
        """Remember the request and give the answer."""
        self.asked.append(request)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def lines(answer: Answer) -> list[str]:
    """The records of the answer section as text."""
    return [" ".join(map(str, record_line(record))) for record in answer.answer]


class Asking(SynchronousTestCase):
    """Asks links."""

    def ask(self, link: RewriteLink, next: NextPlugin, request: Request) -> Answer:
        """The answer of the link in its chain."""
        reply = link.answer(request, next)
        return self.successResultOf(reply) if isinstance(reply, Deferred) else now(reply)


class ResolverTests(Asking):
    """What goes on, and what comes back."""

    def test_untouched(self) -> None:
        """A query that no rule fits goes on as it is, and so does its answer."""
        next = NextPlugin("b.test. 60 A 10.0.0.1")
        request = a_request("B.test")
        answer = self.ask(a_link("name a.test x.test"), next, request)
        self.assertIs(next.asked[0], request)
        self.assertEqual(answer.validity, ALWAYS)

    def test_name(self) -> None:
        """The next plugin is asked for the new name; the client sees its own."""
        next = NextPlugin("new.test. 60 CNAME www.new.test.", "www.new.test. 60 A 10.0.0.1")
        answer = self.ask(a_link("name old.test new.test"), next, a_request("OLD.test"))
        self.assertEqual((next.asked[0].qname, next.asked[0].spelled), (from_text("new.test"),) * 2)
        self.assertEqual(lines(answer), ["old.test. 60 IN CNAME www.old.test.", "www.old.test. 60 IN A 10.0.0.1"])
        self.assertEqual(answer.validity, ALWAYS)

    def test_order(self) -> None:
        """Changes of names are taken back in the opposite order."""
        next = NextPlugin("c.test. 60 A 10.0.0.1")
        answer = self.ask(a_link("continue name a.test b.test", "name b.test c.test"), next, a_request("a.test"))
        self.assertEqual(lines(answer), ["a.test. 60 IN A 10.0.0.1"])

    def test_type(self) -> None:
        """The next plugin is asked for another type."""
        next = NextPlugin("a.test. 60 A 10.0.0.1")
        answer = self.ask(a_link("continue type AAAA A"), next, a_request("a.test", AAAA))
        self.assertEqual(next.asked[0].qtype, A)
        self.assertEqual(lines(answer), ["a.test. 60 IN A 10.0.0.1"])

    def test_deferred(self) -> None:
        """An answer that comes later is changed when it comes."""
        waiting: Deferred[Answer] = Deferred()
        next = NextPlugin(answer=waiting)
        reply = a_link("name a.test b.test", "ttl a.test 5").answer(a_request("a.test"), next)
        assert isinstance(reply, Deferred)
        self.assertNoResult(reply)
        waiting.callback(Answer(body=records([parse_record("b.test. 60 A 10.0.0.1")])))
        self.assertEqual(lines(self.successResultOf(reply)), ["a.test. 60 IN A 10.0.0.1"])

    def test_silence(self) -> None:
        """Where no reply is sent, none is made."""
        answer = self.ask(a_link("rcode a.test NOERROR NXDOMAIN"), NextPlugin(answer=NO_REPLY), a_request("a.test"))
        self.assertTrue(answer.silent)

    def test_transfer(self) -> None:
        """The messages of a transfer are the zone's own records."""
        made = Answer(messages=iter(()))
        self.assertIs(self.ask(a_link("ttl a.test 5"), NextPlugin(answer=made), a_request("a.test", AXFR)), made)

    def test_bad_names(self) -> None:
        """A rule that makes no name, of the query or of the reply, is SERVFAIL with a reason."""
        error = self.assertRaises(
            ResolutionFailed, a_link("name regex ^(.*)$ x.{1}").answer, a_request("a.test"), NextPlugin()
        )
        self.assertEqual((error.rcode, error.text), (SERVFAIL, "invalid name after rewrite: x.a.test.."))
        link = a_link("name regex ^a.*$ b.test answer name (.*) {1}.x")
        error = self.assertRaises(
            ResolutionFailed, link.answer, a_request("a.test"), NextPlugin("b.test. 60 A 10.0.0.1")
        )
        self.assertEqual(error.text, "invalid name after rewrite: b.test..x.")


class RcodeTests(Asking):
    """Response codes, of messages and of failures."""

    def test_messages(self) -> None:
        """The code of a message changes; rules are tried once each, the last first."""
        link = a_link("continue rcode two.test NXDOMAIN REFUSED", "rcode two.test REFUSED NXDOMAIN")
        for rcode, wanted in ((NXDOMAIN, REFUSED), (REFUSED, REFUSED), (NOERROR, NOERROR)):
            answer = self.ask(link, NextPlugin(answer=Answer(rcode)), a_request("two.test"))
            self.assertEqual(answer.rcode, wanted)

    def test_failures(self) -> None:
        """A failure gets another code and becomes a message; one that no rule is about stays."""
        link = a_link("rcode a.test SERVFAIL NXDOMAIN")
        self.assertEqual(
            self.ask(link, NextPlugin(answer=RcodeOnly("", SERVFAIL)), a_request("a.test")).rcode, NXDOMAIN
        )
        failed = ResolutionFailed("refused", REFUSED)
        self.assertIs(
            self.assertRaises(ResolutionFailed, link.answer, a_request("a.test"), NextPlugin(answer=failed)), failed
        )
        self.assertRaises(ZeroDivisionError, link.answer, a_request("a.test"), NextPlugin(answer=ZeroDivisionError()))

    def test_late_failures(self) -> None:
        """The same when the failure comes later."""
        link = a_link("rcode a.test SERVFAIL NXDOMAIN")
        waiting: Deferred[Answer] = Deferred()
        reply = link.answer(a_request("a.test"), NextPlugin(answer=waiting))
        assert isinstance(reply, Deferred)
        waiting.errback(ResolutionFailed("timeout"))
        self.assertEqual(self.successResultOf(reply).rcode, NXDOMAIN)

    def test_extended(self) -> None:
        """A code that needs an OPT is SERVFAIL for a client without one."""
        link = a_link("rcode a.test NXDOMAIN BADVERS")
        for edns, wanted in ((None, SERVFAIL), (Edns(1232, 0, 0, b""), BADVERS)):
            answer = self.ask(link, NextPlugin(answer=Answer(NXDOMAIN)), a_request("a.test", edns=edns))
            self.assertEqual(answer.rcode, wanted)


class TtlTests(Asking):
    """TTLs of answers that are repeated."""

    aging = Validity(True, 100.0, counts_from=10.0)

    def test_fixed(self) -> None:
        """A TTL that a rule sets does not count down."""
        made = Answer(body=records([parse_record("a.test. 60 A 10.0.0.1")]), validity=self.aging)
        answer = self.ask(a_link("ttl a.test 5"), NextPlugin(answer=made), a_request("a.test"))
        self.assertEqual((answer.body.lowest_ttl, answer.validity), (5, Validity(True, 100.0)))

    def test_range(self) -> None:
        """One that a rule keeps in a range is computed each time."""
        made = Answer(body=records([parse_record("a.test. 60 A 10.0.0.1")]), validity=self.aging)
        answer = self.ask(a_link("ttl a.test 5-70"), NextPlugin(answer=made), a_request("a.test"))
        self.assertEqual((answer.validity.repeat, answer.validity.counts_from), (False, inf))

    def test_steady(self) -> None:
        """An answer whose TTLs do not count down holds as before."""
        answer = self.ask(a_link("ttl a.test 5-70"), NextPlugin("a.test. 60 A 10.0.0.1"), a_request("a.test"))
        self.assertEqual(answer.validity, ALWAYS)


class CnameTests(Asking):
    """Targets that are looked up through the server."""

    def setUp(self) -> None:
        """A server that knows one name."""
        self.resolved: list[Request] = []
        self.inner: Reply = Answer(body=records([parse_record("new.test. 30 A 10.0.0.2")]), validity=FROM_UPSTREAM)
        self.server = FakeServer(resolve=self.resolve)

    def resolve(self, request: Request) -> Reply:
        """Remember the request."""
        self.resolved.append(request)
        return self.inner

    def test_followed(self) -> None:
        """The new target is asked for, in the client's name, and the answer holds as long as both."""
        next = NextPlugin("a.test. 60 CNAME old.test.", "old.test. 60 A 10.0.0.1")
        answer = self.ask(a_link("cname old.test new.test"), next, a_request("a.test", AAAA, server=self.server))
        self.assertEqual(lines(answer), ["a.test. 60 IN CNAME new.test.", "new.test. 30 IN A 10.0.0.2"])
        self.assertEqual(
            [(to_text(each.qname), each.qtype, each.inside) for each in self.resolved], [("new.test.", AAAA, 1)]
        )
        self.assertEqual(answer.validity, Validity(cache=True))

    def test_order(self) -> None:
        """Changes of rules before it see the new records too."""
        next = NextPlugin("b.test. 60 CNAME old.test.")
        link = a_link("continue name a.test b.test", "continue ttl b.test 7", "cname old.test new.test")
        answer = self.ask(link, next, a_request("a.test", server=self.server))
        self.assertEqual(lines(answer), ["a.test. 7 IN CNAME new.test.", "new.test. 7 IN A 10.0.0.2"])

    def test_not_followed(self) -> None:
        """Without a CNAME that fits nothing is asked; without a reply, or where it would lead back, the answer stays."""
        link = a_link("cname old.test new.test")
        self.ask(link, NextPlugin("a.test. 60 CNAME other.test."), a_request("a.test", server=self.server))
        back = ["new.test. 60 CNAME old.test.", "old.test. 60 A 10.0.0.1"]
        answer = self.ask(link, NextPlugin(*back), a_request("new.test", server=self.server))
        self.assertEqual(answer.answer_count(), 2)
        self.assertEqual(self.resolved, [])
        self.inner = NO_REPLY
        answer = self.ask(link, NextPlugin("a.test. 60 CNAME old.test."), a_request("a.test", server=self.server))
        self.assertEqual(lines(answer), ["a.test. 60 IN CNAME old.test."])


class OptionTests(Asking):
    """EDNS options on the way in and back."""

    def edns(self, *options: tuple[int, bytes], size: int = 1232) -> Edns:
        """The OPT of a client."""
        return Edns(size, 0, 0, pack_options(options))

    def test_way_in(self) -> None:
        """The next plugin sees the option; a query without OPT gets one for it."""
        link = a_link("edns0 local set 65001 hi")
        for edns, size in ((None, 4096), (self.edns(), 1232)):
            next = NextPlugin()
            self.ask(link, next, a_request("a.test", edns=edns))
            asked = next.asked[0].edns
            assert asked is not None
            self.assertEqual((asked.size, asked.options), (size, pack_options([(65001, b"hi")])))
            self.assertEqual(asked.added, asked.options)

    def test_added(self) -> None:
        """What rules set is told apart from what the client sent: only the first is for upstreams."""
        next = NextPlugin()
        own = ((65001, b"x"), (65002, b"y"))
        rules = (
            "continue edns0 local replace 65001 hi",
            "continue edns0 local append 65002 no",
            "edns0 subnet set 24 56",
        )
        self.ask(a_link(*rules), next, a_request("a.test", edns=self.edns(*own)))
        asked = next.asked[0].edns
        assert asked is not None
        self.assertEqual(asked.added, pack_options([(65001, b"hi")]))

    def test_way_back(self) -> None:
        """The reply shows the option as the rule left it, or with revert as the client sent it."""
        for rule, own, wanted in (
            ("edns0 local set 65001 hi", (), ((65001, b"hi"),)),
            ("edns0 local set 65001 hi revert", (), None),
            ("edns0 local set 65001 hi revert", ((65001, b"mine"),), ((65001, b"mine"),)),
            ("edns0 nsid set", (), ((NSID, b""),)),
            ("edns0 nsid set revert", (), None),
            ("edns0 nsid set", ((NSID, b""),), None),
            ("edns0 subnet set 24 56", (), None),
        ):
            answer = self.ask(a_link(rule), NextPlugin(), a_request("a.test", edns=self.edns(*own)))
            self.assertEqual(answer.options, wanted, (rule, own))

    def test_own_options(self) -> None:
        """Options of the reply's own stay, but for those that are taken back."""
        made = Answer(options=((65001, b"hi"), (65002, b"x")))
        for rule, own, wanted in (
            ("edns0 local set 65001 hi", (), made.options),
            ("edns0 local set 65001 hi revert", (), ((65002, b"x"),)),
            ("edns0 local set 65001 hi revert", ((65001, b"mine"),), ((65001, b"mine"), (65002, b"x"))),
        ):
            answer = self.ask(a_link(rule), NextPlugin(answer=made), a_request("a.test", edns=self.edns(*own)))
            self.assertEqual(answer.options, wanted, rule)

    def test_no_opt(self) -> None:
        """A client without OPT gets none."""
        self.assertIsNone(self.ask(a_link("edns0 nsid set"), NextPlugin(), a_request("a.test")).options)

    def test_cookie(self) -> None:
        """Options that hold a client's cookie are for that query alone."""
        edns = self.edns((COOKIE, b"12345678"))
        answer = self.ask(a_link("edns0 local set 65001 hi"), NextPlugin(), a_request("a.test", edns=edns))
        self.assertFalse(answer.validity.repeat)


class VariesTests(SynchronousTestCase):
    """What the link declares to depend on."""

    def test_question(self) -> None:
        """Most rules look at the question alone."""
        link = a_link("name a b", "edns0 local set 1 {qname}", "edns0 nsid set", "ttl a 5")
        self.assertEqual(link.varies, NOTHING)

    def test_client(self) -> None:
        """Options made of the client's address tell clients apart, and networks where only those are told."""
        group = a_link("edns0 subnet set 24 56").varies.client
        assert group is not None
        self.assertEqual(group("10.0.0.1"), group("10.0.0.2"))
        self.assertNotEqual(group("10.0.0.1"), group("10.0.1.1"))
        group = a_link("edns0 subnet set 24 56", "edns0 local set 1 {client_ip}").varies.client
        assert group is not None
        self.assertNotEqual(group("10.0.0.1"), group("10.0.0.2"))

    def test_connection(self) -> None:
        """The transport is declared; what differs from query to query, and metadata, cannot be."""
        self.assertTrue(a_link("edns0 local set 1 {protocol}").varies.transport)
        for variable in ("{client_port}", "{server_ip}", "{a/b}"):
            self.assertEqual(a_link(f"edns0 local set 1 {variable}").varies, EVERY_QUERY)

    def test_fast_path(self) -> None:
        """Names and types that no rule is about need not come here; with rules that may be about any name all must."""
        link = a_link("name a.test b.test", "name suffix .x.test .y.test", "type AAAA A")
        self.assertEqual(link.fast_sources(), {from_text("a.test"): None, from_text("x.test"): None})
        self.assertEqual(link.fast_effect("dns://:53", ROOT), Effect(not_types=frozenset((AAAA,))))
        self.assertIsNone(a_link("name a.test b.test", "name regex a b").fast_effect("dns://:53", ROOT))


class ExplainTests(SynchronousTestCase):
    """What an operator is told."""

    def test_notes(self) -> None:
        """The rules that fire, and what is asked then."""
        link = a_link("continue type A AAAA", "name a.test b.test", "name regex ^bad.*$ a..b")
        self.assertEqual(
            [note.text for note in link.explain(a_request("a.test"))],
            [
                "rewrite continue type A AAAA (further rules are tried)",
                "rewrite name a.test b.test",
                "the next plugin is asked for b.test. IN AAAA",
            ],
        )
        self.assertEqual([note.text for note in link.explain(a_request("x.test", 16))], ["no rule fits"])
        (note,) = link.explain(a_request("bad.test"))
        self.assertTrue(note.missing)


RULES = (
    "name a.test b.test",
    "name suffix .test .other answer auto",
    "name regex ^(.)[.](.*)$ {1}x.{2} answer auto",
    "name prefix x bbb",
    "name substring a.test x.test answer name (.*)x[.]test {1}a.test",
    "type TXT A",
    "ttl a.test 5",
    "ttl suffix .test 5-10",
    "rcode b.test NOERROR NXDOMAIN",
    "rcode suffix .test NXDOMAIN SERVFAIL",
    "cname regex b {0}",
    "edns0 local set 65001 {client_ip}",
    "edns0 local set 65002 {client_port}",
    "edns0 local set 65003 {protocol} revert",
    "edns0 subnet set 24 56",
    "edns0 nsid set",
)


class RepeatTests(SynchronousTestCase):
    """The answer table and the cache never say what the chain would not say now."""

    def answer_by_options(self, request: Request) -> Reply:
        """A next plugin whose answer shows the question, and for one name the options, which a cache would not tell apart."""
        shown = b"" if request.edns is None or request.qname != from_text("a.test") else request.edns.options
        record = txt(request.spelled, 60, request.qname[:200], shown[:200])
        return Answer(body=records([record]), validity=ALWAYS if not shown else Validity(True, cache=False))

    def test_random_rules(self) -> None:
        """With any rules, questions that are asked again and again, by any client, are answered as if nothing were kept."""
        for seed in range(60):
            chance = Random(seed)
            rules = [f"{chance.choice(('', 'continue '))}{rule}" for rule in chance.sample(RULES, chance.randint(1, 5))]
            bench = PluginBench(directive, "\n".join(f"rewrite {rule}" for rule in rules), self.answer_by_options)
            try:
                bench.check_repeats(["a.test", "b.test", "c.a.test", "x.other"], qtypes=[A, 16])
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {rules}") from error
            finally:
                bench.stop()

    def test_per_client(self) -> None:
        """What a client is told of itself is never told another one, and its own is kept."""

        def answer(request: Request) -> Reply:
            assert request.edns is not None
            return Answer(body=records([txt(request.spelled, 60, request.edns.options)]), validity=ALWAYS)

        for rule in ("edns0 local set 65001 {client_ip}", "edns0 subnet set 24 56"):
            bench = PluginBench(directive, f"rewrite {rule}", answer)
            # A cache behind the rule would mix clients up, as the page says; here is none.
            first, second = (bench.ask("a.test", client=client) for client in ("10.0.0.1", "10.0.1.1"))
            self.assertNotEqual(first.answer, second.answer)
            self.assertTrue(first.validity.repeat)
            bench.stop()
