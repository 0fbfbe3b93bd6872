"""The folder of a block."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugins.root import directive
from tests.support import a_house, built, parsed


class RootTests(SynchronousTestCase):
    """A path, taken as it is."""

    def warnings(self, path: str) -> list[str]:
        """What is logged when the block is built."""
        with capturedLogs() as events:
            built(directive, f".:53 {{\n    root {path}\n}}\n", a_house(Clock()))
        return [f"{event['log_namespace']}: {formatEvent(event)}" for event in events]

    def test_path(self) -> None:
        """What is parsed is the path; of two the last one."""
        self.assertEqual(parsed(directive, ".:53 {\n    root /a\n    root b/c\n}\n"), "b/c")

    def test_missing_folder(self) -> None:
        """A folder that is not there is warned of and no error."""
        self.assertEqual(self.warnings("nodir"), ["plugin/root: Root path does not exist: nodir"])

    def test_unreadable_folder(self) -> None:
        """Nor is one that cannot be looked at."""
        path = self.mktemp()
        with open(path, "w"):
            pass
        self.assertEqual(
            self.warnings(f"{path}/below"), [f"plugin/root: Root path {path}/below cannot be read: Not a directory"]
        )

    def test_folder(self) -> None:
        """One that is there is nothing to talk about."""
        path = self.mktemp()
        os.mkdir(path)
        self.assertEqual(self.warnings(path), [])

    def test_no_path(self) -> None:
        """A path there must be."""
        error = self.assertRaises(CorefileError, parsed, directive, ".:53 {\n    root\n}\n")
        self.assertEqual(
            str(error),
            "plugin/root: Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'root'",
        )
