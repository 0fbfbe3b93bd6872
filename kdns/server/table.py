# -*- test-case-name: tests.server.test_table -*-
"""
The answer table: from the bytes of a query behind its identifier to the finished reply behind its identifier.

A hit costs a look-up, a check of validity and one addition. Nothing is parsed and no plugin is asked. Only answers that may be repeated are
entered (:class:`kdns.core.validity.Validity`). Where plugins tell clients apart, the number of the client's group stands in front of the
key (:class:`ClientPrefixes`).

A :class:`TableBudget` bounds the memory of all tables. Entries live in two generations: new and used ones in the young, and when the young
one fills half of the budget it becomes the old one, and the old one is dropped. So an entry that is asked for keeps its place, and a flood
of names that are asked once drives out only itself.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kdns.core.deferred_free import DeferredFree
from kdns.core.observe import EachRepeat, Exchange
from kdns.core.stamps import MOVES, StampRef, stand
from kdns.core.tally import Tally
from kdns.core.validity import Audience, Validity
from kdns.server.fast_path import FastPath, Routes
from kdns.server.table_keys import COOKIE, COOKIE_OPTION, GROUP, NO_COOKIE, OPT_HEAD, head_of
from kdns.wire.ageing import aged, ttl_places
from kdns.wire.names import MalformedName
from kdns.wire.rotation import Preferred, Rotation, rotation_of

if TYPE_CHECKING:
    from kdns.server.listener import Listener

ENTRY_OCTETS = 1850
"""
Bytes of an entry that was never repeated, besides its key and reply: entry, dict slot, object heads, and the exchange it was made from.
Measured on CPython 3.11 by ``bench/memory_table.py``: 1,620 for an address, 1,840 for NXDOMAIN.
"""

GIVEN_OCTETS = 900
"""The same for an entry that was repeated: it has dropped its exchange."""

MADE_OCTETS = 450
"""The same for an entry that the fast path made; it never had an exchange."""

MOST_SPELLINGS = 4096
"""Queries with capital letters that are remembered as asked once."""


class Entry:
    """A finished reply, as long as it holds."""

    __slots__ = (
        "_counts_from",
        "_places",
        "aged",
        "cookie",
        "each",
        "end",
        "exchange",
        "moves",
        "noted",
        "plain",
        "reply",
        "room",
        "rotation",
        "tally",
        "until",
    )

    def __init__(self, reply: bytes, validity: Validity, exchange: Exchange, room: int, cookie: int = 0) -> None:
        self.reply = reply
        """The reply behind its identifier, without the client's cookie at its end."""

        self.cookie = cookie
        """Bytes of the client's cookie: they end the query, and belong at the end of the reply."""

        self.end = validity.until
        """When it stops holding."""

        self.until = min(validity.counts_from, validity.until)
        """When it stops holding or must show other TTLs; :meth:`count_down` moves it to the next such time."""

        self._counts_from = validity.counts_from
        self.aged = 0
        """Seconds by which the TTLs were counted down."""

        self._places: Sequence[int] | None = None
        self.noted: tuple[StampRef, ...] = validity.stamps
        self.moves: int | None = None
        """:data:`~kdns.core.stamps.MOVES` when the stamps were last found to stand."""

        self.exchange: Exchange | None = exchange
        """What the entry was made from, until it is repeated for the first time."""

        self.tally: Tally | None = None
        self.each: tuple[EachRepeat, ...] = ()
        self.rotation: Rotation | None = None
        """The orders of the reply's addresses, if it has several."""

        self.room = room
        self.plain = False
        """Whether repeating it is sending its reply: one order, no cookie, no observer to call."""

    def rotate(self, prefer: Preferred) -> None:
        """Show the addresses of the reply in another order each time, *prefer* first."""
        try:
            self.rotation = rotation_of(self.reply, prefer)
        except (MalformedName, struct.error, IndexError):
            pass  # a message that cannot be walked through has one order

    def count_down(self, now: float) -> bool:
        """
        Make the TTLs show what is left at *now*, which is before the :attr:`end`.

        :return: whether they could be; a message that cannot be walked through must not be repeated.
        """
        seconds = 1 + int(now - self._counts_from)
        if self._places is None:
            try:
                self._places = ttl_places(self.reply)
            except MalformedName:
                return False
        self.reply = aged(self.reply, self._places, seconds - self.aged)
        self.aged = seconds
        if self.rotation is not None:
            self.rotation.forget()
        self.until = min(self._counts_from + seconds, self.end)
        return True

    def next_reply(self) -> bytes:
        """The reply in the order whose turn it is."""
        return self.reply if self.rotation is None else self.rotation.next(self.reply)


