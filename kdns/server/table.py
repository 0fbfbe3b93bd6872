# -*- test-case-name: tests.server.test_table -*-
"""
The answer table: from the octets of a query behind its identifier to the finished reply behind its identifier.

A hit costs a look-up, a check of validity and one addition. Nothing is parsed and no plugin is asked. What holds for one client only never
comes in here; see :class:`kdns.core.answer.Scope`.

TableBudget is bounded in octets. Entries live in two generations: new and used ones in the young, and when the young has filled half of
the room it becomes the old one and the old one is dropped. So whatever is asked for keeps its place, and a flood of names that are asked
once only ever drives out each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kdns.core.answer import Scope, Validity
from kdns.core.deferred_free import DeferredFree
from kdns.core.observe import EachRepeat, Exchange
from kdns.core.stamps import MOVES, StampRef, stand
from kdns.core.tally import Tally
from kdns.server.nxdomain_synthesis import COOKIE, COOKIE_OPTION, NxdomainTemplates, head_of
from kdns.wire.ageing import aged, ttl_places
from kdns.wire.names import MalformedName

NO_COOKIE = bytes(COOKIE)
"""Stands in for the client's cookie in the key of an entry."""

OPT_HEAD = 11
"""Bytes of an OPT without options (RFC 6891 section 6.1.2)."""

ENTRY_OCTETS = 1850
"""
What an entry costs beside its key and replies: entry, dict slot, object heads, and the exchange that it was made from, with request and
answer. That is what a flood of names asked once leaves; an entry that was given again has let go of the exchange and costs 700 to 900.
Measured on CPython 3.11 by ``bench/memory_table.py``: 1,620 for an address, 1,840 for NXDOMAIN, 2,010 for five addresses in turn.
"""

GIVEN_OCTETS = 900
"""The same of an entry that was given again: it has let go of the exchange."""


class Entry:
    """A finished reply, as long as it validity."""

    __slots__ = (
        "_places",
        "_shows",
        "aged",
        "cookie",
        "each",
        "end",
        "exchange",
        "moves",
        "noted",
        "plain",
        "replies",
        "reply",
        "room",
        "tally",
        "turn",
        "until",
    )

    def __init__(self, reply: bytes, validity: Validity, exchange: Exchange, room: int, cookie: int = 0) -> None:
        self.reply = reply
        """The reply behind its identifier, without the client's cookie at its end."""

        self.cookie = cookie
        """Octets of the client's cookie: they are at the end of the query, and belong at the end of the reply."""

        self.end = validity.until
        """When it validity no longer."""

        self.until = min(validity.shows, validity.until)
        """When it validity no longer, or shows other TTLs; :meth:`count_down` makes it the next such time."""

        self._shows = validity.shows
        self.aged = 0
        """Seconds by which the TTLs were counted down."""

        self._places: tuple[tuple[int, ...], ...] = ()
        self.noted: tuple[StampRef, ...] = validity.stamps
        self.moves: int | None = None
        """What :data:`~kdns.core.stamps.MOVES` said when the stamps were last found to stand."""

        self.exchange: Exchange | None = exchange
        """What the entry was made from, until it is given for the first time."""

        self.tally: Tally | None = None
        self.each: tuple[EachRepeat, ...] = ()
        self.replies: tuple[bytes, ...] = ()
        """Replies that take turns; empty when there is only one."""

        self.turn = 0
        self.room = room
        self.plain = False
        """Whether it is ready to be given, and giving it is giving its reply: no turns, no cookie, nobody to be told."""

    def take_turns(self, others: Iterable[bytes]) -> None:
        """Give *others*, which say what the reply said at first, in turn with it."""
        replies = tuple(others)
        if self.aged:
            replies = tuple(aged(reply, ttl_places(reply), self.aged) for reply in replies)
        self.replies = (self.reply, *replies)
        self._places = ()

    def count_down(self, now: float) -> bool:
        """
        Have the TTLs show what is left at *now*, which is before the :attr:`end`.

        :return: whether they could be; a message that cannot be walked through is not to be given again.
        """
        seconds = 1 + int(now - self._shows)
        replies = self.replies or (self.reply,)
        if not self._places:
            try:
                self._places = tuple(map(ttl_places, replies))
            except MalformedName:
                return False
        by = seconds - self.aged
        replies = tuple(aged(reply, places, by) for reply, places in zip(replies, self._places, strict=True))
        self.reply, self.aged = replies[0], seconds
        if self.replies:
            self.replies = replies
        self.until = min(self._shows + seconds, self.end)
        return True

    def next_reply(self) -> bytes:
        """The reply whose turn it is; ask only when there are several."""
        turn = self.turn + 1
        if turn >= len(self.replies):
            turn = 0
        self.turn = turn
        return self.replies[turn]


