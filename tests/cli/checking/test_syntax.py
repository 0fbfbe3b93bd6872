"""The syntax that the check tells is that of the plugins' pages."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.checking.syntax import SYNTAX, Syntax
from kdns.plugin.registry import BUILT_IN
from tests.test_docs import PAGES


def from_page(name: str) -> tuple[str, list[str]]:
    """The first line and the option lines under the heading Syntax."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8").partition("## Syntax\n")[2]
    fence = re.search(r"^``` ?(?:txt)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert fence is not None, name
    head, *options = fence[1].strip().splitlines()
    return head.removesuffix("{").strip(), [line.strip() for line in options if line.strip() != "}"]


class SyntaxTests(SynchronousTestCase):
    """``SYNTAX`` against the pages."""

    def test_pages(self) -> None:
        """Every directive is there, with the lines of its page: whoever adds an option writes it in both places."""
        self.assertEqual(set(SYNTAX), set(BUILT_IN))
        for name, syntax in SYNTAX.items():
            self.assertEqual((syntax.usage, self.lines(syntax)), from_page(name), name)

    def lines(self, syntax: Syntax) -> list[str]:
        """The option lines, each once."""
        return list(dict.fromkeys(usage for option in syntax.options.values() for usage in option.usage))
