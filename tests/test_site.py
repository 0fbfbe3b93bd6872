# -*- test-case-name: tests.test_site -*-
"""The site: what it is made of is there, and links inside it lead somewhere. Building it is for ``make docs``."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.registry import BUILT_IN
from tools.links import FENCE, LINK, absolute
from tools.site import DOCS, PARTS, ROOT, headings, operations, pages, plugins_index, relinked, sections, slug

DOCUMENTS = [*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), *ROOT.glob("conf/**/*.md")]
REPOSITORY = "https://repository.test"

_OWN = re.compile(r"\]\(#([^)\s]+)\)")


def outside_fences(text: str) -> str:
    """A document without its programs."""
    return "".join(FENCE.split(text)[::2])


class LinkTests(SynchronousTestCase):
    """Links between documents, as they stand in the tree."""

    def test_anchors(self) -> None:
        """A link to a section leads to a heading that there is."""
        anchors = {page: set(map(slug, headings(page.read_text(encoding="utf-8")))) for page in DOCUMENTS}
        broken = []
        for page in DOCUMENTS:
            text = outside_fences(page.read_text(encoding="utf-8"))
            own = [(page, anchor) for anchor in _OWN.findall(text)]
            others = [((page.parent / path).resolve(), anchor[1:]) for path, anchor in LINK.findall(text) if anchor]
            for target, anchor in [*own, *others]:
                if anchor not in anchors.get(target, ()):
                    broken.append(f"{page.relative_to(ROOT)}: {target.name}#{anchor}")
        self.assertEqual(broken, [])

    def test_anchor_of_a_heading(self) -> None:
        """As git hosts and MkDocs make it."""
        for title, wanted in (
            ("What does it do now? `kdns status`", "what-does-it-do-now-kdns-status"),
            ("Metrics of kdns's own", "metrics-of-kdnss-own"),
            ("[A](b.md) and c", "a-and-c"),
        ):
            self.assertEqual(slug(title), wanted)

    def test_absolute(self) -> None:
        """Relative links are made absolute, outside of programs; others stay as they are."""
        text = "[a](docs/x.md#y) ![p](docs/p.png) [b](https://b.test) [c](#d) [e](../LICENSE)\n```\n[f](g)\n```\n"
        self.assertEqual(
            absolute(text, REPOSITORY, "docs"),
            f"[a]({REPOSITORY}/blob/main/docs/docs/x.md#y) ![p]({REPOSITORY}/raw/main/docs/docs/p.png) "
            f"[b](https://b.test) [c](#d) [e]({REPOSITORY}/blob/main/LICENSE)\n```\n[f](g)\n```\n",
        )


class SiteTests(SynchronousTestCase):
    """The pages of the site."""

    def site(self) -> dict[str, str]:
        """Every page with its links as the site has them."""
        made = pages()
        for path in DOCS.glob("**/*.md"):
            name = str(path.relative_to(DOCS))
            if name != "operations.md":
                made[name] = (f"docs/{name}", path.read_text(encoding="utf-8"))
        return {name: relinked(text, name, source, REPOSITORY) for name, (source, text) in made.items()}

    def test_links(self) -> None:
        """Each link leads to a page or a picture of the site, at a heading that it has, or to a file of the repository."""
        site = self.site()
        broken = []
        for name, text in site.items():
            for path, anchor in LINK.findall(outside_fences(text)):
                target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
                if target not in site and not (DOCS / target).is_file():
                    broken.append(f"{name}: {path}{anchor}")
                elif anchor and anchor[1:] not in set(map(slug, headings(site[target]))):
                    broken.append(f"{name}: no heading {path}{anchor}")
            for anchor in _OWN.findall(outside_fences(text)):
                if anchor not in set(map(slug, headings(text))):
                    broken.append(f"{name}: no heading #{anchor}")
            for path in re.findall(rf"\]\({REPOSITORY}/blob/main/([^)#]+)", text):
                if not (ROOT / path).exists():
                    broken.append(f"{name}: no file {path}")
        self.assertEqual(broken, [])

    def test_operations(self) -> None:
        """The operator's page is split without a loss, and every section is where it belongs."""
        whole = (DOCS / "operations.md").read_text(encoding="utf-8")
        parts = operations()
        self.assertEqual(sum(map(len, parts.values())), len(whole) + sum(len(f"# {part}\n\n") for part in PARTS))
        titles = {title for title, _ in sections(whole)}
        self.assertEqual({title for named in PARTS.values() for title in named} - titles, set())
        self.assertIn("## Signals", parts["operations/reference.md"].replace("### ", "## "))
        self.assertNotIn("\n## Size", parts["operations/reference.md"])

    def test_plugins(self) -> None:
        """The index has every plugin, in the words of its page."""
        index = plugins_index()
        self.assertEqual(set(re.findall(r"\| \[(\w+)\]\((?:\w+)\.md\) \| \S", index)), set(BUILT_IN))

    def test_navigation(self) -> None:
        """Every document is in the navigation, and everything in the navigation is there."""
        config: Any = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
        named: list[str] = []
        for section in config["nav"]:
            for entry in section.values():
                named += [entry] if isinstance(entry, str) else [page for page in entry if isinstance(page, str)]
        site = {name for name in self.site() if not name.startswith("plugins/") or name == "plugins/index.md"}
        self.assertEqual(sorted(named), sorted(site))
        self.assertTrue((ROOT / Path(config["hooks"][0])).is_file())
