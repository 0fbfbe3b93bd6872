# -*- test-case-name: tests.plugins.forward.test_forwarder -*-
"""
One ``forward`` stanza at work: its upstreams, and the way of a query through them. It needs no Corefile.

::

    forwarder = Forwarder.to(reactor, "10.0.0.1", "tls://9.9.9.9%dns.quad9.net", max_fails=3)
    forwarder.start()
    answer = await forwarder.ask(request)

Identical queries under way share one exchange (flight.py); who is asked next is plan.py's decision.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from random import Random, SystemRandom
from typing import Any, NamedTuple

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from kdns.core.answer import Answer
from kdns.core.failure import ResolutionFailed
from kdns.core.metrics import Registry
from kdns.core.request import Metadata, Request, Transport
from kdns.core.validity import FROM_UPSTREAM
from kdns.corefile.errors import SetupError
from kdns.corefile.values import BadValue
from kdns.plugin.seam import Resource
from kdns.plugins.forward.failures import ExchangeFailed, Suspected, no_healthy
from kdns.plugins.forward.flight import Flight, Flights
from kdns.plugins.forward.health import Health
from kdns.plugins.forward.metrics import ForwardMetrics
from kdns.plugins.forward.plan import AttemptPlan
from kdns.plugins.forward.policy import Order
from kdns.plugins.forward.sources import Sources
from kdns.plugins.forward.stanza import Stanza
from kdns.plugins.forward.targets import Carrier, parse_to
from kdns.plugins.forward.upstream import Means, Upstream
from kdns.wire.constants import AA, AD, COOKIE, FORMERR, PADDING, RA, RCODE_MASK, REFUSED, TC, TCP_KEEPALIVE, Z
from kdns.wire.message import Relayed
from kdns.wire.query import Edns, options_of, pack_options

POLL_INTERVAL = 5.0
"""Seconds between looks at a resolv.conf; a look is one ``stat``."""

PAUSE = 0.1
"""Seconds to pause after all upstreams failed at once and the number of attempts is not limited, so as not to spin."""

RELAYED_FLAGS = AA | TC | RA | AD | Z
"""Header bits of an upstream's reply that the client sees; RD and CD are the client's own."""

_log = Logger(namespace="plugin/forward")


class Forwarder(Resource):
    """
    Forward queries to the upstreams of one stanza.

    :raises ValueError: there is nobody to ask, or a certificate is none.
    :raises OSError: a certificate cannot be read.
    :ivar changed: called with the forwarder when a resolv.conf names other servers than before.
    """

    def __init__(
        self,
        stanza: Stanza,
        reactor: Any,
        *,
        chance: Random | None = None,
        registry: Registry | None = None,
    ) -> None:
        self.stanza = stanza
        self.upstreams: list[Upstream] = []
        self.changed: list[Callable[[Forwarder], None]] = []
        self._reactor = reactor
        self._chance = chance if chance is not None else SystemRandom()
        self._metrics = ForwardMetrics(registry if registry is not None else Registry())
        self._order = Order(stanza.policy, self._chance)
        self._flights: Flights[_Exchange] = Flights()
        self._poll: LoopingCall | None = None
        self._looking: Deferred[None] | None = None
        tls = None
        if any(to.carrier is not Carrier.DNS for to in stanza.to):
            from kdns.plugins.forward.tls import TlsMaker  # OpenSSL costs megabytes: only who needs it

            tls = TlsMaker(stanza.tls)
        self._means = Means(reactor, self._chance, self._metrics, stanza, tls)
        self._sources = Sources(stanza.to, stanza.root)
        if not self._sources.hosts:
            self._take_up()

    @classmethod
    def to(cls, reactor: Any, *upstreams: str, **options: Any) -> Forwarder:
        """
        A forwarder to *upstreams*, written as in a Corefile.

        :param options: fields of :class:`~kdns.plugins.forward.stanza.Stanza`.
        :raises ValueError: nobody is left to ask.
        """
        return cls(Stanza(tuple(parse_to(text) for text in upstreams), **options), reactor)

    # Life

    def start(self) -> Deferred[None] | None:
        """Look host names up, and begin to watch files. Fails with :class:`SetupError` when a host has no address."""
        if self._sources.has_files:
            self._poll = LoopingCall(self._read_again)
            self._poll.clock = self._reactor
            self._poll.start(POLL_INTERVAL, now=False)
        if not self._sources.hosts:
            return None
        self._looking = Deferred.fromCoroutine(self._look_up())
        return self._looking

    async def _look_up(self) -> None:
        try:
            await self._sources.look_up(self._reactor, self.stanza.resolver, self._chance)
            self._take_up()
        except BadValue as error:
            raise SetupError(str(error), plugin="forward", located=False) from error

    def stop(self) -> Deferred[None] | None:
        """Ask nobody any more; who waits is told that it was cancelled."""
        if self._looking is not None:
            self._looking.cancel()
        if self._poll is not None:
            if self._poll.running:
                self._poll.stop()
            self._poll = None
        self._flights.cancel()
        for upstream in self.upstreams:
            upstream.close()
        return None

    def _read_again(self) -> None:
        if not self._sources.read_again():
            return
        try:
            self._take_up()
        except BadValue as error:
            _log.warn("upstreams stay as they were: {error}", error=str(error))
            return
        _log.info("upstreams are now {upstreams}", upstreams=" ".join(upstream.text for upstream in self.upstreams))
        for tell in self.changed:
            tell(self)

    def _take_up(self) -> None:
        """Ask the targets that the sources name now; what is known of those that stay, stays."""
        targets = self._sources.targets()
        known = {upstream.target: upstream for upstream in self.upstreams}
        self.upstreams = [known.pop(target) if target in known else Upstream(target, self._means) for target in targets]
        for upstream in known.values():
            upstream.retire()

    # Queries

    def ask(self, request: Request) -> Deferred[Answer]:
        """
        Forward a request.

        Cancelling the Deferred ends the exchange, unless others wait for the same.

        :raises ResolutionFailed: too many queries are under way.
        """
        most = self.stanza.max_concurrent
        if most and self._flights.waiting >= most:
            self._metrics.rejected.inc()
            raise ResolutionFailed(f"concurrent queries exceeded maximum {most}", REFUSED)
        edns = request.edns
        if edns is not None and edns.options:
            edns = without_hop_by_hop(edns)
            request = replace(request, edns=edns)
        # What goes upstream but for the identifier, and whether the reply must fit a datagram. Not the spelling: each client gets its
        # own back, and who forges replies shall not have one question asked a thousand times at once (RFC 5452 section 5).
        udp = request.transport is Transport.UDP
        key = (request.qname, request.qtype, request.qclass, request.flags, edns, request.udp_size, udp)
        flight = self._flights.get(key)
        if flight is not None:
            self._metrics.coalesced.inc()
            waiting = flight.join()
            if request.metadata is not None:
                waiting.addCallback(_noted, flight, request.metadata)
            return waiting
        made = _Exchange(request, key, self._flights, self)
        waiting = made.join()
        if request.metadata is not None:
            waiting.addCallback(_noted, made, request.metadata)
        made.begin()
        return waiting

    def order(self) -> Sequence[Upstream]:
        """Whom to ask for one more query, one after another."""
        upstreams = self.upstreams
        if len(upstreams) == 1 and upstreams[0].health.state is Health.HEALTHY:
            return upstreams
        return self._order.next([up for up in upstreams if up.health.state is not Health.WITHDRAWN])

    async def exchange(
        self, request: Request, order: Sequence[Upstream], first: _First | None = None
    ) -> tuple[Answer, str]:
        """
        Ask the upstreams in their order until one replies; the answer and whose it is.

        :param first: what came of asking the first, where somebody did so already.
        :raises ResolutionFailed: nobody replied.
        """
        stanza = self.stanza
        seconds = self._reactor.seconds
        most = 2 * len(order) if stanza.max_connect_attempts is None else stanza.max_connect_attempts
        started = seconds() if first is None else first.began
        plan = AttemptPlan(
            order, lambda up: up.health.usable, self._chance, started, most=most, failfast=stanza.failfast
        )
        tcp = stanza.force_tcp or (request.transport is not Transport.UDP and not stanza.prefer_udp)
        failure: ExchangeFailed | None = None
        reply: tuple[Answer, str] | None = None
        failures, broken, suspected = 0, False, False
        if first is not None and isinstance(first.failure, Suspected):
            suspected = True
        elif first is not None:
            plan.began()
            failure, reply = first.failure, first.reply
            failures = 1 if failure is not None else 0
            if reply is not None:
                plan.replied(order[0])
            elif not most and failures % len(order) == 0:
                await deferLater(self._reactor, PAUSE)
        while True:
            upstream = plan.next(seconds())
            if plan.broken and not broken:
                broken = True
                self._metrics.broken.inc()
            if upstream is None:
                break
            try:
                answer = _answer(*await upstream.ask(request, tcp or suspected), request)
            except ExchangeFailed as error:
                failure, suspected = error, False
                failures += 1
                if not most and failures % len(order) == 0:
                    await deferLater(self._reactor, PAUSE)
                continue
            reply = (answer, upstream.text)
            if not isinstance(answer.body, Relayed) or answer.rcode not in stanza.failover:
                break
            plan.replied(upstream)
        if reply is not None:
            return reply
        raise failure.as_resolution() if failure is not None else no_healthy()

    def goes_on(self, answer: Answer) -> bool:
        """Whether the following stanza shall be asked as well (``next``, ``next_on_nodata``)."""
        if not isinstance(answer.body, Relayed):
            return False
        if answer.rcode in self.stanza.next_rcodes:
            return True
        return self.stanza.next_on_nodata and not (answer.rcode or answer.answer_count() or answer.flags & TC)


class _First(NamedTuple):
    """What came of asking the first upstream of an order."""

    began: float
    failure: ExchangeFailed | None = None
    reply: tuple[Answer, str] | None = None


class _Exchange(Flight):
    """
    A request on its way through the upstreams.

    Nearly always the first upstream is asked over UDP, and it replies. That needs no coroutine, no Deferred beside those of who waits,
    and no timer. Whatever else may come, :meth:`Forwarder.exchange` goes on with it.
    """

    __slots__ = ("_forwarder", "_order", "_work", "upstream")

    def __init__(self, request: Request, key: Hashable, flights: Flights[_Exchange], forwarder: Forwarder) -> None:
        super().__init__(request, key, flights)
        self._forwarder = forwarder
        self._order: Sequence[Upstream] = ()
        self._work: Deferred[None] | None = None
        self.upstream = ""
        """Whose reply it is, once there is one."""

    def begin(self) -> None:
        """Ask."""
        self._order = order = self._forwarder.order()
        request = self.request
        if order and request.transport is Transport.UDP:
            upstream = order[0]
            if upstream.ports is not None and upstream.health.usable:
                upstream.ports.ask(self)
                return
        self._go_on(None)

    def drop(self) -> None:
        """See :class:`Flight`."""
        if self.port is not None:
            self.port.forget(self)
            self._order[0].given_up(self.began)
        if self._work is not None:
            self._work.cancel()

    def replied(self, relayed: Relayed | None, size: int, now: float) -> None:
        """See :class:`~kdns.plugins.forward.asking.Asking`."""
        upstream = self._order[0]
        answer = _answer(relayed, size, True, self.request)
        if relayed is not None:
            upstream.metrics.replied(
                answer.rcode if isinstance(answer.body, Relayed) else relayed.rcode, now - self.began
            )
            failover = self._forwarder.stanza.failover
            if failover and isinstance(answer.body, Relayed) and answer.rcode in failover:
                self._go_on(_First(self.began, reply=(answer, upstream.text)))
                return
        self.upstream = upstream.text
        self.land(answer)

    def failed(self, failure: ExchangeFailed) -> None:
        """See :class:`~kdns.plugins.forward.asking.Asking`."""
        if failure.blame:
            self._order[0].failed()
        self._go_on(_First(self.began, failure))

    def _go_on(self, first: _First | None) -> None:
        work = Deferred.fromCoroutine(self._forwarder.exchange(self.request, self._order, first))
        self._work = work.addCallbacks(self._came, self.crash)

    def _came(self, result: tuple[Answer, str]) -> None:
        answer, self.upstream = result
        self.land(answer)


def _noted(answer: Answer, exchange: _Exchange, metadata: Metadata) -> Answer:
    metadata["forward/upstream"] = exchange.upstream
    return answer


HOP_BY_HOP = frozenset((COOKIE, TCP_KEEPALIVE, PADDING))
"""
EDNS options that are between a client and this server: they say nothing to an upstream (RFC 7873, RFC 7828, RFC 7830).

A cookie would besides make each client's query another one, to be asked on its own as often as somebody likes to.
"""


def without_hop_by_hop(edns: Edns) -> Edns:
    """An OPT as it goes upstream."""
    options = options_of(edns.options)
    kept = [option for option in options if option[0] not in HOP_BY_HOP]
    return edns if len(kept) == len(options) else edns._replace(options=pack_options(kept))


def _answer(relayed: Relayed | None, size: int, udp: bool, request: Request) -> Answer:
    if relayed is None:
        # The upstream replied to something else: the client hears so, with nothing of the upstream's in it.
        return Answer(rcode=FORMERR, source="forward")
    if udp and size > 512 and size > request.limit:
        return Answer(flags=TC | relayed.flags & RA, source="forward")
    if relayed.opt is None:
        return Answer(
            relayed.flags & RCODE_MASK,
            relayed.flags & RELAYED_FLAGS,
            body=relayed,
            validity=FROM_UPSTREAM,
            source="forward",
        )
    return Answer(
        relayed.rcode,
        relayed.flags & RELAYED_FLAGS,
        body=relayed,
        options=tuple(relayed.options or ()),
        validity=FROM_UPSTREAM,
        source="forward",
    )
