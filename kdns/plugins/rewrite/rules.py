# -*- test-case-name: tests.plugins.rewrite.test_rules -*-
"""
Rules: a query in, the changed query and the changes of its reply out.

The rules are tried in their order. Each sees the query as the rules before it left it. A rule that fires ends the list, unless it says
``continue``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from kdns.core.request import Request
from kdns.plugins.rewrite.names import MatchKind, NameMatch, RegexChange, SuffixUndone, Undone
from kdns.plugins.rewrite.options import Action, Option, OptionData, SubnetPrefix, Undo, changed
from kdns.plugins.rewrite.replies import (
    CnameChange,
    OwnerChange,
    RcodeChange,
    ReplyChange,
    TtlChange,
    ValueChange,
)
from kdns.wire.constants import CLIENT_SUBNET, IN
from kdns.wire.names import BadName, from_text, to_text


class InvalidName(ValueError):
    """A rule made a text that is no domain name."""


@dataclass(slots=True)
class Query:
    """
    What rules see of a query and change.

    :ivar request: as it came to the plugin.
    :ivar name: lower case with its final dot.
    :ivar options: EDNS options.
    :ivar changes: what to do with the reply, in the order in which the rules fired.
    :ivar undos: options to take back from the reply.
    """

    request: Request
    name: str
    qtype: int
    qclass: int
    options: tuple[Option, ...] = ()
    changes: list[ReplyChange] = field(default_factory=list)
    undos: list[Undo] = field(default_factory=list)
    added: set[Option] = field(default_factory=set)
    """Options that rules set."""

    @property
    def spelled(self) -> str:
        """The name; in the client's letters unless a rule changed it."""
        spelled = to_text(self.request.spelled)
        return spelled if spelled.lower() == self.name else self.name


class Reach(NamedTuple):
    """
    Queries of class IN that a rule can be about; the others it leaves alone.

    :ivar zones: names in these, in wire form.
    :ivar types: any name, with these types.
    """

    zones: tuple[bytes, ...] = ()
    types: frozenset[int] = frozenset()


class Rule(Protocol):
    """One rule."""

    def fire(self, query: Query) -> bool:
        """Change the query if the rule fits; returns whether it did."""

    def reach(self) -> Reach | None:
        """Which queries the rule can be about; None for all."""


@dataclass(frozen=True, slots=True)
class NameAnswer:
    """``answer name RE TO`` or ``answer value RE TO``."""

    value: bool
    change: RegexChange


@dataclass(frozen=True, slots=True)
class NameRule:
    """
    Change the name.

    :ivar answers: what ``answer`` says, in the order written.
    :ivar auto: whether names of the reply are changed back.
    """

    match: NameMatch
    replacement: str
    answers: tuple[NameAnswer, ...] = ()
    auto: bool = False

    def fire(self, query: Query) -> bool:
        """See :class:`Rule`."""
        replaced = self.match.replaced(query.name, self.replacement)
        if replaced is None:
            return False
        made = replaced.lower()
        if self.match.kind is MatchKind.REGEX and not made.endswith("."):
            made += "."
        original, query.name = query.name, made
        if self.auto:
            if self.match.kind is MatchKind.SUFFIX:
                query.changes += auto_changes(self)
            else:
                back = Undone(made, original)
                query.changes += [OwnerChange(back), ValueChange(back)]
        query.changes += [ValueChange(each.change) if each.value else OwnerChange(each.change) for each in self.answers]
        return True

    def reach(self) -> Reach | None:
        """See :class:`Rule`."""
        zone = self.match.zone
        return None if zone is None else Reach((zone,))


def auto_changes(rule: NameRule) -> list[OwnerChange | ValueChange]:
    """What ``answer auto`` of a suffix rule does to every reply."""
    back = SuffixUndone(rule.replacement, rule.match.text)
    return [OwnerChange(back), ValueChange(back)]


@dataclass(frozen=True, slots=True)
class TypeRule:
    """Change the type of the query."""

    old: int
    new: int

    def fire(self, query: Query) -> bool:
        """See :class:`Rule`."""
        if query.qtype != self.old:
            return False
        query.qtype = self.new
        return True

    def reach(self) -> Reach | None:
        """See :class:`Rule`."""
        return Reach(types=frozenset((self.old,)))


