# -*- test-case-name: tests.server.test_fast_path -*-
"""
Replies made without asking the plugins: from the bytes of a query to the bytes of its reply by the shortest way.

:func:`routes_of` compiles the blocks of a listener: for each zone of a source (:mod:`kdns.core.fast_path`) the one function that makes
records, and what the links in front of it do, as data. :class:`FastPath` belongs to one answer table and answers what the table has no
entry for.

It learns from the general way. A query's ten header bytes and what stands behind its name are one of a few dozen combinations
(:class:`Shape`), and what a reply charges to counters depends only on shape, response code and lengths. So the first query of a shape, and
the first of each length, goes the general way; what was counted for it is counted for all that follow.

A name that does not exist is entered into the answer table when it is asked for a second time: a flood of random names drives nothing out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from random import random
from typing import TYPE_CHECKING

from kdns.core.answer import Answer
from kdns.core.fast_path import Alias, Keep, Limit, Made, Upstreams
from kdns.core.observe import Exchange, Observer
from kdns.core.reply import PLAIN_LIMIT_IPV4, PLAIN_LIMIT_IPV6, reply_opt
from kdns.core.request import Transport
from kdns.core.stamps import StampRef
from kdns.core.tally import Charge, Durations, Tally
from kdns.server.blocks import ServedBlock, Zones
from kdns.server.fast_forward import Client, ForwardedQuery
from kdns.server.table_keys import COOKIE, COOKIE_OPTION, NO_COOKIE, OPT_HEAD, head_of
from kdns.wire.constants import AA, AD, ANY, AXFR, CD, DO, DS, IN, IXFR, NXDOMAIN, OPCODE_MASK, QR, RD
from kdns.wire.names import MAX_LABEL, MAX_NAME, ROOT, is_subdomain, to_text
from kdns.wire.query import HEADER
from kdns.wire.rotation import Preferred, Rotation

if TYPE_CHECKING:
    from kdns.server.listener import Listener
    from kdns.server.table import AnswerTable

MOST_SHAPES = 512
"""Shapes that a table knows; clients that make up new ones fill it, and then it starts over."""

MOST_TALLIES = 8192
"""Combinations of shape, response code and lengths with what they charge; then they start over."""

MOST_SEEN = 16_384
"""Names that do not exist and are remembered as asked once, by a hash of 64 bits; then all are forgotten."""

GENERAL_TYPES = frozenset((DS, AXFR, IXFR, ANY))
"""DS is answered by the parent's side of a zone cut, the others are no questions for one set of records."""

Tallies = tuple[Tally, tuple[Tally, Tally]]
"""What to count when the reply is made, and each time it is repeated: with records, and as NODATA or NXDOMAIN."""


@dataclass(slots=True, eq=False)
class Route:
    """The fast path for the names of one zone."""

    zone: bytes
    name: str
    """The plugin that makes the records."""

    block: ServedBlock
    answer: Callable[[bytes, int, float], Made | None] | None
    """Makes the records; None where upstreams do."""

    note: Callable[[Hashable], StampRef] | None
    """Makes a stamp for what the records depend on."""

    upstreams: Upstreams | None
    keep: Keep | None
    ask_flags: int
    zone_text: str
    """Zone of the server block, as metrics show it."""

    success_ttl: int | None
    """TTL until which a reply with records is kept; None: as the source says."""

    denial_ttl: int | None
    counts_down: bool
    rotate: Preferred | None
    first: tuple[Charge, ...]
    again_success: tuple[Charge, ...]
    again_denial: tuple[Charge, ...]
    not_types: frozenset[int]
    admits: tuple[Callable[[bytes, int, str], bool], ...]
    plain_only: bool
    """Whether nothing is learned of queries with DO, so that they go the general way."""

    tallies: dict[tuple[Shape, int, int, int], Tallies | None] = field(default_factory=dict)
    """By shape, response code, and where name and reply end; None where an observer must be told of each query."""


Routes = tuple[tuple[bytes, Route | None], ...]
"""Zones, the longest first, with their routes; None where the general way must be gone."""


@dataclass(slots=True, eq=False)
class Shape:
    """What a query says besides the name, and what its reply says besides the records."""

    qtype: int
    header: int
    """Second word of the query's header."""

    flags: int
    """Second word of the reply's header, without response code."""

    upstream_opt: bytes | None
    """The OPT that the query has upstream; None where it is not forwarded here."""

    authentic: bool
    """Whether the client understands the AD bit (RFC 6840 section 5.7)."""

    opt: bytes
    """The reply's OPT, without the client's cookie."""

    limit: int
    """Bytes up to which a reply is sent uncompressed."""

    client: str
    """A client of the group that the shape is of."""

    fronts: dict[tuple[int, tuple[int, int, int]], bytes] = field(default_factory=dict)
    """Header behind the identifier, by response code and counts of records."""

    def front(self, rcode: int, counts: tuple[int, int, int]) -> bytes:
        """Header of a reply behind the identifier."""
        answer, authority, additional = counts
        made = HEADER.pack(0, self.flags | rcode, 1, answer, authority, additional + (1 if self.opt else 0))[2:]
        if len(self.fronts) < MOST_SHAPES:
            self.fronts[rcode, counts] = made
        return made


