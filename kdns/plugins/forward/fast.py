# -*- test-case-name: tests.plugins.forward.test_fast -*-
"""
Queries for the first upstream over UDP, without a request, an exchange and a Deferred: the *forward* part of the fast path.

Whatever is not a plain reply of a healthy upstream (truncation, a failure, a timeout, SERVFAIL with ``failover``) goes the general way.
The protections against forged replies are those of :mod:`kdns.plugins.forward.sockets`: the queries leave from the same sockets.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from twisted.logger import Logger

from kdns.core.fast_path import UpstreamReply, Waiter
from kdns.core.reply import HOP_BY_HOP
from kdns.core.slices import in_portions
from kdns.plugins.forward.exchange import ASKED_FLAGS, RELAYED_FLAGS, opt_for_upstream
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.policy import Health
from kdns.plugins.forward.queries import UNREADABLE, Query
from kdns.wire.constants import NOERROR, NXDOMAIN, RCODE_MASK, TC
from kdns.wire.message import MalformedMessage, scan
from kdns.wire.query import Edns

if TYPE_CHECKING:
    from kdns.plugins.forward.forwarder import Forwarder
    from kdns.plugins.forward.upstream import Upstream

_COUNTS, _COUNTS_OPT = b"\0\1\0\0\0\0\0\0", b"\0\1\0\0\0\0\0\1"

_log = Logger(namespace="plugin/forward")


class FastQuery(Query):
    """
    A question in flight, with the clients that wait for the reply.

    :ivar variant: what goes upstream and depends on the client, but for the question.
    """

    __slots__ = ("upstream", "variant", "waiters")

    def __init__(
        self, message: bytes, question: bytes, sink: FastUpstreams, variant: bytes, upstream: Upstream, waiter: Waiter
    ) -> None:
        self.message = message
        self.question = question
        self.sink = sink
        self.socket = None
        self.stranger = False
        self.variant = variant
        self.upstream = upstream
        self.waiters = [waiter]


class FastUpstreams:
    """The upstreams of one stanza; see :class:`kdns.core.fast_path.Upstreams`."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self.in_flight: dict[bytes, FastQuery] = {}
        """By question."""

    def asks(self, question: bytes) -> bool:
        """Whether a question section is in flight here."""
        return bool(self.in_flight) and question.lower() in self.in_flight

    def opt(self, edns: Edns | None) -> bytes:
        """See :class:`kdns.core.fast_path.Upstreams`."""
        return opt_for_upstream(edns)

    def ask(self, question: bytes, flags: int, opt: bytes, waiter: Waiter) -> bool:
        forwarder = self._forwarder
        most = forwarder.stanza.max_concurrent
        if most and forwarder.waiting >= most:
            return False
        variant = (flags & ASKED_FLAGS).to_bytes(2, "big") + (_COUNTS_OPT if opt else _COUNTS)
        known = self.in_flight.get(question)
        if known is not None:
            if known.variant != variant or known.message[len(variant) + len(question) :] != opt:
                return False  # asked in another way: a separate exchange, of which there may be few
            known.waiters.append(waiter)
            forwarder.waiting += 1
            forwarder.metrics.coalesced.inc()
            return True
        if forwarder.exchanges_of(question):
            return False
        order = forwarder.order()
        if not order:
            return False
        upstream = order[0]
        if upstream.udp is None or upstream.health.state is not Health.HEALTHY:
            return False
        query = FastQuery(variant + question + opt, question, self, variant, upstream, waiter)
        self.in_flight[question] = query
        forwarder.waiting += 1
        upstream.udp.send(query)
        return True

    # See kdns.plugins.forward.queries.Sink.

    def replied(self, queries: list[FastQuery], now: float) -> None:
        """Hand the replies on; what is no plain reply goes the general way, which takes it from there."""
        forwarder, failover = self._forwarder, self._forwarder.stanza.failover
        for query in queries:
            del self.in_flight[query.question]
            waiters = query.waiters
            forwarder.waiting -= len(waiters)
            question = query.question
            try:
                name = question[:-4]
                body = scan(query.reply, (name, question[-4] << 8 | question[-3], question[-2] << 8 | question[-1]))
                body.check()
            except MalformedMessage:
                query.upstream.metrics.ignored(UNREADABLE)
                reply = None
            else:
                rcode = body.rcode
                query.upstream.metrics.replied(rcode, now - query.sent_at)
                plain = (
                    rcode in (NOERROR, NXDOMAIN)
                    and rcode not in failover
                    and not body.flags & TC
                    and (body.opt is None or all(code in HOP_BY_HOP for code, _ in body.options or ()))
                )
                reply = UpstreamReply(body, rcode & RCODE_MASK, body.flags & RELAYED_FLAGS) if plain else None
            forwarder.handed = query
            if len(waiters) == 1:
                _tell(waiters[0], reply)
            else:
                in_portions(forwarder.reactor, map(_tell, waiters, repeat(reply)))
            forwarder.handed = None

    def failed(self, query: FastQuery, failure: ExchangeFailed) -> None:
        """No reply came: go the general way, which asks the next upstream or fails."""
        if failure.blame:
            query.upstream.failed()
        self._give_up(query)

    def _give_up(self, query: FastQuery) -> None:
        self.in_flight.pop(query.question, None)
        self._forwarder.waiting -= len(query.waiters)
        in_portions(self._forwarder.reactor, map(_tell, query.waiters, repeat(None)))

    def stop(self) -> None:
        """The forwarder stops: waiting clients go the general way, which fails."""
        for query in list(self.in_flight.values()):
            if query.socket is not None:
                query.socket.forget(query)
            self._give_up(query)


def _tell(waiter: Waiter, reply: UpstreamReply | None) -> None:
    try:
        if reply is None:
            waiter.failed()
        else:
            waiter.came(reply)
    except Exception:  # a fault with one client must not take the replies of the others
        _log.failure("a reply could not be used")
