# -*- test-case-name: tests.plugins.tsig.test_link -*-
"""
``tsig`` as a link of the chain: it checks the signature of a query, and has the reply signed.

The plugins behind it see the query without its TSIG record, so what they answer can be cached for everybody. The reply is signed when it is
rendered (:attr:`kdns.core.answer.Answer.seal`), failures included, and is never repeated: the signature covers the query's own.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.explaining import Note
from kdns.core.fast_path import NO_EFFECT, Effect
from kdns.plugin import (
    ALWAYS,
    NOTHING,
    ONCE,
    Answer,
    Link,
    Next,
    RcodeOnly,
    Reply,
    Request,
    ResolutionFailed,
    ServerContext,
    is_subdomain,
    longest_zone,
    to_text,
)
from kdns.wire.constants import FORMERR, NOTAUTH, OPCODE_MASK, QUERY, REFUSED
from kdns.wire.tsig import (
    ALGORITHMS,
    BADKEY,
    BADSIG,
    BADTIME,
    FUDGE,
    MalformedTsig,
    Tsig,
    append,
    mac_of,
    split,
)

if TYPE_CHECKING:
    from kdns.plugins.tsig.config import TsigConfig

ERRORS = {BADSIG: "badsig", BADKEY: "badkey", BADTIME: "badtime"}
"""Values of the label ``reason``."""


class Signature:
    """
    Sign the reply to one query, of one message or several (RFC 8945 section 5.3).

    :ivar size: bytes that the signature adds to a message.
    """

    def __init__(self, secret: bytes, query: Tsig, wall: Callable[[], float]) -> None:
        self._secret = secret
        self._query = query
        self._wall = wall
        self._previous = query.mac
        self._first = True
        self.size = len(self._unsigned().record()) + ALGORITHMS[query.algorithm.lower()]().digest_size

    def _unsigned(self) -> Tsig:
        query = self._query
        return Tsig(query.key, query.algorithm, int(self._wall()), FUDGE, b"", query.ident)

    def sign(self, message: bytes) -> bytes:
        """See :class:`kdns.core.answer.Seal`. Each call signs the next message of the same reply."""
        tsig = self._unsigned()
        self._previous = mac_of(self._secret, tsig, message, self._previous, timers_only=not self._first)
        self._first = False
        return append(message, tsig._replace(mac=self._previous))

    def sign_each(self, messages: Iterator[bytes]) -> Iterator[bytes]:
        """The messages of a transfer, each signed when the client takes it."""
        return map(self.sign, messages)


class LateSignature(Signature):
    """Sign the refusal of a query whose time is wrong. It tells the client the server's time (RFC 8945 section 5.2.3)."""

    def _unsigned(self) -> Tsig:
        query = self._query
        server_time = int(self._wall()).to_bytes(6, "big")
        return Tsig(query.key, query.algorithm, query.time, FUDGE, b"", query.ident, BADTIME, server_time)


class NoSignature:
    """Append a TSIG record that says why a query is refused, without a MAC: the client could not check one (RFC 8945 section 5.2)."""

    def __init__(self, query: Tsig, error: int) -> None:
        self._record = Tsig(query.key, query.algorithm, 0, FUDGE, b"", query.ident, error)
        self.size = len(self._record.record())

    def sign(self, message: bytes) -> bytes:
        """See :class:`kdns.core.answer.Seal`."""
        return append(message, self._record)


class TsigLink(Link):
    """The link of one ``tsig``."""

    name = "tsig"
    varies = NOTHING  # an unsigned query is decided by its question; answers to signed ones are ONCE

    def __init__(self, config: TsigConfig, context: ServerContext) -> None:
        self._zones = frozenset(config.zones)
        self._keys = dict(config.keys)
        self._types, self._opcodes = config.types, config.opcodes
        self._wall = context.wall
        self._refused = context.registry.counter(
            "kdns_tsig_refused_total",
            "Queries refused because of their signature, or because they have none.",
            ["reason"],
        )

    def answer(self, request: Request, next: Next) -> Reply:
        """
        See :class:`kdns.core.chain.Link`.

        A lookup that a plugin makes for a client is unsigned, as in CoreDNS: its answer may be cached for others.

        :raises RcodeOnly: the TSIG record cannot be read.
        """
        if longest_zone(request.qname, self._zones) is None:
            return next(request)
        try:
            found = split(request.message)
        except MalformedTsig as error:
            self._refused.counter("malformed").value += 1
            raise RcodeOnly(f"tsig: {error}", FORMERR) from None
        if found is None:
            if request.qtype in self._types or (request.flags & OPCODE_MASK) >> 11 in self._opcodes:
                self._refused.counter("unsigned").value += 1
                return Answer(REFUSED, source=self.name, validity=ALWAYS)
            return next(request)
        message, tsig = found
        wrong = self._error(message, tsig)
        if wrong:
            return self._refusal(tsig, wrong)
        signature = Signature(self._keys[tsig.key.lower()], tsig, self._wall)
        return self._signed(replace(request, message=message), next, signature)

    def _error(self, message: bytes, tsig: Tsig) -> int:
        """The TSIG error of a signature, checked in the order of RFC 8945 section 5.2; 0 when there is none."""
        secret = self._keys.get(tsig.key.lower())
        if secret is None:
            return BADKEY
        if tsig.algorithm.lower() not in ALGORITHMS:
            return BADSIG
        # A truncated MAC does not compare equal. CoreDNS refuses it, too.
        if not hmac.compare_digest(mac_of(secret, tsig, message), tsig.mac):
            return BADSIG
        return 0 if abs(int(self._wall()) - tsig.time) <= tsig.fudge else BADTIME

    def _refusal(self, tsig: Tsig, error: int) -> Answer:
        self._refused.counter(ERRORS[error]).value += 1
        if error == BADTIME:
            return Answer(NOTAUTH, source=self.name, seal=LateSignature(self._keys[tsig.key.lower()], tsig, self._wall))
        return Answer(NOTAUTH, source=self.name, seal=NoSignature(tsig, error))

    def _signed(self, request: Request, next: Next, signature: Signature) -> Reply:
        try:
            reply = next(request)
        except ResolutionFailed as error:
            raise error.sealed(signature) from error
        if isinstance(reply, Deferred):
            return reply.addCallbacks(_sealed, _failed, callbackArgs=(signature,), errbackArgs=(signature,))
        return _sealed(reply, signature)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Unsigned queries pass unless they must be signed; signed ones always go the general way, since they have one record more."""
        if not any(is_subdomain(zone, one) or is_subdomain(one, zone) for one in self._zones):
            return NO_EFFECT
        if self._types.everything or QUERY in self._opcodes:
            return None
        return Effect(not_types=self._types.numbers)

    def explain(self, request: Request) -> list[Note]:
        """Whether the query must be signed; an explained query never is."""
        zone = longest_zone(request.qname, self._zones)
        if zone is None:
            return []
        if request.qtype in self._types or QUERY in self._opcodes:
            text = f"below {to_text(zone)} this query must be signed: without a signature it is refused"
            return [Note(text, missing=True)]
        return [Note("an unsigned query passes; the reply to a signed one is signed")]


def _sealed(answer: Answer, signature: Signature) -> Answer:
    if answer.messages is not None:
        return replace(answer, messages=signature.sign_each(answer.messages), validity=ONCE)
    return replace(answer, seal=signature, validity=ONCE, rotate=None)


def _failed(failure: Failure, signature: Signature) -> Failure:
    if isinstance(failure.value, ResolutionFailed):
        return Failure(failure.value.sealed(signature))
    return failure