class FastPath:
    """What answers the queries of one answer table that it has no entry for."""

    __slots__ = ("_seen", "_shapes", "_upstreams", "forwards", "given", "listener", "routes", "table")

    def __init__(self, routes: Routes, table: AnswerTable, listener: Listener) -> None:
        self.routes = routes
        self.table = table
        self.listener = listener
        upstreams = [route.upstreams for _, route in routes if route is not None and route.upstreams is not None]
        self.forwards = bool(upstreams)
        """Whether some names are forwarded here; see :meth:`forward`."""

        self._upstreams = upstreams[0] if upstreams else None

        self._shapes: dict[bytes, Shape] = {}
        self._seen: set[int] = set()
        self.given = 0
        """Replies made so far."""

    def find(self, key: bytes, now: float) -> tuple[bytes, Tally] | None:
        """
        The reply to a query, behind its identifier, and what to count for it; None when the plugins must be asked.

        :param key: the key of the query in the answer table.
        """
        start = head_of(key)
        end = key.find(0, start) + 1
        stop = len(key)
        if key[-12:-8] == COOKIE_OPTION:
            stop -= COOKIE
            shape = self._shapes.get(key[:start] + key[end:stop] + NO_COOKIE)
        else:
            shape = self._shapes.get(key[:start] + key[end:])
        if shape is None or end - start > MAX_NAME:
            return None
        qname = key[start:end]
        route = None
        for zone, one in self.routes:
            if qname.endswith(zone):
                route = one
                break
        if route is None or route.answer is None or shape.qtype in route.not_types or qname != qname.lower():
            return None
        for admits in route.admits:
            if not admits(qname, shape.qtype, shape.client):
                return None
        made = route.answer(qname, shape.qtype, now)
        if made is None:
            return None
        rcode, counts, body, stamps, until, rotates, noted = made
        turning = rotates and route.rotate is not None
        if turning:
            whole = counts[0] * rotates
            cut = int(random() * counts[0]) * rotates
            body = body[cut:whole] + body[:cut] + body[whole:]
        front = shape.fronts.get((rcode, counts)) or shape.front(rcode, counts)
        reply = front + key[start : end + 4] + body + shape.opt
        size = len(reply)
        if size + stop - len(key) > shape.limit:
            return None
        tallies = route.tallies.get((shape, rcode, end, size))
        if tallies is None:
            return None
        self.given += 1
        keep = True
        if rcode == NXDOMAIN:
            mark = hash(key[:stop])
            keep = mark in self._seen
            if not keep:
                if len(self._seen) >= MOST_SEEN:
                    self._seen.clear()
                self._seen.add(mark)
        cookie = key[stop:]
        if keep:
            if noted is not None and route.note is not None:
                stamps = (*stamps, route.note(noted))
            ttl = route.denial_ttl if rcode or not counts[0] else route.success_ttl
            if ttl is not None:
                until = min(until, now + ttl)
            counts_from = now + 1.0 if route.counts_down else until
            rotation = Rotation(((end - start + 14, rotates, counts[0]),)) if turning else None
            place = key[:stop] + NO_COOKIE if cookie else key
            again = tallies[1][1] if rcode or not counts[0] else tallies[1][0]
            self.table.enter(place, reply, until, counts_from, stamps, again, rotation, len(cookie))
        return reply + cookie if cookie else reply, tallies[0]

    def takes(self, qname: bytes, qtype: int, now: float) -> bool:
        """Whether a question would be answered here, once its shape is known."""
        route = next((route for zone, route in self.routes if qname.endswith(zone)), None)
        if route is None or route.answer is None or qtype in route.not_types:
            return False
        return route.answer(qname, qtype, now) is not None

    def forward(self, key: bytes, message: bytes, client: Client, now: float) -> bool:
        """
        Ask an upstream for the reply to a query, which is sent to *client* when it comes.

        :param key: the key of the query, *message*, in the answer table.
        :return: False when the plugins must be asked.
        """
        start = head_of(key)
        end = key.find(0, start) + 1
        cookie = COOKIE if key[-12:-8] == COOKIE_OPTION else 0
        tail = key[end : len(key) - cookie] + NO_COOKIE if cookie else key[end:]
        shape = self._shapes.get(key[:start] + tail)
        if shape is None or shape.upstream_opt is None or end - start > MAX_NAME:
            return False
        qname = key[start:end]
        route = None
        for zone, one in self.routes:
            if qname.endswith(zone):
                route = one
                break
        if route is None or route.upstreams is None or shape.qtype in route.not_types or qname != qname.lower():
            return False
        for admits in route.admits:
            if not admits(qname, shape.qtype, shape.client):
                return False
        position = 0
        while length := qname[position]:
            if length > MAX_LABEL:
                return False
            position += 1 + length
            if position >= len(qname):
                return False
        listener = self.listener
        if position + 1 != len(qname) or listener.waiting.tight:
            return False
        if route.keep is not None and route.keep.has(qname, shape.qtype, shape.header):
            return False
        query = ForwardedQuery(self, route, shape, message, key, start, end, cookie, now, client)
        # Held first: the reply may come, or the query fail, before ask() returns.
        query.ticket = listener.hold(query, now)
        if route.upstreams.ask(key[start : end + 4], shape.header | route.ask_flags, shape.upstream_opt, query):
            return True
        listener.waiting.end(query.ticket)
        return False

    def learn(self, key: bytes, exchange: Exchange) -> None:
        """Remember shape and charges of a query that went the general way."""
        request, answer, reply = exchange.request, exchange.answer, exchange.reply
        edns = request.edns
        if reply is None or request.qclass != IN or request.flags & OPCODE_MASK or request.qtype in GENERAL_TYPES:
            return
        start = head_of(key)
        end = start + len(request.qname)
        stop, opt = len(key), b""
        if edns is not None:
            if edns.flags & ~DO:
                return
            opt = reply_opt(request, Answer())
            if len(edns.options) == len(COOKIE_OPTION) + COOKIE and edns.options.startswith(COOKIE_OPTION):
                stop -= COOKIE
                opt = opt[:-COOKIE]
            elif edns.options:
                return
        records = OPT_HEAD + len(edns.options) if edns is not None else 0
        if key.find(0, start) + 1 != end or len(key) != end + 4 + records:
            return  # a label with a zero byte, or something else than one OPT behind the question
        route = next((route for zone, route in self.routes if request.qname.endswith(zone)), None)
        if route is None or answer.options or answer.ede or answer.source != route.name:
            return
        tail = key[:start] + key[end:stop] + (NO_COOKIE if stop < len(key) else b"")
        shape = self._shapes.get(tail)
        if shape is None:
            if len(self._shapes) >= MOST_SHAPES:
                self._shapes.clear()
            limit = request.limit
            if request.transport is Transport.UDP:
                limit = min(limit, PLAIN_LIMIT_IPV6 if request.ipv6 else PLAIN_LIMIT_IPV4)
            flags = QR | AA | request.flags & (OPCODE_MASK | RD | CD)
            upstream_opt = None
            if self._upstreams is not None and request.rd and not request.do:
                upstream_opt = self._upstreams.opt(edns)
            authentic = bool(request.flags & AD) or request.do
            shape = Shape(request.qtype, request.flags, flags, upstream_opt, authentic, opt, limit - 2, request.client)
            self._shapes[tail] = shape
        if answer.flags != AA or route.answer is None or (route.plain_only and request.do):
            return
        where = (shape, answer.rcode, end, len(reply) - 2 - (len(key) - stop))
        if where not in route.tallies:
            self.remember(route, where, exchange)

    def remember(self, route: Route, where: tuple[Shape, int, int, int], exchange: Exchange) -> Tallies | None:
        """Note what *exchange* charges for all like it; None when an observer tells them apart."""
        if len(route.tallies) >= MOST_TALLIES:
            route.tallies.clear()
        tallies = route.tallies[where] = self._charges(route, exchange)
        return tallies

    def _charges(self, route: Route, exchange: Exchange) -> Tallies | None:
        """What to count for all queries like this one; None when an observer tells them apart."""
        charges: tuple[Charge, ...] = ()
        durations: tuple[Durations, ...] = ()
        for observer in route.block.observers:
            if not _alike(observer, route.zone, exchange.answer.rcode):
                return None
            repeat = observer.repeat(exchange)
            if repeat.each is not None:
                return None
            charges += repeat.charges
            durations += repeat.durations
        tally = self.listener.context.tallies.tally
        again = (tally(route.again_success + charges, durations), tally(route.again_denial + charges, durations))
        return tally(route.first + charges, durations), again


