"""The syntax that the check tells is that of the plugins' pages."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.checking.syntax import DEFAULT, SYNTAX, Syntax, effective
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.registry import BUILT_IN, find
from kdns.plugin.seam import ServerContext
from kdns.server.assembly import Configuration, assemble, read_text
from kdns.testing.memory import MemoryReactor
from tests.test_docs import ENVIRONMENT, PAGES, ROOT, fences


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


def configuration(text: str) -> Configuration:
    """Put together as far as it goes without a cluster."""
    context = ServerContext(MemoryReactor(), environ=ENVIRONMENT, kernel_sockets=False, programs=True)
    return assemble(read_text(text, ENVIRONMENT), context, forgive=lambda error, of_machine: of_machine)


def configs(made: Configuration) -> list[tuple[list[str], dict[str, object]]]:
    """What plugins read, by block; the keys without their places."""
    found = []
    for builder, tree in zip(made.builders, made.corefile.blocks, strict=True):
        read = {}
        for name, use in tree.directives.items():
            if name in BUILT_IN:
                read[name] = find(name, use.place).parse(Dispenser(use), builder.block)
        found.append(([str(key) for key in builder.block.keys], read))
    return found


class EffectiveTests(SynchronousTestCase):
    """Printed and read again."""

    maxDiff = None

    def corefiles(self) -> list[str]:
        """All in conf/ and on the pages of plugins."""
        texts = [file.read_text() for file in sorted(ROOT.glob("conf/*/Corefile"))]
        for page in sorted(PAGES.glob("*.md")):
            texts += [text for _, _, text in fences(page, "corefile")]
        return texts

    def test_same(self) -> None:
        """What is printed is a Corefile, and plugins make the same of it."""
        texts = self.corefiles()
        self.assertGreater(len(texts), 30)
        for text in texts:
            before = configuration(text)
            printed = effective(before)
            self.assertEqual(configs(configuration(printed)), configs(before), printed)

    def test_whole(self) -> None:
        """Printing what was printed changes nothing but what stands in comments."""

        def bare(text: str) -> list[str]:
            return [line.partition("#")[0].rstrip() for line in text.splitlines() if not line.startswith("#")]

        for text in self.corefiles():
            printed = effective(configuration(text))
            self.assertEqual(bare(effective(configuration(printed))), bare(printed))

    def test_text(self) -> None:
        """Imports and the environment are resolved, plugins stand in the order of the chain, defaults are marked."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "part").write_text("forward . 192.0.2.9\n")
        text = f"(a) {{\n cache 30\n}}\na.test:{{$PORT}} {{\n import {folder}/part\n import a\n log\n}}\n"
        made = effective(configuration(text))
        lines = made.splitlines()
        self.assertEqual(lines[:5], [
            "# Corefile:4", "a.test.:1053 {", f"    log .  {DEFAULT}", "    cache 30 {", f"        success 9984 30 5  {DEFAULT}",
        ])  # fmt: skip
        self.assertIn("    forward . 192.0.2.9 {", lines)
        self.assertIn(f"        policy random  {DEFAULT}", lines)