@dataclass(frozen=True, slots=True)
class ClassRule:
    """Change the class of the query."""

    old: int
    new: int

    def fire(self, query: Query) -> bool:
        """See :class:`Rule`."""
        if query.qclass != self.old:
            return False
        query.qclass = self.new
        return True

    def reach(self) -> Reach | None:
        """See :class:`Rule`."""
        return None if self.old == IN else Reach()


@dataclass(frozen=True, slots=True)
class ReplyRule:
    """Change TTLs or the response code of replies to some names."""

    match: NameMatch
    change: TtlChange | RcodeChange

    def fire(self, query: Query) -> bool:
        """See :class:`Rule`."""
        if not self.match.fits(query.name):
            return False
        query.changes.append(self.change)
        return True

    def reach(self) -> Reach | None:
        """See :class:`Rule`."""
        zone = self.match.zone
        return None if zone is None else Reach((zone,))


@dataclass(frozen=True, slots=True)
class CnameRule:
    """Change targets of CNAME records; it fires for every query."""

    change: CnameChange

    def fire(self, query: Query) -> bool:
        """See :class:`Rule`."""
        query.changes.append(self.change)
        return True

    def reach(self) -> Reach | None:
        """See :class:`Rule`."""
        return None


@dataclass(frozen=True, slots=True)
class OptionRule:
    """
    Change an EDNS option.

    :ivar variable: what the client or its connection makes different, or metadata; None for fixed data.
    """

    action: Action
    code: int
    data: bytes = b""
    variable: OptionData | None = None
    variable_name: str = ""
    revert: bool = False

    def fire(self, query: Query) -> bool:
        """See :class:`Rule`."""
        data: bytes | None = self.data
        if self.variable is not None:
            data = self.variable(query.request, query.spelled, query.qtype)
            if not data:
                return False
            if self.action is Action.APPEND and any(code == self.code for code, _ in query.options):
                return False
        return _change_option(query, self.action, self.code, data or b"", self.revert)

    def reach(self) -> Reach | None:
        """See :class:`Rule`."""
        return None


@dataclass(frozen=True, slots=True)
class SubnetRule:
    """Tell the upstream the client's network (RFC 7871)."""

    action: Action
    prefix: SubnetPrefix
    revert: bool = False

    def fire(self, query: Query) -> bool:
        """See :class:`Rule`."""
        if self.action is Action.APPEND and any(code == CLIENT_SUBNET for code, _ in query.options):
            return False
        data = b"" if self.action is Action.UNSET else self.prefix.option(query.request.client)
        return _change_option(query, self.action, CLIENT_SUBNET, data, self.revert)

    def reach(self) -> Reach | None:
        """See :class:`Rule`."""
        return None


def _change_option(query: Query, action: Action, code: int, data: bytes, revert: bool) -> bool:
    result = changed(query.options, action, code, data)
    if result is None:
        return False
    query.options, undo = result
    if undo is not None:
        query.added.add((code, undo.new))
    if revert and undo is not None:
        query.undos.append(undo)
    return True


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A rule as it stands in the Corefile.

    :ivar stop: whether no rule is tried after it when it fired.
    :ivar text: as written, for explanations.
    """

    rule: Rule
    stop: bool
    text: str


class RuleList:
    """The rules of a block. Those about one name are found by it, so that a thousand of them cost what one costs."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self._by_name: dict[str, list[int]] = {}
        self._others: list[int] = []
        for index, entry in enumerate(self.entries):
            rule = entry.rule
            if isinstance(rule, (NameRule, ReplyRule)) and rule.match.kind is MatchKind.EXACT:
                self._by_name.setdefault(rule.match.text, []).append(index)
            else:
                self._others.append(index)

    def following(self, index: int, name: str) -> int | None:
        """The first rule from *index* on that may be about a name."""
        found = [
            indexes[at]
            for indexes in (self._others, self._by_name.get(name, ()))
            if (at := bisect_left(indexes, index)) < len(indexes)
        ]
        return min(found, default=None)


def apply(rules: RuleList, query: Query) -> list[Entry]:
    """
    Try the rules; returns those that fired.

    :raises InvalidName: a rule made a text that is no name.
    """
    fired: list[Entry] = []
    start = 0
    while (index := rules.following(start, query.name)) is not None:
        entry = rules.entries[index]
        start = index + 1
        before = query.name
        if not entry.rule.fire(query):
            continue
        fired.append(entry)
        if query.name != before:
            try:
                from_text(query.name)
            except BadName:
                raise InvalidName(f"invalid name after rewrite: {query.name}") from None
        if entry.stop:
            break
    return fired