def _alike(observer: Observer, zone: bytes, rcode: int) -> bool:
    return observer.alike(zone) or (rcode == NXDOMAIN and observer.alike_below(zone))


def routes_of(zones: Zones, server: str) -> Routes:
    """
    Compile the blocks of a listener.

    :param server: the listener as metrics name it.
    """
    suffixes = set(zones.blocks)
    for block in zones.all_blocks():
        for link in block.links:
            suffixes.update(link.fast_sources())
    found = [(zone, _route(zones, zone, server)) for zone in sorted(suffixes, key=len, reverse=True)]
    return tuple(found) if any(route is not None for _, route in found) else ()


def _route(zones: Zones, zone: bytes, server: str) -> Route | None:
    none: tuple[bytes, list[ServedBlock]] = (ROOT, [])
    around = [(name, blocks) for name, blocks in zones.blocks.items() if is_subdomain(zone, name)]
    served, blocks = max(around, key=lambda item: len(item[0]), default=none)
    if len(blocks) != 1 or blocks[0].filters or blocks[0].collect is not None or blocks[0].empty:
        return None
    (block,) = blocks
    if not block.repeats:
        return None
    first: tuple[Charge, ...] = ()
    success: tuple[Charge, ...] = ()
    denial: tuple[Charge, ...] = ()
    success_limits: list[Limit] = []
    denial_limits: list[Limit] = []
    keeps = counts_down = plain_only = False
    rotate: Preferred | None = None
    not_types = GENERAL_TYPES
    keep: Keep | None = None
    ask_flags = 0
    admits: tuple[Callable[[bytes, int, str], bool], ...] = ()
    aliases: list[Alias] = []
    asked = zone
    for at, link in enumerate(block.links):
        alias = link.fast_alias(asked)
        if alias is not None:
            behind = (name for other in block.links[at + 1 :] for name in other.fast_sources())
            if (
                link.varies.every_query
                or link.varies.client is not None
                or any(_is_inside(name, alias.zone) for name in behind)
            ):
                return None
            effect = link.fast_effect(server, asked)
            if effect is None:
                return None
            not_types |= effect.not_types
            aliases.append(alias)
            asked = alias.zone
            continue
        upstreams = link.fast_upstreams()
        if upstreams is not None and zone == ROOT:
            alike = all(observer.alike(zone) for observer in block.observers)
            if not alike or rotate or link.varies.every_query or link.varies.client is not None:
                return None
            return Route(
                zone,
                link.name,
                block,
                None,
                None,
                upstreams,
                keep,
                ask_flags,
                to_text(ROOT),
                None,
                None,
                counts_down,
                rotate,
                first,
                success,
                denial,
                not_types,
                admits,
                plain_only,
            )
        sources = link.fast_sources()
        if asked in sources:
            make = sources[asked]
            if make is None or asked == ROOT or link.varies.every_query or link.varies.client is not None:
                return None
            limit, denial_limit = _composed(success_limits), _composed(denial_limits)
            source = make(limit, denial_limit, keeps)
            if source is None:
                return None
            for alias in reversed(aliases):
                source = alias.renamed(source)
            return Route(
                zone,
                link.name,
                block,
                source.answer,
                source.note,
                None,
                None,
                0,
                to_text(served),
                limit(source.success_ttl) if keeps and source.success_ttl is not None else None,
                denial_limit(source.denial_ttl) if keeps and source.denial_ttl is not None else None,
                counts_down,
                rotate,
                first,
                success,
                denial,
                not_types,
                admits,
                plain_only,
            )
        if any(is_subdomain(asked, name) for name in sources):
            return None
        effect = link.fast_effect(server, asked)
        if effect is None or link.varies.every_query:
            return None
        if effect.admits is not None:
            if aliases:
                return None  # it would be given the client's name
            admits += (effect.admits,)
        elif link.varies.client is not None:
            return None
        first += effect.first
        success += effect.again_success
        denial += effect.again_denial
        if effect.success_ttl is not None:
            success_limits.insert(0, effect.success_ttl)
        if effect.denial_ttl is not None:
            denial_limits.insert(0, effect.denial_ttl)
        keeps = keeps or effect.keeps
        keep = effect.keep if keep is None else keep
        ask_flags |= effect.ask_flags
        counts_down = counts_down or effect.counts_down
        plain_only = plain_only or effect.plain_only
        rotate = effect.rotate if rotate is None else rotate
        not_types |= effect.not_types
    return None


def _is_inside(name: bytes, zone: bytes) -> bool:
    return name != zone and is_subdomain(name, zone)


def _composed(limits: Sequence[Limit]) -> Limit:
    """All limits, the innermost first."""

    def limit(ttl: int) -> int:
        for one in limits:
            ttl = one(ttl)
        return ttl

    return limit


__all__ = ["FastPath", "Route", "Routes", "Shape", "routes_of"]
