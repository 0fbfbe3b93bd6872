# -*- test-case-name: tests.plugins.test_nsid -*-
"""``nsid``: tell clients that ask for it which server answered (RFC 5001)."""

from __future__ import annotations

from dataclasses import dataclass
from socket import gethostname

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.explaining import Note
from kdns.core.fast_path import NO_EFFECT, Effect
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
from kdns.wire.constants import COOKIE, NSID
from kdns.wire.query import options_of

Options = tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class NsidConfig:
    """``nsid [TEXT...]``."""

    text: str = ""
    """Empty: the host name."""


class NsidLink(Link):
    """Puts the identifier into replies to clients that sent the NSID option."""

    name = "nsid"
    varies = NOTHING

    def __init__(self, identifier: bytes) -> None:
        self._identifier = identifier

    def answer(self, request: Request, next: Next) -> Reply:
        """Pass on, and add the identifier to whatever comes of it, failures included."""
        if not asks_for_nsid(request):
            return next(request)
        try:
            reply = next(request)
        except ResolutionFailed as error:
            error.options = self._added_to(error.options)
            raise
        if isinstance(reply, Deferred):
            return reply.addCallbacks(self._named, self._failed, callbackArgs=(request,))
        return self._named(reply, request)

    def _named(self, answer: Answer, request: Request) -> Answer:
        if answer.silent:
            return answer
        if answer.options is None and (cookie := _cookie_of(request)):
            # An answer with options of its own echoes none; and the next query has another cookie.
            return replace(answer.once(), options=self._added_to(cookie))
        return replace(answer, options=self._added_to(answer.options))

    def _failed(self, failure: Failure) -> Failure:
        if isinstance(failure.value, ResolutionFailed):
            failure.value.options = self._added_to(failure.value.options)
        return failure

    def _added_to(self, options: Options | None) -> Options:
        """The options of an answer with the identifier, which takes the place of an upstream's."""
        return (*[option for option in options or () if option[0] != NSID], (NSID, self._identifier))

    def fast_effect(self, server: str, zone: bytes) -> Effect:
        """Nothing: a reply with an option goes the general way."""
        return NO_EFFECT

    def explain(self, request: Request) -> list[Note]:
        """The identifier."""
        shown = self._identifier.decode(errors="backslashreplace")
        return [Note(f"the client asks for the server's identifier: {shown!r}")] if asks_for_nsid(request) else []


def _cookie_of(request: Request) -> Options:
    assert request.edns is not None, "the client sent an option"
    return tuple((code, data) for code, data in options_of(request.edns.options) if code == COOKIE)


def asks_for_nsid(request: Request) -> bool:
    """Whether the client sent the NSID option."""
    return request.edns is not None and any(code == NSID for code, _ in options_of(request.edns.options))


class NsidDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "nsid"

    def parse(self, tokens: Dispenser, block: Block) -> NsidConfig:
        """``nsid [TEXT...]``; words are joined by a space."""
        text = ""
        for _ in tokens.invocations(once=True):
            text = " ".join(tokens.remaining_args())
        return NsidConfig(text)

    def build(self, config: NsidConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(NsidLink((config.text or gethostname()).encode()))


directive = NsidDirective()
