# -*- test-case-name: tests.server.test_listener -*-
"""
Observers: log, metrics and the like are told of each finished reply; they are not links of the chain.

A reply in the answer table is sent again without asking any plugin. So each observer says once, beforehand, what a repetition means to it
(:class:`Repeat`): counters to charge, durations to observe, and only if it must be (a log line names the client) a function to call.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from msgspec import Struct

from kdns.core.answer import Answer
from kdns.core.failure import ResolutionFailed
from kdns.core.request import Request
from kdns.core.tally import Charge, Durations


class Exchange(Struct, frozen=True):
    """A request and the reply to it."""

    request: Request
    answer: Answer
    reply: bytes | None
    """The message as sent; None when nothing was sent."""

    zone: str
    """Zone of the server block as its key says it, with the final dot; ``dropped`` when no block took the query."""

    view: str
    """Name of the block's view, or empty."""

    seconds: float
    """From arrival to reply."""

    failure: ResolutionFailed | None = None
    """What the chain failed with; the answer is then the server's own."""


class EachRepeat(Protocol):
    """Called for a repetition."""

    def __call__(self, client: str, port: int, ident: int, seconds: float, reply: bytes = b"", /) -> None:
        """
        :param client: the client's address; *port* is its port.
        :param ident: the query's identifier.
        :param seconds: how long it took.
        :param reply: the reply behind its identifier.
        """


class Repeat(NamedTuple):
    """What a repetition of an exchange means to an observer."""

    charges: tuple[Charge, ...] = ()
    durations: tuple[Durations, ...] = ()
    each: EachRepeat | None = None


class Observer:
    """The base of everything that is told of finished replies."""

    repeats = False
    """Whether :meth:`repeat` says all there is to say; where it does not, the plugins are asked for each query."""

    def finished(self, exchange: Exchange) -> None:
        """An exchange ended. It must not take long: the next datagram waits."""

    def repeat(self, exchange: Exchange) -> Repeat:
        """What sending the same reply again to the same question means; called before the first repetition."""
        return Repeat()

    def alike(self, zone: bytes) -> bool:
        """
        Whether the observer makes no difference between names below *zone* (wire form, lower case), but for the lengths of query and reply.

        Where all observers say so, replies may be made without telling them of each one.
        """
        return False

    def alike_below(self, zone: bytes) -> bool:
        """The same for names that do not exist."""
        return self.alike(zone)
