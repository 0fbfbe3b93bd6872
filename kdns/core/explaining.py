# -*- test-case-name: tests.admin.test_tracing -*-
"""
What a link of the chain may say of its part when a query is explained: all methods are optional.

An explanation asks the real chain, and sees what goes into each link and what comes out. What it cannot see, why a link does so, the link
says itself: in words for an operator, about the state that it answers from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kdns.core.answer import Answer
from kdns.core.request import Request


class Note(NamedTuple):
    """A line of an explanation."""

    text: str
    missing: bool = False
    """Whether it names what would have to be there for the name to have an answer."""


class Explains(Protocol):
    """A link that has something to say."""

    def explain(self, request: Request) -> Sequence[Note]:
        """What it sees in a request; called before it is asked, and it must change nothing."""

    def explain_passed(self, request: Request, came: Answer) -> Sequence[Note]:
        """What it does with *came*, which the next link answered."""

    def freshness(self) -> Sequence[str]:
        """Where its data is from and how old it may be."""

    def asks_others(self, request: Request) -> bool:
        """Whether it would ask another server."""
