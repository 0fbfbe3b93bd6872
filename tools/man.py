# -*- test-case-name: tests.test_release -*-
"""
Man pages out of the documents: ``kdns(1)``, ``Corefile(5)`` and ``kdns-plugins(7)``.

``python -m tools.man FOLDER`` writes them. A build of the package does so, too, where markdown-it-py is installed, which reads Markdown.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

COMMAND = ("Flags", "Ports", "Signals", "Exit status", "kdns check", "kdns plan", "Log")
"""Sections of ``docs/operations.md`` that ``kdns(1)`` has, in this order."""

SYNOPSIS = "\n".join(
    (
        "    kdns [-conf FILE] [-dns.port PORT] [-workers N] [FLAG...]",
        "    kdns check [FILE]",
        "    kdns explain NAME [TYPE]",
        "    kdns status [--once]",
        "    kdns cache list|get|flush",
        "    kdns plan --nodes N --cores N",
        "    kdns translate FILE",
    )
)


def version() -> str:
    found = re.search(
        r'^__version__ = "(.+)"$', (ROOT / "kdns" / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert found is not None
    return found[1]


def section(text: str, title: str) -> str:
    """The text below a heading of a page, up to the next heading of its level or above."""
    found = re.search(
        rf"^(#+) {re.escape(title)}(?: - .*)?$\n(.*?)(?=^#{{1,2}} |^\1 |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise LookupError(f"no section {title!r}")
    return found[2].strip()


def pages() -> dict[str, str]:
    """File names and texts of all man pages."""
    operations = (DOCS / "operations.md").read_text(encoding="utf-8")
    command = f"## Synopsis\n\n{SYNOPSIS}\n\n## Description\n\n{_description()}\n\n"
    command += "".join(f"## {title}\n\n{section(operations, title)}\n\n" for title in COMMAND)
    command += "## See also\n\nCorefile(5), kdns-plugins(7), dig(1)\n"
    corefile = (DOCS / "corefile.md").read_text(encoding="utf-8").partition("\n")[2].strip()
    corefile = f"## Description\n\n{corefile}\n\n## See also\n\nkdns(1), kdns-plugins(7)\n"
    return {
        "kdns.1": page("kdns", 1, "cluster DNS for Kubernetes", command),
        "Corefile.5": page("Corefile", 5, "the configuration of kdns", corefile),
        "kdns-plugins.7": page("kdns-plugins", 7, "the plugins of kdns", "\n\n".join(_plugins())),
    }


def _description() -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme.partition("\n")[2].strip().split("\n\n")[0]


def _plugins() -> Iterator[str]:
    yield "## Description\n\nA plugin is a directive of the Corefile. Each has a page of the documentation with examples."
    for path in sorted((DOCS / "plugins").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        yield f"## {path.stem}\n\n{section(text, 'Name')}\n\n{section(text, 'Syntax')}"
    yield "## See also\n\nkdns(1), Corefile(5)"


def page(name: str, number: int, summary: str, markdown: str) -> str:
    """A page in the language of ``man``."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    head = [f'.TH "{name}" "{number}" "" "kdns {version()}" "kdns"', ".SH NAME", rf"{_escaped(name)} \- {summary}"]
    return "\n".join([*head, *_lines(tokens)]) + "\n"


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("\u2026", "...")
    # A line that begins with a dot or an apostrophe would be a request.
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def _inline(token: Token) -> str:
    parts = []
    for child in token.children or ():
        match child.type:
            case "text":
                parts.append(_escaped(child.content))
            case "code_inline":
                parts.append(rf"\fB{_escaped(child.content)}\fR")
            case "softbreak" | "hardbreak":
                parts.append(" ")
            case "strong_open":
                parts.append(r"\fB")
            case "em_open":
                parts.append(r"\fI")
            case "strong_close" | "em_close":
                parts.append(r"\fR")
    text = "".join(parts)
    return rf"\&{text}" if text[:1] in (".", "'") else text


def _lines(tokens: Iterable[Token]) -> Iterator[str]:
    """Requests and text, a line each."""
    depth, fresh, head, before = 0, False, False, ""
    row: list[str] = []
    titles: list[str] = []
    for token in tokens:
        match token.type:
            case "heading_open":
                yield ".SH" if token.tag in ("h1", "h2") else ".SS"
            case "bullet_list_open" | "ordered_list_open":
                if depth:
                    yield ".RS 4"
                depth += 1
            case "bullet_list_close" | "ordered_list_close":
                depth -= 1
                if depth:
                    yield ".RE"
            case "list_item_open":
                yield ".IP \\(bu 3"
                fresh = True
            case "paragraph_open":
                if not fresh:
                    yield '.IP "" 3' if depth else ".PP"
                fresh = False
            case "fence" | "code_block":
                yield from (".PP", ".RS 4", ".nf")
                yield from (_escaped(line) for line in token.content.rstrip("\n").split("\n"))
                yield from (".fi", ".RE")
            case "thead_open" | "thead_close":
                head = token.type == "thead_open"
            case "tr_close" if head or not any(row):
                titles, row = row, []
            case "tr_close":
                # A table becomes a list: its first column is what the others tell of.
                if titles[1:2] == ["Default"] and row[1]:
                    row[1:] = [f"{row[2]} (default: {row[1]})"]
                yield from (".TP", row[0] or r"\&", r" \(em ".join(cell for cell in row[1:] if cell) or r"\&")
                row = []
            case "inline" if before in ("th_open", "td_open"):
                row.append(_inline(token))
            case "inline":
                yield _inline(token).upper() if before == "heading_open" and token.level == 1 else _inline(token)
        before = token.type


def write(folder: Path) -> list[Path]:
    """Write all pages, each into the folder of its section."""
    written = []
    for name, text in pages().items():
        path = folder / f"man{name[-1]}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    for made in write(Path(sys.argv[1])):
        print(made)
