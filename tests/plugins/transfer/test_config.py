# -*- test-case-name: tests.plugins.transfer.test_config -*-
"""``transfer`` in a Corefile: what it means, and what is refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.transfer import directive
from kdns.plugins.transfer.config import Peer, Stanza, TransferConfig
from kdns.testing.plugin import PluginBench
from kdns.wire.names import from_text

HERE = "plugin/transfer: Corefile:{} - Error during parsing: "


class ConfigTests(SynchronousTestCase):
    """kdns.plugins.transfer.config."""

    def setUp(self) -> None:
        """A parser."""
        self.bench = PluginBench(directive, "transfer {\n to *\n}", zone="example.org")
        self.addCleanup(self.bench.stop)

    def test_parsed(self) -> None:
        """Addresses in any spelling, with and without ports, and everybody."""
        config = self.bench.parse(
            "transfer {\n to * 192.0.2.1\n to 192.0.2.2:5300 2001:DB8::1 [2001:db8::2]:54\n source 192.0.2.9\n}\n"
            "transfer a.test {\n to ::ffff:192.0.2.3\n}"
        )
        peers = (Peer("192.0.2.1"), Peer("192.0.2.2", 5300), Peer("2001:db8::1"), Peer("2001:db8::2", 54))
        one = Stanza((from_text("example.org"),), peers, True, "192.0.2.9")
        two = Stanza((from_text("a.test"),), (Peer("192.0.2.3"),), False)
        self.assertEqual(config, TransferConfig((one, two)))
        self.assertTrue(two.allows("192.0.2.3"))
        self.assertFalse(two.allows("192.0.2.4"))
        self.assertEqual([str(peer) for peer in peers[1:3]], ["192.0.2.2:5300", "[2001:db8::1]:53"])

    def test_errors(self) -> None:
        """What is refused, in CoreDNS's words."""
        wrong = "Wrong argument count or unexpected line ending after "
        for text, error in (
            ("transfer", HERE.format(2) + "'to' is required"),
            ("transfer {\n}", HERE.format(3) + "'to' is required"),
            ("transfer {\n to\n}", HERE.format(3) + wrong + "'to'"),
            ("transfer {\n to ns.example.org\n}", "plugin/transfer: must specify an IP address: `ns.example.org'"),
            ("transfer {\n to 10.0.0.0/8\n}", "plugin/transfer: must specify an IP address: `10.0.0.0/8'"),
            ("transfer {\n to tls://127.0.0.1\n}", "plugin/transfer: must specify an IP address: `tls'"),
            ("transfer {\n from 127.0.0.1\n}", HERE.format(3) + 'unknown property "from"'),
            ("transfer {\n source\n}", HERE.format(3) + wrong + "'source'"),
            ("transfer {\n source x\n}", HERE.format(3) + 'invalid source address "x"'),
            ("transfer {\n source 1.2.3.4\n source 1.2.3.4\n}", HERE.format(4) + "source already specified"),
        ):
            self.assertEqual(self.bench.error(text), error)
