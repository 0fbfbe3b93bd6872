"""Tests of :mod:`kdns.plugins.loop`."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import Next, attempt, chain
from kdns.core.degraded import Fault
from kdns.core.metrics import Gauge
from kdns.core.reply import error_reply, render_reply
from kdns.core.request import Transport, request_from
from kdns.corefile.errors import CorefileError
from kdns.plugin.seam import BlockBuilder, ServerContext
from kdns.plugins import forward, loop
from kdns.plugins.forward import Forward
from kdns.plugins.loop import LoopConfig
from kdns.testing.memory import MemoryReactor
from kdns.testing.upstream import Action, Entry, FakeUpstream, UpstreamServer
from kdns.wire.constants import REFUSED, SERVFAIL
from kdns.wire.query import Query, read_query
from tests.conformance.support import start_cases
from tests.support import FakeServer, a_request, blocks_of, now, parsed

US = ("10.0.0.9", 53)
COREFILE = """. {
    loop
    forward . 10.0.0.1 10.0.0.2 {
        policy sequential
    }
}
"""


class Listener(DatagramProtocol):
    """A listener of ours: every query goes through the chain."""

    def __init__(self, ask: Next) -> None:
        self.ask = ask
        self.asked: list[Query] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Answer."""
        query = read_query(datagram)
        assert isinstance(query, Query)
        self.asked.append(query)
        request = request_from(query, Transport.UDP, addr[0], addr[1], US[0], 0.0, len(datagram), FakeServer())
        reply = attempt(self.ask, request)

        def send(result: Answer | Failure) -> None:
            transport: Any = self.transport
            if isinstance(result, Answer):
                transport.write(render_reply(request, result), addr)
            else:
                transport.write(error_reply(request.ident, request.flags, SERVFAIL, request.question), addr)

        if isinstance(reply, Deferred):
            reply.addBoth(send)
        else:
            send(reply)


