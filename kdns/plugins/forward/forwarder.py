# -*- test-case-name: tests.plugins.forward.test_forwarder -*-
"""
One ``forward`` stanza at work: its upstreams, and the exchanges in flight. It needs no Corefile.

::

    forwarder = Forwarder.to(reactor, "10.0.0.1", "tls://9.9.9.9%dns.quad9.net", max_fails=3)
    forwarder.start()
    answer = await forwarder.ask(request)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from kdns.core.answer import Answer
from kdns.core.degraded import DegradedStates
from kdns.core.failure import ResolutionFailed
from kdns.core.metrics import Registry
from kdns.core.request import Metadata, Request, Transport
from kdns.corefile.errors import SetupError
from kdns.corefile.values import BadValue
from kdns.plugin.seam import Resource
from kdns.plugin.turns import TurnQueue
from kdns.plugins.forward.config import Stanza
from kdns.plugins.forward.exchange import ASKED_FLAGS, Exchange, opt_for_upstream
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.fast import FastQuery, FastUpstreams
from kdns.plugins.forward.metrics import ForwardMetrics
from kdns.plugins.forward.policy import Health, Order
from kdns.plugins.forward.sources import Sources
from kdns.plugins.forward.targets import parse_to
from kdns.plugins.forward.upstream import Upstream, UpstreamContext
from kdns.plugins.forward.watched import WatchedExchange
from kdns.wire.constants import REFUSED, TC

POLL_INTERVAL = 5.0
"""Seconds between looks at a resolv.conf; a look is one ``stat``."""

MOST_VARIANTS = 4
"""
Exchanges over UDP for one name, type and class: clients differ in RD, CD, AD, DO and subnet. Further ones go over streams, where nobody can
guess, so that a forged reply never has more than four identifiers to fit (RFC 5452 section 5).
"""

_log = Logger(namespace="plugin/forward")


class Forwarder(Resource):
    """
    Forward queries to the upstreams of one stanza.

    :param metrics: what to count with, in place of those of *forward* in *registry*.
    :param degraded: where upstreams that are down and files that cannot be used are listed.
    :param wall: seconds since 1970.
    :param turns: where long replies wait for their turn.
    :raises ValueError: there is no upstream, or a file holds no certificate.
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
        metrics: ForwardMetrics | None = None,
        degraded: DegradedStates | None = None,
        wall: Callable[[], float] = lambda: 0.0,
        turns: TurnQueue | None = None,
    ) -> None:
        self.stanza = stanza
        self.upstreams: list[Upstream] = []
        self.changed: list[Callable[[Forwarder], None]] = []
        self.reactor = reactor
        self.turns = TurnQueue(reactor, reactor.seconds) if turns is None else turns
        self.seconds: Callable[[], float] = reactor.seconds
        self.chance = chance if chance is not None else SystemRandom()
        self.metrics = metrics or ForwardMetrics(registry if registry is not None else Registry())
        self.waiting = 0
        """Clients that wait for replies."""

        self.handed: FastQuery | None = None
        """
        A query of the fast path while its clients are told of the reply. One that needs more is asked here, in the same moment: its reply
        is there already.
        """

        self.fast = FastUpstreams(self)
        """What plain queries go through; see :mod:`kdns.core.fast_path`."""

        self._order = Order(stanza.policy, self.chance)
        self._flights: dict[tuple[bytes, int, int], list[Exchange]] = {}
        """Exchanges in flight by name, type and class."""

        self._poll: LoopingCall | None = None
        self._looking: Deferred[None] | None = None
        tls = None
        if any(to.carrier.secure for to in stanza.to):
            from kdns.plugins.forward.tls import TlsMaker  # OpenSSL costs megabytes: only if needed

            tls = TlsMaker(stanza.tls)
        states = DegradedStates() if degraded is None else degraded
        self._context = UpstreamContext(reactor, self.chance, self.metrics, stanza, states, wall, tls)
        self._sources = Sources(stanza.to, stanza.root, states, wall)
        if not self._sources.hosts:
            self._take_up()

    @classmethod
    def to(cls, reactor: Any, *upstreams: str, **options: Any) -> Forwarder:
        """
        A forwarder to *upstreams*, written as in a Corefile.

        :param options: fields of :class:`~kdns.plugins.forward.config.Stanza`.
        :raises ValueError: there is no upstream.
        """
        return cls(Stanza(tuple(parse_to(text) for text in upstreams), **options), reactor)

    # Life

    def start(self) -> Deferred[None] | None:
        """Look host names up, and begin to watch files. The Deferred fails with :class:`SetupError` when a host has no address."""
        if self._sources.has_files:
            self._poll = LoopingCall(self._read_again)
            self._poll.clock = self.reactor
            self._poll.start(POLL_INTERVAL, now=False)
        if not self._sources.hosts:
            return None
        self._looking = Deferred.fromCoroutine(self._look_up())
        return self._looking

    async def _look_up(self) -> None:
        try:
            await self._sources.look_up(self.reactor, self.stanza.resolver, self.chance)
            self._take_up()
        except BadValue as error:
            raise SetupError(str(error), plugin="forward", located=False) from error

    def stop(self) -> Deferred[None] | None:
        """Send nothing more; waiting clients get a cancellation."""
        if self._looking is not None:
            self._looking.cancel()
        if self._poll is not None:
            if self._poll.running:
                self._poll.stop()
            self._poll = None
        self._sources.stop()
        self.fast.stop()
        for exchange in [exchange for flights in self._flights.values() for exchange in flights]:
            for waiter in list(exchange.waiting):
                waiter.cancel()
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
        """Use the targets that the sources name now. Known upstreams keep their health and connections."""
        targets = self._sources.targets()
        known = {upstream.target: upstream for upstream in self.upstreams}
        self.upstreams = [
            known.pop(target) if target in known else Upstream(target, self._context) for target in targets
        ]
        for upstream in known.values():
            upstream.retire()

    # Queries

    def ask(self, request: Request) -> Deferred[Answer]:
        """
        Forward a request.

        Cancelling the Deferred ends the exchange, unless other clients wait for the same.

        :raises ResolutionFailed: too many queries are in flight.
        """
        stanza = self.stanza
        most = stanza.max_concurrent
        if most and self.waiting >= most:
            self.metrics.rejected.inc()
            raise ResolutionFailed(f"concurrent queries exceeded maximum {most}", REFUSED)
        udp = request.transport is Transport.UDP
        # What makes two queries different upstream. Not the spelling: each client gets its own back.
        variant = (request.flags & ASKED_FLAGS, opt_for_upstream(request.edns), udp)
        key = (request.qname, request.qtype, request.qclass)
        flights = self._flights.get(key)
        if flights is None:
            flights = self._flights[key] = []
        new, stream = None, False
        for exchange in flights:
            if exchange.variant == variant:
                self.metrics.coalesced.inc()
                break
        else:
            stream = (
                stanza.force_tcp
                or not (udp or stanza.prefer_udp)
                or len(flights) + self.fast.asks(request.question) >= MOST_VARIANTS
            )
            kind = Exchange if not request.watchers else WatchedExchange
            exchange = new = kind(self, request, variant, stream)
            flights.append(exchange)
        waiting = exchange.join(request)
        if request.metadata is not None:
            waiting.addCallback(_note_upstream, exchange, request.metadata)
        if new is not None:
            handed = self.handed
            if handed is not None and handed.message == new.message and not stream:
                new.take_over(handed)
            else:
                new.begin()
        return waiting

    def exchanges_of(self, question: bytes) -> bool:
        """Whether a question section, lower case, is in flight by an exchange."""
        if not self._flights:
            return False
        qtype, qclass = question[-4] << 8 | question[-3], question[-2] << 8 | question[-1]
        return (question[:-4], qtype, qclass) in self._flights

    def ended(self, exchange: Exchange) -> None:
        """*exchange* takes no more clients."""
        request = exchange.request
        key = (request.qname, request.qtype, request.qclass)
        flights = self._flights.get(key, [])
        if exchange in flights:
            flights.remove(exchange)
            if not flights:
                del self._flights[key]

    def order(self) -> Sequence[Upstream]:
        """The upstreams for one more query, in the order to try them."""
        upstreams = self.upstreams
        if len(upstreams) == 1 and upstreams[0].health.state is Health.HEALTHY:
            return upstreams
        return self._order.next([up for up in upstreams if up.health.state is not Health.WITHDRAWN])

    def asks_next(self, answer: Answer) -> bool:
        """Whether to ask the next stanza as well (``next``, ``next_on_nodata``)."""
        if answer.rcode in self.stanza.next_rcodes:
            return True
        return self.stanza.next_on_nodata and not (answer.rcode or answer.answer_count() or answer.flags & TC)

    # What comes of queries over UDP; see kdns.plugins.forward.queries.Sink.

    def replied(self, queries: list[Exchange], now: float) -> None:
        """Each of these has its reply."""
        for exchange in queries:
            try:
                exchange.take(exchange.reply, True, now)
            except Exception as error:  # a fault in one exchange must not take the replies of the others
                _log.failure("a reply could not be used")
                exchange.crash(error)

    def failed(self, query: Exchange, failure: ExchangeFailed) -> None:
        """This query will have no reply."""
        query.failed(failure)


def _note_upstream(answer: Answer, exchange: Exchange, metadata: Metadata) -> Answer:
    if exchange.upstream is not None:
        metadata["forward/upstream"] = exchange.upstream.text
    return answer
