# -*- test-case-name: tests.test_site -*-
"""
The pages of the site that are not files: a hook of MkDocs (``mkdocs.yml`` names it; ``make docs`` runs it).

* The first page is the README.
* ``docs/operations.md`` becomes several pages, by its sections; links to its sections lead to the right one.
* The index of plugins is made of the plugins' own pages, the change log of the fragments.
* Links to files that are no documents lead to the repository.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tools.links import FENCE, with_links

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

OPERATIONS = "operations.md"

PARTS: dict[str, tuple[str, ...]] = {
    "Install": ("The image", "Deploy", "A cache on each node", "Outside Kubernetes"),
    "Migrate": ("Replace CoreDNS", "Come from kube-dns"),
    "Size": ("Size", "Worker processes"),
    "Monitor": ("Monitor", "One list of what is wrong"),
    "Troubleshoot": ("Debug", "Asking a running server", "When the API server is away"),
    "Change": ("Change the configuration", "Upgrade and roll back"),
    "Reference": (),
}
"""Pages that ``docs/operations.md`` is split into, and the sections of each. Sections that stand nowhere here are in the last one."""

_NAME = re.compile(r"^## Name\s+\*.+?\*(?: -)? (.+?)\s*^## ", re.MULTILINE | re.DOTALL)
"""What a plugin's page says of it."""

_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)


def slug(title: str) -> str:
    """The anchor of a heading, as git hosts and MkDocs make it."""
    title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[\s]", "-", re.sub(r"[^\w\s-]", "", title.strip().lower()))


def headings(text: str) -> list[str]:
    """The titles of a document, in their order."""
    return [found[2] for part in FENCE.split(text)[::2] for found in _HEADING.finditer(part)]


def sections(text: str) -> Iterator[tuple[str, str]]:
    """The sections of the second level, each with its heading; what stands above them has an empty title."""
    parts = FENCE.split(text)
    # Fences may hold lines that look like headings.
    hidden = "".join(part if number % 2 == 0 else part.replace("\n#", "\n\0") for number, part in enumerate(parts))
    for part in re.split(r"^(?=## )", hidden, flags=re.MULTILINE):
        title = part.partition("\n")[0].removeprefix("## ") if part.startswith("## ") else ""
        yield title, part.replace("\0", "#")


@cache
def operations() -> dict[str, str]:
    """The pages made of ``docs/operations.md``: their paths and texts."""
    where = {title: part for part, titles in PARTS.items() for title in titles}
    last = list(PARTS)[-1]
    made = {part: f"# {part}\n\n" for part in PARTS}
    opening = ""
    for title, text in sections((DOCS / OPERATIONS).read_text(encoding="utf-8")):
        if title:
            made[where.get(title, last)] += text
        else:
            opening = text
    pages = {f"operations/{part.lower()}.md": text for part, text in made.items()}
    return {"operations/index.md": opening, **pages}


@cache
def places() -> dict[str, str]:
    """The page of each anchor of ``docs/operations.md``."""
    return {slug(title): path for path, text in operations().items() for title in headings(text)[1:]}


def plugins_index() -> str:
    """The page that lists all plugins, by what their own pages say of them."""
    rows = [
        "# Plugins",
        "",
        "Every directive of the Corefile has a page.",
        "",
        "| Plugin | What it does |",
        "|---|---|",
    ]
    for path in sorted((DOCS / "plugins").glob("*.md")):
        name = _NAME.search(path.read_text(encoding="utf-8"))
        assert name is not None, path
        rows.append(f"| [{path.stem}]({path.name}) | {' '.join(name[1].split())} |")
    return "\n".join(rows) + "\n"


def relinked(text: str, page: str, source: str, repository: str) -> str:
    """
    A page with links as the site has them.

    :param page: its path on the site.
    :param source: the path in the tree of the file that its text is from.
    """

    def replace(path: str, anchor: str) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        found = on_site(target, anchor.removeprefix("#"))
        if found is None:
            return f"{repository}/blob/main/{target}{anchor}"
        return posixpath.relpath(found, posixpath.dirname(page) or ".") + anchor

    text = with_links(text, replace)
    if source == f"docs/{OPERATIONS}":
        here = posixpath.dirname(page)
        text = re.sub(
            r"\]\(#([\w-]+)\)", lambda found: f"]({posixpath.relpath(places()[found[1]], here)}#{found[1]})", text
        )
    return text


def on_site(target: str, anchor: str) -> str | None:
    """Where the site has a file of the tree; None when it does not."""
    if target == f"docs/{OPERATIONS}":
        return places().get(anchor, "operations/index.md")
    if target in ("README.md", "docs"):
        return "index.md"
    if target == "docs/plugins":
        return "plugins/index.md"
    inside = target.startswith("docs/") and (ROOT / target).is_file() and not target.endswith(".py")
    return target.removeprefix("docs/") if inside else None


def changelog() -> str:
    """The change log with what the next release adds."""
    made = ROOT / "build" / "CHANGELOG.md"
    return (made if made.is_file() else ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def pages() -> dict[str, tuple[str, str]]:
    """All pages of the site that are no files: path, source in the tree, and text."""
    return {
        "index.md": ("README.md", (ROOT / "README.md").read_text(encoding="utf-8")),
        "plugins/index.md": ("docs/plugins/index.md", plugins_index()),
        "changelog.md": ("CHANGELOG.md", changelog()),
        **{path: (f"docs/{OPERATIONS}", text) for path, text in operations().items()},
    }


# What MkDocs calls.


def on_config(config: Any) -> Any:
    """Have the navigation list the page of every plugin."""
    pages = [f"plugins/{path.name}" for path in sorted((DOCS / "plugins").glob("*.md"))]
    for section in config["nav"]:
        for title, entries in section.items():
            if title == "Plugins":
                entries.extend({Path(page).stem: page} for page in pages)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are no files, and take out what they are made of."""
    from mkdocs.structure.files import File

    whole = files.get_file_from_path(OPERATIONS)
    if whole is not None:
        files.remove(whole)
    for path, (_, text) in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Have links lead to the site, or to the repository."""
    path = page.file.src_uri
    source = pages()[path][0] if path in pages() else f"docs/{path}"
    return relinked(markdown, path, source, config["repo_url"].rstrip("/"))
