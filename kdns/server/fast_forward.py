# -*- test-case-name: tests.server.test_fast_forward -*-
"""
Forwarded queries on the fast path: what waits for an upstream's reply, and turns it into the client's.

A client's query becomes one object (:class:`ForwardedQuery`) in place of a request, a chain of closures, an exchange and a Deferred. It is
one of the listener's in-flight queries, with a deadline as all have. What needs more than to be passed on is handed to the listener, which
asks the plugins; it keeps its deadline.
"""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING, Any, Protocol

from kdns.core.answer import Answer
from kdns.core.fast_path import UpstreamReply
from kdns.core.observe import Exchange
from kdns.core.request import Request, Transport, request_from
from kdns.server.table_keys import NO_COOKIE
from kdns.wire.constants import AA, AAAA, AD, MX, RA, A
from kdns.wire.message import Relayed
from kdns.wire.query import HEADER, Query, read_query
from kdns.wire.rotation import rotation_of

if TYPE_CHECKING:
    from kdns.server.fast_path import FastPath, Route, Shape, Tallies
    from kdns.server.listener import Listener

POINTER_TO_QUESTION = b"\xc0\x0c"


class Client(Protocol):
    """Where a query came from."""

    def respond(self, reply: bytes) -> None:
        """Send the reply; no bytes mean that none will come."""

    def address(self) -> tuple[str, int]:
        """The client's address as text, and its port."""

    local: str
    """The address that was asked; ``::`` where it is not known."""


class ForwardedQuery:
    """One client's query that waits for an upstream; a :class:`kdns.core.fast_path.Waiter`."""

    __slots__ = ("client", "cookie", "end", "fast", "key", "message", "route", "shape", "since", "start", "ticket")

    def __init__(
        self,
        fast: FastPath,
        route: Route,
        shape: Shape,
        message: bytes,
        key: bytes,
        start: int,
        end: int,
        cookie: int,
        since: float,
        client: Client,
    ) -> None:
        self.fast = fast
        self.route = route
        self.shape = shape
        self.message = message
        self.key = key
        self.start = start
        """Where the name begins in the key, and where it ends."""

        self.end = end
        self.cookie = cookie
        """Bytes of the client's cookie at the end of the query."""

        self.since = since
        self.client = client
        self.ticket = 0

    def came(self, reply: UpstreamReply) -> None:
        """See :class:`kdns.core.fast_path.Waiter`."""
        fast, route, shape, key = self.fast, self.route, self.shape, self.key
        listener = fast.listener
        now = listener.context.clock()
        qname = key[self.start : self.end]
        body = reply.body
        many = mail = 0
        slots = body.slots
        if len(slots) > 1:
            for slot in slots:
                if slot.rtype == A or slot.rtype == AAAA:
                    many += 1
                elif slot.rtype == MX:
                    mail += 1
        keep = route.keep
        kept = None
        if keep is not None:
            kept = keep(qname, shape.qtype, shape.header, body) if mail < 2 else None
            if kept is None:
                self.failed()
                return
            body = body.with_ttl(kept.ttl)
        question = key[self.start : self.end + 4]
        patched = body.patched(question)
        if patched is None:
            self.failed()
            return
        answers, authority, additional = body.counts
        flags = reply.flags if shape.authentic or keep is None else reply.flags & ~AD
        head = shape.flags & ~AA | reply.rcode
        counts = (1, answers, authority, additional + (1 if shape.opt else 0))
        octets = patched + shape.opt
        size = len(octets) + 10
        plain = _plain_size(body, question)
        if size + self.cookie > shape.limit:
            self.failed()
            return
        where = (shape, reply.rcode, self.end, plain)
        tallies = route.tallies.get(where)
        if tallies is None:
            tallies = self._learn(where, reply, body)
            if tallies is None:
                self.failed()
                return
        if not listener.waiting.end(self.ticket):
            return  # its deadline has passed
        first, again = tallies
        cookie = key[len(key) - self.cookie :] if self.cookie else b""
        rotation = None
        if many > 1 and route.rotate is not None:
            rotation = rotation_of(HEADER.pack(0, 0, *counts)[2:] + octets, route.rotate)
        if kept is not None and listener.fast_current(fast):
            again_head = head | AA | flags & (RA | AD)
            repeated = HEADER.pack(0, again_head, *counts)[2:] + octets
            if rotation is not None:
                for _ in range(int(random() * rotation.turns)):
                    repeated = rotation.next(repeated)
            until = now + kept.ttl
            place = key[: len(key) - self.cookie] + NO_COOKIE if cookie else key
            fast.table.enter(
                place,
                repeated,
                until,
                now + 1.0 if route.counts_down else until,
                (),
                again[1] if kept.denial else again[0],
                rotation,
                self.cookie,
            )
            octets = repeated[10:]
        self.client.respond(self.message[:2] + HEADER.pack(0, head | flags, *counts)[2:] + octets + cookie)
        fast.table.asked += 1
        listener.made(first, key, octets, self.client, self.since)

    def failed(self) -> None:
        """See :class:`kdns.core.fast_path.Waiter`."""
        self.fast.listener.take_over(self)

    def request(self, listener: Listener) -> Request:
        """The query as plugins and observers see it."""
        query = read_query(self.message)
        assert isinstance(query, Query), "its shape was learned from one that could be read"
        client, port = self.client.address()
        return request_from(
            query, Transport.UDP, client, port, self.client.local, self.since, len(self.message), listener, self.message
        )

    def _learn(self, where: Any, reply: UpstreamReply, body: Relayed) -> Tallies | None:
        """What such replies charge; None when an observer must be told of each."""
        listener, route = self.fast.listener, self.route
        request = self.request(listener)
        answer = Answer(reply.rcode, reply.flags, body, source=route.name)
        message = b"\x00\x00" + HEADER.pack(0, self.shape.flags | reply.rcode, 1, *body.counts)[2:]
        exchange = Exchange(request, answer, message, route.zone_text, "", 0.0)
        return self.fast.remember(route, where, exchange)


def _plain_size(body: Relayed, question: bytes) -> int:
    """See :meth:`kdns.wire.message.Relayed.uncompressed_size`; quick where all owners are the question and no names stand in rdata."""
    message = body.message
    size = body.body
    longer = len(question) - 6
    for slot in body.slots:
        if (slot.rtype != A and slot.rtype != AAAA) or not message.startswith(POINTER_TO_QUESTION, slot.start):
            return body.uncompressed_size(question)
        size += slot.end - slot.start + longer
    return size


__all__ = ["Client", "ForwardedQuery"]
