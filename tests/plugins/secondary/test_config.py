# -*- test-case-name: tests.plugins.secondary.test_config -*-
"""``secondary`` in a Corefile: what it means, and what is refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import CorefileError
from kdns.corefile.keys import server_keys
from kdns.corefile.parser import Surroundings, parse
from kdns.plugin.seam import Block
from kdns.plugins.secondary import directive
from kdns.plugins.secondary.config import SecondaryConfig, SecondaryZoneConfig
from kdns.plugins.transfer.config import Peer
from kdns.wire.names import ROOT, from_text

ORG = from_text("example.org")
HERE = "plugin/secondary: Corefile:{} - Error during parsing: "
WRONG = "Wrong argument count or unexpected line ending after "


def config(text: str) -> SecondaryConfig:
    """The config of some lines in a block for example.org."""
    tree = parse(f"example.org {{\n{text}\n}}\n", "Corefile", Surroundings(("secondary",))).blocks[0]
    block = Block(server_keys(tree), frozenset(tree.directives))
    found: SecondaryConfig = directive.parse(Dispenser(tree.directives["secondary"]), block)
    return found


class ConfigTests(SynchronousTestCase):
    """kdns.plugins.secondary.config."""

    def test_parsed(self) -> None:
        """Primaries of several lines add up, and the last fallthrough counts for all zones."""
        found = config(
            "secondary {\n transfer from 192.0.2.1 192.0.2.2:5300\n transfer from ::1\n}\n"
            "secondary c.test {\n transfer from 192.0.2.1\n catalog a.test\n catalog b.test\n fallthrough\n}\n"
            "secondary d.test {\n transfer from 192.0.2.1\n catalog a.test\n catalog\n}"
        )
        one = Peer("192.0.2.1")
        self.assertEqual(
            found.zones,
            (
                SecondaryZoneConfig(ORG, (one, Peer("192.0.2.2", 5300), Peer("::1"))),
                SecondaryZoneConfig(from_text("c.test"), (one,), (from_text("a.test"), from_text("b.test"))),
                SecondaryZoneConfig(from_text("d.test"), (one,), ()),
            ),
        )
        self.assertEqual(found.fallthrough, (ROOT,))

    def test_errors(self) -> None:
        """What is refused, in CoreDNS's words."""
        need = "secondary zones require a transfer from property"
        for text, error in (
            ("secondary", HERE.format(2) + need),
            ("secondary {\n}", HERE.format(3) + need),
            ("secondary {\n transfer\n}", HERE.format(3) + WRONG + "'transfer'"),
            ("secondary {\n transfer to 127.0.0.1\n}", HERE.format(3) + "unknown property to"),
            ("secondary {\n transfer from\n}", HERE.format(3) + WRONG + "'from'"),
            ("secondary {\n transfer from *\n}", "plugin/secondary: can't use '*' in transfer from"),
            ("secondary {\n transfer from ns.a\n}", "plugin/secondary: must specify an IP address: `ns.a'"),
            ("secondary {\n frob\n}", HERE.format(3) + "unknown property 'frob'"),
            (
                "secondary {\n transfer from ::1\n catalog a..b\n}",
                'plugin/secondary: invalid catalog member zone "a..b"',
            ),
        ):
            with self.assertRaises(CorefileError) as caught:
                config(text)
            self.assertEqual(str(caught.exception), error)
