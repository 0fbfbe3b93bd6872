"""The service: start, reload and end, and what each leaves behind."""

from __future__ import annotations

from typing import Any

import dns.message
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.corefile.loader import Corefile
from kdns.plugin.listening import CannotListen
from kdns.server.assembly import read_text
from kdns.server.service import KdnsService
from kdns.testing.memory import MemoryReactor
from tests.server import plugins
from tests.server.support import a_house
from tests.support import Datagrams

SAY = "tests.server.plugins.Say"


def block(text: str, port: int = 1053, *, bind: str = "127.0.0.1", more: str = "") -> str:
    """A block that says a text."""
    return f".:{port} {{\n bind {bind}\n {SAY} {text}\n {more}\n}}\n"


class ServiceCase(SynchronousTestCase):
    """A service on the memory network."""

    def setUp(self) -> None:
        plugins.diary.clear()
        plugins.starting.clear()
        self.reactor = MemoryReactor(["127.0.0.1", "127.0.0.2"])
        self.corefile = block("one")
        self.announced: list[str] = []
        self.service = KdnsService(a_house(self.reactor), self.load, self.announced.append)

    def tearDown(self) -> None:
        if self.service.running:
            self.end()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])
        plugins.diary.clear()

    def load(self) -> Corefile:
        """What the file says now."""
        return read_text(self.corefile, {})

    def start(self) -> Deferred[None]:
        """Start; the Deferred tells how it went."""
        self.service.startService()
        running = self.service.when_running()
        self.reactor.settle()
        return running

    def end(self) -> None:
        """Stop, and wait for it."""
        stopped = self.service.stopService()
        self.reactor.advance(0.0)
        self.successResultOf(stopped)

    def reload(self, corefile: str) -> bool:
        """Reload with another text, and wait for it."""
        self.corefile = corefile
        done = self.service.reload()
        self.reactor.settle()
        return self.successResultOf(done)

    def said(self, port: int = 1053, host: str = "127.0.0.1") -> str | None:
        """What the server says at an address; None when nobody is there."""
        client = Datagrams()
        mine = self.reactor.listenUDP(0, client, "127.0.0.1")
        client.transport.write(dns.message.make_query("web.", "TXT").to_wire(), (host, port))
        self.reactor.settle()
        mine.stopListening()
        self.reactor.settle()
        if not client.received:
            return None
        answer = dns.message.from_wire(client.received[0]).answer
        return str(answer[0]).rpartition(" ")[2].strip('"')

    def metric(self, name: str) -> float:
        """A counter without labels."""
        return next(
            family.counter().value for family in self.service.context.registry.families() if family.name == name
        )


