"""The block is marked for debugging."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugins.debug import directive
from tests.support import a_house, built, parsed


class DebugTests(SynchronousTestCase):
    """A mark and nothing else."""

    def test_mark(self) -> None:
        """``debug`` marks its block and adds no link."""
        builder = built(directive, ".:53 {\n debug\n}\n", a_house(Clock()))
        self.assertTrue(builder.debug)
        self.assertEqual(builder.links, [])

    def test_arguments_are_refused(self) -> None:
        """There is nothing to set."""
        error = self.assertRaises(CorefileError, parsed, directive, ".:53 {\n    debug x\n}\n")
        self.assertEqual(
            str(error),
            "plugin/debug: Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'x'",
        )
        self.assertRaises(CorefileError, parsed, directive, ".:53 {\n    debug {\n  x\n }\n}\n")
