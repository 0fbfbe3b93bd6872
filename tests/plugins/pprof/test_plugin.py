"""The pages, over HTTP in memory."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.values import ListenAddress
from kdns.plugin.http import HttpListener, Response
from kdns.plugin.seam import ServerContext
from kdns.plugins.pprof import directive
from kdns.plugins.pprof.plugin import BUSY, PprofConfig, PprofPages
from kdns.plugins.pprof.taking import Take
from kdns.testing.memory import MemoryReactor
from kdns.testing.plugin import PluginBench

AT = "Corefile:{} - Error during parsing: "
ERRORS = {
    "pprof a b": AT.format(2) + "Wrong argument count or unexpected line ending after 'b'",
    "pprof localhost": AT.format(2) + "address localhost: missing port in address",
    "pprof :1\npprof :2": "this plugin can only be used once per Server Block",
    "pprof {\nblock x\n}": AT.format(3) + "property 'block' invalid integer value 'x'",
    "pprof {\nblock 1 2\n}": AT.format(3) + "Wrong argument count or unexpected line ending after '2'",
    "pprof {\nfrob\n}": AT.format(3) + "unknown property 'frob'",
}


class ConfigTests(SynchronousTestCase):
    """From words to a value."""

    def test_errors(self) -> None:
        """What is wrong is said in CoreDNS's words."""
        bench = PluginBench.__new__(PluginBench)
        bench._directive, bench._zone, bench._behind = directive, ".", ()
        for text, wanted in ERRORS.items():
            self.assertEqual(bench.error(text), f"plugin/pprof: {wanted}", text)
        self.assertEqual(bench.parse("pprof"), PprofConfig(ListenAddress("localhost", 6053)))
        self.assertEqual(bench.parse("pprof :6000 {\n block\n block 5\n}"), PprofConfig(ListenAddress("", 6000)))


class PageTests(SynchronousTestCase):
    """Pages of one listener."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.context = ServerContext(
            self.reactor, clock=self.reactor.seconds, wall=self.reactor.seconds, kernel_sockets=False
        )
        self.listener = HttpListener(self.context, ListenAddress("127.0.0.1", 6053))
        self.armed: list[Take] = []
        self.pages = PprofPages(self.context, self.listener, self.arm)
        self.pages.start()
        self.addCleanup(self.pages.stop)

    def arm(self, take: Take, period: float) -> Callable[[], None]:
        """Remember what samples."""
        self.armed.append(take)
        return lambda: self.armed.remove(take)

    def test_cpu(self) -> None:
        """Stacks are sampled for as long as was asked for, and no longer."""
        made = self.pages.cpu({b"seconds": [b"2"], b"debug": [b"1"]})
        assert isinstance(made, Deferred)
        self.armed[0](sys._getframe())
        self.assertIs(self.pages.cpu({}), BUSY)
        self.assertIs(self.pages.objects({}), BUSY)
        self.reactor.advance(2.0)
        response = self.successResultOf(made)
        self.assertIn(b"test_cpu", response.body)
        self.assertEqual(self.armed, [])

    def test_format(self) -> None:
        """Without debug a profile is in pprof's format."""
        made = self.pages.cpu({b"seconds": [b"0.5"]})
        assert isinstance(made, Deferred)
        self.reactor.advance(0.5)
        response = self.successResultOf(made)
        self.assertEqual(response.content_type, "application/octet-stream")
        self.assertIn(b"nanoseconds", gzip.decompress(response.body))

    def test_seconds(self) -> None:
        """A time that makes no sense is refused."""
        for text in (b"x", b"-1", b"0", b"1e9", b"nan"):
            response = self.pages.cpu({b"seconds": [text]})
            assert isinstance(response, Response)
            self.assertEqual(response.status, 400, text)

    def test_objects(self) -> None:
        """Objects are counted beside other work."""
        made = self.pages.objects({b"debug": [b"1"]})
        assert isinstance(made, Deferred)
        self.assertNoResult(made)
        for _ in range(10_000):
            if made.called:
                break
            self.reactor.advance(0)
        self.assertIn(b"inuse_space in bytes", self.successResultOf(made).body)

    def test_stop(self) -> None:
        """The end of the configuration ends a profile and its sampling."""
        made = self.pages.cpu({})
        assert isinstance(made, Deferred)
        made.addErrback(lambda failure: None)
        self.pages.stop()
        self.assertEqual(self.armed, [])
        self.assertTrue(made.called)

    def test_pages(self) -> None:
        """The list of pages names each, and the bare path leads to it."""
        index = self.pages.index()
        for name in ("profile", "heap", "goroutine", "cmdline"):
            self.assertIn(f'href="{name}"'.encode(), index.body)
            self.assertIsNotNone(self.listener.page(f"/debug/pprof/{name}".encode()))
        page = self.listener.page(b"/debug/pprof")
        assert callable(page)
        self.assertEqual(page(), Response(b"", 302, location="/debug/pprof/"))
