# -*- test-case-name: tests.plugins.forward.test_upstream -*-
"""One upstream: its sockets and connections, its health checks, its metrics. Which upstream is asked is the exchange's decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from kdns.core.degraded import DegradedStates, Fault
from kdns.plugins.forward.config import Stanza
from kdns.plugins.forward.failures import ExchangeFailed, OtherQuestion, PooledConnectionClosed
from kdns.plugins.forward.metrics import ForwardMetrics
from kdns.plugins.forward.policy import Health, UpstreamHealth
from kdns.plugins.forward.queries import MALFORMED, OTHER_IDENT, is_error_only, what_is_wrong
from kdns.plugins.forward.sockets import UdpSockets, ask_once
from kdns.plugins.forward.streams import MOST_CONNECTIONS, Connection, ConnectionPool, PoolLimits
from kdns.plugins.forward.targets import Carrier, Target
from kdns.wire.constants import IN, NS, QR, RD

if TYPE_CHECKING:
    from kdns.plugins.forward.tls import TlsMaker

_PROTOCOLS = {
    Carrier.DNS: "tcp",
    Carrier.TLS: "tcp-tls",
    Carrier.HTTPS: "https",
    Carrier.QUIC: "quic",
    Carrier.GRPC: "grpc",
    Carrier.GRPCS: "grpc-tls",
}
"""What carries queries, in failures and metrics."""

CHECK_PATIENCE = 1.0
"""Seconds that a health check may take."""

_log = Logger(namespace="plugin/forward")


@dataclass(slots=True)
class UpstreamContext:
    """Shared by all upstreams of a stanza."""

    reactor: Any
    chance: Random
    metrics: ForwardMetrics
    stanza: Stanza
    degraded: DegradedStates
    wall: Callable[[], float]
    """Seconds since 1970."""

    tls: TlsMaker | None = None


class Upstream:
    """
    One upstream of one stanza.

    :ivar udp: its sockets for queries; None when it is not asked over UDP.
    :ivar reason: why it is out of use; empty when it is in use.
    """

    def __init__(self, target: Target, context: UpstreamContext) -> None:
        stanza = context.stanza
        self.target = target
        self.text = target.text
        self.health = UpstreamHealth(stanza.max_fails, stanza.health_check.interval)
        self.reason = ""
        self._context = context
        self._reactor = context.reactor
        self.metrics = context.metrics.of(target.text)
        self._degraded = context.degraded.condition(Fault.UPSTREAM, f"upstream {target.text}")
        self._check_call: Any = None
        self._check: Deferred[None] | None = None
        self._closed = False
        self.udp: UdpSockets | None = None
        if target.carrier is Carrier.DNS and not stanza.force_tcp:
            self.udp = UdpSockets(
                context.reactor, target, context.chance, stanza.read_timeout, self.metrics, stanza.source_address
            )
        self._protocol = _PROTOCOLS[target.carrier]
        self._streams = self._pool()

    def _pool(self) -> ConnectionPool:
        stanza, target, tls = self._context.stanza, self.target, self._context.tls
        options: dict[str, Any] = {}
        protocols: tuple[bytes, ...] = ()
        if target.carrier is Carrier.HTTPS:
            from kdns.plugins.forward.https import PROTOCOLS, HttpsConnection  # megabytes: only if needed

            protocols = PROTOCOLS
            options |= {"make": partial(HttpsConnection, stanza.doh_method), "one_by_one": True}
        elif target.carrier is Carrier.QUIC:
            if find_spec("aioquic") is None:
                raise ValueError("quic:// needs aioquic, which is not installed: pip install 'kdns[quic]'")
            from kdns.plugins.forward.quic import QuicConnection, configuration_for

            name = target.server_name or stanza.tls_servername or target.host
            options |= {"make": partial(QuicConnection, configuration_for(stanza.tls, name)), "one_by_one": True}
        elif target.carrier in (Carrier.GRPC, Carrier.GRPCS):
            from kdns.plugins.forward.grpc import GrpcConnection

            protocols = (b"h2",)
            options |= {"make": GrpcConnection, "one_by_one": True}
        if target.carrier.secure:
            assert tls is not None, "the forwarder makes TLS for the upstreams that need it"
            options["tls"] = tls.creator(target.server_name or stanza.tls_servername or target.host, protocols)
        return ConnectionPool(
            self._reactor,
            target,
            PoolLimits(stanza.expire, stanza.max_age, stanza.max_idle_conns),
            self._context.chance,
            source=stanza.source_address,
            counted=partial(self.metrics.connection, self._protocol),
            unexpected=partial(self.metrics.ignored, OTHER_IDENT),
            **options,
        )

    @property
    def in_flight(self) -> int:
        """Queries and checks that wait for a reply."""
        return (0 if self.udp is None else self.udp.waiting) + self._streams.in_flight

    async def ask_stream(
        self, message: bytes, question: bytes, used: Callable[[Connection], None] | None = None
    ) -> bytes:
        """
        Ask over a connection.

        :param message: the query without its identifier.
        :param used: called with the connection that the query goes over.
        :return: the reply; its question is the one that was asked, its records have not been looked at.
        :raises ExchangeFailed: there is none.
        """
        for _ in range(MOST_CONNECTIONS + 1):
            try:
                reply = await self._streams.ask(message, self._context.stanza.read_timeout, used)
                break
            except PooledConnectionClosed:
                continue
        else:
            raise ExchangeFailed(f"read {self._protocol} {self.text}: EOF")
        wrong = what_is_wrong(reply, question)
        if not wrong:
            return reply
        if not is_error_only(reply):
            self.metrics.ignored(wrong)
        if wrong == MALFORMED:
            raise ExchangeFailed(f"read {self._protocol} {self.text}: malformed reply")
        raise OtherQuestion(f"read {self._protocol} {self.text}: reply to another question")

    # Health

    def given_up(self, began: float) -> None:
        """The client gave up before the timeout. A check tells whether the upstream is to blame."""
        if self._reactor.seconds() - began >= CHECK_PATIENCE:
            self.failed()

    def failed(self) -> None:
        """A query failed: check at once, unless a check is in flight or checks are not wanted."""
        self.health.failed(self._reactor.seconds())
        self._schedule()

    def withdraw(self, reason: str) -> None:
        """Take it out of use until :meth:`restore`: neither asked nor checked. *reason* is for the operator."""
        if self.health.state is not Health.WITHDRAWN:
            self._stop_checks()
            self._degraded.forget()
            self.health.withdraw()
        self.reason = reason

    def restore(self) -> None:
        """Put it back into use, if it is out."""
        self.reason = ""
        if self.health.state is Health.WITHDRAWN:
            self.health.restore()

    def retire(self) -> None:
        """Send it nothing more; close its connections when the queries in flight have ended."""
        self._closed = True
        self._degraded.forget()
        self._stop_checks()
        if self.udp is not None:
            self.udp.retire()
        self._streams.retire()

    def close(self) -> None:
        """Close its connections and end its checks; the queries on connections fail."""
        self._closed = True
        self._degraded.forget()
        self._stop_checks()
        if self.udp is not None:
            self.udp.close()
        self._streams.close()

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
        self._degraded.end(self._context.wall(), _log)

    def _check_failed(self, check: Deferred[None], error: BaseException) -> None:
        if self._check is not check:
            return  # cancelled
        self._check = None
        self.metrics.check_failed()
        before = self.health.state
        self.health.check_failed(self._reactor.seconds())
        if self.health.state is Health.DOWN:
            self._degraded.begin(f"down: {error}", self._context.wall())
        if self.health.state is Health.DOWN and before is not Health.DOWN:
            _log.warn("upstream {upstream} is down: {error}", upstream=self.text, error=str(error))
        self._schedule()

    async def check(self) -> None:
        """
        See whether it answers at all: any DNS reply will do.

        :raises ExchangeFailed: it does not within a second.
        """
        options = self._context.stanza.health_check
        await self.probe(options.domain, NS, RD if options.recursion else 0, CHECK_PATIENCE)

    async def probe(self, name: bytes, qtype: int, flags: int, patience: float) -> None:
        """
        Send a query of kdns's own, over a socket or connection of its own, and wait for any DNS reply.

        :raises ExchangeFailed: there is none within *patience* seconds.
        """
        question = name + qtype.to_bytes(2, "big") + IN.to_bytes(2, "big")
        message = flags.to_bytes(2, "big") + b"\0\1\0\0\0\0\0\0" + question
        context = self._context
        if self.udp is not None:
            source = context.stanza.source_address
            try:
                await ask_once(self._reactor, self.target, context.chance, message, question, patience, source)
            except OtherQuestion:
                pass  # it is alive
            return
        try:
            waiting = Deferred.fromCoroutine(self._streams.try_new(message, patience))
            reply = await waiting.addTimeout(patience, self._reactor)
        except TimeoutError:
            raise ExchangeFailed(f"read {self._protocol} {self.text}: i/o timeout", silent=True) from None
        if len(reply) < 12 or not reply[2] & QR >> 8:
            raise ExchangeFailed(f"read {self._protocol} {self.text}: malformed reply")
