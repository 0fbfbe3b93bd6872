"""Every metric of kdns's own is in the documents, with its labels, and the documents name none that there is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "docs" / "operations.md", *sorted((ROOT / "docs" / "plugins").glob("*.md")))

KINDS = {"counter": 2, "gauge": 2, "histogram": 3}
"""Methods of a registry that make a family, and the place of its labels."""

PREFIX = "kdns_"

_ROW = re.compile(r"^\| `(kdns_\w+)(?:\{([\w, ]+)\})?` \| (\w+) \|", re.MULTILINE)
_WORD = re.compile(r"`(kdns_\w+)")


def literal(node: ast.expr) -> Any:
    """The value of an expression; None when it is not written out."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def families() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Name, kind and labels of every metric of kdns's own that the source makes."""
    for file in sorted((ROOT / "kdns").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            kind = getattr(node.func, "attr", getattr(node.func, "id", ""))
            name = literal(node.args[0])
            if kind not in KINDS or not isinstance(name, str) or not name.startswith(PREFIX):
                continue
            given = [word.value for word in node.keywords if word.arg == "labels"] or node.args[KINDS[kind] :]
            labels = literal(given[0]) if given and isinstance(given[0], (ast.List, ast.Tuple)) else ()
            assert labels is not None, f"{file}:{node.lineno}: write the labels out"
            yield name, kind, tuple(labels)


class DocumentTests(SynchronousTestCase):
    """The source against the pages."""

    def setUp(self) -> None:
        self.families = {name: (kind, labels) for name, kind, labels in families()}
        self.assertGreater(len(self.families), 20, "the source was not found")
        self.text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)

    def test_every_metric(self) -> None:
        """Each has a row in a table, with its type and labels; a row without a type is in a list of a few (``Name | Meaning``)."""
        rows = {
            name: (kind, tuple(label.strip() for label in labels.split(",")) if labels else ())
            for name, labels, kind in _ROW.findall(self.text)
        }
        named = set(_WORD.findall(self.text))
        wrong = [f"{name}: not in the documents" for name in sorted(self.families.keys() - named)]
        for name, row in sorted(rows.items()):
            if name in self.families and row != self.families[name]:
                wrong.append(f"{name}: documented as {row}, made as {self.families[name]}")
        self.assertEqual(wrong, [])

    def test_none_that_there_is_not(self) -> None:
        """What the documents call a metric is one."""
        self.assertEqual(sorted(set(_WORD.findall(self.text)) - self.families.keys()), [])
