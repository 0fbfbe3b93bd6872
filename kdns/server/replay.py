# -*- test-case-name: tests.server.test_listener -*-
"""
Replies without a call of a plugin: from the answer table, or made by the fast path.

Decides what happens on each replay of a reply: counters, observers, rotation of addresses. :mod:`kdns.server.table` and
:mod:`kdns.server.fast_path` decide whether a reply may be replayed.
"""

from __future__ import annotations

from collections.abc import Callable

from kdns.core.observe import EachRepeat, Exchange, Observer
from kdns.core.tally import Durations, Tally
from kdns.plugin.seam import ServerContext
from kdns.server.table import AnswerTable, Entry
from kdns.server.table_keys import COOKIE


class Replay:
    """
    The repetitions of one listener.

    :param observers_of: the observers of an exchange.
    :param panicked: called when an observer raised, with the place.
    """

    def __init__(
        self,
        context: ServerContext,
        observers_of: Callable[[Exchange], tuple[Observer, ...]],
        panicked: Callable[[str], None],
    ) -> None:
        self.context = context
        self._observers_of = observers_of
        self._panicked = panicked

    def prepare(self, entry: Entry, table: AnswerTable) -> None:
        """Prepare an entry of the table for replay: counters, observers, rotation of addresses."""
        exchange = entry.exchange
        assert exchange is not None
        entry.exchange = None
        table.was_given(entry)
        tally, entry.each = self._meaning(exchange)
        entry.tally = tally
        if exchange.answer.rotate is not None:
            entry.rotate(exchange.answer.rotate)
        entry.plain = not (entry.rotation is not None or entry.cookie or entry.each)

    def _meaning(self, exchange: Exchange) -> tuple[Tally, tuple[EachRepeat, ...]]:
        """The counters and observers for each replay of an exchange."""
        charges = exchange.answer.charges
        durations: tuple[Durations, ...] = ()
        each: tuple[EachRepeat, ...] = ()
        for observer in self._observers_of(exchange):
            try:
                repeat = observer.repeat(exchange)
            except Exception:
                self._panicked("in an observer of repetitions")
                continue
            charges += repeat.charges
            durations += repeat.durations
            if repeat.each is not None:
                each += (repeat.each,)
        return self.context.tallies.tally(charges, durations), each

    def at_hand(self, table: AnswerTable, key: bytes, ident: int, client: str, port: int, now: float) -> bytes | None:
        """
        The reply to a query without its identifier, if no plugin is needed for it. Counts it and notifies observers.

        :param now: when the query came.
        """
        found = self.look(table, key, now)
        if found is None:
            return None
        reply, tally, each = found
        seconds = self.context.clock() - now
        observe(tally.durations, 1, seconds)
        if each:
            self.tell(each, client, port, ident, seconds, reply)
        if self.context.sample is not None:
            self.context.sample(key, reply, client, 1)
        return reply

    def look(self, table: AnswerTable, key: bytes, now: float) -> tuple[bytes, Tally, tuple[EachRepeat, ...]] | None:
        """
        Like :meth:`at_hand`, for batches: the caller records durations and notifies observers.

        :return: the reply, its tally (already counted), and the observers.
        """
        entry = table.find(key, now)
        each: tuple[EachRepeat, ...] = ()
        if entry is not None:
            if entry.exchange is not None:
                self.prepare(entry, table)
            reply = entry.next_reply()
            if entry.cookie:
                reply += key[-COOKIE:]
            tally, each = entry.tally, entry.each
            assert tally is not None
        else:
            made = table.fast.find(key, now) if table.fast is not None else None
            if made is None:
                return None
            reply, tally = made
        table.given += 1
        if not tally.hits:
            self.context.tallies.touched.append(tally)
        tally.hits += 1
        return reply, tally, each

    def tell(
        self, told: tuple[EachRepeat, ...], client: str, port: int, ident: int, seconds: float, reply: bytes
    ) -> None:
        """Notify observers of one replay."""
        for each in told:
            try:
                each(client, port, ident, seconds, reply)
            except Exception:
                self._panicked("in an observer of a repetition")


def observe(durations: tuple[Durations, ...], times: int, seconds: float) -> None:
    """Record *times* replies that took *seconds* each."""
    if times:
        for histogram in durations:
            histogram.observe(seconds, times)
