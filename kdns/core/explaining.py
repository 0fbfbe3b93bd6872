# -*- test-case-name: tests.admin.test_tracing -*-
"""Lines of an explanation; which methods of a link make them is told at :class:`kdns.core.chain.Link`."""

from __future__ import annotations

from typing import NamedTuple


class Note(NamedTuple):
    """A line of an explanation."""

    text: str
    missing: bool = False
    """Whether it names what would have to be there for the name to have an answer."""
