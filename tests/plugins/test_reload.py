"""When the Corefile is looked at, and what becomes of a change."""

from __future__ import annotations

import json
from random import Random
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugin.seam import Keeper, Resource, ServerContext
from kdns.plugins.reload import Config, directive
from kdns.server.assembly import read_text
from kdns.server.service import KdnsService
from kdns.testing.memory import MemoryReactor
from tests.conformance.cases import CASES
from tests.support import a_house, built, parsed


class Chance(Random):
    """A draw that is always the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        """The value."""
        return self.value


class ConfigTests(SynchronousTestCase):
    """``reload [INTERVAL] [JITTER]``."""

    def test_words(self) -> None:
        """Both have a default; the jitter is never more than half of the interval."""
        for words, wanted in (
            ("", Config(30.0, 15.0)),
            ("10s", Config(10.0, 5.0)),
            ("1m", Config(60.0, 15.0)),
            ("2s", Config(2.0, 1.0)),
            ("1m 10s", Config(60.0, 10.0)),
            ("1m 0s", Config(60.0, 0.0)),
            ("10s 9s", Config(10.0, 5.0)),
        ):
            self.assertEqual(parsed(directive, f". {{\n reload {words}\n}}\n"), wanted, words)

    def test_errors(self) -> None:
        """The golden errors, and those beside them."""
        cases = json.loads((CASES / "corefile-errors.json").read_text())["cases"]
        golden = [case for case in cases if case["id"].startswith("reload")]
        self.assertEqual(len(golden), 4)
        for case in golden:
            corefile = case["corefile"].replace("{{PORT}}", "1053")
            error = self.assertRaises(CorefileError, parsed, directive, corefile)
            self.assertEqual(str(error), case.get("kdns_expect", case)["error"])
        for words in ("1999ms", "0s", "-5s", "10s -1s", "10s 999ms", "30", "10s x"):
            self.assertRaises(CorefileError, parsed, directive, f". {{\n reload {words}\n}}\n")
        twice = ". {\n reload\n reload\n}\n"
        self.assertIn("only be used once", str(self.assertRaises(CorefileError, parsed, directive, twice)))


class TimerTests(SynchronousTestCase):
    """The timer of a configuration."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.looks: list[float] = []

    def timer(self, words: str, draw: float = 0.5, kept: Keeper | None = None) -> Resource:
        """The one that a block with the directive runs."""
        context = a_house(self.clock, random=Chance(draw))
        context.check_reload = lambda: self.looks.append(self.clock.seconds())
        (timer,) = built(directive, f". {{\n reload {words}\n}}\n", context, kept).resources
        return timer

    def test_intervals(self) -> None:
        """A look after each interval, give or take half the jitter, which is drawn once."""
        for draw, every in ((0.5, 10.0), (0.0, 8.0), (0.75, 11.0)):
            self.setUp()
            timer = self.timer("10s 4s", draw)
            timer.start()
            self.clock.pump([0.5] * 70)
            self.assertEqual(self.looks, [every * number for number in range(1, int(35 / every) + 1)])
            timer.stop()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_first(self) -> None:
        """One that never began can end."""
        self.timer("").stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_shared(self) -> None:
        """Blocks that say the same share one, and a new configuration keeps it."""
        kept = Keeper()
        first = self.timer("10s", kept=kept)
        self.assertIs(self.timer("10s", kept=kept), first)
        self.assertIs(self.timer("10s", kept=Keeper(kept.taken)), first)
        self.assertIsNot(self.timer("20s", kept=Keeper(kept.taken)), first)