class ClientPrefixes:
    """
    What stands in front of a key of the answer table where plugins tell clients apart: a number for each group of clients.
    """

    MOST_GROUPS = 65_536
    """Groups that have a number; past that all get new numbers, and entries of old ones age out."""

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self._numbers: dict[Hashable, bytes] = {}
        self._next = 0

    def of(self, client: str) -> bytes:
        """The prefix for a client's address."""
        group = (":" in client, self._audience.of(client))
        prefix = self._numbers.get(group)
        if prefix is None:
            if len(self._numbers) >= self.MOST_GROUPS:
                self._numbers.clear()
            self._next = self._next + 1 & 0xFFFFFFFF
            prefix = self._numbers[group] = GROUP + self._next.to_bytes(4, "big")
        return prefix


class Uses(NamedTuple):
    """How often tables were of use."""

    given: int = 0
    """Replies that were there already."""

    made: int = 0
    """Replies that the fast path made."""

    asked: int = 0
    """Queries that plugins were asked for."""

    def plus(self, table: AnswerTable) -> Uses:
        """These and those of a table."""
        made = table.fast.given if table.fast is not None else 0
        made += table.made_before
        return Uses(self.given + table.given - made, self.made + made, self.asked + table.asked)


class TableBudget:
    """The bytes that some tables share."""

    def __init__(self, octets: int, deferred_free: DeferredFree | None = None) -> None:
        """
        :param deferred_free: frees generations that are dropped; None: at once.
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
        """Entries found to hold no longer when they were asked for, and dropped."""

        self._tables: list[AnswerTable] = []
        self._left = Uses()

    def table(self) -> AnswerTable:
        """A new table in this budget."""
        table = AnswerTable(self)
        self._tables.append(table)
        return table

    def leave(self, table: AnswerTable) -> None:
        """The table is no longer used."""
        self._tables.remove(table)
        self._left = self._left.plus(table)
        table.clear()

    def uses(self) -> Uses:
        """What all tables that ever were in this budget have done."""
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
        """Forget all answers as :meth:`clear` does; the caller frees them in slices, for there may be thousands."""
        entries = [table.entries() for table in self._tables]
        self.clear()
        return entries

    def take(self, octets: int) -> None:
        """An entry of the young generation takes *octets*; when half of the budget is full the generations change."""
        self.young += octets
        if self.young * 2 > self.octets:
            self.turns += 1
            self.old, self.young = self.young, 0
            for table in self._tables:
                table.age()


class AnswerTable:
    """Finished replies for one listener and transport; made by :meth:`TableBudget.table`."""

    __slots__ = ("_budget", "_old", "_spellings", "asked", "fast", "given", "made_before", "young")

    def __init__(self, budget: TableBudget) -> None:
        self._budget = budget
        self.young: dict[bytes, Entry] = {}
        """
        The young generation, for a caller that looks into it itself: an entry stands if its time is not over and its :attr:`Entry.moves`
        is that of now; all others are :meth:`get`'s business. Each call of this object may put another dict here.
        """

        self._old: dict[bytes, Entry] = {}
        self._spellings: set[int] = set()
        self.fast: FastPath | None = None
        """Makes replies without asking the plugins; see :mod:`kdns.server.fast_path`."""

        self.made_before = 0
        """Replies that fast paths of former configurations made."""

        self.given = 0
        """Replies for which no plugin was asked so far, those of the fast path included."""

        self.asked = 0
        """Queries for which plugins were asked so far."""

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def get(self, key: bytes, now: float) -> Entry | None:
        """
        The entry for a query's bytes behind its identifier, when it still holds.

        :param now: seconds of the clock that :attr:`Validity.until` is in.
        """
        entry = self.young.get(key)
        if entry is None:
            entry = self._old.pop(key, None)
            if entry is None:
                return None
            self._budget.old -= entry.room
            self.young[key] = entry
            self._budget.take(entry.room)
        if now < entry.end and (now < entry.until or entry.count_down(now)):
            if entry.moves is MOVES[0]:
                return entry
            if stand(entry.noted):
                entry.moves = MOVES[0]
                return entry
        self._budget.outdated += 1
        self._drop(key)
        return None

    def _drop(self, key: bytes) -> None:
        """Forget an entry, whichever generation it is in: making room for it may have moved it to the old one."""
        entry = self.young.pop(key, None)
        if entry is not None:
            self._budget.young -= entry.room
            return
        entry = self._old.pop(key, None)
        if entry is not None:
            self._budget.old -= entry.room

    def find(self, key: bytes, now: float) -> Entry | None:
        """As :meth:`get`, for any client cookie; see :attr:`Entry.cookie`."""
        entry = self.get(key, now)
        if entry is None and key[-12:-8] == COOKIE_OPTION:
            entry = self.get(key[:-COOKIE] + NO_COOKIE, now)
            if entry is not None and not entry.cookie:
                return None  # what looks like a cookie is the end of something else, and the reply may repeat it
        return entry

    def was_given(self, entry: Entry) -> None:
        """An entry that :meth:`get` found has dropped its exchange, and so takes less room."""
        entry.room -= ENTRY_OCTETS - GIVEN_OCTETS
        self._budget.young -= ENTRY_OCTETS - GIVEN_OCTETS

    def put(self, key: bytes, reply: bytes, validity: Validity, exchange: Exchange, now: float) -> bool:
        """
        Enter a reply if it may be repeated and still holds.

        A reply that ends in the client's cookie is entered without it, under the query with zeros in its place. A query that is cut
        short inside its cookie is another key, and so is never a hit.

        :param reply: the whole message.
        :return: whether it was entered.
        """
        if not validity.repeat or validity.until <= now:
            return False
        if exchange.request.spelled != exchange.request.qname and not self._asked_before(key):
            return False
        cookie = cookie_octets(key, reply, exchange)
        if cookie:
            key, reply = key[:-cookie] + NO_COOKIE, reply[:-cookie]
        room = ENTRY_OCTETS + len(key) + len(reply)
        self._drop(key)
        self.young[key] = Entry(reply[2:], validity, exchange, room, cookie)
        self._budget.take(room)
        return True

    def enter(
        self,
        key: bytes,
        reply: bytes,
        until: float,
        counts_from: float,
        stamps: tuple[StampRef, ...],
        tally: Tally,
        rotation: Rotation | None,
        cookie: int,
    ) -> None:
        """Enter a reply that the fast path made; *reply* stands behind its identifier and without the client's cookie."""
        entry = Entry.__new__(Entry)
        entry.reply = reply
        entry.cookie = cookie
        entry.end = until
        entry.until = counts_from if counts_from < until else until
        entry._counts_from = counts_from
        entry.aged = 0
        entry._places = None
        entry.noted = stamps
        entry.moves = MOVES[0]
        entry.exchange = None
        entry.tally = tally
        entry.each = ()
        entry.rotation = rotation
        entry.room = room = MADE_OCTETS + len(key) + len(reply)
        entry.plain = rotation is None and not cookie
        young = self.young
        if key in young or key in self._old:
            self._drop(key)
        young[key] = entry
        self._budget.take(room)

    def serve(self, routes: Routes, listener: Listener) -> None:
        """Answer by these routes from now on."""
        if self.fast is not None:
            self.made_before += self.fast.given
        self.fast = FastPath(routes, self, listener) if routes else None

    def _asked_before(self, key: bytes) -> bool:
        """
        Whether the query came before, told by a hash.

        A client that draws the case of each letter by chance does not ask twice in one spelling: what it asks is entered the second time.
        """
        mark = hash(key)
        if mark in self._spellings:
            return True
        if len(self._spellings) >= MOST_SPELLINGS:
            self._spellings.clear()
        self._spellings.add(mark)
        return False

    def entries(self) -> list[tuple[bytes, Entry]]:
        """All that are there now with their keys, valid or not, for a caller that looks through them in slices."""
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
