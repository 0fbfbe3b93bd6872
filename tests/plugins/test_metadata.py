"""For which queries metadata is collected."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugins.metadata import directive
from kdns.wire.names import from_text
from tests.support import a_house, built, parsed


class MetadataTests(SynchronousTestCase):
    """Zones and errors."""

    def test_zones_of_the_block(self) -> None:
        """Without arguments all queries of the block count."""
        builder = built(directive, "a.test:53 b.test:53 {\n metadata\n}\n", a_house(Clock()))
        self.assertEqual(builder.collect_metadata, (from_text("a.test"), from_text("b.test")))

    def test_own_zones(self) -> None:
        """Zones narrow it."""
        builder = built(directive, ".:53 {\n metadata cluster.local\n}\n", a_house(Clock()))
        self.assertEqual(builder.collect_metadata, (from_text("cluster.local"),))

    def test_errors(self) -> None:
        """It has no options, takes only zones, and stands once in a block."""
        error = self.assertRaises(CorefileError, parsed, directive, ".:53 {\n    metadata {\n        x\n    }\n}\n")
        self.assertEqual(
            str(error),
            "plugin/metadata: Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'x'",
        )
        self.assertRaises(CorefileError, parsed, directive, ".:53 {\n    metadata a..b\n}\n")
        self.assertRaises(CorefileError, parsed, directive, ".:53 {\n    metadata\n    metadata\n}\n")
