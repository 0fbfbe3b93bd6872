"""The directives for operators: *errors*, *log*, *prometheus*, *health*, *ready* against golden Corefiles and their own pages."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.plugin.seam import BlockBuilder
from kdns.plugins import errors, health, log, prometheus, ready
from kdns.testing.memory import MemoryReactor
from tests.conformance.support import start_cases
from tests.plugins.web import memory_house
from tests.support import blocks_of

PAGES = Path(__file__).parent.parent.parent / "docs" / "plugins"
MODULES: dict[str, ModuleType] = {
    "errors": errors,
    "log": log,
    "prometheus": prometheus,
    "health": health,
    "ready": ready,
}


def outcome(corefile: str) -> str | None:
    """What these directives say against a Corefile; None when nothing."""
    for block, words in blocks_of(corefile, DIRECTIVE_ORDER):
        builder = BlockBuilder(memory_house(MemoryReactor()), block, 0)
        for name, module in MODULES.items():
            if name in words:
                try:
                    module.directive.build(module.directive.parse(words[name], block), builder)
                except CorefileError as error:
                    return str(error)
    return None


class GoldenTests(SynchronousTestCase):
    """The golden Corefiles that these directives refuse, and those that use them otherwise."""

    def test_errors(self) -> None:
        """Every error of these directives has the golden text."""
        compared = 0
        for case in start_cases():
            wanted = case.wanted.error
            if wanted is not None and wanted.startswith(tuple(f"plugin/{name}: " for name in MODULES)):
                self.assertEqual(outcome(case.filled({"PORT": "53"}).corefile), wanted, case.name)
                compared += 1
        self.assertEqual(compared, 12)


class ExampleTests(SynchronousTestCase):
    """The examples on the pages."""

    def test_examples(self) -> None:
        """Every Corefile on the page of a directive is one, and uses it."""
        for name in MODULES:
            text = (PAGES / f"{name}.md").read_text()
            examples = re.findall(r"^``` corefile\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            self.assertGreaterEqual(len(examples), 2, name)
            for example in examples:
                self.assertIsNone(outcome(example), example)
                self.assertTrue(any(name in words for _, words in blocks_of(example, DIRECTIVE_ORDER)), example)

    def test_sections(self) -> None:
        """Every page has the same sections in the same order."""
        for name in MODULES:
            text = (PAGES / f"{name}.md").read_text()
            headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
            self.assertEqual(headings[:6], ["Name", "Description", "Syntax", "Metrics", "Ready", "Examples"], name)
            self.assertTrue(text.startswith(f"# {name}\n"))
