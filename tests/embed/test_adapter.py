# -*- test-case-name: tests.embed.test_adapter -*-
"""Twisted's three lists and kdns's answers, turned into each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IResolver
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import (
    AuthoritativeDomainError,
    DNSFormatError,
    DNSNameError,
    DNSNotImplementedError,
    DNSQueryRefusedError,
    DNSQueryTimeoutError,
    DNSServerError,
    DNSUnknownError,
    DomainError,
)
from twisted.names.resolve import ResolverChain
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kdns.core.answer import NO_REPLY, Answer, Sections
from kdns.core.chain import Link, Next, Reply, chain
from kdns.core.failure import ResolutionFailed
from kdns.core.request import Request, Transport
from kdns.embed.adapter import KdnsResolver, ResolverLink, address_text, header_of, record_of
from kdns.plugin.seam import Resource
from kdns.server.blocks import ServedBlock, Zones
from kdns.wire.constants import AA, FORMERR, IN, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, TC, TXT, A
from kdns.wire.message import scan
from kdns.wire.names import from_text
from kdns.wire.records import Record, a_or_aaaa, cname, ns, ptr, soa, srv, txt
from kdns.wire.render import render
from tests.support import a_house, a_request

WEB = from_text("web.test")
SOA = soa(from_text("test"), 30, from_text("ns.test"), from_text("mail.test"), (1, 2, 3, 4, 5))


class Says(Link):
    """A plugin that answers with a function."""

    name = "says"

    def __init__(self, say: Callable[[Request], Reply]) -> None:
        self.say = say
        self.asked: list[Request] = []

    def answer(self, request: Request, next: Next) -> Reply:
        """Note the request, and answer."""
        self.asked.append(request)
        return self.say(request)


class AdapterTests(SynchronousTestCase):
    """A resolver for the zone ``test`` whose one plugin says what the test wants."""

    def setUp(self) -> None:
        """Time is the test's."""
        self.clock = Clock()

    def resolver(self, say: Callable[[Request], Reply], *resources: Resource) -> KdnsResolver:
        """A resolver that answers with *say*."""
        self.says = Says(say)
        zones = Zones()
        zones.add(from_text("test"), ServedBlock(chain([self.says])))
        return KdnsResolver(a_house(self.clock), zones, resources)

    def failure(self, answer: Answer) -> Exception:
        """The exception that an answer becomes."""
        waiting = self.resolver(lambda request: answer).lookupAddress("web.test")
        error = self.failureResultOf(waiting).value
        assert isinstance(error, Exception)
        return error

    def test_interface(self) -> None:
        """It is an IResolver."""
        verifyObject(IResolver, self.resolver(lambda request: Answer()))

    def test_lists(self) -> None:
        """Sections become lists of Twisted's records, TTLs and authority kept."""
        answer = Answer(0, AA, Sections((a_or_aaaa(WEB, 30, b"\x0a\x00\x00\x01"),), (SOA,), (txt(WEB, 5, b"x"),)))
        answers, authority, additional = self.successResultOf(self.resolver(lambda r: answer).lookupAddress("web.test"))
        header = answers[0]
        self.assertEqual((header.name.name, header.type, header.ttl, header.auth), (b"web.test", dns.A, 30, True))
        self.assertEqual(header.payload, dns.Record_A("10.0.0.1", ttl=30))
        start: Any = authority[0].payload
        text: Any = additional[0].payload
        self.assertEqual((start.mname.name, start.minimum, text.data), (b"ns.test", 5, [b"x"]))

    def test_every_method(self) -> None:
        """Each method of the interface asks for the type that it is named for."""
        resolver = self.resolver(lambda request: Answer())
        for method, qtype in (
            ("lookupAddress", 1), ("lookupIPV6Address", 28), ("lookupAddress6", 38), ("lookupNameservers", 2),
            ("lookupCanonicalName", 5), ("lookupAuthority", 6), ("lookupMailBox", 7), ("lookupMailGroup", 8),
            ("lookupMailRename", 9), ("lookupNull", 10), ("lookupWellKnownServices", 11), ("lookupPointer", 12),
            ("lookupHostInfo", 13), ("lookupMailboxInfo", 14), ("lookupMailExchange", 15), ("lookupText", 16),
            ("lookupResponsibility", 17), ("lookupAFSDatabase", 18), ("lookupService", 33),
            ("lookupNamingAuthorityPointer", 35), ("lookupSenderPolicy", 99), ("lookupZone", 252),
        ):  # fmt: skip
            self.successResultOf(getattr(resolver, method)("Web.test."))
            request = self.says.asked[-1]
            self.assertEqual((request.qname, request.qtype, request.qclass), (WEB, qtype, IN), method)
        self.assertEqual(request.spelled, b"\x03Web\x04test\x00")

    def test_all_records(self) -> None:
        """Asked for everything, it tells the addresses of both families; one that fails does not take the other along."""
        answers = {1: Answer(body=Sections(answer=(a_or_aaaa(WEB, 30, b"\x0a\x00\x00\x01"),))), 28: Answer(SERVFAIL)}
        resolver = self.resolver(lambda request: answers[request.qtype])
        found: Any = self.successResultOf(resolver.lookupAllRecords("web.test"))[0]
        self.assertEqual([address_text(header.payload) for header in found], ["10.0.0.1"])
        answers[1] = Answer(NXDOMAIN, AA)
        self.failureResultOf(resolver.lookupAllRecords("web.test"), AuthoritativeDomainError)

    def test_type_without_method(self) -> None:
        """A query of a type that Twisted has no method for is asked as well."""
        self.successResultOf(self.resolver(lambda request: Answer()).query(dns.Query(b"web.test", 65)))
        self.assertEqual(self.says.asked[0].qtype, 65)

    def test_errors(self) -> None:
        """Each response code is the exception that Twisted's client raises for it, the message with its SOA inside."""
        for rcode, kind in (
            (FORMERR, DNSFormatError), (SERVFAIL, DNSServerError), (NXDOMAIN, DNSNameError),
            (NOTIMP, DNSNotImplementedError), (REFUSED, DNSQueryRefusedError), (9, DNSUnknownError),
        ):  # fmt: skip
            error = self.failure(Answer(rcode, body=Sections(authority=(SOA,))))
            self.assertIs(type(error), kind)
            message = error.args[0]
            self.assertEqual((message.rCode, message.queries[0].name.name), (rcode, b"web.test"))
            self.assertEqual([header.type for header in message.authority], [dns.SOA])

    def test_authoritative_denial(self) -> None:
        """That a name of one's own zone does not exist ends a ResolverChain; what is refused goes to the next resolver."""
        error = self.failure(Answer(NXDOMAIN, AA, body=Sections(authority=(SOA,))))
        self.assertIs(type(error), AuthoritativeDomainError)
        first = self.resolver(lambda request: Answer(NXDOMAIN, AA, body=Sections(authority=(SOA,))))
        second = Counting()
        both = ResolverChain([first, second])
        self.failureResultOf(both.lookupAddress("no.test"), AuthoritativeDomainError)
        self.assertEqual(second.asked, [])
        self.successResultOf(both.lookupAddress("elsewhere.example"))
        self.assertEqual(second.asked, [b"elsewhere.example"])

    def test_chain_failure(self) -> None:
        """A plugin that fails is a DNSServerError; one that fails on something unforeseen too, and that is logged once."""

        def known(request: Request) -> Reply:
            raise ResolutionFailed("no upstream")

        def unforeseen(request: Request) -> Reply:
            raise ZeroDivisionError

        self.failureResultOf(self.resolver(known).lookupAddress("web.test"), DNSServerError)
        self.failureResultOf(self.resolver(unforeseen).lookupAddress("web.test"), DNSServerError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_silence(self) -> None:
        """Where a server would not reply, a program is told that it is refused."""
        self.assertIsInstance(self.failure(NO_REPLY), DNSQueryRefusedError)

    def test_bad_names(self) -> None:
        """A name that is none fails and asks nobody."""
        resolver = self.resolver(lambda request: Answer())
        for name in (b"a..test", b"x" * 64 + b".test", b".".join([b"x" * 60] * 5)):
            self.failureResultOf(resolver.lookupAddress(name), DNSFormatError)
        self.assertEqual(self.says.asked, [])

    def test_patience(self) -> None:
        """A look-up ends when the sum of its caller's time-outs is over, and what it waited for is cancelled."""
        cancelled: list[object] = []
        resolver = self.resolver(lambda request: Deferred(cancelled.append))
        waiting = resolver.lookupAddress("web.test", timeout=(1, 3))
        self.clock.advance(3.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.failureResultOf(waiting, DNSQueryTimeoutError)
        self.assertEqual((len(cancelled), self.clock.getDelayedCalls()), (1, []))

    def test_truncated(self) -> None:
        """What does not fit over UDP is asked for again over TCP."""
        name = WEB + b"\x00\x01\x00\x01"

        def upstream(request: Request) -> Reply:
            if request.transport is Transport.TCP:
                return Answer(body=Sections(answer=(a_or_aaaa(WEB, 30, b"\x0a\x00\x00\x01"),)))
            cut = render(1, 0x8380, name, ((), (), ()), b"", 512, 512)
            return Answer(flags=TC, body=scan(cut))

        answers, _, _ = self.successResultOf(self.resolver(upstream).lookupAddress("web.test"))
        self.assertEqual(len(answers), 1)
        self.assertEqual([request.transport for request in self.says.asked], [Transport.UDP, Transport.TCP])

    def test_many_records(self) -> None:
        """A large answer comes whole, however many compressed names it has, which Twisted's own decoder refuses."""
        records = [a_or_aaaa(WEB, 30, (0x0A000000 + n).to_bytes(4, "big")) for n in range(2000)]
        message = render(1, 0x8400, WEB + b"\x00\x01\x00\x01", (records, (), ()), b"", 65535, 512)
        self.assertRaises(ValueError, dns.Message().fromStr, message)
        answer = Answer(body=scan(message))
        answers, _, _ = self.successResultOf(self.resolver(lambda r: answer).lookupAddress("web.test"))
        self.assertEqual(len(answers), 2000)

    def test_host_by_name(self) -> None:
        """A host's address is IPv4 before IPv6, behind aliases too; nothing is a DNSLookupError."""
        aliased = (cname(WEB, 30, from_text("b.test")), a_or_aaaa(from_text("b.test"), 30, b"\x0a\x00\x00\x02"))
        resolver = self.resolver(lambda r: Answer(body=Sections(answer=aliased if r.qtype == A else ())))
        self.assertEqual(self.successResultOf(resolver.getHostByName("web.test")), "10.0.0.2")
        only6 = self.resolver(
            lambda r: (
                Answer() if r.qtype == A else Answer(body=Sections(answer=(a_or_aaaa(WEB, 1, b"\0" * 15 + b"\1"),)))
            )
        )
        self.assertEqual(self.successResultOf(only6.getHostByName("web.test")), "::1")
        nothing = self.resolver(lambda request: Answer(NXDOMAIN, AA))
        self.failureResultOf(nothing.getHostByName("web.test"), DNSLookupError)

    def test_service(self) -> None:
        """What the plugins run is started and stopped with the resolver, and look-ups under way are dropped."""
        life: list[str] = []
        ready: Deferred[None] = Deferred()

        class Watch(Resource):
            """Notes its life."""

            def start(self) -> Deferred[None]:
                """It takes a while."""
                life.append("start")
                return ready

            def stop(self) -> None:
                """It is quick."""
                life.append("stop")

        resolver = self.resolver(lambda request: Deferred(), Watch())
        resolver.startService()
        started = resolver.when_ready()
        self.assertNoResult(started)
        ready.callback(None)
        self.successResultOf(started)
        self.successResultOf(resolver.when_ready())
        waiting = resolver.lookupAddress("web.test")
        self.successResultOf(resolver.stopService())
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual((life, self.clock.getDelayedCalls()), (["start", "stop"], []))

    def test_start_fails(self) -> None:
        """Everybody who waits for a start that fails is told, each by a Deferred of its own."""

        class Broken(Resource):
            """Cannot start."""

            def start(self) -> Deferred[None]:
                """Fail."""
                return fail(RuntimeError("no file"))

        resolver = self.resolver(lambda request: Answer(), Broken())
        resolver.startService()
        self.failureResultOf(resolver.when_ready())
        self.failureResultOf(resolver.when_ready())
        self.successResultOf(resolver.stopService())

    def test_asked_while_starting(self) -> None:
        """A look-up waits for the start, in which a cluster is read for the first time, and says why that failed."""
        begun: list[Deferred[None]] = []

        class Slow(Resource):
            """Takes its time."""

            def start(self) -> Deferred[None]:
                """Wait for the test."""
                begun.append(Deferred())
                return begun[-1]

        resolver = self.resolver(lambda request: Answer(), Slow())
        resolver.startService()
        waiting = resolver.lookupAddress("web.test")
        self.assertNoResult(waiting)
        self.assertEqual(self.says.asked, [])
        begun[-1].callback(None)
        self.assertEqual(self.successResultOf(waiting), ([], [], []))
        self.successResultOf(resolver.stopService())

        resolver.startService()
        waiting = resolver.lookupAddress("web.test")
        begun[-1].errback(RuntimeError("no file"))
        failure = self.failureResultOf(waiting, DNSServerError)
        self.assertEqual(failure.value.args[1], "web.test: the resolver did not start: no file")
        self.successResultOf(resolver.stopService())

    def test_why(self) -> None:
        """An exception has the text of the failure, else the response code with who said it and what clients are told."""

        def failing(request: Request) -> Answer:
            raise ResolutionFailed("plugin/x: broken")

        answers: list[tuple[Any, str]] = [
            (failing, "web.test: SERVFAIL: plugin/x: broken"),
            (
                lambda request: Answer(SERVFAIL, source="x", ede=((14, "not ready"),)),
                "web.test: SERVFAIL by x; not ready",
            ),
            (lambda request: Answer(NXDOMAIN, AA, source="x"), "web.test: NXDOMAIN by x"),
        ]
        for ask, why in answers:
            failure = self.failureResultOf(self.resolver(ask).lookupAddress("Web.test"))
            self.assertEqual(failure.value.args[1], why)


class Counting(ResolverBase):
    """An IResolver that answers everything with one address, and notes what it was asked."""

    def __init__(self, outcome: Any = None) -> None:
        ResolverBase.__init__(self)
        self.asked: list[bytes] = []
        self.outcome = outcome

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> Deferred[Any]:
        self.asked.append(name)
        if isinstance(self.outcome, Exception):
            return fail(self.outcome)
        payload: Any = dns.Record_A("192.0.2.1")
        header = dns.RRHeader(name, dns.A, dns.IN, 60, payload)
        waiting: Deferred[Any] = Deferred()
        waiting.callback(([header], [], []))
        return waiting


class LinkTests(SynchronousTestCase):
    """An IResolver as the last link of a chain."""

    def ask(self, outcome: Any = None) -> Deferred[Answer]:
        """What the link says to a question for ``web.test``."""
        reply = ResolverLink(Counting(outcome)).answer(a_request("Web.test"), chain([]))
        assert isinstance(reply, Deferred)
        return reply

    def test_answer(self) -> None:
        """Records come over with owner, TTL and rdata."""
        answer = self.successResultOf(self.ask())
        self.assertEqual(answer.answer, (a_or_aaaa(b"\x03Web\x04test\x00", 60, b"\xc0\x00\x02\x01"),))

    def test_errors(self) -> None:
        """Exceptions are response codes again; what stands for no code of DNS fails the query."""
        for error, rcode in (
            (DomainError("x"), NXDOMAIN), (AuthoritativeDomainError("x"), NXDOMAIN), (DNSNameError("x"), NXDOMAIN),
        ):  # fmt: skip
            self.assertEqual(self.successResultOf(self.ask(error)).rcode, rcode)
        failures: list[tuple[Exception, int]] = [
            (DNSServerError("x"), SERVFAIL), (DNSQueryRefusedError("x"), REFUSED), (NotImplementedError(), SERVFAIL),
            (DNSQueryTimeoutError(1), SERVFAIL),
        ]  # fmt: skip
        for problem, rcode in failures:
            failure = self.failureResultOf(self.ask(problem), ResolutionFailed)
            self.assertEqual(failure.value.rcode, rcode)
        self.failureResultOf(self.ask(ZeroDivisionError()), ZeroDivisionError)

    def test_there_and_back(self) -> None:
        """A denial that kdns made comes back with its SOA after a round through an exception."""
        message = dns.Message(1, 1, rCode=NXDOMAIN)
        message.authority = [header_of(SOA, True)]
        answer = self.successResultOf(self.ask(DNSNameError(message)))
        self.assertEqual((answer.rcode, answer.authority), (NXDOMAIN, (SOA,)))


labels = st.binary(min_size=1, max_size=20).filter(lambda label: b"." not in label)
names = st.lists(labels, max_size=6).map(lambda found: b"".join(bytes((len(x),)) + x for x in found) + b"\x00")
ttls = st.integers(0, 2**31 - 1)
records = st.one_of(
    st.builds(
        a_or_aaaa, names, ttls, st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
    ),
    st.builds(cname, names, ttls, names),
    st.builds(ptr, names, ttls, names),
    st.builds(ns, names, ttls, names),
    st.builds(srv, names, ttls, *[st.integers(0, 65535)] * 3, names),
    st.builds(lambda owner, ttl, rdata: Record(owner, 65280, IN, ttl, rdata), names, ttls, st.binary(max_size=300)),
    st.builds(
        lambda owner, ttl, text: Record(owner, TXT, IN, ttl, bytes((len(text),)) + text),
        names,
        ttls,
        st.binary(max_size=255),
    ),
)


class RoundTripTests(SynchronousTestCase):
    """Records that go over and come back."""

    @given(records)
    def test_same(self, record: Record) -> None:
        """A record is the same after it was Twisted's, as long as no label holds a dot, which Twisted cannot tell apart."""
        self.assertEqual(record_of(header_of(record, False)), record)
