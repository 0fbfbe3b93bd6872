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

from collections.abc import Callable, Hashable
from random import Random, SystemRandom
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from kdns.core.answer import FOR_NOBODY, FROM_UPSTREAM, Answer
from kdns.core.failure import ResolutionFailed
from kdns.core.metrics import Registry
from kdns.core.request import Request, Transport
from kdns.corefile.errors import SetupError
from kdns.corefile.values import BadValue
from kdns.plugins.forward.failures import ExchangeFailed, no_healthy
from kdns.plugins.forward.flight import InFlight
from kdns.plugins.forward.health import Health
from kdns.plugins.forward.metrics import ForwardMetrics
from kdns.plugins.forward.plan import AttemptPlan
from kdns.plugins.forward.policy import Order
from kdns.plugins.forward.sources import Sources
from kdns.plugins.forward.stanza import Stanza
from kdns.plugins.forward.targets import Carrier, parse_to
from kdns.plugins.forward.upstream import Means, Reply, Upstream
from kdns.plugins.seam import Resource
from kdns.wire.constants import AA, AD, FORMERR, RA, REFUSED, TC, Z

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
        self._flights: InFlight[Hashable, tuple[Answer, str]] = InFlight()
        self._under_way = 0
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
        if most and self._under_way >= most:
            self._metrics.rejected.inc()
            raise ResolutionFailed(f"concurrent queries exceeded maximum {most}", REFUSED)
        self._under_way += 1
        # What goes upstream but for the identifier, and whether the reply must fit a datagram. Not the spelling: each client gets its
        # own back, and who forges replies shall not have one question asked a thousand times at once (RFC 5452 section 5).
        key = (
            request.qname,
            request.qtype,
            request.qclass,
            request.flags,
            request.edns,
            request.udp_size,
            request.transport is Transport.UDP,
        )
        if key in self._flights:
            self._metrics.coalesced.inc()
        waiting = self._flights.join(key, lambda: Deferred.fromCoroutine(self._exchange(request)))
        return waiting.addBoth(self._ended).addCallback(self._noted, request)

    def _ended(self, result: Any) -> Any:
        self._under_way -= 1
        return result

    @staticmethod
    def _noted(result: tuple[Answer, str], request: Request) -> Answer:
        answer, upstream = result
        if request.metadata is not None:
            request.metadata["forward/upstream"] = upstream
        return answer

    async def _exchange(self, request: Request) -> tuple[Answer, str]:
        stanza = self.stanza
        seconds = self._reactor.seconds
        order = self._order.next([up for up in self.upstreams if up.health.state is not Health.WITHDRAWN])
        most = 2 * len(order) if stanza.max_connect_attempts is None else stanza.max_connect_attempts
        plan = AttemptPlan(
            order, lambda up: up.health.usable, self._chance, seconds(), most=most, failfast=stanza.failfast
        )
        tcp = stanza.force_tcp or (request.transport is not Transport.UDP and not stanza.prefer_udp)
        failure: ExchangeFailed | None = None
        reply: tuple[Answer, str] | None = None
        failures, broken = 0, False
        while True:
            upstream = plan.next(seconds())
            if plan.broken and not broken:
                broken = True
                self._metrics.broken.inc()
            if upstream is None:
                break
            try:
                answer = _answer(await upstream.ask(request, tcp), request)
            except ExchangeFailed as error:
                failure = error
                failures += 1
                if not most and failures % len(order) == 0:
                    await deferLater(self._reactor, PAUSE)
                continue
            reply = (answer, upstream.text)
            if answer.relayed is None or answer.rcode not in stanza.failover:
                break
            plan.replied(upstream)
        if reply is not None:
            return reply
        raise failure.as_resolution() if failure is not None else no_healthy()

    def goes_on(self, answer: Answer) -> bool:
        """Whether the following stanza shall be asked as well (``next``, ``next_on_nodata``)."""
        if answer.relayed is None:
            return False
        if answer.rcode in self.stanza.next_rcodes:
            return True
        return self.stanza.next_on_nodata and not (answer.rcode or answer.answer_count() or answer.flags & TC)


def _answer(reply: Reply, request: Request) -> Answer:
    relayed = reply.relayed
    if relayed is None:
        # The upstream replied to something else: the client hears so, with nothing of the upstream's in it.
        return Answer(rcode=FORMERR, holds=FOR_NOBODY, source="forward")
    if reply.udp and reply.size > request.limit:
        return Answer(flags=TC | relayed.flags & RA, holds=FOR_NOBODY, source="forward")
    options = relayed.options
    return Answer(
        rcode=relayed.rcode,
        flags=relayed.flags & RELAYED_FLAGS,
        relayed=relayed,
        options=None if options is None else tuple(options),
        holds=FROM_UPSTREAM,
        source="forward",
    )
