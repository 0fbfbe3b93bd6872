# -*- test-case-name: tests.plugins.nomad.test_nomad -*-
"""Services of a Nomad over a network in memory: what is asked, what is kept, and what becomes of it when Nomad is away."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import attempt, chain
from kdns.core.failure import ResolutionFailed
from kdns.core.metrics import Registry
from kdns.core.stamps import Stamp, StampRef
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.nomad import directive
from kdns.plugins.nomad.answers import BadAnswer, Names, Registration, registrations, services
from kdns.plugins.nomad.config import NomadConfig, Source, parse, source_of
from kdns.plugins.nomad.resolver import NomadLink
from kdns.plugins.nomad.store import Age, NomadStore
from kdns.plugins.stores.rest import TrustFiles
from kdns.testing.plugin import PluginBench, Upstream, a_request
from kdns.wire.constants import AA, EDE_STALE_ANSWER, NXDOMAIN, REFUSED, SERVFAIL
from kdns.wire.names import from_text, to_text
from tests.plugins.nomad.fake import FakeNomad
from tests.plugins.stores.http import HttpCase

PORT = 4646
URL = f"http://127.0.0.1:{PORT}"
DEFAULT = NomadConfig()


class NomadCase(HttpCase):
    """A Nomad with two services, and the link that answers with them."""

    def setUp(self) -> None:
        super().setUp()
        self.nomad = FakeNomad(self.reactor)
        self.nomad.start(PORT)
        self.nomad.register("web", ("10.0.0.1", 80), ("10.0.0.2", 8080), ("10.0.0.1", 80))
        self.nomad.register("Six", ("2001:db8::1", 53), namespace="prod")
        self.stopping.append(self.nomad)

    def begin(self, config: NomadConfig = DEFAULT, addresses: tuple[str, ...] = (URL,)) -> None:
        """Start the store."""
        source = Source(addresses, config.token, config.filter)
        self.store = NomadStore(source, self.context)
        self.stopping.append(self.store)
        self.started: list[Any] = []
        waiting = self.store.start()
        assert waiting is not None
        waiting.addBoth(self.started.append)
        self.link = NomadLink(config, self.store, self.context.clock)
        self._ask = chain([self.link, Upstream()])
        self.reactor.advance(0.1)

    def ask(self, name: str, qtype: str = "A") -> Answer:
        """The answer of the link; Nomad may be asked for it."""
        reply = attempt(self._ask, a_request(name, qtype))
        if isinstance(reply, Deferred):
            results: list[Any] = []
            reply.addBoth(results.append)
            for _ in range(100):
                if results:
                    break
                self.reactor.advance(0.1)
            reply = results[0]
        if isinstance(reply, Answer):
            return reply
        error = reply.value
        assert isinstance(error, ResolutionFailed), error
        return Answer(error.rcode, ede=() if error.ede is None else (error.ede,))

    def shown(self, answer: Answer) -> list[str]:
        """The answer section."""
        return [f"{to_text(one.owner)} {one.ttl} {one.rtype} {one.rdata.hex()}" for one in answer.answer]

    def asked(self, path: str) -> int:
        """How often Nomad was asked for something."""
        return [one for one, _ in self.nomad.asked].count(path)


class AnsweringTests(NomadCase):
    """A Nomad that works."""

    def test_records(self) -> None:
        """Addresses once each, ports with the name asked for as target; labels in front of the zone do not matter."""
        self.begin()
        self.assertEqual(self.started, [None])
        web = ["web.default.service.nomad. 30 1 0a000001", "web.default.service.nomad. 30 1 0a000002"]
        answer = self.ask("web.default.service.nomad")
        self.assertEqual((self.shown(answer), answer.flags), (web, AA))
        self.assertEqual(len(self.ask("WEB.default.dc1.service.nomad").answer), 2)
        target = from_text("web.default.service.nomad").hex()
        services = self.ask("web.default.service.nomad", "SRV")
        self.assertEqual(
            [text.split()[-1] for text in self.shown(services)], [f"000a000a{port:04x}{target}" for port in (80, 8080)]
        )
        self.assertEqual(len(services.additional), 2)
        self.assertEqual(len(self.ask("six.prod.service.nomad", "AAAA").answer), 1)
        self.assertEqual(self.nomad.asked[-1], ("/v1/service/Six", {"namespace": "prod"}))

    def test_negative(self) -> None:
        """What exists without such records is NODATA, what does not exist NXDOMAIN, with the SOA of the zone; Nomad is not asked."""
        self.begin()
        for name, qtype, rcode in (
            ("web.default.service.nomad", "AAAA", 0),
            ("web.default.service.nomad", "TXT", 0),
            ("nope.default.service.nomad", "A", NXDOMAIN),
            ("web.prod.service.nomad", "A", NXDOMAIN),
            ("default.service.nomad", "A", 0),
            ("nope.service.nomad", "A", NXDOMAIN),
            ("service.nomad", "A", 0),
        ):
            answer = self.ask(name, qtype)
            self.assertEqual((answer.rcode, answer.answer), (rcode, ()), name)
            self.assertEqual(to_text(answer.authority[0].owner), "service.nomad.")
        self.assertEqual(len(self.ask("service.nomad", "SOA").answer), 1)
        self.assertEqual(self.ask("service.nomad", "AXFR").rcode, REFUSED)
        self.assertEqual(self.ask("www.example.org").source, "forward")
        self.assertEqual(self.asked("/v1/service/web"), 1)

    def test_asked_once(self) -> None:
        """Between two changes Nomad is asked once, however many queries come, at the same time or later."""
        self.begin()
        replies = [attempt(self._ask, a_request("web.default.service.nomad")) for _ in range(5)]
        self.reactor.advance(0.1)
        for reply in replies:
            assert isinstance(reply, Deferred)
            self.assertEqual(len(self.successResultOf(reply).answer), 2)
        answer = self.ask("web.default.service.nomad", "SRV")
        self.assertEqual(self.asked("/v1/service/web"), 1)
        self.assertTrue(answer.validity.repeat)

    def test_changed(self) -> None:
        """A change ends what was said before, and the next query hears of it; nothing lasts forever, nothing is polled."""
        self.begin()
        before = self.ask("web.default.service.nomad")
        gone = self.ask("new.default.service.nomad")
        self.nomad.register("web", ("10.0.0.9", 80))
        self.nomad.register("new", ("10.0.0.8", 80))
        self.reactor.settle()
        for old in (before, gone):
            self.assertTrue(any(stamp.version != version for stamp, version in old.validity.stamps))
        self.assertEqual(
            self.shown(self.ask("web.default.service.nomad")), ["web.default.service.nomad. 30 1 0a000009"]
        )
        self.assertEqual(len(self.ask("new.default.service.nomad").answer), 1)
        self.nomad.register("web")
        self.reactor.settle()
        self.assertEqual(self.ask("web.default.service.nomad").rcode, NXDOMAIN)
        asked = self.asked("/v1/services")
        self.advance(600)
        self.assertLessEqual(self.asked("/v1/services") - asked, 10)

    def test_changed_meanwhile(self) -> None:
        """An answer that was asked for before a change does not pass for one after it."""
        self.begin()
        self.nomad.held = []
        first = attempt(self._ask, a_request("web.default.service.nomad"))
        assert isinstance(first, Deferred)
        self.reactor.advance(0.1)
        held, self.nomad.held = self.nomad.held, None
        self.nomad.register("web", ("10.0.0.9", 80))
        self.reactor.settle()
        second = attempt(self._ask, a_request("web.default.service.nomad"))
        assert isinstance(second, Deferred)
        (release,) = held
        release()
        self.reactor.advance(0.1)
        for reply in (first, second):
            self.assertEqual(self.shown(self.successResultOf(reply)), ["web.default.service.nomad. 30 1 0a000009"])
        self.assertEqual(self.asked("/v1/service/web"), 2)

    def test_filter_token_ttl(self) -> None:
        """Options are used."""
        self.nomad.token = "t"
        self.begin(NomadConfig(token="t", filter='Address == "10.0.0.2"', ttl=7))  # not a secret
        self.assertEqual(self.shown(self.ask("web.default.service.nomad")), ["web.default.service.nomad. 7 1 0a000002"])

    def test_bad_address(self) -> None:
        """An address that is none is left out."""
        self.nomad.register("bad", ("host.example", 1), ("10.0.0.5", 2))
        self.begin()
        self.assertEqual(len(self.ask("bad.default.service.nomad").answer), 1)

    def test_counted(self) -> None:
        """Queries are counted by the namespaces that there are, a repeated reply by its charge."""
        self.begin()
        answer = self.ask("web.default.service.nomad")
        self.ask("nope.anything.service.nomad")
        lines = [line for line in self.context.registry.lines() if line.startswith("coredns_nomad")]
        self.assertEqual(lines, ['coredns_nomad_success_requests_total{server="dns://:53",namespace="default"} 1'])
        answer.charges[0].charge(4)
        self.assertIn('namespace="default"} 5', "\n".join(self.context.registry.lines()))

    def test_explained(self) -> None:
        """What the name is read as, and whether there is such a service."""
        self.begin()

        def notes(name: str) -> list[tuple[str, bool]]:
            return [(note.text, note.missing) for note in self.link.explain(a_request(name))]

        self.assertEqual(
            notes("web.default.service.nomad"), [("service web in namespace default: Nomad has it", False)]
        )
        self.assertEqual(
            notes("x.default.service.nomad"), [("service x in namespace default: Nomad has no such service", True)]
        )
        self.assertIn("names are SERVICE.NAMESPACE", notes("x.service.nomad")[0][0])
        self.assertIn("not for this name", notes("example.org")[0][0])
        self.assertEqual(list(self.link.freshness()), [f"2 services at index 12 of {URL}"])


class AwayTests(NomadCase):
    """A Nomad that is away, or does not let us."""

    def test_away(self) -> None:
        """What Nomad said last is given, marked, for a short time; what it was never asked about is SERVFAIL."""
        self.begin()
        self.ask("web.default.service.nomad")
        self.nomad.stop()
        self.advance(3)
        answer = self.ask("web.default.service.nomad")
        self.assertEqual((len(answer.answer), answer.ede[0][0]), (2, EDE_STALE_ANSWER))
        self.assertFalse(answer.validity.repeat or answer.validity.cacheable)
        failed = self.ask("six.prod.service.nomad", "AAAA")
        self.assertEqual(failed.rcode, SERVFAIL)
        self.assertNotIn("127.0.0.1", failed.ede[0][1])
        self.assertEqual(len(self.wrong()), 1)
        self.assertIn("one by one", next(iter(self.link.freshness())))
        self.nomad.register("web", ("10.0.0.9", 80))
        self.nomad.start(PORT)
        self.advance(61)
        self.assertEqual(self.wrong(), [])
        answer = self.ask("web.default.service.nomad")
        self.assertEqual((self.shown(answer), answer.ede), (["web.default.service.nomad. 30 1 0a000009"], ()))

    def test_never_there(self) -> None:
        """The start does not wait, and readiness does."""
        self.nomad.stop()
        self.reactor.settle()
        self.begin()
        self.assertEqual((self.started, self.store.reached), ([None], False))
        self.assertEqual(self.ask("web.default.service.nomad").rcode, SERVFAIL)
        self.nomad.start(PORT)
        self.advance(5)
        self.assertTrue(self.store.reached)

    def test_silent(self) -> None:
        """For one that takes connections and says nothing the start waits five seconds, and a client four."""
        self.nomad.silent = True
        self.begin()
        self.advance(4)
        self.assertEqual(self.started, [])
        self.advance(2)
        self.assertEqual(self.started, [None])
        began = self.reactor.seconds()
        self.assertEqual(self.ask("web.default.service.nomad").rcode, SERVFAIL)
        self.assertLess(self.reactor.seconds() - began, 4.5)

    def test_may_not_list(self) -> None:
        """A token that may not list all services: Nomad is asked for each query, and no reply is repeated."""
        self.nomad.may_list = False
        self.begin()
        for number in (1, 2):
            answer = self.ask("web.default.service.nomad")
            self.assertEqual((len(answer.answer), answer.ede), (2, ()))
            self.assertEqual((answer.validity.repeat, answer.validity.cacheable), (False, True))
            self.assertEqual(self.asked("/v1/service/web"), number)
        self.assertEqual(self.ask("nope.default.service.nomad").rcode, NXDOMAIN)
        self.assertIn("must be allowed to read jobs", self.wrong()[0])

    def test_members(self) -> None:
        """When an agent does not answer, the next one is asked."""
        self.begin(addresses=("http://127.0.0.1:1", URL))
        self.advance(1)
        self.assertEqual(len(self.ask("web.default.service.nomad").answer), 2)

    def test_nonsense(self) -> None:
        """Answers that are not Nomad's change nothing."""
        self.begin()
        self.ask("web.default.service.nomad")
        for body in (b"", b"{}", b"[1]", b'[{"Namespace": 1}]', b"\xff"):
            self.nomad.broken = body
            self.nomad.register("web", ("10.0.0.9", 80))
            self.advance(61)
            self.assertEqual(self.ask("web.default.service.nomad").ede[0][0], EDE_STALE_ANSWER)
        self.nomad.broken = None
        self.advance(61)
        self.assertEqual(self.ask("web.default.service.nomad").ede, ())

    def test_lower_index(self) -> None:
        """Another Nomad, whose index is lower, is read whole."""
        self.begin()
        self.nomad.index = 3
        self.nomad.register("new", ("10.0.0.8", 80))
        self.advance(61)
        self.assertEqual(len(self.ask("new.default.service.nomad").answer), 1)


