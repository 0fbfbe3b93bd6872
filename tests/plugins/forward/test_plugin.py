"""Tests of :mod:`kdns.plugins.forward.plugin` and ``sources``: stanzas in a block, files and host names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from kdns.core.answer import Answer
from kdns.core.degraded import Fault
from kdns.core.failure import ResolutionFailed
from kdns.core.metrics import Registry
from kdns.corefile.errors import SetupError
from kdns.corefile.values import BadValue
from kdns.plugin.seam import BlockBuilder, Keeper, Resource, ServerContext
from kdns.plugins.forward import Forward, Forwarder, Stanza, Target, directive
from kdns.plugins.forward.config import OPTIONS
from kdns.plugins.forward.metrics import ForwardMetrics
from kdns.plugins.forward.sources import Sources
from kdns.testing.certificates import Authority
from kdns.testing.upstream import Entry
from kdns.wire.constants import NOERROR, NXDOMAIN, REFUSED
from tests.plugins.forward.support import ForwardCase, last_octet
from tests.support import a_request, blocks_of, built

PAGE = Path(__file__).parents[3] / "docs" / "plugins" / "forward.md"


class BlockCase(ForwardCase):
    """Stanzas of a Corefile on the network of the test."""

    def setUp(self) -> None:
        super().setUp()
        self.context = ServerContext(
            self.reactor, clock=self.reactor.seconds, random=Random(5), registry=self.net.registry
        )
        self.running: list[Resource] = []

    def tearDown(self) -> None:
        for resource in self.running:
            resource.stop()
        super().tearDown()

    def begin(self, *lines: str, kept: Keeper | None = None) -> BlockBuilder:
        """Build and start a block."""
        text = "\n".join(lines)
        builder = built(directive, f". {{\n{text}\n}}\n", self.context, kept)
        for resource in builder.resources:
            if resource not in self.running:
                resource.start()
                self.running.append(resource)
        self.reactor.settle()
        return builder

    def answer(self, builder: BlockBuilder, name: str = "www.example.com") -> Answer:
        """The answer of the block's link; "next" answers with REFUSED."""
        reply: Any = builder.links[0].answer(a_request(name), lambda _: Answer(rcode=REFUSED, source="next"))
        self.reactor.settle()
        result = self.successResultOf(reply) if isinstance(reply, Deferred) else reply
        assert isinstance(result, Answer)
        return result

    def forwarders(self, builder: BlockBuilder) -> list[Forwarder]:
        """The block's forwarders."""
        link = builder.links[0]
        assert isinstance(link, Forward)
        return link.forwarders


class StanzaTests(BlockCase):
    """Several stanzas, and what comes after them."""

    def test_first_that_takes_the_name(self) -> None:
        """Stanzas are tried in file order; what none takes goes to the next plugin."""
        builder = self.begin("forward example.com 10.0.0.1", "forward com 10.0.0.2")
        self.net.fakes[1].say("www.other.com", "www.other.com. 300 IN A 192.0.2.22")
        self.assertEqual(last_octet(self.answer(builder)), 1)
        self.assertEqual(last_octet(self.answer(builder, "www.other.com")), 22)
        self.assertEqual(self.answer(builder, "www.example.org").source, "next")

    def test_except(self) -> None:
        """Excepted names go to the next plugin."""
        builder = self.begin("forward . 10.0.0.1 {", "except example.com", "}")
        self.assertEqual(self.answer(builder).source, "next")

    def test_next(self) -> None:
        """A reply with a ``next`` code makes the following stanza be asked; others stand."""
        builder = self.begin("forward . 10.0.0.1 {", "next NXDOMAIN", "}", "forward . 10.0.0.2")
        self.net.fakes[1].say("nx.example.com", "nx.example.com. 300 IN A 192.0.2.22")
        self.assertEqual(last_octet(self.answer(builder, "nx.example.com")), 22)
        self.assertEqual(last_octet(self.answer(builder)), 1)

    def test_next_without_following(self) -> None:
        """Without a following stanza that takes the name, the reply stands."""
        builder = self.begin("forward . 10.0.0.1 {", "next NXDOMAIN", "}", "forward org 10.0.0.2")
        self.assertEqual(self.answer(builder, "nx.example.com").rcode, NXDOMAIN)

    def test_next_on_nodata(self) -> None:
        """An empty NOERROR counts with ``next_on_nodata`` alone."""
        self.net.first.say("empty.example.com", entry=Entry(rcode=NOERROR))
        self.net.fakes[1].say("empty.example.com", "empty.example.com. 300 IN A 192.0.2.22")
        plain = self.begin("forward . 10.0.0.1 {", "next NXDOMAIN", "}", "forward . 10.0.0.2")
        self.assertEqual(self.answer(plain, "empty.example.com").answer_count(), 0)
        builder = self.begin("forward . 10.0.0.1 {", "next_on_nodata", "}", "forward . 10.0.0.2")
        self.assertEqual(last_octet(self.answer(builder, "empty.example.com")), 22)

    def test_any_class(self) -> None:
        """A block with forward takes queries of any class."""
        self.assertTrue(self.begin("forward . 10.0.0.1").any_class)


