"""The server tells what it is, in the class CH."""

from __future__ import annotations

from socket import gethostname
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns import __version__
from kdns.plugins.chaos import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import CH


class ChaosTests(SynchronousTestCase):
    """Texts by name."""

    def texts(self, bench: PluginBench, qname: str) -> list[str]:
        """The texts of a name in CH; none where the upstream is asked."""
        answer = bench.ask(qname, "TXT", qclass=CH)
        if answer.source != "chaos":
            return []
        self.assertEqual({(record.rclass, record.ttl) for record in answer.answer}, {(CH, 0)})
        return [record.rdata[1:].decode() for record in answer.answer]

    def test_names(self) -> None:
        """Version and host have two names each, authors one; everything else goes on."""
        bench = PluginBench(directive, 'chaos "v 1" B A "C D" A')
        self.assertEqual(self.texts(bench, "VERSION.bind"), ["v 1"])
        self.assertEqual(self.texts(bench, "version.server"), ["v 1"])
        self.assertEqual(self.texts(bench, "hostname.bind"), [gethostname()])
        self.assertEqual(self.texts(bench, "id.server"), [gethostname()])
        self.assertEqual(sorted(self.texts(bench, "authors.bind")), ["A", "B", "C D"])
        self.assertEqual(self.texts(bench, "x.bind"), [])
        self.assertNotEqual(bench.ask("version.bind", "TXT").source, "chaos")
        self.assertNotEqual(bench.ask("version.bind", "A", qclass=CH).source, "chaos")

    def test_defaults(self) -> None:
        """Without words the server names itself."""
        bench = PluginBench(directive, "chaos")
        self.assertEqual(self.texts(bench, "version.bind"), [f"kdns-{__version__}"])
        self.assertEqual(len(self.texts(bench, "authors.bind")), 1)

    def test_long_version(self) -> None:
        """A text has 255 bytes at most."""
        self.assertEqual(self.texts(PluginBench(directive, f"chaos {'v' * 300}"), "version.bind"), ["v" * 255])

    def test_first_counts(self) -> None:
        """Of several directives the first counts."""
        self.assertEqual(self.texts(PluginBench(directive, "chaos a\nchaos b"), "version.bind"), ["a"])

    def test_order(self) -> None:
        """Authors come in an order that stays for a second."""
        bench = PluginBench(directive, "chaos v " + " ".join("ABCDEFGH"))
        orders = set()
        for _ in range(5):
            orders.add(tuple(self.texts(bench, "authors.bind")))
            bench.advance(1.0)
        self.assertGreater(len(orders), 1)
        validity = bench.ask("authors.bind", "TXT", qclass=CH).validity
        self.assertEqual((validity.repeat, validity.until), (True, bench.clock.seconds() + 1.0))

    def test_listener(self) -> None:
        """The listener takes queries of other classes."""
        self.assertTrue(PluginBench(directive, "chaos").builder.any_class)

    def test_explain(self) -> None:
        """An explanation says that the name is the server's own."""
        link: Any = PluginBench(directive, "chaos").builder.links[0]
        self.assertEqual([len(link.explain(a_request("id.server", qclass=qclass))) for qclass in (CH, 1)], [1, 0])