class AnswerTests(SynchronousTestCase):
    """kdns.plugins.nomad.answers."""

    def test_read(self) -> None:
        """Names by namespace, and instances."""
        body = b'[{"Namespace": "Default", "Services": [{"ServiceName": "Web", "Tags": []}]}, {"Namespace": "x", "Services": null}]'
        self.assertEqual(services(body), {("default", "web"): "Web"})
        self.assertEqual(services(b"null"), {})
        found = registrations(b'[{"Address": "::ffff:10.0.0.1", "Port": 80}, {"Address": "", "Port": 1}]')
        self.assertEqual(found, ([Registration(bytes((10, 0, 0, 1)), 80)], [""]))

    @given(st.binary(max_size=200))
    def test_anything(self, body: bytes) -> None:
        """Bytes are an answer or are refused."""
        for read in (services, registrations):
            try:
                read(body)
            except BadAnswer:
                pass


class ConfigTests(SynchronousTestCase):
    """kdns.plugins.nomad.config."""

    def setUp(self) -> None:
        self.bench = PluginBench.__new__(PluginBench)
        self.bench._directive, self.bench._zone, self.bench._behind = directive, ".", ()

    def test_parsed(self) -> None:
        """Defaults, and every option, in any letter case."""
        self.assertEqual(self.bench.parse("nomad"), NomadConfig())
        found = self.bench.parse(
            'nomad a.test b.test {\n Address http://h:1/ unix:///s\n TOKEN T\n filter "a == b"\n ttl 0\n}'
        )
        self.assertEqual(found, NomadConfig(from_text("a.test"), ("http://h:1", "unix:///s"), "T", "a == b", 0))
        self.assertNotIn("'T'", repr(found))

    def test_environment(self) -> None:
        """What the Corefile does not say is the environment's."""
        environment = {
            "NOMAD_ADDR": "https://n:1", "NOMAD_TOKEN": "t", "NOMAD_REGION": "r", "NOMAD_CACERT": "a", "NOMAD_CLIENT_CERT": "c",
            "NOMAD_CLIENT_KEY": "k",
        }  # fmt: skip
        self.assertEqual(
            source_of(NomadConfig(), environment), Source(("https://n:1",), "t", "", "r", TrustFiles("c", "k", "a"))
        )
        own = NomadConfig(addresses=("http://h:1",), token="own")  # not a secret
        self.assertEqual(source_of(own, environment).addresses, ("http://h:1",))
        self.assertEqual(source_of(own, environment).token, "own")
        self.assertEqual(source_of(NomadConfig(), {}).addresses, ("http://127.0.0.1:4646",))
        self.assertRaises(ValueError, source_of, NomadConfig(), {"NOMAD_ADDR": "x"})

    def test_refused(self) -> None:
        """What is refused, with CoreDNS's words."""
        begin = "plugin/nomad: Corefile:3 - Error during parsing: "
        for option, error in (
            ("address", "at least one address is required"),
            ("filter", "exactly one filter is required"),
            ("token a b", "exactly one token is required"),
            ("ttl", "exactly one ttl value is required"),
            ("ttl 3601", "ttl must be in range [0, 3600]: 3601"),
            ("frob", "unknown property 'frob'"),
        ):
            self.assertEqual(self.bench.error(f"nomad {{\n {option}\n}}").partition("\n")[0], begin + error)
        self.assertIn("error parsing ttl: ", self.bench.error("nomad {\n ttl x\n}"))
        self.assertIn("is no URL", self.bench.error("nomad {\n address x\n}"))
        self.assertIn("once per Server Block", self.bench.error("nomad\nnomad"))