class ReloadTests(BlockCase):
    """From one configuration to the next."""

    def test_unchanged_stanza_goes_on(self) -> None:
        """A stanza that did not change keeps its forwarder with all it knows; a changed one is new."""
        kept = Keeper()
        first = self.forwarders(self.begin("forward . 10.0.0.1", "forward org 10.0.0.2", kept=kept))
        again = self.forwarders(self.begin("forward . 10.0.0.1", "forward org 10.0.0.3", kept=Keeper(kept.taken)))
        self.assertIs(first[0], again[0])
        self.assertIsNot(first[1], again[1])

    def test_certificates(self) -> None:
        """A missing file is an error with its name; a renewed one makes a new forwarder."""
        error = self.assertRaises(SetupError, self.begin, "forward . tls://10.0.0.1 {", "tls /nonexistent/ca", "}")
        self.assertEqual(str(error), "plugin/forward: open /nonexistent/ca: no such file or directory")
        path, kept, found = self.mktemp(), Keeper(), []
        for authority in (Authority(), Authority()):
            Path(path).write_bytes(authority.certificate_pem)
            for _ in range(2):
                kept = Keeper(kept.taken)
                found += self.forwarders(self.begin("forward . tls://10.0.0.1 {", f"tls {path}", "}", kept=kept))
        self.assertEqual([found.index(one) for one in found], [0, 0, 2, 2])


class FileTests(BlockCase):
    """A resolv.conf as TO."""

    def setUp(self) -> None:
        super().setUp()
        self.path = str(self.mktemp())
        self.written = 0

    def write(self, text: str) -> None:
        """Write the file, later than before."""
        self.written += 1
        with open(self.path, "w") as file:
            file.write(text)
        os.utime(self.path, (self.written, self.written))

    def texts(self, builder: BlockBuilder) -> list[str]:
        """The upstreams in use."""
        return [upstream.text for upstream in self.forwarders(builder)[0].upstreams]

    def test_read_again_when_it_changes(self) -> None:
        """Within five seconds the new servers are in use; what is known of those that stay, stays."""
        self.write("nameserver 10.0.0.1\nnameserver 10.0.0.2\n")
        builder = self.begin(f"forward . {self.path}")
        stays = self.forwarders(builder)[0].upstreams[1]
        self.write("nameserver 10.0.0.2\nnameserver 10.0.0.3\n")
        self.reactor.advance(5.0)
        self.assertEqual(self.texts(builder), ["10.0.0.2:53", "10.0.0.3:53"])
        self.assertIs(self.forwarders(builder)[0].upstreams[0], stays)

    def test_changes_are_told(self) -> None:
        """Who wants to know is told, once for each change of the servers."""
        self.write("nameserver 10.0.0.1\n")
        builder = self.begin(f"forward . {self.path}")
        told: list[Forwarder] = []
        self.forwarders(builder)[0].changed.append(told.append)
        self.write("search example.com\nnameserver 10.0.0.1\n")
        self.reactor.advance(5.0)
        self.assertEqual(told, [])
        self.write("nameserver 10.0.0.2\n")
        self.reactor.advance(5.0)
        self.assertEqual(told, self.forwarders(builder))

    def test_empty_gone_or_full(self) -> None:
        """A file that names nobody, is gone, or names too many leaves things as they were."""
        self.write("nameserver 10.0.0.1\n")
        builder = self.begin(f"forward . {self.path}")
        for text in ("", "rubbish\n", "".join(f"nameserver 10.0.1.{number}\n" for number in range(16))):
            self.write(text)
            self.reactor.advance(5.0)
            self.assertEqual(self.texts(builder), ["10.0.0.1:53"], text)
        os.remove(self.path)
        self.reactor.advance(10.0)
        (state,) = self.context.degraded
        self.assertEqual((state.name, state.text), (self.path, "cannot be read: no such file or directory"))
        self.assertEqual(last_octet(self.answer(builder)), 1)
        self.write("nameserver 10.0.0.2\n")
        self.reactor.advance(5.0)
        self.assertEqual(self.texts(builder), ["10.0.0.2:53"])
        self.assertEqual(list(self.context.degraded), [])

    def test_degraded(self) -> None:
        """A file that names no server is wrong until it names one, the one of before or another."""
        self.write("nameserver 10.0.0.1\n")
        self.begin(f"forward . {self.path}")
        for good in ("nameserver 10.0.0.1\n", "nameserver 10.0.0.2\n"):
            self.write("search example.com\n")
            self.reactor.advance(15.0)
            (state,) = self.context.degraded
            self.assertEqual(state.kind, Fault.RESOLV_CONF)
            self.assertIn("names no server any more", state.text)
            self.write(good)
            self.reactor.advance(5.0)
            self.assertEqual(list(self.context.degraded), [])

    def test_query_under_way(self) -> None:
        """A query to a server that is not named any more still gets its reply."""
        self.write("nameserver 10.0.0.1\n")
        builder = self.begin(f"forward . {self.path} {{", "force_tcp", "}")
        self.net.first.say("www.example.com", "www.example.com. 300 IN A 192.0.2.1", entry=Entry(delay=1.5))
        self.reactor.advance(4.0)
        waiting = self.forwarders(builder)[0].ask(a_request("www.example.com"))
        self.write("nameserver 10.0.0.2\n")
        self.reactor.advance(1.5)
        self.assertEqual(last_octet(self.successResultOf(waiting)), 1)
        self.reactor.advance(0.1)
        self.assertFalse([line for line in self.reactor.leftovers() if "TCP connection" in line])

    def test_relative_path(self) -> None:
        """A relative path starts at ``root``."""
        self.write("nameserver 10.0.0.3\n")
        folder, name = os.path.split(os.path.abspath(self.path))
        self.assertEqual(Sources(Stanza((directive_to(name),)).to, folder).targets(), (Target("10.0.0.3"),))


