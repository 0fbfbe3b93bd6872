"""Tests of :mod:`kdns.plugins.ready`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import SetupError
from kdns.corefile.values import ListenAddress
from kdns.plugin.seam import Keeper, Resource
from kdns.plugins.ready import Config, Monitor, ReadyPage, directive
from kdns.testing.memory import MemoryReactor
from tests.plugins.web import Client, memory_house
from tests.support import built, parsed


class Say(NamedTuple):
    """A plugin's say."""

    name: str
    ready: Callable[[], bool]
    why: Callable[[], str] = lambda: ""
    zones: str = "."


class Switch:
    """A plugin that is ready or not, and knows how often it was asked."""

    def __init__(self, ready: bool = False) -> None:
        self.ready = ready
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.ready


class ParseTests(SynchronousTestCase):
    """What the Corefile may say."""

    def test_configs(self) -> None:
        """Address and how long plugins are asked, each with its default."""
        for text, wanted in [
            ("ready", Config(ListenAddress("", 8181), Monitor.UNTIL_READY)),
            ("ready localhost:8091", Config(ListenAddress("localhost", 8091))),
            ("ready {\n monitor continuously\n}", Config(monitor=Monitor.CONTINUOUSLY)),
            ("ready :1 {\n monitor until-ready\n}", Config(ListenAddress("", 1))),
        ]:
            self.assertEqual(parsed(directive, f". {{\n{text}\n}}"), wanted, text)

    def test_errors(self) -> None:
        """What it may not say."""
        for text, wanted in [
            (
                "ready {\n monitor sometimes\n}",
                "plugin/ready: Corefile:3 - Error during parsing: monitor type 'sometimes' not supported",
            ),
            ("ready {\n frob\n}", "plugin/ready: Corefile:3 - Error during parsing: unknown property 'frob'"),
            ("ready\nready", "plugin/ready: this plugin can only be used once per Server Block"),
        ]:
            error = self.assertRaises(SetupError, parsed, directive, f". {{\n{text}\n}}")
            self.assertEqual(str(error), wanted)


class PageTests(SynchronousTestCase):
    """What probes are told."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(["127.0.0.1"])
        self.client = Client(self.reactor)
        self.kept = Keeper()
        self.resources: list[Resource] = []

    def start(self, options: str = "") -> ReadyPage:
        """The page of a Corefile, started."""
        context = memory_house(self.reactor)
        self.resources = built(directive, f". {{\n ready {options}\n}}", context, self.kept).resources
        for resource in self.resources:
            resource.start()
        page = self.resources[-1]
        assert isinstance(page, ReadyPage)
        return page

    def probe(self, path: str = "/ready") -> tuple[int, bytes]:
        """Status and body."""
        answered = self.client.get(8181, path)
        self.assertEqual(answered.headers["content-type"], "text/plain; charset=utf-8")
        return answered.status, answered.body

    def test_open_from_the_start(self) -> None:
        """Before anybody said who has a say, it is there and says no."""
        self.start()
        self.assertEqual(self.probe(), (503, b"startup"))
        self.assertEqual(self.probe("/ready/why"), (503, b"startup: no configuration runs yet\n"))

    def test_nobody_has_a_say(self) -> None:
        """A Corefile without such plugins is ready."""
        self.start().set_checks([])
        self.assertEqual(self.probe(), (200, b"OK"))
        self.assertEqual(self.probe("/ready/why"), (200, b"OK\n"))
        self.assertEqual(self.probe("/")[0], 404)

    def test_names(self) -> None:
        """Those that are not ready are named in order, each name once, and in a line of the log, one a second at most."""
        one, two, three, four = Switch(), Switch(), Switch(), Switch(True)
        self.start().set_checks(
            [Say("kubernetes", one), Say("erratic", two), Say("kubernetes", three), Say("nomad", four)]
        )
        with capturedLogs() as events:
            for _ in range(20):
                self.assertEqual(self.probe(), (503, b"erratic,kubernetes"))
                self.reactor.advance(0.1)
        lines = [formatEvent(event) for event in events if event["log_namespace"] == "plugin/ready"]
        self.assertEqual(lines, ['Plugins not ready: "erratic,kubernetes"'] * 2)

    def test_each_instance_counts(self) -> None:
        """The same plugin in two blocks has two says."""
        one, two = Switch(), Switch()
        self.start().set_checks([Say("kubernetes", one), Say("kubernetes", two)])
        one.ready = True
        self.assertEqual(self.probe(), (503, b"kubernetes"))
        two.ready = True
        self.assertEqual(self.probe(), (200, b"OK"))

    def test_until_ready(self) -> None:
        """A plugin that was ready once is not asked again."""
        switch = Switch(True)
        self.start().set_checks([Say("kubernetes", switch)])
        self.assertEqual(self.probe(), (200, b"OK"))
        switch.ready = False
        self.assertEqual(self.probe(), (200, b"OK"))
        self.assertEqual(switch.asked, 1)

    def test_continuously(self) -> None:
        """With the option it is asked each time."""
        switch = Switch(True)
        self.start("{\n  monitor continuously\n }").set_checks([Say("kubernetes", switch)])
        self.assertEqual(self.probe(), (200, b"OK"))
        switch.ready = False
        self.assertEqual(self.probe(), (503, b"kubernetes"))

    def test_why(self) -> None:
        """A second page tells for each block what it waits for."""
        self.start().set_checks(
            [
                Say("kubernetes", Switch(), lambda: "waiting for Services", "cluster.local., in-addr.arpa."),
                Say("kubernetes", Switch(), zones="other.local."),
            ]
        )
        self.assertEqual(
            self.probe("/ready/why"),
            (
                503,
                b"kubernetes (cluster.local., in-addr.arpa.): waiting for Services\nkubernetes (other.local.): not ready\n",
            ),
        )

    def test_new_configuration(self) -> None:
        """A kept page asks the plugins of the new configuration from the swap on."""
        page = self.start()
        page.set_checks([Say("kubernetes", Switch(True))])
        self.assertEqual(self.probe(), (200, b"OK"))
        self.kept = Keeper(self.kept.taken)
        self.assertIs(built(directive, ". {\n ready\n}", memory_house(self.reactor), self.kept).resources[-1], page)
        self.assertEqual(self.probe(), (200, b"OK"))
        page.set_checks([Say("kubernetes", Switch())])
        self.assertEqual(self.probe(), (503, b"kubernetes"))

    def test_leaving(self) -> None:
        """When the process is about to end nobody can reach the page any more."""
        page = self.start()
        page.set_checks([])
        page.leave()
        self.reactor.settle()
        talk = self.client.connect(8181, b"GET /ready HTTP/1.0\r\n\r\n")
        self.assertEqual(talk.received, b"")
        for resource in self.resources:
            resource.stop()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])
