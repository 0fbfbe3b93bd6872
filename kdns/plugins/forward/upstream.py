# -*- test-case-name: tests.plugins.forward.test_upstream -*-
"""
One upstream: asks it, checks it, and counts both. A shell of *forward*.

Which upstream is asked is forwarder.py's business; whether this one is down, health.py decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

from kdns.core.request import Request, Transport
from kdns.plugins.forward import udp
from kdns.plugins.forward.asking import Asking
from kdns.plugins.forward.failures import ExchangeFailed, PooledConnectionClosed, Suspected
from kdns.plugins.forward.health import Health, UpstreamHealth
from kdns.plugins.forward.metrics import ForwardMetrics
from kdns.plugins.forward.pool import MOST_CONNECTIONS, ConnectionPool, PoolLimits
from kdns.plugins.forward.ports import Ports
from kdns.plugins.forward.reply import Asked, Verdict, answers_check, check_query
from kdns.plugins.forward.stanza import Stanza
from kdns.plugins.forward.targets import Carrier, Target
from kdns.wire.constants import TC
from kdns.wire.message import Relayed

if TYPE_CHECKING:
    from kdns.plugins.forward.doh import HttpsUpstream
    from kdns.plugins.forward.tls import TlsMaker

CHECK_PATIENCE = 1.0
"""Seconds that a health check may take."""

_log = Logger(namespace="plugin/forward")


class Reply(NamedTuple):
    """What an upstream said to a query."""

    relayed: Relayed | None
    """None when the reply was to another question."""

    size: int
    """Octets as they came."""

    udp: bool = False
    """Whether it came over UDP."""


@dataclass(slots=True)
class Means:
    """What all upstreams of a stanza share."""

    reactor: Any
    chance: Random
    metrics: ForwardMetrics
    stanza: Stanza
    tls: TlsMaker | None = None


class _Attempt(Asking):
    """One attempt over UDP."""

    __slots__ = ("done",)

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.done: Deferred[Reply] = Deferred(self._cancelled)

    def _cancelled(self, done: Deferred[Reply]) -> None:
        if self.port is not None:
            self.port.forget(self)

    def replied(self, relayed: Relayed | None, size: int, now: float) -> None:
        """See :class:`Asking`."""
        self.done.callback(Reply(relayed, size, udp=True))

    def failed(self, failure: ExchangeFailed) -> None:
        """See :class:`Asking`."""
        self.done.errback(failure)


class Upstream:
    """
    One upstream of one stanza.

    :ivar ports: where it is asked from over UDP; None when it is not.
    :ivar reason: why it is out of use; empty when it is not.
    """

    def __init__(self, target: Target, means: Means) -> None:
        stanza = means.stanza
        self.target = target
        self.text = target.text
        self.health = UpstreamHealth(stanza.max_fails, stanza.health_check.interval)
        self.reason = ""
        self._means = means
        self._reactor = means.reactor
        self._chance = means.chance
        self.metrics = means.metrics.of(target.text)
        self._check_call: Any = None
        self._check: Deferred[None] | None = None
        self._closed = False
        self._https: HttpsUpstream | None = None
        self._stream: ConnectionPool | None = None
        self.ports: Ports | None = None
        if target.carrier is Carrier.DNS and not stanza.force_tcp:
            self.ports = Ports(
                means.reactor, target, means.chance, stanza.read_timeout, self.metrics, stanza.source_address
            )
        name = target.server_name or stanza.tls_servername or target.host
        if target.carrier is Carrier.HTTPS:
            from kdns.plugins.forward.doh import HttpsUpstream  # the HTTP client costs megabytes: only who needs it

            assert means.tls is not None, "whoever makes the means makes TLS for those who need it"
            self._https = HttpsUpstream(
                means.reactor,
                target,
                means.tls.creator(name),
                stanza.doh_method,
                expire=stanza.expire,
                idle=stanza.max_idle_conns,
                source=stanza.source_address,
            )
        else:
            creator = means.tls.creator(name) if means.tls is not None and target.carrier is Carrier.TLS else None
            self._stream = self._pool(creator)

    def _pool(self, creator: Any) -> ConnectionPool:
        stanza = self._means.stanza
        protocol = "tcp" if creator is None else "tcp-tls"
        return ConnectionPool(
            self._reactor,
            self.target,
            PoolLimits(stanza.expire, stanza.max_age, stanza.max_idle_conns),
            self._chance,
            tls=creator,
            source=stanza.source_address,
            counted=lambda hit: self.metrics.connection(protocol, hit),
            unexpected=lambda: self.metrics.ignored(Verdict.OTHER_IDENT.value),
        )

    @property
    def in_flight(self) -> int:
        """Queries and checks that wait for its reply, those over HTTPS left out."""
        udp = 0 if self.ports is None else self.ports.waiting
        return udp + (0 if self._stream is None else sum(len(one.pending) for one in self._stream.connections))

    # Queries

    async def ask(self, request: Request, tcp: bool) -> Reply:
        """
        Send the request on and return the reply.

        :param tcp: not over UDP.
        :raises ExchangeFailed: no reply; health checks begin if that speaks against the upstream.
        """
        began = self._reactor.seconds()
        try:
            if tcp or self.ports is None:
                reply = await self._ask_stream(request)
            else:
                try:
                    reply = await self._ask_udp(request)
                except Suspected:
                    reply = await self._ask_stream(request)
                if request.transport is not Transport.UDP and reply.relayed and reply.relayed.flags & TC:
                    # prefer_udp: a client that came over a stream gets the whole reply.
                    reply = await self._ask_stream(request)
        except ExchangeFailed as failure:
            if failure.blame:
                self.failed()
            raise
        except CancelledError:
            self.given_up(began)
            raise
        if reply.relayed is not None:
            self.metrics.replied(reply.relayed.rcode, self._reactor.seconds() - began)
        return reply

    async def _ask_udp(self, request: Request) -> Reply:
        assert self.ports is not None, "only who speaks plain DNS is asked over UDP"
        asking = _Attempt(request)
        self.ports.ask(asking)
        return await asking.done

    async def _ask_stream(self, request: Request) -> Reply:
        message, patience = request.wire(0), self._means.stanza.read_timeout
        for _ in range(MOST_CONNECTIONS + 1):
            try:
                octets = await self._send(message, patience)
                break
            except PooledConnectionClosed:
                continue
        else:
            raise ExchangeFailed(f"read tcp {self.text}: EOF")
        ident = octets[0] << 8 | octets[1] if len(octets) > 1 else -1
        verdict, relayed = Asked(ident, request.qname, request.qtype, request.qclass).judge(octets)
        if verdict is Verdict.REPLY:
            return Reply(relayed, len(octets))
        if verdict is not Verdict.ERROR_ONLY:
            self.metrics.ignored(verdict.value)
        if verdict is Verdict.MALFORMED:
            raise ExchangeFailed(f"read tcp {self.text}: malformed reply")
        return Reply(None, len(octets))

    async def _send(self, message: bytes, patience: float) -> bytes:
        if self._https is not None:
            return await self._https.ask(message, patience)
        assert self._stream is not None, "an upstream is asked over streams or over HTTPS"
        return await self._stream.ask(message, patience)

    # Health

    def given_up(self, began: float) -> None:
        """A client's time was up before the upstream's was. A check tells whether the upstream is to blame."""
        if self._reactor.seconds() - began >= CHECK_PATIENCE:
            self.failed()

    def failed(self) -> None:
        """A query failed: check at once, unless checks are under way or not wanted."""
        self.health.failed(self._reactor.seconds())
        self._schedule()

    def withdraw(self, reason: str) -> None:
        """Take it out of use; *reason* is for the operator. It is neither asked nor checked until :meth:`restore`."""
        if self.health.state is not Health.WITHDRAWN:
            self._stop_checks()
            self.health.withdraw()
        self.reason = reason

    def restore(self) -> None:
        """Take it back into use; nothing happens when it is in use."""
        self.reason = ""
        if self.health.state is Health.WITHDRAWN:
            self.health.restore()

    def retire(self) -> None:
        """Nobody new will ask it: close its connections when those who wait have their replies."""
        self._closed = True
        self._stop_checks()
        if self.ports is not None:
            self.ports.retire()
        if self._stream is not None:
            self._stream.retire()
        if self._https is not None:
            self._https.close()

    def close(self) -> None:
        """Close its connections and end its checks; whoever waits for it hears of it."""
        self._closed = True
        self._stop_checks()
        if self.ports is not None:
            self.ports.close()
        if self._stream is not None:
            self._stream.close()
        if self._https is not None:
            self._https.close()

    def _stop_checks(self) -> None:
        if self._check_call is not None:
            call, self._check_call = self._check_call, None
            call.cancel()
        if self._check is not None:
            check, self._check = self._check, None
            check.cancel()

    def _schedule(self) -> None:
        due = self.health.next_deadline()
        if due is None or self._check_call is not None or self._check is not None or self._closed:
            return
        self._check_call = self._reactor.callLater(max(0.0, due - self._reactor.seconds()), self._begin_check)

    def _begin_check(self) -> None:
        self._check_call = None
        self.health.check_begun()
        check = Deferred.fromCoroutine(self.check())
        self._check = check
        check.addCallbacks(lambda _: self._check_passed(), lambda failure: self._check_failed(check, failure.value))

    def _check_passed(self) -> None:
        self._check = None
        self.health.check_passed()

    def _check_failed(self, check: Deferred[None], error: BaseException) -> None:
        if self._check is not check:
            return  # cancelled
        self._check = None
        self.metrics.check_failed()
        before = self.health.state
        self.health.check_failed(self._reactor.seconds())
        if self.health.state is Health.DOWN and before is not Health.DOWN:
            _log.warn("upstream {upstream} is down: {error}", upstream=self.text, error=str(error))
        self._schedule()

    async def check(self) -> None:
        """
        See whether it answers at all.

        :raises ExchangeFailed: it does not within a second.
        """
        options = self._means.stanza.health_check
        ident = self._chance.getrandbits(16)
        message = check_query(ident, options.domain, options.recursion)
        await self.send(message, lambda reply: answers_check(ident, reply), CHECK_PATIENCE)

    async def send(self, message: bytes, take: Callable[[bytes], bool], patience: float) -> None:
        """
        Send a message that is no client's query, over a connection of its own, and wait until *take* accepts a reply.

        :raises ExchangeFailed: it accepts none within *patience* seconds.
        """
        if self.target.carrier is Carrier.DNS and not self._means.stanza.force_tcp:
            await udp.ask(self._reactor, self.target, message, take, patience, self._means.stanza.source_address)
            return
        if self._https is not None:
            octets = message[:2] + (await self._https.ask(message, patience))[2:]
        else:
            assert self._stream is not None, "an upstream is asked over streams or over HTTPS"
            try:
                waiting = Deferred.fromCoroutine(self._stream.try_new(message, patience))
                octets = await waiting.addTimeout(patience, self._reactor)
            except TimeoutError:
                raise ExchangeFailed(f"read tcp {self.text}: i/o timeout", silent=True) from None
        if not take(octets):
            raise ExchangeFailed(f"read tcp {self.text}: malformed reply")