class ServiceTests(SynchronousTestCase):
    """A whole kdns whose Corefile changes."""

    BLOCK = ".:1053 {{\n {}\n whoami\n}}\n"

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.text = self.BLOCK.format("reload 10s 0s")
        self.context = ServerContext(
            self.reactor, clock=self.reactor.seconds, wall=self.reactor.seconds, random=Random(1), kernel_sockets=False
        )
        self.service = KdnsService(self.context, lambda: read_text(self.text, {}), lambda line: None)
        self.lines: list[str] = []
        observer = cast(ILogObserver, self.observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.service.startService()
        self.reactor.settle()
        self.successResultOf(self.service.when_running())
        self.addCleanup(self.end)

    def end(self) -> None:
        """Nothing is left."""
        self.service.stopService()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])

    def observe(self, event: dict[str, Any]) -> None:
        """Keep the lines of the plugin."""
        if event.get("log_namespace") == "plugin/reload":
            self.lines.append(f"{event['log_level'].name}: {formatEvent(event)}")

    def heard(self) -> list[str]:
        """The lines since the last time."""
        lines, self.lines = self.lines, []
        return lines

    def running(self) -> str:
        """The line that names the configuration that runs."""
        assert self.service.configuration is not None
        return f"info: Running configuration SHA512 = {self.service.configuration.corefile.fingerprint}"

    def metric(self, name: str) -> list[str]:
        """The lines of a metric."""
        return [line for line in self.context.registry.lines() if line.startswith(name)]

    def test_change(self) -> None:
        """What changed is taken over at the next look; blanks, comments and a new order are no change."""
        self.assertEqual(self.heard(), [self.running()])
        before = self.service.configuration
        self.text = "# a comment\n" + self.BLOCK.format("reload   10s  0s\n\n")
        self.reactor.advance(10.0)
        self.assertIs(self.service.configuration, before)
        self.assertEqual(self.heard(), [])
        self.text = self.BLOCK.format("reload 20s 0s")
        self.reactor.advance(9.0)
        self.assertIs(self.service.configuration, before)
        self.reactor.advance(1.0)
        self.assertIsNot(self.service.configuration, before)
        self.assertEqual(self.heard(), [self.running()])
        assert self.service.configuration is not None
        shown = (
            f'coredns_reload_version_info{{hash="sha512",value="{self.service.configuration.corefile.fingerprint}"}} 1'
        )
        self.assertEqual(self.metric("coredns_reload_version_info"), [shown])
        # From now on the new interval counts.
        self.text = self.BLOCK.format("reload 10s 0s")
        self.reactor.advance(19.0)
        self.assertEqual(self.heard(), [])
        self.reactor.advance(1.0)
        self.assertEqual(self.heard(), [self.running()])

    def test_removed(self) -> None:
        """A configuration without the directive is the last one that is taken over by itself."""
        self.text = self.BLOCK.format("")
        self.reactor.advance(10.0)
        self.heard()
        self.text = self.BLOCK.format("reload 10s")
        self.reactor.advance(1000.0)
        self.assertEqual(self.heard(), [])

    def test_unreadable(self) -> None:
        """A text that is no Corefile is told of and counted at every look, and the old configuration stays."""
        self.heard()
        before, good = self.service.configuration, self.text
        self.text = ".:1053 {\n frobnicate\n}\n"
        self.reactor.advance(20.0)
        first, second = self.heard()
        self.assertEqual(first, second)
        self.assertTrue(first.startswith("warn: Corefile parse failed: "), first)
        self.assertIn("frobnicate", first)
        self.assertEqual(self.metric("coredns_reload_failed_total"), ["coredns_reload_failed_total 2"])
        self.text = good
        self.reactor.advance(10.0)
        self.assertEqual(self.heard(), ["info: The Corefile can be used again, after 20s"])
        self.assertIs(self.service.configuration, before)

    def test_unusable(self) -> None:
        """One whose plugins refuse it is tried once, until it changes again; going back is a reload like any other."""
        self.heard()
        before, good = self.service.configuration, self.text
        self.text = self.BLOCK.format("reload 1s")
        self.reactor.advance(50.0)
        (line,) = self.heard()
        wanted = "error: Corefile changed but reload failed: starting with listener file descriptors: "
        self.assertTrue(line.startswith(wanted), line)
        self.assertTrue(line.endswith("plugin/reload: interval value must be greater or equal to 2s"), line)
        self.assertEqual(self.metric("coredns_reload_failed_total"), ["coredns_reload_failed_total 1"])
        self.assertIs(self.service.configuration, before)
        self.text = good.replace("10s", "12s")
        self.reactor.advance(10.0)
        self.assertEqual(self.heard(), ["info: The Corefile can be used again, after 50s", self.running()])
