"""Which queries are sampled, and what their spans say: a whole server with a collector."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from kdns.core.answer import Answer
from kdns.core.degraded import Fault
from kdns.core.observe import Exchange
from kdns.plugin.seam import ServerContext
from kdns.plugins.trace import directive
from kdns.plugins.trace.spans import Span
from kdns.plugins.trace.tracing import MOST_OPEN, Sampler, TraceLink, TraceObserver, Tracing
from kdns.testing.plugin import PluginBench, Upstream, a_query, a_request
from tests.conformance.world import MemoryWorld

COREFILE = """
.:1053 {
    trace 127.0.0.1:9411
    cache 30
    hosts {
        192.0.2.1 a.test
        fallthrough
    }
    forward . {{UPSTREAM}}
}
"""


class Collector(Resource):
    """Keeps what it gets."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[dict[str, Any]] = []
        self.paths: list[bytes] = []
        self.status = 202

    def render_POST(self, request: Any) -> bytes:
        request.setResponseCode(self.status)
        self.paths.append(request.path)
        if self.status < 300:
            self.spans += json.loads(request.content.read())
        return b""

    def take(self) -> list[dict[str, Any]]:
        """The spans that came since this was called last."""
        found, self.spans = self.spans, []
        return found


def tree(spans: list[dict[str, Any]]) -> Any:
    """Names of spans with those of their children."""

    def below(parent: str | None) -> dict[str, Any]:
        return {span["name"]: below(span["id"]) for span in spans if span.get("parentId") == parent}

    return below(None)


class TracingTests(SynchronousTestCase):
    def start(self, corefile: str = COREFILE) -> MemoryWorld:
        self.collector = Collector()
        self.world = MemoryWorld(corefile)
        site: Any = Site(self.collector, reactor=self.world.reactor)
        site.noisy = False
        port = self.world.reactor.listenTCP(9411, site, interface="127.0.0.1")
        self.world.start()
        self.addCleanup(self.stop, port)
        return self.world

    def stop(self, port: Any) -> None:
        self.world.stop()
        port.stopListening()
        self.world.reactor.advance(120)
        self.assertEqual(self.world.reactor.leftovers(), [])

    def ask(
        self, name: str, proto: str = "udp", source: str = "127.0.0.1", seconds: float = 1.1
    ) -> list[dict[str, Any]]:
        """Ask, and return the spans that came of it."""
        reply, _ = self.world.ask(a_query(name), proto, source)
        assert reply is not None
        self.world.reactor.advance(seconds)
        return self.collector.take()

    def test_forwarded(self) -> None:
        """Plugins stand inside one another; each attempt has a span, and all are of one trace."""
        self.start()
        spans = self.ask("www.example.com")
        wanted: Any = {"servedns": {"admission": {}, "cache": {"hosts": {"forward": {"connect": {}}}}}}
        self.assertEqual(tree(spans), wanted)
        self.assertEqual(len({span["traceId"] for span in spans}), 1)
        top, attempt = spans[0], spans[-1]
        self.assertEqual(top["tags"]["coredns.io/rcode"], "NOERROR")
        self.assertEqual(attempt["tags"], {"peer.address": "127.0.0.1:5300", "coredns.io/proto": "udp"})
        self.assertTrue(all("error" not in span["tags"] for span in spans))
        self.assertEqual(self.collector.paths, [b"/api/v2/spans"])

    def test_repeated(self) -> None:
        """A reply from the answer table has a span for that, with the address of the client that got it."""
        self.start()
        self.assertEqual(tree(self.ask("a.test")), {"servedns": {"admission": {}, "cache": {"hosts": {}}}})
        for proto in ("udp", "tcp"):
            self.ask("a.test", proto)
            for source in ("127.0.0.1", "10.0.0.1"):
                spans = self.ask("a.test", proto, source)
                self.assertEqual(tree(spans), {"servedns": {"table": {}}})
                self.assertEqual(spans[0]["tags"]["coredns.io/remote"], source)

    def test_failed(self) -> None:
        """A failure shows in every span that it passed through."""
        self.start(COREFILE.replace("{{UPSTREAM}}", "127.0.0.1:5399 {\n max_connect_attempts 1\n }"))
        spans = self.ask("www.example.com")
        failed = {span["name"] for span in spans if "error" in span["tags"]}
        self.assertEqual(failed, {"servedns", "cache", "hosts", "forward", "connect"})
        self.assertIn("connection refused", spans[0]["annotations"][1]["value"])
        self.assertEqual(spans[0]["tags"]["coredns.io/rcode"], "SERVFAIL")

    def test_dropped(self) -> None:
        """A query without a reply is traced, too."""
        self.start(COREFILE.replace("cache 30", "cache 30\nacl b.test {\n drop\n }"))
        self.world.ask(a_query("b.test"))
        self.world.reactor.advance(1.1)
        self.assertEqual(tree(self.collector.take()), {"servedns": {"admission": {}, "acl": {}}})

    def test_inner_lookups(self) -> None:
        """What a plugin looks up inside is part of the trace."""
        self.start(
            COREFILE.replace(
                "cache 30", 'template IN A c.test {\n answer "{{ .Name }} 60 IN CNAME www.example.com."\n }'
            )
        )
        found = tree(self.ask("c.test"))["servedns"]["template"]
        self.assertEqual(found, {"template": {"hosts": {"forward": {"connect": {}}}}})

    def test_every(self) -> None:
        """Of all queries, repeated ones included, every so manyth is traced."""
        self.start(COREFILE.replace("9411", "9411 {\n every 3\n }"))
        traced = [bool(self.ask("a.test")) for _ in range(9)]
        self.assertEqual(traced, [False, False, True] * 3)

    def test_identifiers_in_the_log(self) -> None:
        """The label of metadata is the identifier of the query's own trace, also when a name is asked again."""
        corefile = COREFILE.replace("cache 30", 'metadata\nlog . "{/trace/traceid}"\ncache 30')
        self.start(corefile)
        for _ in range(3):
            del self.world.lines[:]
            spans = self.ask("a.test")
            self.assertEqual(self.world.lines, [f"[INFO] {spans[0]['traceId']}"])

    def test_no_collector(self) -> None:
        """A collector that is away or refuses costs spans, and nothing else; it is in the list of faults until it works."""
        self.start(COREFILE.replace("9411", "9411 {\n zipkin_max_batch_size 1\n }"))
        self.collector.status = 500
        for _ in range(2):
            self.ask("a.test")
        ((kind, text),) = [(state.kind, state.text) for state in self.world.context.degraded]
        self.assertEqual((kind, text), (Fault.TRACE, "takes no spans: status 500"))
        counter = self.world.context.registry.counter("kdns_trace_dropped_spans_total", "", ["endpoint"])
        self.assertGreater(counter.counter("http://127.0.0.1:9411/api/v2/spans").value, 3)
        self.collector.status = 200
        self.ask("a.test")
        self.assertEqual(list(self.world.context.degraded), [])

    def test_silent_collector(self) -> None:
        """A batch that the collector does not take in time is lost; what waits behind it is bounded."""
        self.start(COREFILE.replace("9411", "9411 {\n zipkin_max_backlog_size 10\n }"))
        self.world.reactor.blackhole("127.0.0.1", 9411)
        for _ in range(20):
            self.ask("a.test", seconds=0.4)
        self.world.reactor.advance(6)
        counter = self.world.context.registry.counter("kdns_trace_dropped_spans_total", "", ["endpoint"])
        self.assertGreater(counter.counter("http://127.0.0.1:9411/api/v2/spans").value, 20)
        self.assertEqual(len(list(self.world.context.degraded)), 1)
        self.world.reactor.lift("127.0.0.1", 9411)

    def test_switched_off(self) -> None:
        """Without trace, and with every 0, queries go the fast path and nothing watches them."""
        for words in ("#", "trace {\n every 0\n }"):
            self.start(f".:1053 {{\n {words}\n cache 30\n forward . {{{{UPSTREAM}}}}\n}}\n")
            (opened,) = self.world.service.endpoints.values()
            self.assertTrue(opened.listener.routes)
            (block,) = opened.listener.zones.all_blocks()
            self.assertEqual((len(block.links), block.observers), (2, ()))
            self.doCleanups()


