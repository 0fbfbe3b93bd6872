# -*- test-case-name: tests.server.test_listener -*-
"""
What is given without asking a plugin: out of the answer table, or out of the reply to another name that does not exist.

Decides how a reply that was given once is given again: what is counted for it, who is told, whose turn it is. When it may be given is the
business of :mod:`kdns.server.table` and :mod:`kdns.server.nxdomain_synthesis`.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from kdns.core.observe import EachRepeat, Exchange, Observer
from kdns.core.request import Request
from kdns.core.tally import Durations, Tally
from kdns.plugin.seam import ServerContext
from kdns.server.blocks import ServedBlock, Zones
from kdns.server.nxdomain_synthesis import COOKIE, Template, cookie_of, head_of
from kdns.server.table import AnswerTable, Entry, cookie_octets
from kdns.wire.constants import DS
from kdns.wire.names import MAX_NAME, is_subdomain

PLAIN = 1220
"""Octets of a reply that is never compressed, whichever family its client is of."""


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
        """Get an entry of the table ready to be given again: what to count, which observers to call, how its addresses rotate."""
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
        """What to count for each repetition of an exchange, and whom to tell of it."""
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
            denied = table.nxdomains.find(key, now)
            if denied is None:
                return None
            reply, tally = denied
        table.given += 1
        if not tally.hits:
            self.context.tallies.touched.append(tally)
        tally.hits += 1
        return reply, tally, each

    def tell(self, told: tuple[EachRepeat, ...], client: str, port: int, ident: int, seconds: float) -> None:
        """Tell observers of one repetition."""
        for each in told:
            try:
                each(client, port, ident, seconds)
            except Exception:
                self._panicked("in an observer of a repetition")

    def enter_denial(
        self, block: ServedBlock, zones: Zones, table: AnswerTable, key: bytes, exchange: Exchange, now: float
    ) -> None:
        """
        Have other names that do not exist answered like this one, where all who are asked and told treat them alike.

        :param block: what answered, one of *zones*.
        """
        request, answer, reply = exchange.request, exchange.answer, exchange.reply
        denial = answer.denial
        assert denial is not None and reply is not None
        table.nxdomains.asked(key)
        rest = len(key) - head_of(key) - len(request.question)
        zone = len(denial.zone) + 4 + rest
        if table.nxdomains.knows(key, zone, now) or not alike(zones, block, request, answer.source, denial.zone):
            return
        cookie = cookie_octets(key, reply, exchange)
        question, body = request.question, 12 + len(request.question)
        # The name must stand in the question alone: what is compressed points at it.
        spelled = request.spelled[-len(denial.zone) :]
        if cookie != cookie_of(key) or reply[12:body] != question or not reply.startswith(spelled, body):
            return
        front = len(request.qname) - len(denial.zone)
        longest = min(MAX_NAME - len(denial.zone), front + min(request.limit, PLAIN) - len(reply))

        def weigh(octets: int) -> Tally | None:
            another = replace(request, spelled=b"\x01" * octets + spelled, size=request.size + octets - front)
            other = replace(exchange, request=another, answer=replace(answer, charges=denial.charges))
            tally, each = self._meaning(other)
            return None if each else tally

        template = Template(
            reply[2:12], reply[body : len(reply) - cookie], rest - cookie, cookie, longest, denial, weigh
        )
        table.nxdomains.enter(key, zone, template)


def alike(zones: Zones, block: ServedBlock, request: Request, source: str, zone: bytes) -> bool:
    """Whether nobody between the client and the plugin *source* makes a difference between names below *zone*."""
    if request.qtype == DS or block.filters or block.collect is not None:
        return False
    served = zones.blocks
    if len(served.get(request.zone, ())) != 1 or any(is_subdomain(one, zone) and one != request.zone for one in served):
        return False
    if not is_subdomain(zone, request.zone):
        return False
    for link in block.links:
        if link.name == source:
            break
        if not link.alike_below(zone):
            return False
    else:
        return False
    return all(observer.alike_below(zone) for observer in block.observers)


def observe(durations: tuple[Durations, ...], times: int, seconds: float) -> None:
    """Enter *times* replies that took *seconds* each."""
    if times:
        for histogram in durations:
            histogram.observe(seconds, times)
