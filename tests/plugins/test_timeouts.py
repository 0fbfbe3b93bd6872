"""Timeouts of connections, from the Corefile to the listener."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.seam import ServerContext, StreamTimeouts
from kdns.plugins.timeouts import TimeoutsConfig, directive
from kdns.server.assembly import assemble, read_text
from kdns.testing.memory import MemoryReactor
from kdns.testing.plugin import PluginBench


class TimeoutsTests(SynchronousTestCase):
    """What a Corefile says, and for which listeners."""

    def test_parse(self) -> None:
        """A bare number is seconds; -1 queries are no limit."""
        text = "timeouts {\n read 20\n write 1m\n idle 1.5s\n maxtcpqueries -1\n idle 2s\n}"
        self.assertEqual(PluginBench(directive, text).config, TimeoutsConfig(20.0, 60.0, 2.0, 0))

    def test_listeners(self) -> None:
        """Each value of a listener is that of the last block that has one; other listeners keep the defaults."""
        corefile = (
            "a.test:53 {\n timeouts {\n read 7s\n idle 8s\n }\n whoami\n}\n"
            "b.test:53 {\n timeouts {\n idle 9s\n maxtcpqueries 5\n }\n whoami\n}\n"
            "c.test:54 {\n whoami\n}\n"
        )
        context = ServerContext(MemoryReactor(), kernel_sockets=False)
        endpoints = assemble(read_text(corefile, {}), context).endpoints
        found = {endpoint.port: zones.timeouts for endpoint, zones in endpoints.items()}
        self.assertEqual(found, {53: StreamTimeouts(7.0, 5.0, 9.0, 5), 54: StreamTimeouts()})
