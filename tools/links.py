# -*- test-case-name: tests.test_release -*-
"""
Relative links of documents made absolute, for places where the rest of the tree is not: the package index, man pages, the site.

Only the standard library is used: ``setup.py`` runs this in a build without anything else.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")
"""The target of a link or an image that is a path: before and behind ``#``."""

FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def with_links(text: str, replace: Callable[[str, str], str]) -> str:
    """Every relative link outside of programs replaced by what *replace* makes of path and anchor."""
    parts = FENCE.split(text)
    for number in range(0, len(parts), 2):
        parts[number] = LINK.sub(lambda found: replace(found[1], found[2] or ""), parts[number])
    return "".join(parts)


def absolute(text: str, base: str, folder: str = "") -> str:
    """
    A document with absolute links.

    :param base: the address of the tree; files are below ``blob/main`` there and images below ``raw/main``, as git hosts have them.
    :param folder: the document's place in the tree.
    """

    def replace(path: str, anchor: str) -> str:
        kind = "raw" if path.endswith((".png", ".svg")) else "blob"
        return f"{base}/{kind}/main/{posixpath.normpath(posixpath.join(folder, path))}{anchor}"

    return with_links(text, replace)
