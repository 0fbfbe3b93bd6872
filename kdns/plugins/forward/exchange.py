# -*- test-case-name: tests.plugins.forward.test_forwarder -*-
"""
One question on its way through the upstreams of a stanza: attempts, retries over a stream, and the answer for every client that waits.

Identical questions in flight share one exchange. Each client has a Deferred of its own and may cancel it; the exchange is dropped when none
waits any more. Nearly always the first upstream is asked over UDP, and replies: that needs no coroutine and no timer.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.answer import Answer
from kdns.core.reply import HOP_BY_HOP
from kdns.core.request import Request
from kdns.core.slices import in_portions
from kdns.core.validity import FROM_UPSTREAM
from kdns.plugins.forward.failures import ExchangeFailed, OtherQuestion, Suspected, Unreadable, each_failed, no_healthy
from kdns.plugins.forward.policy import AttemptPlan
from kdns.plugins.forward.queries import UNREADABLE, Query
from kdns.wire.constants import (
    AA,
    AD,
    CD,
    CLIENT_SUBNET,
    DO,
    FORMERR,
    OPCODE_MASK,
    RA,
    RCODE_MASK,
    RD,
    SERVFAIL,
    TC,
    Z,
)
from kdns.wire.message import MalformedMessage, Relayed, scan
from kdns.wire.query import Edns, options_of, pack_options

if TYPE_CHECKING:
    from kdns.plugins.forward.fast import FastQuery
    from kdns.plugins.forward.forwarder import Forwarder
    from kdns.plugins.forward.upstream import Upstream

log = Logger(namespace="plugin/forward")

UDP_SIZE = 1232
"""Bytes of a datagram that upstreams may send: what crosses today's networks in one piece (DNS flag day 2020)."""

LARGE = 8192
"""Bytes of a reply above which it takes turns with others: what is done to thousands of records takes milliseconds."""

MOST_DUMPED = 512
"""Bytes of an unreadable reply that are logged with ``debug``."""

PAUSE = 0.1
"""Seconds to pause after all upstreams failed at once and the number of attempts is not limited, so as not to spin."""

ASKED_FLAGS = OPCODE_MASK | RD | AD | CD
"""Header bits of a client's query that go upstream; the others mean nothing in a query."""

RELAYED_FLAGS = AA | TC | RA | AD | Z
"""Header bits of an upstream's reply that the client sees; RD and CD are the client's own."""

LONGEST_SUBNET = 20
"""Bytes of a client subnet option with a whole IPv6 address (RFC 7871 section 6)."""

_OPT = b"\0\0\x29" + UDP_SIZE.to_bytes(2, "big") + b"\0\0"
"""The OPT that goes upstream (RFC 6891 section 6.1.2), up to its DO bit: root, type, size, no extended code, version 0."""

PLAIN_OPT = _OPT + b"\0\0\0\0"
DO_OPT = _OPT + b"\x80\0\0\0"


def opt_for_upstream(edns: Edns | None) -> bytes:
    """
    The OPT that a client's query has upstream: one of three, the client's subnet (RFC 7871), and what the operator's rules added.

    An OPT is between two hosts (RFC 6891 section 6.1.1). If it went on as the client wrote it, its size and unknown options would make
    thousands of different queries of one question, all in flight at once, and a forged reply would need to fit only one of them
    (RFC 5452 section 5).
    """
    if edns is None:
        return b""
    plain = DO_OPT if edns.flags & DO else PLAIN_OPT
    if not edns.options:
        return plain
    subnet = [option for option in options_of(edns.options) if option[0] == CLIENT_SUBNET]
    if not subnet or len(subnet[0][1]) > LONGEST_SUBNET:
        subnet = []
    rdata = pack_options(subnet[:1]) + edns.added
    return plain[:-2] + len(rdata).to_bytes(2, "big") + rdata


