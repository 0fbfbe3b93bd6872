# -*- test-case-name: tests.server.test_listener -*-
"""
A listener: admission, block selection, the chain, and the end of every query, whichever transport brought it.

Transports hand octets in (:meth:`Listener.receive`) and get octets back, at once or later, exactly once or never. Everything a client
is told passes through here, so everything is counted, logged and entered into the answer table here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.answer import NO_REPLY, Answer
from kdns.core.chain import Reply, attempt
from kdns.core.failure import Refused, ResolutionFailed
from kdns.core.metrics import Counter
from kdns.core.observe import Exchange, Observer
from kdns.core.reply import badvers_reply, ede_opt, error_reply, render_reply
from kdns.core.request import Request, Transport, request_from
from kdns.core.stamps import Stamp, StampRef
from kdns.core.tally import Tally
from kdns.plugin.capabilities import AsksUpstreams
from kdns.plugin.seam import ServerContext
from kdns.server.blocks import Choice, ServedBlock, Zones
from kdns.server.deadlines import InFlight
from kdns.server.fairness import bucket_of
from kdns.server.fast_forward import Client, ForwardedQuery
from kdns.server.fast_path import FastPath, routes_of
from kdns.server.replay import Replay, observe
from kdns.server.table import AnswerTable, ClientPrefixes
from kdns.server.table_keys import IPV6
from kdns.wire.constants import EDE_NO_REACHABLE_AUTHORITY, EDE_OTHER, IN, REFUSED, SERVFAIL, TC
from kdns.wire.names import to_text
from kdns.wire.query import Query, read_query

log = Logger(namespace="kdns.server")

Respond = Callable[[bytes], None]
"""Sends one message back to the client that asked; no octets at all mean that no reply will come."""

Stream = Callable[[bytes, Iterator[bytes]], None]
"""Sends a first message, and then others as the client takes them; called in place of a :data:`Respond`."""

DROPPED = "dropped"
"""The zone that metrics show for a query that no block took."""

MOST_WAITING = 8192
"""Queries of one listener that may wait at a time; one is about 4 KiB with its exchange with an upstream."""


EXPIRED_AT_ONCE = 32
"""Queries that are answered in one turn because their time is over; each costs a reply, counters and perhaps a line in the log."""

OVER_SHARE = (EDE_OTHER, "over its share")
"""Told to a client that has more of the server than it may have while others ask, too (RFC 8914)."""

OVER_SHARE_OPT = ede_opt(*OVER_SHARE)

MOST_INSIDE = 10
"""Lookups that may lead to one another; aliases that point at each other across zones would have no end."""


zone_text = lru_cache(maxsize=1024)(to_text)
"""Zones of server blocks as metrics show them; there are few, and each query needs one."""


class Open:
    """A query that waits for its answer."""

    __slots__ = ("block", "key", "once", "request", "respond", "stream", "table", "ticket", "waiting", "zone", "zones")

    def __init__(
        self,
        request: Request,
        zone: str,
        block: ServedBlock,
        respond: Respond,
        table: AnswerTable | None,
        key: bytes,
        zones: Zones,
        once: bool = False,
        stream: Stream | None = None,
    ) -> None:
        self.request = request
        self.once = once
        """Whether the reply must not be repeated, whatever the answer says."""

        self.zone = zone
        self.block = block
        self.zones = zones
        """Those that were served when it came; what it is told is no answer for those who come under others."""

        self.respond = respond
        self.stream = stream
        self.table = table
        self.key = key
        self.ticket = 0
        self.waiting: Deferred[Answer] | None = None


class Listener:
    """What answers on one address and port, over all its transports; a :class:`kdns.core.request.Server`."""

    def __init__(self, context: ServerContext, label: str, zones: Zones, most_waiting: int = MOST_WAITING) -> None:
        self.context = context
        self.label = label
        self.waiting: InFlight[Open | ForwardedQuery] = InFlight(most_waiting)
        self._timer: Any = None
        registry = context.registry
        self._malformed = registry.counter(
            "kdns_malformed_queries_total",
            "Messages that were answered or dropped before a plugin saw them.",
            ["action"],
        )
        self._panics = registry.counter("coredns_panics_total", "Exceptions that no plugin foresaw.").counter()
        self._late = registry.counter(
            "kdns_deadline_exceeded_total", "Queries answered SERVFAIL because no answer came in time."
        ).counter()
        self._crowded = registry.counter(
            "kdns_waiting_rejects_total", "Queries answered SERVFAIL because too many were waiting already."
        ).counter()
        self._refused = registry.counter(
            "kdns_over_share_total",
            "Queries answered SERVFAIL, or dropped, because their client had its share of the server already.",
        ).counter()
        self.replay = Replay(context, self._observers_of, self._panicked)
        self._served = Stamp()
        self._fast_tables: set[AnswerTable] = set()
        """Tables that have a fast path made of the routes."""

        self.sample_every = 1
        """Sample one in this many plugin-made replies; raised under load."""

        self._unsampled = 0
        self._ignored: Counter = self._malformed.counter("ignored")
        self._answered: Counter = self._malformed.counter("answered")
        self.serve(zones)

    def serve(self, zones: Zones) -> None:
        """Answer from *zones* from now on; queries that wait go on with the blocks they came to."""
        self._served.bump()
        self.zones = zones
        blocks = zones.all_blocks()
        self._any_class = any(block.any_class for block in blocks)
        self.waiting.shared = min([self.waiting.most, *_upstream_limits(blocks)])
        observers: dict[int, Observer] = {}
        for block in blocks:
            for observer in block.observers:
                observers[id(observer)] = observer
        self._all_observers = tuple(observers.values())
        audience = zones.audience()
        self.routes = routes_of(zones, self.label)
        """The fast paths; see :mod:`kdns.server.fast_path`."""

        # Now, not when a plugin answers next: until then they would give what the configuration before says.
        for table in self._fast_tables:
            table.serve((), self)
        self._fast_tables.clear()

        self.prefixes = None if audience is None else ClientPrefixes(audience)
        """What stands in front of a key of the answer table; None where nothing tells clients apart."""

    def table_key(self, message: bytes, client: str) -> bytes:
        """The key of a client's query in a table that clients of both families share."""
        if self.prefixes is not None:
            return self.prefixes.of(client) + message[2:]
        return IPV6 + message[2:] if ":" in client else message[2:]

    def receive(
        self,
        message: bytes,
        transport: Transport,
        client: str,
        port: int,
        local: str,
        respond: Respond,
        table: AnswerTable | None = None,
        key: bytes = b"",
        stream: Stream | None = None,
        held: ForwardedQuery | None = None,
    ) -> None:
        """
        Take one message from a client.

        :param respond: called at most once with the reply, perhaps before this returns.
        :param table: where to enter the reply, under *key*, if it may be given to others.
        :param held: the query as one that is in flight already; it keeps its arrival and its deadline.
        :param stream: called instead of *respond* for a reply of several messages; None where the transport carries only one.
        """
        query = read_query(message)
        if query is None:
            self._ignored.value += 1
            return
        if isinstance(query, bytes):
            self._answered.value += 1
            respond(query)
            return
        now = self.context.clock() if held is None else held.since
        request = request_from(query, transport, client, port, local, now, len(message), self, message)
        if query.qclass != IN and not self._any_class:
            self._refuse(request, respond)
            return
        if query.edns is not None and query.edns.version:
            self._answered.value += 1
            respond(badvers_reply(query.ident, query.flags, request.question))
            return
        try:
            chosen = self._choose(request)
        except Exception:
            # What metadata and filters raise. No block, so no observer either.
            self._panicked("while choosing a block")
            respond(error_reply(query.ident, query.flags, SERVFAIL, request.question))
            return
        if chosen is None:
            self._refuse(request, respond)
            return
        zone, block, request, once = chosen
        if table is not None:
            table.asked += 1
        opened = Open(request, zone_text(zone), block, respond, table, key, self.zones, once, stream)
        reply = attempt(block.ask, request)
        if isinstance(reply, Deferred):
            self._wait(opened, reply, now, held)
            return
        if held is not None:
            self.waiting.end(held.ticket)
        if isinstance(reply, Failure):
            self._fail(opened, reply)
        else:
            self._finish(opened, reply)

    # Queries on the fast path that wait for an upstream; see kdns.server.fast_forward.

    def hold(self, query: ForwardedQuery, now: float) -> int:
        """Note a query in flight; the ticket is what :attr:`waiting` ends it by."""
        if self._timer is None:
            self._timer = self.context.reactor.callLater(self.waiting.patience, self._expire)
        return self.waiting.add(query, now, bucket_of(query.client.address()[0]))

    def fast_current(self, fast: FastPath) -> bool:
        """Whether replies of a fast path may still be entered: the configuration is the one it was compiled from."""
        return fast.routes is self.routes

    def made(self, tally: Tally, key: bytes, reply: bytes, client: Client, since: float) -> None:
        """Count a reply that the fast path made after waiting."""
        if not tally.hits:
            self.context.tallies.touched.append(tally)
        tally.hits += 1
        observe(tally.durations, 1, self.context.clock() - since)
        self._unsampled += 1
        if self._unsampled >= self.sample_every and self.context.sample is not None:
            many, self._unsampled = self._unsampled, 0
            self.context.sample(key, reply, client.address()[0], many)

    def take_over(self, query: ForwardedQuery) -> None:
        """Ask the plugins for a query that the fast path cannot answer."""
        if not self.waiting.has(query.ticket):
            return  # its deadline has passed
        client, port = query.client.address()
        self.receive(
            query.message,
            Transport.UDP,
            client,
            port,
            query.client.local,
            query.client.respond,
            query.fast.table,
            query.key,
            held=query,
        )

    def _opened(self, item: Open | ForwardedQuery) -> Open:
        """A query in flight as the general way has it."""
        if isinstance(item, Open):
            return item
        request, route, fast = item.request(self), item.route, item.fast
        return Open(request, route.zone_text, route.block, item.client.respond, fast.table, item.key, self.zones)

    def _choose(self, request: Request) -> Choice | None:
        chosen = self.zones.choose(request)
        if chosen is None:
            return None
        asked, most = chosen.request, chosen.block.most_udp_size
        if most and asked.edns_size > most:
            asked = replace(asked, udp_size=most)
        if chosen.zone != asked.zone:
            asked = replace(asked, zone=chosen.zone)
        return chosen if asked is chosen.request else chosen._replace(request=asked)

    # Shares of clients.

    def refuse(self, message: bytes, client: str) -> bytes:
        """The reply to a query of a client that has had its share of processor time; the cheapest there is, and no plugin hears of it."""
        query = read_query(message)
        if not isinstance(query, Query):
            return query or b""
        self.over_share(client)
        question = message[12 : 16 + len(query.qname)]
        reply = error_reply(query.ident, query.flags, SERVFAIL, question)
        return reply if query.edns is None else reply[:11] + b"\x01" + reply[12:] + OVER_SHARE_OPT

    def over_share(self, client: str) -> None:
        """Count a query that is not answered as its client wants, because the client has had its share."""
        self._refused.value += 1
        self.context.refused(client)

    # What a plugin asks of the server.

    def resolve(self, request: Request) -> Reply:
        """
        Answer a request that a plugin makes in its client's name; it is logged and counted as the client's own would be.

        The answer says what a client would see: failures are rcodes, and TC is set when the client could not take all of it. It holds
        as long as the same blocks are served: a cache that outlives a reload must not keep what another block said before.
        """
        if request.inside > MOST_INSIDE:
            return Answer(SERVFAIL)
        chosen = self._choose(request)
        if chosen is None:
            answer = Answer(REFUSED)
            self._observe(self._all_observers, Exchange(request, answer, b"", DROPPED, "", 0.0, Refused()))
            return answer
        zone, block, request, once = chosen
        served = self._served.ref()
        request = replace(request, arrived=self.context.clock())
        opened = Open(request, zone_text(zone), block, _nowhere, None, b"", self.zones)
        apart = once or self.prefixes is not None
        reply = attempt(block.ask, request)
        if isinstance(reply, Answer):
            return self._finish_inside(opened, served, apart, reply)
        if isinstance(reply, Failure):
            return self._fail(opened, reply)
        finish = partial(self._finish_inside, opened, served, apart)
        return reply.addCallbacks(finish, self._fail_inside, errbackArgs=(opened,))

    def _finish_inside(self, opened: Open, served: StampRef, apart: bool, answer: Answer) -> Answer:
        # A cache in front of the asking plugin does not know which clients this block tells apart.
        answer = answer.once() if apart else answer.with_validity(answer.validity.narrowed(stamps=(served,)))
        reply = self._finish(opened, answer)
        if reply is not None and reply[2] & TC >> 8 and not answer.flags & TC:
            return replace(answer, flags=answer.flags | TC)
        return answer

    def _fail_inside(self, failure: Failure, opened: Open) -> Answer | Failure:
        if failure.check(CancelledError):
            return failure
        return self._fail(opened, failure)

    # The end of a query.

    def _wait(self, opened: Open, reply: Deferred[Answer], now: float, held: ForwardedQuery | None = None) -> None:
        if held is not None:
            opened.waiting = reply
            opened.ticket = held.ticket
            self.waiting.replace(held.ticket, opened)
            reply.addCallbacks(self._came, self._failed, callbackArgs=(opened,), errbackArgs=(opened,))
            return
        bucket = bucket_of(opened.request.client)
        over = self.waiting.over_share(bucket)
        if (over or self.waiting.full) and not reply.called:
            # Only now is it known that it must wait: what is in memory is answered however many others do.
            shed = opened.block.shed
            if shed is not None and opened.request.transport is Transport.UDP:
                shed(self.label).inc()
                self._finish(opened, NO_REPLY)
                reply.addErrback(lambda failure: None).cancel()
                return
            if over:
                self.over_share(opened.request.client)
                self._fail(
                    opened, ResolutionFailed("the client has its share of waiting queries", SERVFAIL, OVER_SHARE)
                )
            else:
                self._crowded.value += 1
                self._fail(opened, ResolutionFailed("too many queries wait already", SERVFAIL, (EDE_OTHER, "busy")))
            reply.addErrback(lambda failure: None).cancel()
            return
        opened.waiting = reply
        opened.ticket = self.waiting.add(opened, now, bucket)
        if self._timer is None:
            self._timer = self.context.reactor.callLater(self.waiting.patience, self._expire)
        reply.addCallbacks(self._came, self._failed, callbackArgs=(opened,), errbackArgs=(opened,))

    def _came(self, answer: Answer, opened: Open) -> None:
        if not self.waiting.end(opened.ticket):
            return
        if isinstance(answer, Answer):
            self._finish(opened, answer)
        else:
            self._fail(opened, Failure(TypeError(f"a plugin answered with {answer!r}")))

    def _failed(self, failure: Failure, opened: Open) -> None:
        if self.waiting.end(opened.ticket):
            self._fail(opened, failure)

    def _expire(self) -> None:
        self._timer = None
        now = self.context.clock()
        for item in self.waiting.expire(now, EXPIRED_AT_ONCE):
            opened = self._opened(item)
            self._late.value += 1
            text = f"no answer within {self.waiting.patience} s"
            self._fail(opened, ResolutionFailed(text, SERVFAIL, (EDE_NO_REACHABLE_AUTHORITY, text)))
            if opened.waiting is not None:
                opened.waiting.cancel()
        deadline = self.waiting.next_deadline()
        if deadline is not None:
            self._timer = self.context.reactor.callLater(max(0.0, deadline - now), self._expire)

    def _refuse(self, request: Request, respond: Respond) -> None:
        answer = Answer(REFUSED)
        reply = render_reply(request, answer)
        respond(reply)
        seconds = self.context.clock() - request.arrived
        self._observe(self._all_observers, Exchange(request, answer, reply, DROPPED, "", seconds, Refused()))

    def _fail(self, opened: Open, failure: Failure | ResolutionFailed) -> Answer:
        """Answer a query that failed; what nobody foresaw is logged once, with where it happened."""
        if isinstance(failure, Failure):
            if isinstance(failure.value, ResolutionFailed):
                error = failure.value
            elif failure.check(CancelledError):
                error = ResolutionFailed("what was asked has ended", SERVFAIL, (EDE_OTHER, "shutting down"))
            else:
                self._panics.value += 1
                log.failure(
                    'Recovered from panic in server: "{label}" {error}',
                    failure=failure,
                    label=self.label,
                    error=failure.getErrorMessage(),
                )
                error = ResolutionFailed(f"{type(failure.value).__name__}: {failure.getErrorMessage()}")
        else:
            error = failure
        ede = (error.ede,) if error.ede is not None else ()
        answer = Answer(error.rcode, options=error.options, ede=ede, seal=error.seal)
        self._finish(opened, answer, error)
        return answer

    def _finish(self, opened: Open, answer: Answer, error: ResolutionFailed | None = None) -> bytes | None:
        """Send the reply, tell the observers, and enter it into the table; the order is what the client feels."""
        request = opened.request
        reply: bytes | None = None
        rest: Iterator[bytes] | None = None
        if answer.messages is not None and opened.stream is None:
            answer = Answer(REFUSED)  # the transport carries one message
        if not answer.silent:
            try:
                if answer.messages is None:
                    reply = render_reply(request, answer)
                else:
                    rest = answer.messages
                    reply = next(rest)
            except Exception:
                self._panicked("while rendering")
                reply = error_reply(request.ident, request.flags, SERVFAIL, request.question)
                answer, rest = Answer(SERVFAIL), None
        if rest is not None and opened.stream is not None:
            opened.stream(reply or b"", rest)
        else:
            opened.respond(reply or b"")
        now = self.context.clock()
        exchange = Exchange(request, answer, reply, opened.zone, opened.block.view, now - request.arrived, error)
        self._observe(opened.block.observers, exchange)
        shared = error is None and not opened.once and not request.for_client and opened.block.repeats
        if reply is not None and shared and opened.table is not None and opened.zones is self.zones:
            if answer.validity.repeat:
                repeated = _as_repeated(exchange, reply, answer)
                opened.table.put(opened.key, repeated.reply or b"", answer.validity, repeated, now)
            if self.routes:
                if opened.table.fast is None:
                    self._fast_tables.add(opened.table)
                    opened.table.serve(self.routes, self)
                if opened.table.fast is not None:
                    opened.table.fast.learn(opened.key, exchange)
        if reply is not None and opened.table is not None:
            self._unsampled += 1
            if self._unsampled >= self.sample_every and self.context.sample is not None:
                many, self._unsampled = self._unsampled, 0
                self.context.sample(opened.key, reply[2:], request.client, many)
        return reply

    def _panicked(self, when: str) -> None:
        """Count and log an exception that nobody foresaw, where it was caught."""
        self._panics.value += 1
        log.failure('Recovered from panic in server: "{label}" {when}', label=self.label, when=when)

    def _observe(self, observers: tuple[Observer, ...], exchange: Exchange) -> None:
        for observer in observers:
            try:
                observer.finished(exchange)
            except Exception:
                self._panicked("in an observer of a finished reply")

    def _observers_of(self, exchange: Exchange) -> tuple[Observer, ...]:
        for block in self.zones.blocks.get(exchange.request.zone, ()):
            if block.view == exchange.view:
                return block.observers
        return ()

    def stop(self) -> None:
        """Answer SERVFAIL to all that wait, and drop what they waited for."""
        self._served.bump()
        for item in self.waiting.drain():
            opened = self._opened(item)
            self._fail(opened, ResolutionFailed("the server ends", SERVFAIL, (EDE_OTHER, "shutting down")))
            if opened.waiting is not None:
                opened.waiting.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _upstream_limits(blocks: Iterable[ServedBlock]) -> Iterator[int]:
    """How many queries the forwarders of some blocks take at a time (``max_concurrent``)."""
    for block in blocks:
        for link in block.links:
            if isinstance(link, AsksUpstreams):
                yield from (one.stanza.max_concurrent for one in link.forwarders if one.stanza.max_concurrent)


def _as_repeated(exchange: Exchange, reply: bytes, answer: Answer) -> Exchange:
    """The exchange as its repetitions will be: a cache sets other flags from the second time on."""
    flags = answer.repeat_flags
    if flags is None or flags == answer.flags:
        return exchange
    header = (reply[2] << 8 | reply[3]) & ~answer.flags | flags
    reply = reply[:2] + header.to_bytes(2, "big") + reply[4:]
    return replace(exchange, reply=reply, answer=replace(answer, flags=flags))


def _nowhere(message: bytes) -> None:
    """Where the reply to an inner lookup goes: its asker gets the answer itself."""
