"""What the words of ``https`` become; the golden cases of its errors are in ``tests.conformance.test_start``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.https import HttpsConfig, directive
from kdns.testing.plugin import PluginBench


class ConfigTests(SynchronousTestCase):
    """Parsing and building."""

    def test_connections(self) -> None:
        """A number of connections, 200 by default; 0 is no limit."""
        for text, number in (
            ("https", 200),
            ("https {\nmax_connections 7\n}", 7),
            ("https {\nmax_connections 0\n}", 0),
        ):
            bench = PluginBench(directive, text)
            self.assertEqual(bench.config, HttpsConfig(number))
            self.assertEqual(bench.builder.most_https_connections, number)