class StartTests(ServiceCase):
    """From nothing to answers."""

    def test_start_and_end(self) -> None:
        """Resources start, then sockets open; at the end resources are told first, and nothing is left."""
        self.successResultOf(self.start())
        self.assertEqual(self.said(), "one")
        self.assertEqual(self.announced, [".:1053 on 127.0.0.1"])
        self.assertEqual(plugins.diary, ["start run one", "start keep one"])
        self.end()
        self.assertIsNone(self.said())
        self.assertEqual(plugins.diary[2:], ["leave run one", "leave keep one", "stop run one", "stop keep one"])

    def test_again(self) -> None:
        """A service may be started again after its end."""
        for _ in range(2):
            self.successResultOf(self.start())
            self.assertEqual(self.said(), "one")
            self.end()

    def test_waits_for_resources(self) -> None:
        """Nothing is answered before all resources have started; several may ask when that is."""
        self.corefile = block("one slow")
        running = self.start()
        other = self.service.when_running()
        self.assertNoResult(running)
        self.assertIsNone(self.said())
        plugins.starting.pop().callback(None)
        self.reactor.settle()
        self.successResultOf(running)
        self.successResultOf(other)
        self.successResultOf(self.service.when_running())
        self.assertEqual(self.said(), "one")

    def test_bad_corefile(self) -> None:
        """A bad Corefile fails the start, for those who ask later too."""
        self.corefile = block("one broken")
        error = self.failureResultOf(self.start(), CorefileError).value
        self.assertIn("it is broken", str(error))
        self.failureResultOf(self.service.when_running(), CorefileError)
        self.assertEqual(plugins.diary, [])

    def test_resource_that_cannot_start(self) -> None:
        """One resource that cannot start fails the start with its own words; those that did are stopped."""
        self.corefile = block("one", 1053) + block("two cannot-start", 1054)
        error = self.failureResultOf(self.start()).value
        self.assertEqual((type(error), str(error)), (RuntimeError, "run two cannot start"))
        started = {line.removeprefix("start ") for line in plugins.diary if line.startswith("start")}
        stopped = {line.removeprefix("stop ") for line in plugins.diary if line.startswith("stop")}
        self.assertEqual(started, stopped)
        self.assertIsNone(self.said())

    def test_cannot_listen(self) -> None:
        """An address that the machine does not have fails the start; sockets that were open already are closed, resources stopped."""
        self.corefile = block("one") + block("two", 1054, bind="192.0.2.77")
        self.failureResultOf(self.start(), CannotListen)
        self.assertEqual(sum("stop" in line for line in plugins.diary), 4)
        self.assertIsNone(self.said())

    def test_end_during_start(self) -> None:
        """An end while resources still start cancels what is waited for."""
        self.corefile = block("one slow")
        running = self.start()
        self.end()
        self.failureResultOf(running)
        self.assertIn("cancelled run one", plugins.diary)
        self.assertIn("stop run one", plugins.diary)

    def test_nobody_asks(self) -> None:
        """Who asked when it runs may lose interest."""
        self.corefile = block("one slow")
        running = self.start()
        running.addErrback(lambda _: None)
        running.cancel()
        plugins.starting.pop().callback(None)
        self.reactor.settle()
        self.assertEqual(self.said(), "one")