class Exchange(Query):
    """
    :param variant: what goes upstream and depends on the client, but for the question: see :meth:`Forwarder.ask`.
    :param stream: never ask over UDP.
    :ivar upstream: the one that is being asked, or has replied.
    """

    __slots__ = (
        "_began",
        "_counted",
        "_failures",
        "_fallback",
        "_forwarder",
        "_last",
        "_order",
        "_pause",
        "_plan",
        "_stream",
        "_truncated",
        "_work",
        "request",
        "upstream",
        "variant",
        "waiting",
    )

    def __init__(self, forwarder: Forwarder, request: Request, variant: tuple[int, bytes, bool], stream: bool) -> None:
        flags, opt, _ = variant
        question = request.question
        # Behind the identifier: flags, one question, no answer, no authority, and an OPT or not.
        counts = b"\0\1\0\0\0\0\0\1" if opt else b"\0\1\0\0\0\0\0\0"
        super().__init__(flags.to_bytes(2, "big") + counts + question + opt, question, forwarder)
        self.request = request
        self.variant = variant
        self.upstream: Upstream | None = None
        self.waiting: dict[Deferred[Answer], int] = {}
        """The clients' Deferreds, each with the bytes that the client takes."""

        self._forwarder = forwarder
        self._stream = stream
        self._order: Sequence[Upstream] = ()
        self._plan: AttemptPlan[Upstream] | None = None
        self._began = 0.0
        self._counted = False
        """Whether the reply that is looked at has been counted."""

        self._work: Deferred[Any] | None = None
        self._pause: Any = None
        self._failures = 0
        self._last: ExchangeFailed | None = None
        self._fallback: Answer | None = None
        """A reply with a ``failover`` code, to be given when no better one comes."""

        self._truncated: Answer | None = None
        """A truncated reply, to be given when asking again over a stream fails."""

    # Clients

    def join(self, request: Request) -> Deferred[Answer]:
        """The result for one more client; cancelling it leaves the others waiting."""
        waiter: Deferred[Answer] = Deferred(self._leave)
        self.waiting[waiter] = request.limit
        self._forwarder.waiting += 1
        return waiter

    def _leave(self, waiter: Deferred[Answer]) -> None:
        if self.waiting.pop(waiter, None) is None:
            return  # it has landed
        self._forwarder.waiting -= 1
        if not self.waiting:
            self._forwarder.ended(self)
            self.drop()

    @property
    def in_flight(self) -> bool:
        """Whether an upstream is being asked."""
        return self.socket is not None or self._work is not None

    def drop(self) -> None:
        """No client waits any more: free everything that is held."""
        upstream = self.upstream
        if self._pause is not None:
            self._pause.cancel()
        elif upstream is not None:
            if self.socket is not None:
                self.socket.forget(self)
            elif self._work is not None:
                self._work.cancel()
            upstream.given_up(self.sent_at)

    def _end(self) -> list[tuple[Deferred[Answer], int]]:
        self._forwarder.ended(self)
        waiting, self.waiting = self.waiting, {}
        self._forwarder.waiting -= len(waiting)
        return list(waiting.items())

    def _land(self, answer: Answer, datagram: int = 0) -> None:
        """
        Give the clients their answer.

        :param datagram: the bytes of the datagram that the reply came in, if it came in one.
        """
        steps = _answered(self._end(), answer, datagram)
        if isinstance(answer.body, Relayed) and len(answer.body.message) > LARGE:
            self._forwarder.turns.run(steps)
        else:
            in_portions(self._forwarder.reactor, steps)

    def crash(self, error: BaseException | None) -> None:
        """There is no answer."""
        in_portions(self._forwarder.reactor, each_failed([waiter for waiter, _ in self._end()], lambda: error))

    # Attempts

    def begin(self) -> None:
        forwarder = self._forwarder
        self._order = order = forwarder.order()
        self._began = forwarder.seconds()
        if order and order[0].health.usable:
            self._ask(order[0])
        else:
            self._try_next()

    def take_over(self, query: FastQuery) -> None:
        """The reply is that to a query of the fast path, which has counted it."""
        self._order = self._forwarder.order()
        self._began = self.sent_at = query.sent_at
        self.upstream = query.upstream
        self._counted = True
        self.take(query.reply, True, self._forwarder.seconds())

    def _ask(self, upstream: Upstream) -> None:
        self.upstream = upstream
        if upstream.udp is None or self._stream:
            self._ask_stream()
        else:
            upstream.udp.send(self)

    def _ask_stream(self) -> None:
        assert self.upstream is not None, "an upstream is chosen first"
        self.sent_at = self._forwarder.seconds()
        work = Deferred.fromCoroutine(self.ask_stream())
        self._work = work
        work.addCallbacks(self._streamed, self._stream_failed)

    def ask_stream(self) -> Coroutine[Any, Any, bytes]:
        """Ask the upstream over a connection."""
        assert self.upstream is not None, "an upstream is chosen first"
        return self.upstream.ask_stream(self.message, self.question)

    def _streamed(self, message: bytes) -> None:
        self._work = None
        self.take(message, False, self._forwarder.seconds())

    def _stream_failed(self, failure: Failure) -> None:
        self._work = None
        error = failure.value
        if isinstance(error, ExchangeFailed):
            self.failed(error)
        elif self.waiting:  # else it was cancelled
            self.crash(error)

    def _try_next(self, replied: bool = False) -> None:
        """
        Ask the next upstream, or give up.

        :param replied: the last one did reply, so it is not asked again.
        """
        self._pause = None
        forwarder, plan = self._forwarder, self._plan
        if plan is None:
            stanza, asked = forwarder.stanza, 0 if self.upstream is None else 1
            plan = self._plan = AttemptPlan(
                self._order,
                _is_usable,
                forwarder.chance,
                self._began,
                most=2 * len(self._order) if stanza.max_connect_attempts is None else stanza.max_connect_attempts,
                failfast=stanza.failfast,
                made=asked,
            )
        if replied and self.upstream is not None:
            plan.replied(self.upstream)
        broken = plan.broken
        upstream = plan.next(forwarder.seconds())
        if plan.broken and not broken:
            forwarder.metrics.broken.inc()
        if upstream is not None:
            self._ask(upstream)
        elif self._fallback is not None:
            self._land(self._fallback)
        else:
            self.crash(self._last.as_resolution() if self._last is not None else no_healthy())

    def failed(self, failure: ExchangeFailed) -> None:
        """An attempt brought no reply; see :class:`~kdns.plugins.forward.queries.Sink`."""
        upstream = self.upstream
        assert upstream is not None, "an attempt has an upstream"
        if failure.blame:
            upstream.failed()
        if not self.waiting:
            return  # the clients gave up meanwhile
        if isinstance(failure, Suspected):
            self._ask_stream()
        elif isinstance(failure, OtherQuestion):
            # The client hears FORMERR, with nothing of the upstream's in it.
            self._land(Answer(rcode=FORMERR, source="forward"))
        elif self._truncated is not None:
            self._land(self._truncated)
        else:
            self._last = failure
            self._failures += 1
            if self._forwarder.stanza.max_connect_attempts == 0 and self._failures % len(self._order) == 0:
                self._pause = self._forwarder.reactor.callLater(PAUSE, self._try_next)
            else:
                self._try_next(isinstance(failure, Unreadable))

    def take(self, message: bytes, udp: bool, now: float) -> None:
        """Look at a reply whose question is the one that was asked."""
        if not udp and len(message) > LARGE:
            self._forwarder.turns.run(self._taking(message, now))
            return
        request = self.request
        try:
            relayed = scan(message, (request.spelled, request.qtype, request.qclass))
            relayed.check()
        except MalformedMessage as problem:
            self._unreadable(message, udp, problem)
        else:
            self._readable(relayed, len(message) if udp else 0, now)

    def _taking(self, message: bytes, now: float) -> Iterator[None]:
        """As :meth:`take`; thousands of records take a turn to find, some to look at, and one for each client."""
        request = self.request
        try:
            relayed = scan(message, (request.spelled, request.qtype, request.qclass))
            yield
            yield from relayed.checking()
        except MalformedMessage as problem:
            if self.waiting:
                self._unreadable(message, False, problem)
        else:
            if self.waiting:
                self._readable(relayed, 0, now)

    def _unreadable(self, message: bytes, udp: bool, problem: Exception) -> None:
        upstream = self.upstream
        assert upstream is not None, "an attempt has an upstream"
        log.debug(
            "unreadable reply from {upstream}, {problem}: {dump}",
            upstream=upstream.text,
            problem=str(problem),
            dump=message[:MOST_DUMPED].hex(),
        )
        if not self._counted:
            upstream.metrics.ignored(UNREADABLE)
        self._counted = False
        if udp:
            self._ask_stream()  # it was cut or damaged on its way, perhaps
        else:
            self.failed(Unreadable(f"read {upstream.text}: unreadable reply"))

    def _readable(self, relayed: Relayed, datagram: int, now: float) -> None:
        """
        :param datagram: see :meth:`_land`.
        """
        upstream, request, forwarder = self.upstream, self.request, self._forwarder
        assert upstream is not None, "an attempt has an upstream"
        rcode, flags = relayed.flags & RCODE_MASK, relayed.flags & RELAYED_FLAGS
        if relayed.opt is None:
            answer = Answer(rcode, flags, body=relayed, validity=FROM_UPSTREAM, source="forward")
        else:
            rcode = relayed.rcode
            options = tuple(option for option in relayed.options or () if option[0] not in HOP_BY_HOP)
            answer = Answer(rcode, flags, body=relayed, options=options, validity=FROM_UPSTREAM, source="forward")
        if not self._counted:
            upstream.metrics.replied(rcode, now - self.sent_at)
        self._counted = False
        if rcode > RCODE_MASK and request.edns is None:
            # The upper bits would be lost without an OPT, and BADVERS read as "no such record".
            self._land(Answer(SERVFAIL, flags & RA, source="forward"))
        elif flags & TC and datagram and (forwarder.stanza.prefer_udp or request.limit > UDP_SIZE):
            self._truncated = answer
            self._ask_stream()
        elif rcode in forwarder.stanza.failover:
            self._fallback = answer
            self._try_next(replied=True)
        else:
            self._land(answer, datagram)


def _answered(waiting: list[tuple[Deferred[Answer], int]], answer: Answer, datagram: int) -> Iterator[None]:
    """Each step answers one client."""
    for waiter, limit in waiting:
        if not waiter.called:  # the one before it may have cancelled it
            waiter.callback(answer if datagram <= limit else _cut(answer))
            yield


def _is_usable(upstream: Upstream) -> bool:
    return upstream.health.usable


def _cut(answer: Answer) -> Answer:
    """The answer for a client that cannot take the datagram that it came in: ask again over TCP."""
    return Answer(flags=TC | answer.flags & RA, source="forward")