class Uses(NamedTuple):
    """How often tables were of use."""

    given: int = 0
    """Replies that were there already."""

    denied: int = 0
    """Replies for names that do not exist, made of the reply to another."""

    asked: int = 0
    """Queries that plugins were asked for."""

    def plus(self, table: AnswerTable) -> Uses:
        """These and those of a table."""
        denied = table.nxdomains.given
        return Uses(self.given + table.given - denied, self.denied + denied, self.asked + table.asked)


class TableBudget:
    """Octets that some tables share."""

    def __init__(self, octets: int, deferred_free: DeferredFree | None = None) -> None:
        """
        :param deferred_free: lets go of generations that are dropped; None: at once.
        """
        self.octets = octets
        self.deferred_free = DeferredFree() if deferred_free is None else deferred_free
        self.young = 0
        self.old = 0
        self.turns = 0
        """How often the generations changed."""

        self.evicted = 0
        """Entries that were dropped to make room."""

        self.outdated = 0
        """Entries that were dropped when somebody asked, because they did not hold any more."""

        self._tables: list[AnswerTable] = []
        self._left = Uses()

    def table(self) -> AnswerTable:
        """A new table in this room."""
        table = AnswerTable(self)
        self._tables.append(table)
        return table

    def leave(self, table: AnswerTable) -> None:
        """The table is not used any more."""
        self._tables.remove(table)
        self._left = self._left.plus(table)
        table.clear()

    def uses(self) -> Uses:
        """What all tables there ever were in this room have done."""
        uses = self._left
        for table in self._tables:
            uses = uses.plus(table)
        return uses

    def clear(self) -> None:
        """Forget all answers: the configuration they came from is gone."""
        for table in self._tables:
            table.clear()
        self.young = self.old = 0

    def cut(self) -> list[list[tuple[bytes, Entry]]]:
        """Forget all answers as :meth:`clear` does; the caller lets go of them in his own time, for there may be thousands."""
        entries = [table.entries() for table in self._tables]
        self.clear()
        return entries

    def take(self, octets: int) -> None:
        """An entry of the young generation takes *octets*; when half of the room is full the generations change."""
        self.young += octets
        if self.young * 2 > self.octets:
            self.turns += 1
            self.old, self.young = self.young, 0
            for table in self._tables:
                table.age()


