# -*- test-case-name: tests.server.test_listener -*-
"""
Observers: log, metrics and the like are told of each finished reply; they are no links of the chain.

A reply that goes into the answer table is given again without any plugin being asked. So each observer says beforehand, once, what a
repetition means to it (:class:`Repeat`): things to charge, durations to observe, and only if it must be (a log line names the client) a
function to call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from msgspec import Struct

from kdns.core.answer import Answer
from kdns.core.failure import ResolutionFailed
from kdns.core.request import Request
from kdns.core.tally import Charge, Durations


class Exchange(Struct, frozen=True):
    """A request and what became of it."""

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
    """What the chain failed with, when it failed; the answer is then the server's own."""


EachRepeat = Callable[[str, int, int, float], None]
"""Called for a repetition with the client's address, its port, the query's identifier, and the seconds taken."""


class Repeat(NamedTuple):
    """What a repetition of an exchange means to an observer."""

    charges: tuple[Charge, ...] = ()
    durations: tuple[Durations, ...] = ()
    each: EachRepeat | None = None


class Observer(Protocol):
    """Somebody who is told of finished replies."""

    def finished(self, exchange: Exchange) -> None:
        """An exchange ended. It must not take long: the next datagram waits."""

    def repeat(self, exchange: Exchange) -> Repeat:
        """What giving the same reply again to the same question will mean; it is called before the first repetition."""
