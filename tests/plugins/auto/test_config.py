# -*- test-case-name: tests.plugins.auto.test_config -*-
"""``auto`` in a Corefile: what it means, what is refused, and which zone a file is of."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.regexp import Regexp
from kdns.plugins.auto import directive
from kdns.plugins.auto.config import DEFAULT_PATTERN, AutoConfig
from kdns.testing.plugin import PluginBench
from kdns.wire.names import from_text

ORG = from_text("example.org")
WRONG = "plugin/auto: Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after "


class ConfigTests(SynchronousTestCase):
    """kdns.plugins.auto.config."""

    def setUp(self) -> None:
        """A parser."""
        self.bench = PluginBench(directive, "auto", zone="example.org")
        self.addCleanup(self.bench.stop)

    def test_parsed(self) -> None:
        """Defaults, and everything said; the last one counts."""
        self.assertEqual(self.bench.config, AutoConfig((ORG,)))
        self.assertEqual(
            self.bench.parse("auto a.test\nauto b.test {\n directory zones (.*)[.]zone {1}\n reload 5s\n upstream\n}"),
            AutoConfig((from_text("b.test"),), "zones", "(.*)[.]zone", "{1}", 5.0),
        )

    def test_errors(self) -> None:
        """What is refused, in CoreDNS's words."""
        for option, error in (
            ("directory", f"{WRONG}'directory'"),
            ("directory zones x", f"{WRONG}'x'"),
            ("directory zones (.*) {1} 10", f"{WRONG}'10'"),
            (
                "directory zones x {1}",
                "plugin/auto: Corefile:3 - Error during parsing: Need at least one sub expression",
            ),
            ("directory zones db( {1}", "plugin/auto: error parsing regexp: missing closing ): `db(`"),
            ("reload", "plugin/auto: reload duration value is expected"),
            ("reload x", 'plugin/auto: plugin/file: time: invalid duration "x"'),
            ("reload -1s", "plugin/auto: plugin/file: invalid duration"),
            ("fallthrough", "plugin/auto: Corefile:3 - Error during parsing: unknown property 'fallthrough'"),
        ):
            self.assertEqual(self.bench.error(f"auto {{\n {option}\n}}"), error)
        self.assertIn("regexp too large", self.bench.error(f"auto {{\n directory zones ({'x' * 10001}) {{1}}\n}}"))

    def test_origins(self) -> None:
        """The zone comes from the groups of the name; a name that makes none is no zone file."""
        for pattern, template, name, zone in (
            (DEFAULT_PATTERN, "{1}", "db.Example.ORG", "example.org"),
            (DEFAULT_PATTERN, "{1}", "example.org", None),
            (DEFAULT_PATTERN, "{1}", "db.a..b", None),
            (r"(.*)-(.*)\.zone", "{2}.{1}", "org-example.zone", "example.org"),
            (r"(.*)\.zone", "{1}.x{2}", "a.zone", "a.x{2}"),
        ):
            config = AutoConfig((), "", pattern, template)
            wanted = None if zone is None else from_text(zone)
            self.assertEqual(config.origin_of(name, Regexp(pattern)), wanted)
