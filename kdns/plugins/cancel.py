# -*- test-case-name: tests.plugins.test_cancel -*-
"""``cancel``: give up on a query after a time, and drop what was asked of others for it."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred, TimeoutError
from twisted.python.failure import Failure

from kdns.core.explaining import Note
from kdns.core.fast_path import NO_EFFECT, Effect
from kdns.core.timing import Clock
from kdns.corefile.values import BadValue, format_duration, parse_duration, quote
from kdns.plugin import (
    NOTHING,
    Answer,
    Block,
    BlockBuilder,
    Dispenser,
    Link,
    Next,
    Reply,
    Request,
    ResolutionFailed,
)
from kdns.wire.constants import EDE_NO_REACHABLE_AUTHORITY, SERVFAIL

DEFAULT = 5.001
"""Seconds, CoreDNS's default. It is longer than the 4.8 seconds that the listener gives every query."""


@dataclass(frozen=True, slots=True)
class CancelConfig:
    """``cancel [DURATION]``."""

    seconds: float = DEFAULT


class CancelLink(Link):
    """Bounds the time that the plugins behind it may wait."""

    name = "cancel"
    varies = NOTHING

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock

    def answer(self, request: Request, next: Next) -> Reply:
        """Pass on; what must wait is cancelled when the time is over, and SERVFAIL."""
        reply = next(request)
        if isinstance(reply, Deferred) and not reply.called:
            reply.addTimeout(self._seconds, self._clock).addErrback(self._failed)  # type: ignore[arg-type]  # a Clock is enough
        return reply

    def _failed(self, failure: Failure) -> Answer:
        failure.trap(TimeoutError)
        text = f"no answer within {format_duration(self._seconds)}"
        raise ResolutionFailed(text, SERVFAIL, (EDE_NO_REACHABLE_AUTHORITY, text))

    def fast_effect(self, server: str, zone: bytes) -> Effect:
        """Nothing: what is in memory does not wait."""
        return NO_EFFECT

    def explain(self, request: Request) -> list[Note]:
        """How long others are waited for."""
        return [Note(f"gives up after {format_duration(self._seconds)}")]


class CancelDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "cancel"

    def parse(self, tokens: Dispenser, block: Block) -> CancelConfig:
        """``cancel [DURATION]``; of several the last counts."""
        seconds = DEFAULT
        for _ in tokens.invocations():
            for word in tokens.args(0, 1):
                try:
                    seconds = parse_duration(word)
                except BadValue:
                    raise tokens.plain_error(f"invalid duration: {quote(word)}") from None
                if seconds <= 0:
                    raise tokens.plain_error(f"invalid negative duration: {quote(word)}")
            for _ in tokens.block():
                tokens.remaining_args()
        return CancelConfig(seconds)

    def build(self, config: CancelConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(CancelLink(config.seconds, builder.context.reactor))


directive = CancelDirective()
