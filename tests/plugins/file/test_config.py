# -*- test-case-name: tests.plugins.file.test_config -*-
"""``file`` in a Corefile: what it means, and what is refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import CorefileError
from kdns.corefile.keys import server_keys
from kdns.corefile.parser import Surroundings, parse
from kdns.plugin.seam import Block
from kdns.plugins.file import directive
from kdns.plugins.file.config import FileConfig, ZoneFileConfig
from kdns.wire.names import ROOT, from_text

ORG = from_text("example.org")


def config(text: str, root: str = "") -> FileConfig:
    """The config of some lines in a block for example.org."""
    tree = parse(f"example.org {{\n{text}\n}}\n", "Corefile", Surroundings(("file",))).blocks[0]
    block = Block(server_keys(tree), frozenset(tree.directives), root)
    found: FileConfig = directive.parse(Dispenser(tree.directives["file"]), block)
    return found


class ConfigTests(SynchronousTestCase):
    """kdns.plugins.file.config."""

    def test_defaults(self) -> None:
        """The zones of the block, a look every minute, nothing falls through."""
        self.assertEqual(config("file db"), FileConfig((ZoneFileConfig(ORG, "db", 60.0, False),), ()))

    def test_all(self) -> None:
        """Several zones of a file; a reload counts for the lines behind it, and the last fallthrough for all."""
        found = config(
            "file db a.test 10.0.0.0/8 {\n reload 5s\n reload_by_mtime\n fallthrough\n}\n"
            "file b b.test {\n fallthrough x.b.test\n upstream\n}",
            "/zones",
        )
        origins = [from_text(name) for name in ("a.test", "10.in-addr.arpa", "b.test")]
        self.assertEqual([zone.origin for zone in found.zones], origins)
        self.assertEqual([zone.path for zone in found.zones], ["/zones/db", "/zones/db", "/zones/b"])
        self.assertEqual([zone.reload for zone in found.zones], [5.0, 5.0, 5.0])
        self.assertEqual([zone.by_mtime for zone in found.zones], [True, True, False])
        self.assertEqual(found.fallthrough, (from_text("x.b.test"),))
        self.assertEqual(config("file db {\n fallthrough\n}").fallthrough, (ROOT,))

    def test_last_of_a_zone(self) -> None:
        """Of two files for a zone the last counts; what is no zone is left out."""
        self.assertEqual([zone.path for zone in config("file a\nfile b").zones], ["b"])
        self.assertEqual(config("file a a..b").zones, ())

    def test_errors(self) -> None:
        """What is refused, in CoreDNS's words."""
        for text, error in (
            (
                "file",
                "plugin/file: Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'file'",
            ),
            ("file db {\n frob\n}", "plugin/file: Corefile:3 - Error during parsing: unknown property 'frob'"),
            ("file db {\n reload\n}", "plugin/file: reload duration value is expected"),
            ("file db {\n reload x\n}", 'plugin/file: plugin/file: time: invalid duration "x"'),
            ("file db {\n reload -1s\n}", "plugin/file: plugin/file: invalid duration"),
        ):
            with self.assertRaises(CorefileError) as caught:
                config(text)
            self.assertEqual(str(caught.exception), error)