class LoopTests(SynchronousTestCase):
    """A block with two upstreams, of which some send queries back."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9"])
        self.fakes = [FakeUpstream() for _ in range(3)]
        self.servers = [UpstreamServer(fake, self.reactor) for fake in self.fakes]
        for number, (fake, server) in enumerate(zip(self.fakes, self.servers, strict=True), 1):
            fake.say("www.example.com", f"www.example.com. 300 IN A 192.0.2.{number}")
            server.start(f"10.0.0.{number}", 53)
            server.loop_to(US)
        self.fatal: list[str] = []
        self.context = ServerContext(
            self.reactor, clock=self.reactor.seconds, random=Random(3), fatal=self.fatal.append, kernel_sockets=False
        )
        self.logged: list[tuple[LogLevel, str]] = []
        observer = cast("ILogObserver", self.note)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.builders: list[BlockBuilder] = []
        self.port: Any = None

    def note(self, event: Any) -> None:
        """Keep what the plugin logs."""
        if event.get("log_namespace") == "plugin/loop":
            self.logged.append((event["log_level"], event["log_format"].format(**event)))

    def begin(self, corefile: str = COREFILE) -> BlockBuilder:
        """Start a block, and listen."""
        block, words = blocks_of(corefile, ("loop", "forward"))[0]
        builder = BlockBuilder(self.context, block, 0)
        directives: tuple[Any, ...] = (loop.directive, forward.directive)
        for directive in directives:
            if directive.name in words:
                directive.build(directive.parse(words[directive.name], block), builder)
        for resource in builder.resources:
            resource.start()
        self.builders.append(builder)
        self.listener = Listener(chain(builder.links))
        self.port = self.reactor.listenUDP(US[1], self.listener, US[0])
        return builder

    def tearDown(self) -> None:
        for builder in self.builders:
            for resource in builder.resources:
                resource.stop()
        for server in self.servers:
            server.stop()
        if self.port is not None:
            self.port.stopListening()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])

    def send_back(self, *numbers: int) -> None:
        """The upstreams with these numbers, from 1, send everything back to us."""
        for number in numbers:
            self.fakes[number - 1].say_everywhere(Entry(action=Action.ASK_BACK))

    def upstreams(self, builder: BlockBuilder) -> list[Any]:
        """The upstreams of the block's one stanza."""
        plugin = builder.find(Forward)
        assert plugin is not None
        upstreams: list[Any] = plugin.forwarders[0].upstreams
        return upstreams

    def gauge(self, upstream: str) -> float | None:
        """The value of ``kdns_loop_detected`` for an upstream."""
        family = self.context.registry.gauge("kdns_loop_detected", "", ("zone", "to"))
        cell = family.cells.get((".", upstream))
        return cell.value if isinstance(cell, Gauge) else None

    def ask(self, builder: BlockBuilder) -> Answer:
        """The answer to ``www.example.com``."""
        reply = chain(builder.links)(a_request("www.example.com"))
        self.reactor.settle()
        assert isinstance(reply, Deferred)
        answer: Answer = self.successResultOf(reply)
        return answer

    def test_no_loop(self) -> None:
        """Upstreams that do not send the probe back stay in use; each is probed once."""
        builder = self.begin()
        self.reactor.advance(120)
        self.assertEqual([fake.asked() for fake in self.fakes], [1, 1, 0])
        self.assertEqual((self.logged, self.listener.asked), ([], []))
        self.assertTrue(all(upstream.health.usable for upstream in self.upstreams(builder)))

    def test_the_looping_upstream_alone_is_taken_out(self) -> None:
        """The upstream that sends queries back is out of use, and shouted about; the other serves."""
        self.send_back(1)
        builder = self.begin()
        self.reactor.advance(0)
        self.assertEqual([upstream.health.usable for upstream in self.upstreams(builder)], [False, True])
        self.assertEqual(self.gauge("10.0.0.1:53"), 1)
        (level, text), *more = self.logged
        self.assertEqual((level, more), (LogLevel.error, []))
        self.assertRegex(
            text,
            r'^Loop \(10\.0\.0\.1:\d+ -> 10\.0\.0\.9:53\) detected for zone "\.", see docs/plugins/loop\.md\. '
            r'Query: "HINFO \d+\.\d+\.": upstream 10\.0\.0\.1:53 is out of use$',
        )
        self.assertEqual(self.ask(builder).sections()[0][0].rdata[-1], 2)
        self.assertEqual(self.fatal, [])

    def test_the_probe_goes_round_once(self) -> None:
        """A probe that came back is answered REFUSED, and not forwarded again."""
        self.send_back(1)
        self.begin()
        self.reactor.advance(0)
        self.assertEqual(len(self.listener.asked), 1)
        self.assertEqual(self.fakes[0].asked(), 1)

    def test_back_in_use_when_the_circle_is_broken(self) -> None:
        """It is probed each minute, and taken back when the probe does not come back."""
        self.send_back(1)
        builder = self.begin()
        self.reactor.advance(61)
        self.assertFalse(self.upstreams(builder)[0].health.usable)
        self.assertEqual([level for level, _ in self.logged], [LogLevel.error] * 2)
        (state,) = self.context.degraded
        self.assertEqual((state.name, state.kind), ("upstream 10.0.0.1:53", Fault.UPSTREAM_LOOP))
        self.assertTrue(state.text.startswith("Loop ("), state.text)
        self.fakes[0].say_everywhere(None)
        self.reactor.advance(60)
        self.assertTrue(self.upstreams(builder)[0].health.usable)
        self.assertEqual(self.gauge("10.0.0.1:53"), 0)
        self.assertEqual(self.logged[-1][0], LogLevel.info)
        self.assertEqual(list(self.context.degraded), [])

    def test_silent_upstream(self) -> None:
        """An upstream that says nothing is probed each second, 30 times."""
        self.fakes[0].say_everywhere(Entry(silent=True))
        self.begin()
        self.reactor.advance(29.5)
        self.assertEqual(self.fakes[0].asked(), 30)
        self.reactor.advance(60)
        self.assertEqual(self.fakes[0].asked(), 30)

    def test_loop_that_begins_while_probing(self) -> None:
        """A loop is found by a later probe when the first ones got lost."""
        self.fakes[0].say_everywhere(Entry(silent=True))
        builder = self.begin()
        self.reactor.advance(3.5)
        self.send_back(1)
        self.reactor.advance(1)
        self.assertFalse(self.upstreams(builder)[0].health.usable)

    def test_stopping_puts_back(self) -> None:
        """A guard that stops leaves no upstream out of use, and nothing running."""
        self.send_back(1)
        builder = self.begin()
        self.reactor.advance(0)
        first = self.upstreams(builder)[0]
        builder.resources[0].stop()
        self.assertTrue(first.health.usable)
        self.assertIsNone(self.gauge("10.0.0.1:53"))

    def test_upstreams_that_come_later(self) -> None:
        """When a resolv.conf names other servers, they are probed too."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("nameserver 10.0.0.2\n")
        self.send_back(3)
        builder = self.begin(f". {{\n loop\n forward . {path}\n}}\n")
        self.reactor.advance(1)
        with open(path, "w") as file:
            file.write("nameserver 10.0.0.2\nnameserver 10.0.0.3\n")
        self.reactor.advance(6)
        self.assertEqual([upstream.health.usable for upstream in self.upstreams(builder)], [True, False])

    def test_exit(self) -> None:
        """``loop exit`` ends the process in CoreDNS's words."""
        self.send_back(1)
        self.begin(COREFILE.replace("loop", "loop exit"))
        self.reactor.advance(0)
        (text,) = self.fatal
        self.assertRegex(
            text,
            r'^plugin/loop: Loop \(10\.0\.0\.1:\d+ -> 10\.0\.0\.9:53\) detected for zone "\.", '
            r'see docs/plugins/loop\.md\. Query: "HINFO \d+\.\d+\."$',
        )

    def test_names_of_probes(self) -> None:
        """Probes stand below the stanza's zone and the block's; a stanza that meets neither is not probed."""
        self.begin("example.org {\n loop\n forward sub.example.org 10.0.0.1\n forward example.net 10.0.0.2\n}\n")
        self.reactor.advance(0)
        (received,) = self.fakes[0].received
        assert received.qname is not None
        self.assertTrue(received.qname.endswith(b"\x03sub\x07example\x03org\x00"))
        self.assertEqual(self.fakes[1].asked(), 0)

    def test_without_forward(self) -> None:
        """Without upstreams there is nothing to probe."""
        self.begin(". {\n loop\n}\n")
        self.reactor.advance(60)
        self.assertEqual(self.fakes[0].asked(), 0)

    def test_other_queries_pass(self) -> None:
        """HINFO queries of clients go on like all others."""
        builder = self.begin()
        reply = now(builder.links[0].answer(a_request("1.2", 13), lambda _: Answer(rcode=REFUSED, source="next")))  # type: ignore[arg-type]  # this plugin answers at once
        self.assertEqual(reply.source, "next")


