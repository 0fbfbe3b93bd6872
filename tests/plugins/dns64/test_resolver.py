"""Names without IPv6 addresses get mapped ones."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer, records
from kdns.core.chain import Reply
from kdns.core.failure import ResolutionFailed
from kdns.core.request import Request
from kdns.core.validity import FROM_UPSTREAM
from kdns.plugins.dns64 import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import AA, AAAA, AD, CD, DO, NOERROR, NXDOMAIN, RA, RD, SERVFAIL, TC, A
from kdns.wire.message import MOST_CHANGED
from kdns.wire.names import from_text
from kdns.wire.query import Edns
from kdns.wire.records import Record, a_or_aaaa, cname, soa
from tests.plugins.cache.upstream import relayed

V4, V6 = bytes((192, 0, 2, 33)), bytes.fromhex("20010db8" + "00" * 11 + "21")
MAPPED = bytes.fromhex("0064ff9b" + "00" * 8) + V4
CLIENTS = ("2001:db8::9", "10.0.0.1")
TARGET = from_text("target.test")


def an_soa(ttl: int) -> Record:
    """The SOA of a negative answer."""
    return soa(from_text("test"), ttl, TARGET, TARGET, (1, 2, 3, 4, 5))


def upstream(request: Request) -> Reply:
    """What a name has is told by its first label."""
    wants = request.qtype
    label = request.qname[1 : 1 + request.qname[0]]
    four, six = a_or_aaaa(request.spelled, 300, V4), a_or_aaaa(request.spelled, 300, V6)
    rcode, flags, answer, authority = NOERROR, AA | RA | AD, [], [an_soa(60)]
    match label:
        case b"v4" if wants == A:
            answer, authority = [four, four], []
        case b"nosoa":
            answer, authority = [a_or_aaaa(request.spelled, 3000, V4)] if wants == A else [], []
        case b"both":
            answer, authority = [four if wants == A else six], []
        case b"v6" if wants == AAAA:
            answer, authority = [six], []
        case b"alias":
            answer = [cname(request.spelled, 120, TARGET)]
            answer += [a_or_aaaa(TARGET, 30, V4)] if wants == A else []
        case b"gone":
            answer, rcode = [cname(request.spelled, 120, TARGET)], NXDOMAIN
        case b"broken":
            answer, authority, rcode = ([four], [], NOERROR) if wants == A else ([], [], SERVFAIL)
        case b"nx":
            rcode = NXDOMAIN
        case b"cut" if wants == A:
            answer, flags = [four], RA | TC
        case b"silent" if wants == A:
            return NO_REPLY
        case b"failed" if wants == A:
            raise ResolutionFailed("no upstream", SERVFAIL)
    return Answer(rcode, flags, records(answer, authority), validity=FROM_UPSTREAM, source="forward")


class Dns64Tests(SynchronousTestCase):
    """Names of all sorts, asked over IPv6."""

    def setUp(self) -> None:
        self.bench = PluginBench(directive, "dns64", upstream)

    def ask(self, name: str, qtype: str = "AAAA", **about: Any) -> Answer:
        """Ask as a client over IPv6."""
        about.setdefault("client", CLIENTS[0])
        return self.bench.ask(name, qtype, **about)

    def found(self, name: str, **about: Any) -> list[tuple[int, int, bytes]]:
        """Type, TTL and data of the answer section."""
        return [(record.rtype, record.ttl, record.rdata) for record in self.ask(name, **about).answer]

    def test_mapped(self) -> None:
        """IPv4 addresses are mapped, for at most the TTL of the SOA; AA, RA and AD are not claimed."""
        answer = self.ask("V4.test")
        self.assertEqual((answer.rcode, answer.flags, answer.source), (NOERROR, 0, "dns64"))
        self.assertEqual(self.found("v4.test"), [(AAAA, 60, MAPPED)] * 2)
        self.assertEqual(self.found("nosoa.test"), [(AAAA, 600, MAPPED)])
        self.assertEqual([kind for kind, _, _ in self.found("alias.test")], [5, AAAA])
        self.assertEqual(self.found("alias.test")[1], (AAAA, 30, MAPPED))

    def test_truncated(self) -> None:
        """TC of the look-up is the reply's."""
        self.assertEqual(self.ask("cut.test").flags, TC)

    def test_many(self) -> None:
        """Of an upstream's reply with thousands of addresses the first hundreds are mapped."""

        def many(request: Request) -> Answer:
            if request.qtype != A:
                return Answer()
            rows = [a_or_aaaa(request.spelled, 30, number.to_bytes(4, "big")) for number in range(MOST_CHANGED + 1)]
            return relayed(request, rows)

        bench = PluginBench(directive, "dns64", many)
        answer = bench.ask("many.test", "AAAA", client=CLIENTS[0])
        self.assertEqual(
            [record.rdata[-4:] for record in answer.answer], [n.to_bytes(4, "big") for n in range(MOST_CHANGED)]
        )

    def test_own_reply(self) -> None:
        """Where there is nothing to map, the name's own reply stands: with its response code, its alias, its flags."""
        for name, rcode, kinds in (("nx.test", NXDOMAIN, []), ("gone.test", NXDOMAIN, [5]), ("v6.test", NOERROR, [AAAA]),
                                   ("both.test", NOERROR, [AAAA]), ("none.test", NOERROR, []), ("silent.test", NOERROR, []),
                                   ("failed.test", NOERROR, [])):  # fmt: skip
            answer = self.ask(name)
            self.assertEqual((answer.rcode, answer.flags, answer.body.types(0)), (rcode, AA | RA | AD, kinds), name)
            self.assertEqual(answer.source, "forward")

    def test_failure(self) -> None:
        """A server that fails for AAAA alone does not keep clients from the name (RFC 6147 section 5.1.2)."""
        self.assertEqual(self.found("broken.test"), [(AAAA, 300, MAPPED)])

    def test_left_alone(self) -> None:
        """Other types and classes, clients over IPv4, and those that validate themselves."""
        self.assertEqual(self.ask("v4.test", client="10.0.0.1").source, "forward")
        self.assertEqual(self.ask("v4.test", "A").answer[0].rtype, A)
        self.assertEqual(self.ask("v4.test", qclass=3).source, "forward")
        edns = Edns(1232, DO, 0, b"")
        self.assertEqual(self.ask("v4.test", edns=edns, flags=RD | CD).source, "forward")
        self.assertEqual(self.ask("v4.test", edns=edns).source, "dns64")
        self.assertEqual(self.ask("v4.test", flags=RD | CD).source, "dns64")

    def test_translate_all(self) -> None:
        """Names with addresses of both families get the mapped ones; those of IPv6 alone keep theirs."""
        self.bench = PluginBench(directive, "dns64 {\ntranslate_all\nallow_ipv4\n}", upstream)
        self.assertEqual(self.found("both.test", client="10.0.0.1"), [(AAAA, 300, MAPPED)])
        self.assertEqual(self.found("v6.test"), [(AAAA, 300, V6)])

    def test_waiting(self) -> None:
        """Both replies may take their time."""
        waiting: list[Deferred[Answer]] = []

        def slow(request: Request) -> Reply:
            waiting.append(Deferred())
            return waiting[-1]

        bench = PluginBench(directive, "dns64", slow)
        (link,) = bench.builder.links
        request = a_request("v4.test", AAAA, client=CLIENTS[0], server=bench._listener)
        reply = link.answer(request, bench.upstream._says)  # type: ignore[arg-type]  # it is there
        assert isinstance(reply, Deferred)
        waiting[0].callback(upstream(request))  # type: ignore[arg-type]  # it does not wait
        self.assertNoResult(reply)
        waiting[1].callback(upstream(request.about(request.spelled, A)))  # type: ignore[arg-type]  # as above
        self.assertEqual(self.successResultOf(reply).answer[0].rdata, MAPPED)

    def test_counted(self) -> None:
        """Replies with mapped addresses are counted."""
        self.ask("v4.test")
        self.ask("none.test")
        self.assertIn(
            'coredns_dns64_requests_translated_total{server="dns://:53"} 1', self.bench.context.registry.lines()
        )

    def test_repeated(self) -> None:
        """Clients of the two families are kept apart by answer table and cache."""
        names = [f"{label}.test" for label in ("v4", "v6", "both", "alias", "nx", "gone", "none")]
        self.bench.check_repeats(names, qtypes=("A", "AAAA"), clients=CLIENTS)

    def test_explained(self) -> None:
        """An explanation says whether the query may be mapped."""
        (link,) = self.bench.builder.links
        (note,) = link.explain(a_request("v4.test", AAAA, client="10.0.0.1"))
        self.assertIn("the client asks over IPv4", note.text)
        (note,) = link.explain(a_request("v4.test", AAAA, client=CLIENTS[0]))
        self.assertIn("64:ff9b::/96", note.text)
