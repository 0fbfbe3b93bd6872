"""A directive that is accepted, and changes nothing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.multisocket import MultisocketConfig, directive
from kdns.testing.plugin import PluginBench


class MultisocketTests(SynchronousTestCase):
    """The directive."""

    def test_parse(self) -> None:
        """A number from 1 to 1024, or none."""
        for text, sockets in (("multisocket", None), ("multisocket 1", 1), ("multisocket 1024", 1024)):
            bench = PluginBench(directive, text)
            self.assertEqual(bench.config, MultisocketConfig(sockets))
            self.assertEqual((bench.builder.links, bench.builder.resources), ([], []))