class ConfigTests(SynchronousTestCase):
    """What may stand behind ``loop``."""

    def test_words(self) -> None:
        """Nothing, or ``exit``."""
        self.assertEqual(parsed(loop.directive, ". {\n loop\n}\n"), LoopConfig())
        self.assertEqual(parsed(loop.directive, ". {\n loop exit\n}\n"), LoopConfig(exit=True))

    def test_errors(self) -> None:
        """Other words and a second use are refused, in the words of the golden cases."""
        golden = {case.name: case for case in start_cases()}["loop-arg"]
        error = self.assertRaises(CorefileError, parsed, loop.directive, golden.corefile.replace("{{PORT}}", "1053"))
        self.assertEqual(str(error), golden.wanted.error)
        for text in ("loop exit now", "loop\n loop"):
            self.assertRaises(CorefileError, parsed, loop.directive, f". {{\n {text}\n}}\n")

    def test_page(self) -> None:
        """Every example of the page is accepted, and the metric has its row."""
        text = (Path(__file__).parents[2] / "docs" / "plugins" / "loop.md").read_text(encoding="utf-8")
        self.assertIn("| `kdns_loop_detected{zone,to}` |", text)
        examples = re.findall(r"```corefile\n(.+?)```", text, re.DOTALL)
        self.assertEqual(len(examples), 2)
        for example in examples:
            ((block, words),) = blocks_of(example, ("loop", "forward"))
            loop.directive.parse(words["loop"], block)