class LinkTests(SynchronousTestCase):
    def test_repeats(self) -> None:
        """It changes nothing of what is answered."""
        bench = PluginBench(directive, "trace 127.0.0.1:9411 {\nevery 2\n}")
        bench.check_repeats(["a.test", "b.test"])
        bench.stop()

    def test_changed_in_front(self) -> None:
        """A plugin in front may change the request: the span is found again, and the look-ups inside do not take it."""
        exported: list[list[Span]] = []
        clock = Clock()
        context = ServerContext(clock, clock=clock.seconds, wall=clock.seconds)
        tracing = Tracing(1, exported.append, context)
        link, observer = TraceLink(tracing), TraceObserver(tracing)
        link.placed([Upstream()])
        request = replace(a_request("a.test"), message=a_query("a.test"))
        link.answer(replace(request, udp_size=512), lambda request: Answer())
        observer.finished(Exchange(replace(request, message=b""), Answer(), b"", ".", "", 0.0))
        self.assertEqual(exported, [])
        observer.finished(Exchange(request, Answer(), b"", ".", "", 0.0))
        self.assertEqual([span.name for span in exported[0]], ["servedns", "admission", "forward"])
        self.assertIsNone(tracing.take(request))

    def test_never_answered(self) -> None:
        """Spans that nobody asks for again are bounded."""
        tracing = Tracing(1, lambda spans: None, ServerContext(Clock()))
        first = a_request("a.test", client_port=1)
        tracing.hold(first, tracing.begin(first))
        for port in range(2, MOST_OPEN + 2):
            tracing.hold(a_request("a.test", client_port=port), tracing.begin(first))
        self.assertIsNone(tracing.take(first))

    def test_sampler(self) -> None:
        """The N-th query is the first."""
        sampler = Sampler(3)
        self.assertEqual([sampler.draw() for _ in range(7)], [False, False, True] * 2 + [False])
        self.assertTrue(all(Sampler(1).draw() for _ in range(3)))
