"""What tests of the query log share: an output that keeps its lines, and exchanges as a listener makes them."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from kdns.core.answer import Answer
from kdns.core.failure import ResolutionFailed
from kdns.core.observe import Exchange
from kdns.core.reply import render_reply
from kdns.core.request import Request
from kdns.plugin.seam import ServerContext
from kdns.wire.names import from_text
from kdns.wire.records import Record, soa
from tests.support import a_house

DURATION = 0.000114375


class Lines(list[str]):
    """An output."""

    def __call__(self, line: str) -> None:
        self.append(line)


def a_house_with(output: Lines, clock: Clock | None = None, **settings: Any) -> ServerContext:
    """A context whose lines are kept."""
    return a_house(clock or Clock(), output=output, **settings)


def exchange_of(
    request: Request, answer: Answer, seconds: float = DURATION, failure: ResolutionFailed | None = None
) -> Exchange:
    """The end of a query as a listener makes it."""
    reply = None if answer.silent else render_reply(request, answer)
    return Exchange(request, answer, reply, ".", "", seconds, failure)


def in_zone_soa(owner: str) -> Record:
    """The cluster's own SOA."""
    names = from_text("ns.dns." + owner), from_text("hostmaster." + owner)
    return soa(from_text(owner), 30, *names, (1, 7200, 1800, 86400, 30))
