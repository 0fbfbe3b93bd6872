"""What the words of ``https``, ``https3``, ``quic`` and ``grpc_server`` become; golden errors are in ``tests.conformance.test_start``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import Place, SetupError
from kdns.plugin import registry
from kdns.plugin.connection_limits import LimitsDirective
from kdns.plugin.seam import ConnectionLimits
from kdns.testing.plugin import PluginBench


def directive(name: str) -> LimitsDirective:
    """A directive by its name."""
    found = registry.find(name, Place("Corefile", 1))
    assert isinstance(found, LimitsDirective)
    return found


class LimitsTests(SynchronousTestCase):
    """Parsing and building."""

    def test_options(self) -> None:
        """Each option sets its limit for the listeners of one scheme, and leaves the others as they are."""
        for text, scheme, limits in (
            ("https", "https", ConnectionLimits()),
            ("https {\nmax_connections 0\n}", "https", ConnectionLimits(0)),
            ("https3 {\nmax_streams 0\nmax_connections 7\n}", "https3", ConnectionLimits(7, 0)),
            ("quic {\nmax_streams 9\nworker_pool_size 5\n}", "quic", ConnectionLimits(200, 9, 5)),
            ("quic {\nmax_connections 3\n}", "quic", ConnectionLimits(3)),
            ("grpc_server {\nmax_streams 4\n}", "grpc", ConnectionLimits(200, 4)),
        ):
            bench = PluginBench(directive(text.split()[0]), text)
            self.assertEqual(bench.builder.limits, {scheme: limits})

    def test_errors(self) -> None:
        """A number below what makes sense, one that is none, and a second one."""
        for text, told in (
            ("quic {\nmax_streams 0\n}", "max_streams must be a positive integer: 0"),
            ("https3 {\nmax_streams -1\n}", "max_streams must be a non-negative integer: -1"),
            ("https {\nmax_streams 1\n}", "unknown property 'max_streams'"),
            ("quic {\nmax_streams 1\nmax_streams 1\n}", "max_streams already defined for this server block"),
            ("grpc_server {\nmax_connections x\n}", "invalid max_connections value 'x'"),
        ):
            with self.assertRaises(SetupError) as raised:
                PluginBench(directive(text.split()[0]), text)
            self.assertIn(told, str(raised.exception))