class FakeStore:
    """What a store knows, set by the test."""

    def __init__(self) -> None:
        registry = Registry()
        self.names: Names | None = {("default", "web"): "web"}
        self.found = {("default", "web"): [Registration(bytes((10, 0, 0, 1)), 80)]}
        self.why = "refused"
        self.serial = 7
        self.succeeded = registry.counter("succeeded", "", ["server", "namespace"])
        self.failed = registry.counter("failed", "", ["server", "namespace"])
        self.stamp = Stamp()

    def note(self) -> StampRef:
        """See :class:`kdns.plugins.nomad.resolver.Store`."""
        return self.stamp.ref()

    def spelled(self, namespace: str, name: str) -> str | None:
        """See :class:`kdns.plugins.nomad.resolver.Store`."""
        return name if self.names is None else self.names.get((namespace, name))

    async def instances(self, namespace: str, name: str) -> tuple[list[Registration], Age]:
        """See :class:`kdns.plugins.nomad.resolver.Store`."""
        return self.found.get((namespace, name), []), Age.CURRENT

    def freshness(self) -> list[str]:
        """See :class:`kdns.plugins.nomad.resolver.Store`."""
        return []


class Directive:
    """``nomad`` on such a store."""

    name = "nomad"

    def __init__(self, store: FakeStore) -> None:
        self.store = store

    def parse(self, tokens: Dispenser, block: Block) -> NomadConfig:
        """As the real one."""
        return parse(tokens, block)

    def build(self, config: NomadConfig, builder: BlockBuilder) -> None:
        """As the real one, without connections."""
        builder.link(NomadLink(config, self.store, builder.context.clock))


class RepeatTests(SynchronousTestCase):
    """With table and cache in front."""

    def test_repeats_across_changes(self) -> None:
        """They never say what Nomad no longer says, also when changes can no longer be heard of."""
        store = FakeStore()
        bench = PluginBench(Directive(store), "nomad")
        self.addCleanup(bench.stop)
        names = [f"{name}service.nomad" for name in ("web.default.", "new.default.", "default.", "")]

        def change() -> None:
            store.names = {("default", "new"): "new"}
            store.found = {("default", "new"): [Registration(bytes((10, 0, 0, 9)), 81)]}
            store.stamp.bump()

        bench.check_repeats(names, qtypes=("A", "AAAA", "SRV", "TXT", "SOA"), change=change)

        def lose() -> None:
            store.names = None
            store.stamp.bump()

        bench.check_repeats(names, qtypes=("A", "SRV"), change=lose)
