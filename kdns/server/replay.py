# -*- test-case-name: tests.server.test_listener -*-
"""
What is given without asking a plugin: out of the answer table, or out of the reply to another name that does not exist.

Decides how a reply that was given once is given again: what is counted for it, who is told, whose turn it is. When it may be given is the
business of :mod:`kdns.server.table` and :mod:`kdns.server.fast_path`.
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

    :param observers_of: who is told of an exchange.
    :param panicked: told that an observer raised, and when.
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
        The reply to a query, behind its identifier, when no plugin need be asked for it; it is counted, and told to who must know.

        :param now: when the query came.
        """
        found = self.look(table, key, now)
        if found is None:
            return None
        reply, tally, each = found
        seconds = self.context.clock() - now
        observe(tally.durations, 1, seconds)
        if each:
            self.tell(each, client, port, ident, seconds)
        if self.context.sample is not None:
            self.context.sample(key, reply, client, 1)
        return reply

    def look(self, table: AnswerTable, key: bytes, now: float) -> tuple[bytes, Tally, tuple[EachRepeat, ...]] | None:
        """
        As :meth:`at_hand`, for who gives many at a time: durations and those to be told are left to him.

        :return: the reply, its tally, which was hit, and whom to tell.
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

    def tell(self, told: tuple[EachRepeat, ...], client: str, port: int, ident: int, seconds: float) -> None:
        """Notify observers of one replay."""
        for each in told:
            try:
                each(client, port, ident, seconds)
            except Exception:
                self._panicked("in an observer of a repetition")


def observe(durations: tuple[Durations, ...], times: int, seconds: float) -> None:
    """Record *times* replies that took *seconds* each."""
    if times:
        for histogram in durations:
            histogram.observe(seconds, times)
