"""What the words of ``dnssec`` become; most errors are golden cases (``tests.conformance.test_start``)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import SetupError
from kdns.plugins.dnssec.config import CAPACITY, LEAST_CAPACITY, DnssecConfig, directive, zone_keys
from kdns.testing.plugin import PluginBench
from kdns.wire.names import from_text
from tests.conformance.cases import CASES

MAT = CASES / "mat"


class ConfigTests(SynchronousTestCase):
    """Parsing."""

    def parsed(self, text: str) -> DnssecConfig:
        """The config of the words of a directive."""
        config: DnssecConfig = PluginBench(directive, text, zone="example.org").config
        return config

    def test_zones(self) -> None:
        """Zones are the block's, or those that are named; a key of a zone above is taken."""
        self.assertEqual(self.parsed(f"dnssec {{\nkey file {MAT}/csk\n}}").zones, (from_text("example.org"),))
        config = self.parsed(f"dnssec a.example.org EXAMPLE.org {{\nkey file {MAT}/csk\n}}")
        self.assertEqual(config.zones, (from_text("a.example.org"), from_text("example.org")))

    def test_keys(self) -> None:
        """Keys add up, each once; equal files make equal configs."""
        text = f"dnssec {{\nkey file {MAT}/ksk {MAT}/zsk.key\nkey file {MAT}/zsk\n}}"
        config = self.parsed(text)
        self.assertEqual([key.tag for key in zone_keys(config)], [21863, 54491])
        self.assertEqual((config, hash(config)), (self.parsed(text), hash(self.parsed(text))))

    def test_capacity(self) -> None:
        """A small one counts as the least."""
        for text, wanted in (("", CAPACITY), ("cache_capacity 5000", 5000), ("cache_capacity 1", LEAST_CAPACITY)):
            self.assertEqual(self.parsed(f"dnssec {{\nkey file {MAT}/csk\n{text}\n}}").capacity, wanted)

    def test_no_key(self) -> None:
        """Without a key nothing is signed, and answers are repeated as ever."""
        bench = PluginBench(directive, "dnssec")
        self.assertEqual(bench.builder.links, [])
        bench.check_repeats(["www.example.org"])

    def test_foreign(self) -> None:
        """A key must be that of a zone, or of one above."""
        with self.assertRaises(SetupError) as raised:
            self.parsed(f"dnssec other.test {{\nkey file {MAT}/csk\n}}")
        wanted = "plugin/dnssec: key example.org. (keyid: 50029) can not sign any of the zones"
        self.assertEqual(str(raised.exception), wanted)

    def test_errors(self) -> None:
        """What kdns refuses in words of its own."""
        bench = PluginBench(directive, f"dnssec {{\nkey file {MAT}/csk\n}}", zone="example.org")
        for text, wanted in (
            ("dnssec {\nkey foo\n}", "Corefile:3 - Error during parsing: unknown kind of key 'foo'"),
            (
                "dnssec {\nkey aws_secretsmanager x\n}",
                "kdns reads no keys from AWS: mount them as files, and name these: key file BASE",
            ),
        ):
            self.assertIn(f"plugin/dnssec: {wanted}", bench.error(text), text)