class AnswerTable:
    """Finished replies for one listener and transport; made by :meth:`TableBudget.table`."""

    __slots__ = ("_budget", "_old", "asked", "given", "nxdomains", "young")

    def __init__(self, room: TableBudget) -> None:
        self._budget = room
        self.young: dict[bytes, Entry] = {}
        """
        The young generation, for who looks into it himself: an entry stands if its time is not over and its :attr:`Entry.moves` is that
        of now; all others are :meth:`get`'s business. Each call of this object may put another dict here.
        """

        self._old: dict[bytes, Entry] = {}
        self.nxdomains = NxdomainTemplates()
        """Replies for names that do not exist; see :mod:`kdns.server.nxdomain_synthesis`."""

        self.given = 0
        """Replies for which no plugin was asked so far, those of the denials included."""

        self.asked = 0
        """Queries for which plugins were asked so far."""

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def get(self, key: bytes, now: float) -> Entry | None:
        """
        The entry for a query's octets behind its identifier, when it still validity.

        :param now: seconds of the clock that :attr:`Validity.until` is in.
        """
        entry = self.young.get(key)
        if entry is None:
            entry = self._old.pop(key, None)
            if entry is None:
                return None
            self.young[key] = entry
            self._budget.take(entry.room)
        if now < entry.end and (now < entry.until or entry.count_down(now)):
            if entry.moves is MOVES[0]:
                return entry
            if stand(entry.noted):
                entry.moves = MOVES[0]
                return entry
        self._budget.outdated += 1
        # It may have moved to the old generation by taking its place in the young one.
        if self.young.pop(key, None) is None:
            self._old.pop(key, None)
        else:
            self._budget.young -= entry.room
        return None

    def find(self, key: bytes, now: float) -> Entry | None:
        """As :meth:`get`, for any client cookie; see :attr:`Entry.cookie`."""
        entry = self.get(key, now)
        if entry is None and key[-12:-8] == COOKIE_OPTION:
            entry = self.get(key[:-COOKIE] + NO_COOKIE, now)
            if entry is not None and not entry.cookie:
                return None  # what looks like a cookie is the end of something else, and the reply may repeat it
        return entry

    def was_given(self, entry: Entry) -> None:
        """An entry that :meth:`get` found has let go of its exchange, and so takes less room."""
        entry.room -= ENTRY_OCTETS - GIVEN_OCTETS
        self._budget.young -= ENTRY_OCTETS - GIVEN_OCTETS

    def put(self, key: bytes, reply: bytes, validity: Validity, exchange: Exchange, now: float) -> bool:
        """
        Enter a reply if it may be given to others and still validity.

        A reply that ends in the client's cookie is entered without it, under the query with zeros in its place. A query that is cut
        short inside its cookie is another key, and so is never a hit.

        :param reply: the whole message.
        :return: whether it was entered.
        """
        if validity.scope < Scope.TRANSPORT or validity.until <= now:
            return False
        cookie = cookie_octets(key, reply, exchange)
        if cookie:
            key, reply = key[:-cookie] + NO_COOKIE, reply[:-cookie]
        turns = len(exchange.answer.turns) + 1
        room = ENTRY_OCTETS + len(key) + len(reply) * turns
        before = self.young.get(key)
        if before is not None:
            self._budget.young -= before.room
        self._old.pop(key, None)
        self.young[key] = Entry(reply[2:], validity, exchange, room, cookie)
        self._budget.take(room)
        return True

    def entries(self) -> list[tuple[bytes, Entry]]:
        """All that are there now with their keys, valid or not, for whoever looks through them in slices."""
        return [*self.young.items(), *self._old.items()]

    def age(self) -> None:
        """The young generation becomes the old one, and the old one is dropped."""
        self._budget.evicted += len(self._old)
        old, self._old = self._old, self.young
        self.young = {}
        self._budget.deferred_free.take(old)

    def clear(self) -> None:
        """Forget everything."""
        young, old = self.young, self._old
        self.young = {}
        self._old = {}
        self._budget.deferred_free.take(young)
        self._budget.deferred_free.take(old)
        self.nxdomains.clear()


def cookie_octets(key: bytes, reply: bytes, exchange: Exchange) -> int:
    """
    Bytes at the end of query and reply that are the client's cookie: 8, or 0 when there is none or it stands elsewhere.

    A client cookie may differ in each query (RFC 7873 section 5.1). It is echoed at the end of the reply.
    """
    request, answer = exchange.request, exchange.answer
    edns = request.edns
    if edns is None or answer.options is not None or answer.ede or len(edns.options) != len(COOKIE_OPTION) + COOKIE:
        return 0
    if not edns.options.startswith(COOKIE_OPTION) or not reply.endswith(edns.options):
        return 0
    # The OPT must be all that stands behind the question: no other record, and no bytes behind the message.
    if len(key) != head_of(key) + len(request.question) + OPT_HEAD + len(edns.options):
        return 0
    return COOKIE
