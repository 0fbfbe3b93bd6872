# -*- test-case-name: tests.core.test_validity -*-
"""
How long an answer holds, and what a link of the chain varies by.

Two values with two jobs. A :class:`Validity` belongs to one answer: until when it holds and on which data it depends. A
:class:`Varies` belongs to a link: what, besides the question, can change the outcome of everything that passes through it. The chain joins
the two (:func:`kdns.core.chain.chain`), so a plugin that declares nothing is asked for every query, whatever stands in front of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from math import inf
from typing import TypeAlias

from msgspec import Struct

from kdns.core.stamps import MOVES, Stamp, StampRef


class Validity(Struct, frozen=True, gc=False):
    """Whether, until when, and on what data an answer may be used again for the same question."""

    repeat: bool = False
    """Whether the finished reply may be sent again without asking the plugins."""

    until: float = inf
    """When the finished reply stops holding, in seconds of the server's clock. It does not bind a cache, which goes by TTLs."""

    stamps: tuple[StampRef, ...] = ()
    """The data the answer was made from: it ends when one of them moves, in the table and in caches alike."""

    cache: bool | None = None
    """
    Whether a cache may keep the records for their TTL; None means as *repeat* says.

    An upstream must be asked each time (*repeat* is False), yet its TTL lets a cache keep what it said.
    """

    counts_from: float = inf
    """From this time on the TTLs of a repeated reply go down by one each second, until *until*."""

    @property
    def cacheable(self) -> bool:
        """Whether a cache may keep the records for their TTL."""
        return self.repeat if self.cache is None else self.cache

    def narrowed(self, *, until: float = inf, stamps: tuple[StampRef, ...] = ()) -> Validity:
        """This, but no longer than *until*, and only while *stamps* stand."""
        until = self.until if self.until < until else until
        return Validity(self.repeat, until, self.stamps + stamps, self.cache, self.counts_from)

    def joined(self, other: Validity) -> Validity:
        """How long an answer holds that was made from two."""
        return Validity(
            self.repeat and other.repeat,
            min(self.until, other.until),
            self.stamps + other.stamps,
            self.cacheable and other.cacheable,
            min(self.counts_from, other.counts_from),
        )

    def not_repeated(self) -> Validity:
        """This, but the finished reply is not sent again; a cache may still keep the records."""
        return Validity(False, inf, self.stamps, self.cacheable)


ONCE = Validity()
"""For this query alone: not repeated and not cached. What an answer means that says nothing."""

ALWAYS = Validity(True)
"""For everyone who asks the same question, until the configuration changes."""

FROM_UPSTREAM = Validity(False, cache=True)
"""Another server's answer: asked for each time, unless a cache keeps it."""


Group: TypeAlias = Callable[[str], Hashable]
"""From a client's address, as text, to the part of it that matters: the rule it matches, its network, its namespace."""


class Varies(Struct, frozen=True):
    """
    What, besides the question itself, the outcome of a link depends on.

    The question is everything that stands in the query: name, type, class, flags, EDNS. A link that depends on anything that no field
    here can express (time, chance, a counter, the client's port) is :data:`EVERY_QUERY`.
    """

    every_query: bool = False
    """Nothing that passes through the link is used again for another query, not even for the same client."""

    client: Group | None = None
    """Clients of one group get the same: finished replies are kept apart by group."""

    client_data: bool = False
    """Whether *client* looks at data that changes, each change bumping a stamp: its results are then forgotten with each change."""

    transport: bool = False
    """The outcome differs by transport or listener."""

    data: tuple[Stamp, ...] = ()
    """Everything that passes through the link ends when one of these is bumped."""


EVERY_QUERY = Varies(every_query=True)
"""Ask the link for every query: what a link means that declares nothing."""

NOTHING = Varies()
"""The question alone decides."""


def by_client(group: Group, *, data: bool = False) -> Varies:
    """
    What depends on the client's address through *group*.

    :param data: whether *group* looks at data that changes; see :attr:`Varies.client_data`.
    """
    return Varies(client=group, client_data=data)


def by_data(*stamps: Stamp) -> Varies:
    """What depends on data behind *stamps*, whether the link answers itself or passes on."""
    return Varies(data=stamps)


MOST_CLIENTS = 16_384
"""Clients whose groups are remembered; past that all are forgotten."""


class Audience:
    """
    The groups a client belongs to, over several links: the part of an answer's key that is not in the question.

    Results are remembered by address. They are forgotten when a stamp moves, if a group depends on data, and when there are too many.
    """

    __slots__ = ("_known", "_most", "_moves", "groups", "volatile")

    def __init__(self, groups: tuple[Group, ...], volatile: bool, most: int = MOST_CLIENTS) -> None:
        self._most = most
        self.groups = groups
        self.volatile = volatile
        self._known: dict[str, Hashable] = {}
        self._moves = 0

    def of(self, client: str) -> Hashable:
        """The groups of a client's address."""
        moves = MOVES[0]
        if self.volatile and moves != self._moves:
            self._known.clear()
            self._moves = moves
        known = self._known.get(client)
        if known is None:
            if len(self._known) >= self._most:
                self._known.clear()
            known = self._known[client] = tuple(group(client) for group in self.groups)
        return known


def audience_of(varies: Iterable[Varies]) -> Audience | None:
    """Who must be told apart where all of *varies* apply; None when it makes no difference who asks."""
    found = [one for one in varies if one.client is not None and not one.every_query]
    if not found:
        return None
    groups = tuple(dict.fromkeys(one.client for one in found if one.client is not None))
    return Audience(groups, any(one.client_data for one in found))


__all__ = [
    "ALWAYS",
    "EVERY_QUERY",
    "FROM_UPSTREAM",
    "NOTHING",
    "ONCE",
    "Audience",
    "Group",
    "Validity",
    "Varies",
    "audience_of",
    "by_client",
    "by_data",
]
