"""What a Corefile says about external names."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import SetupError
from kdns.plugins.k8s_external import directive
from kdns.plugins.k8s_external.config import ExternalConfig
from kdns.testing.plugin import PluginBench
from kdns.wire.names import ROOT, from_text
from tests.plugins.kubernetes.cluster import Bench

AT_3 = "Corefile:3 - Error during parsing: "
ERRORS = {
    "ttl 3601": AT_3 + "ttl must be in range [0, 3600]: 3601",
    "ttl -1": AT_3 + "ttl must be in range [0, 3600]: -1",
    "ttl x": 'strconv.Atoi: parsing "x": invalid syntax',
    "ttl": AT_3 + "Wrong argument count or unexpected line ending after 'ttl'",
    "apex": AT_3 + "Wrong argument count or unexpected line ending after 'apex'",
    "apex a.b": AT_3 + "apex must be a single label",
    "apex .": AT_3 + "apex must be a single label",
    "headless x": AT_3 + "unknown property 'x'",
    "frob": AT_3 + "unknown property 'frob'",
}


class ConfigTests(SynchronousTestCase):
    """From words to a value."""

    def parsed(self, text: str) -> ExternalConfig:
        """The value of a text."""
        config: ExternalConfig = PluginBench(directive, text, behind=[Bench().zone]).config
        return config

    def test_errors(self) -> None:
        """What is wrong is said in CoreDNS's words."""
        bench = PluginBench(directive, "k8s_external", behind=[Bench().zone])
        for line, text in ERRORS.items():
            found = bench.error(f"k8s_external {{\n{line}\n}}")
            self.assertEqual(found, f"plugin/k8s_external: {text}", line)

    def test_alone(self) -> None:
        """Without a cluster in the block there is nothing to answer from."""
        error = self.assertRaises(SetupError, PluginBench, directive, "k8s_external ext.test")
        self.assertEqual(str(error), "plugin/k8s_external: kubernetes plugin not loaded")

    def test_defaults(self) -> None:
        """The zones are those of the block, the apex is dns, TTLs are 5 seconds."""
        config = self.parsed("k8s_external")
        self.assertEqual([zone.text for zone in config.zones], ["."])
        self.assertEqual((config.apex, config.ttl, config.headless, config.fallthrough), (b"dns", 5, False, ()))

    def test_options(self) -> None:
        """Every option has its place in the value; of several directives the last counts."""
        config = self.parsed(
            "k8s_external a.test\nk8s_external 10.0.0.0/8 Ext.test {\n apex NS\n ttl 60\n headless\n fallthrough\n}"
        )
        self.assertEqual([zone.text for zone in config.zones], ["10.in-addr.arpa.", "ext.test."])
        self.assertEqual((config.apex, config.ttl, config.headless, config.fallthrough), (b"ns", 60, True, (ROOT,)))
        self.assertEqual(config.primary, from_text("ext.test"))
