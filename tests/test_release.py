# -*- test-case-name: tests.test_release -*-
"""What a release is made of: its metadata, its license, its change log."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import kdns
from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.plugin.registry import BUILT_IN

ROOT = Path(__file__).parents[1]


class ReleaseTests(SynchronousTestCase):
    """Files for those who install it."""

    def test_metadata(self) -> None:
        """The version is that of the program; license and authors are named, and the license is there."""
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg", encoding="utf-8")
        metadata = setup["metadata"]
        self.assertEqual(metadata["version"], kdns.__version__)
        self.assertEqual((metadata["license"], metadata["author"]), ("MIT", "kdns contributors"))
        text = (ROOT / metadata["license_files"]).read_text(encoding="utf-8")
        self.assertTrue(text.startswith("MIT License\n"))
        self.assertIn("kdns contributors", text)

    def test_changelog(self) -> None:
        """Every fragment is of a kind that towncrier knows, and stands in the change log of the next release."""
        command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9", "--date", "2026-01-01"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        if "No module named towncrier" in ended.stderr:
            raise SkipTest("towncrier is not installed")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("## 9.9 (2026-01-01)\n", ended.stdout)
        shown = " ".join(ended.stdout.split())
        for fragment in (ROOT / "changelog.d").glob("*.md"):
            text = " ".join(fragment.read_text(encoding="utf-8").split())
            self.assertIn(text, shown, fragment.name)


class ReadmeTests(SynchronousTestCase):
    """What the README says of plugins."""

    def test_missing(self) -> None:
        """The plugins that it names as missing are directives of CoreDNS that kdns does not have."""
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        missing = re.search(
            r"^\* Plugins of CoreDNS that are not in the table, among them (.*?)\. A", text, re.MULTILINE | re.DOTALL
        )
        assert missing is not None
        named = set(re.findall(r"`(\w+)`", missing[1]))
        self.assertEqual((named & set(BUILT_IN), named - set(DIRECTIVE_ORDER)), (set(), set()))