def directive_to(text: str) -> Any:
    """The TO of a text."""
    block, words = blocks_of(f". {{\nforward . {text}\n}}\n", ("forward",))[0]
    return directive.parse(words["forward"], block)[0].to[0]


class HostTests(BlockCase):
    """The name of a host as TO."""

    def test_system(self) -> None:
        """The system's resolver is asked at the start; all addresses are upstreams."""
        self.reactor.hosts["dns.example.com"] = ("10.0.0.1", "10.0.0.2")
        builder = self.begin("forward . dns.example.com:53")
        self.assertEqual([up.text for up in self.forwarders(builder)[0].upstreams], ["10.0.0.1:53", "10.0.0.2:53"])
        self.assertEqual(last_octet(self.answer(builder)) in (1, 2), True)

    def test_own_resolver(self) -> None:
        """``resolver`` says who is asked instead, the next one when the first does not answer."""
        self.silence(3)
        self.net.first.say("dns.example.com", "dns.example.com. 60 IN A 10.0.0.2")
        builder = self.begin("forward . dns.example.com {", "resolver 10.0.0.3 10.0.0.1", "}")
        self.assertEqual(self.forwarders(builder)[0].upstreams, [])
        self.reactor.advance(2.0)
        self.assertEqual(last_octet(self.answer(builder)), 2)

    def test_unknown_host(self) -> None:
        """A host without address fails the start."""
        builder = built(directive, ". {\nforward . dns.example.com\n}\n", self.context)
        started = builder.resources[0].start()
        assert started is not None
        error = self.failureResultOf(started, SetupError).value
        self.assertEqual(str(error), 'plugin/forward: failed to resolve "dns.example.com": no such host')
        builder.resources[0].stop()

    def test_stopped_while_looking_up(self) -> None:
        """A forwarder that stops before its hosts are known asks nobody any more."""
        self.silence(3)
        builder = built(directive, ". {\nforward . dns.example.com {\nresolver 10.0.0.3\n}\n}\n", self.context)
        started = builder.resources[0].start()
        assert started is not None
        self.reactor.settle()
        builder.resources[0].stop()
        self.failureResultOf(started, CancelledError)

    def test_missing_file(self) -> None:
        """A path is no host name."""
        error = self.assertRaises(BadValue, Sources, Stanza((directive_to("/nonexistent/resolv.conf"),)).to)
        self.assertEqual(str(error), 'failed to resolve "/nonexistent/resolv.conf": no such file or directory')


class PageTests(ForwardCase):
    """What the page says."""

    def test_metrics(self) -> None:
        """Every metric has a row on the page, and the page names no other."""
        registry = Registry()
        ForwardMetrics(registry)
        rows = set(re.findall(r"^\| `(\w+)", PAGE.read_text(encoding="utf-8").split("## Metrics")[1], re.MULTILINE))
        self.assertEqual(rows, {family.name for family in registry.families()})

    def test_options(self) -> None:
        """Every option is on the page."""
        text = PAGE.read_text(encoding="utf-8")
        for option in OPTIONS:
            self.assertIn(f"`{option}", text)

    def test_examples(self) -> None:
        """Every example is accepted."""
        examples = re.findall(r"```corefile\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        self.assertGreater(len(examples), 2)
        for example in examples:
            ((block, words),) = blocks_of(example, ("forward", "cache"))
            self.assertTrue(directive.parse(words["forward"], block))

    def test_without_a_corefile(self) -> None:
        """A program of its own makes a forwarder from addresses."""
        forwarder = Forwarder.to(self.reactor, "10.0.0.2", "10.0.0.2:53", read_timeout=1.0)
        forwarder.start()
        self.net.forwarders.append(forwarder)
        self.assertEqual((last_octet(self.ask(forwarder)), len(forwarder.upstreams)), (2, 1))

    def test_no_upstream_left(self) -> None:
        """A forwarder whose every upstream is out of use says so."""
        forwarder = self.net.forwarder(2)
        for upstream in forwarder.upstreams:
            upstream.withdraw("a test")
        failure = self.failureResultOf(self.asked(forwarder), ResolutionFailed)
        self.assertEqual(failure.value.text, "no healthy proxies")
