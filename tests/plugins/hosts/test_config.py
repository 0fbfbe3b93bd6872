"""What a Corefile says about hosts."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugins.hosts import directive
from kdns.plugins.hosts.config import HostsConfig
from kdns.wire.names import ROOT, from_text
from tests.support import blocks_of, parsed


def config(words: str) -> HostsConfig:
    """The config of a block with these words in it."""
    made = parsed(directive, f".:53 {{\n    {words}\n}}\n")
    assert isinstance(made, HostsConfig)
    return made


class ConfigTests(SynchronousTestCase):
    """Syntax, defaults and errors."""

    def test_defaults(self) -> None:
        """The system's file, for all zones of the block, looked at every five seconds."""
        self.assertEqual(config("hosts"), HostsConfig("/etc/hosts", (ROOT,)))

    def test_file_and_zones(self) -> None:
        """A relative path begins in the block's root."""
        block, words = blocks_of(".:53 {\n hosts my.hosts example.org 10.0.0.0/24\n}\n", ("hosts",))[0]
        made = directive.parse(words["hosts"], replace(block, root="/etc/kdns"))
        self.assertEqual(made.path, "/etc/kdns/my.hosts")
        self.assertEqual(made.zones, (from_text("example.org"), from_text("0.0.10.in-addr.arpa")))

    def test_options(self) -> None:
        """All options, with lines of hosts between them."""
        made = config(
            "hosts /h {\n 10.0.0.1 a.test b.test\n ttl 60\n reload 1m\n no_reverse\n"
            " 10.0.0.2 c.test\n fallthrough a.test\n fallthrough_unsupported\n}"
        )
        wanted = HostsConfig(
            "/h", (ROOT,), ("10.0.0.1 a.test b.test", "10.0.0.2 c.test"), 60, 60.0, False, (from_text("a.test"),), True
        )
        self.assertEqual(made, wanted)
        self.assertEqual(config("hosts {\n fallthrough\n}").fallthrough, (ROOT,))

    def test_errors(self) -> None:
        """What cannot be is refused in the words that operators know."""
        place = "plugin/hosts: Corefile:3 - Error during parsing: "
        for words, text in (
            ("hosts\n hosts", "plugin/hosts: this plugin can only be used once per Server Block"),
            ("hosts {\nttl 0\n}", place + "ttl provided is invalid"),
            ("hosts {\nttl 65536\n}", place + "ttl provided is invalid"),
            ("hosts {\nttl x\n}", place + "ttl needs a number of second"),
            ("hosts {\nttl\n}", place + "ttl needs a time in second"),
            ("hosts {\nreload\n}", place + "reload needs a duration (zero seconds to disable)"),
            ("hosts {\nreload x\n}", place + "invalid duration for reload 'x'"),
            ("hosts {\nreload -1s\n}", place + "invalid negative duration for reload '-1s'"),
            (
                "hosts {\nfallthrough\nfrob x\n}",
                "plugin/hosts: Corefile:4 - Error during parsing: unknown property 'frob'",
            ),
            ("hosts {\nfallthrough_unsupported\n}", "plugin/hosts: fallthrough_unsupported requires fallthrough"),
        ):
            self.assertEqual(str(self.assertRaises(CorefileError, config, words)), text)