class ReloadTests(ServiceCase):
    """From one configuration to the next."""

    def setUp(self) -> None:
        super().setUp()
        self.successResultOf(self.start())
        plugins.diary.clear()

    def test_swap(self) -> None:
        """The new blocks answer; answers of the old ones are forgotten; new things start before old ones stop."""
        self.assertEqual(self.said(), "one")
        self.assertTrue(self.reload(block("two")))
        self.assertEqual(self.said(), "two")
        self.reactor.advance(10.0)
        self.assertEqual(plugins.diary[:2], ["start run two", "start keep two"])
        self.assertEqual(sorted(plugins.diary[2:]), ["stop keep one", "stop run one"])

    def test_keeps(self) -> None:
        """What did not change goes on: sockets, and resources that are kept."""
        (opened,) = self.service.endpoints.values()
        self.assertTrue(self.reload(block("one", more="errors")))
        self.assertIs(next(iter(self.service.endpoints.values())), opened)
        self.reactor.advance(10.0)
        self.assertEqual(sorted(plugins.diary), ["start run one", "stop run one"])

    def test_large_table(self) -> None:
        """A large table that is dropped is freed in later turns, or at the end."""
        deferred_free = self.service.context.deferred_free
        self.assertIs(self.service.table_budget.deferred_free, deferred_free)
        deferred_free.take(dict.fromkeys(range(1001)))
        self.assertEqual(len(deferred_free), 1001)
        self.reactor.turn()
        self.assertEqual(len(deferred_free), 0)
        deferred_free.take(dict.fromkeys(range(1001)))
        self.end()
        self.assertEqual(len(deferred_free), 0)

    def test_other_sockets(self) -> None:
        """Sockets that are new open, those that are not used any more close."""
        self.assertTrue(self.reload(block("two", 1054)))
        self.assertEqual(self.said(1054), "two")
        self.assertIsNone(self.said(1053))

    def test_loses_no_query(self) -> None:
        """Queries that come while a reload is under way are answered, each by the blocks that serve then."""
        self.corefile = block("two slow")
        done = self.service.reload()
        self.reactor.settle()
        for _ in range(5):
            self.assertEqual(self.said(), "one")
        plugins.starting.pop().callback(None)
        self.reactor.settle()
        self.assertTrue(self.successResultOf(done))
        self.assertEqual(self.said(), "two")

    def check_refused(self, corefile: str, text: str) -> None:
        """A configuration that cannot be changes nothing; it is logged with its place, counted, and shown until it is mended."""
        lines: list[str] = []

        def note(event: dict[str, object]) -> None:
            lines.append(str(event.get("text", "")))

        observer: Any = note  # Twisted wants an interface where a function will do
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.assertFalse(self.reload(corefile))
        self.assertEqual(self.said(), "one")
        self.assertEqual(self.metric("coredns_reload_failed_total"), 1)
        self.assertTrue(any(text in line for line in lines), lines)
        last = self.service.reloads.last
        assert last is not None
        self.assertFalse(last.taken_over)
        self.assertIn(text, last.error)
        self.assertEqual(self.metric("kdns_reload_config_bad"), 1)
        self.assertTrue(self.reload(block("three")))
        self.assertEqual(self.metric("kdns_reload_config_bad"), 0)
        self.assertEqual(self.said(), "three")

    def test_bad_corefile(self) -> None:
        """A Corefile that a plugin refuses."""
        self.check_refused(block("two broken"), "Corefile:3 - Error during parsing: it is broken")
        self.assertNotIn("start run two", plugins.diary)

    def test_cannot_listen(self) -> None:
        """Sockets that cannot be opened; what was started for them stops."""
        wanted = "Corefile:1 - Listen: listen tcp 192.0.2.77:1053: bind: cannot assign requested address"
        self.check_refused(block("two", bind="192.0.2.77"), wanted)
        self.assertEqual(
            [line for line in plugins.diary if "two" in line],
            ["start run two", "start keep two", "stop run two", "stop keep two"],
        )

    def test_resource_that_cannot_start(self) -> None:
        """A resource that cannot start."""
        self.check_refused(block("two cannot-start"), "Corefile:3 - run two cannot start")
        self.flushLoggedErrors(RuntimeError)

    def test_end_during_reload(self) -> None:
        """An end while a reload is under way leaves nothing of either configuration."""
        self.corefile = block("two slow")
        done = self.service.reload()
        self.reactor.settle()
        self.end()
        self.assertFalse(self.successResultOf(done))
        self.assertIn("stop run two", plugins.diary)
        self.assertIn("stop run one", plugins.diary)
        self.flushLoggedErrors()

    def test_check(self) -> None:
        """A look at the file reloads when it says something else, and not when only spaces moved."""
        self.service.check_reload()
        self.reactor.settle()
        self.assertEqual(plugins.diary, [])
        self.corefile = block("one") + "\n# a comment\n"
        self.service.check_reload()
        self.reactor.settle()
        self.assertEqual(plugins.diary, [])
        self.corefile = block("two")
        self.service.check_reload()
        self.reactor.settle()
        self.assertEqual(self.said(), "two")

    def test_check_bad(self) -> None:
        """A file that is no Corefile counts each time; one that cannot be served is tried once, until it changes."""
        self.corefile = "{"
        for times in (1, 2):
            self.service.check_reload()
            self.reactor.settle()
            self.assertEqual(self.metric("coredns_reload_failed_total"), times)
        self.corefile = block("two", bind="192.0.2.77")
        for _ in range(2):
            self.service.check_reload()
            self.reactor.settle()
            self.assertEqual(self.metric("coredns_reload_failed_total"), 3)
        self.assertEqual(self.said(), "one")
        self.assertEqual(self.metric("kdns_reload_config_bad"), 1)
        self.corefile = block("one")
        self.service.check_reload()
        self.reactor.settle()
        self.assertEqual(self.said(), "one")
        self.assertEqual(self.metric("kdns_reload_config_bad"), 0)
        self.corefile = block("two", bind="192.0.2.77")
        self.service.check_reload()
        self.reactor.settle()
        self.assertEqual(self.metric("coredns_reload_failed_total"), 4)

    def test_asked_for_and_looked_at(self) -> None:
        """What was refused when somebody asked for the reload is not tried again by looking at the file."""
        self.assertFalse(self.reload(block("two", bind="192.0.2.77")))
        self.service.check_reload()
        self.reactor.settle()
        self.assertEqual(self.metric("coredns_reload_failed_total"), 1)
