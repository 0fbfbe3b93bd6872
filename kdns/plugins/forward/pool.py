# -*- test-case-name: tests.plugins.forward.test_stream -*-
"""
The connections to one upstream over one transport: a shell of *forward*.

A query goes on a connection that has nothing to do, the oldest first; without one a new connection is dialled, up to a limit; beyond it
queries share connections. So a slow answer does not hold up others, and a burst does not open thousands of sockets.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionRefusedError
from twisted.internet.error import TimeoutError as ConnectTimeout

from kdns.plugins.forward.dialing import DialTime
from kdns.plugins.forward.endpoints import TlsEndpoint, tcp_endpoint
from kdns.plugins.forward.failures import (
    ExchangeFailed,
    dial_error,
    dial_timeout,
    read_timeout,
)
from kdns.plugins.forward.stream import StreamConnection, StreamFactory
from kdns.plugins.forward.targets import Target

MOST_CONNECTIONS = 16
"""Connections to one upstream over one transport, those being dialled included."""

MOST_WAITING = 4096
"""Queries that wait for a connection being dialled: as many as all connections together can carry."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """
    How long connections are kept.

    :ivar expire: seconds that one may have nothing to do.
    :ivar max_age: seconds that one may live; 0 means any number.
    :ivar max_idle: connections that may have nothing to do at the same time; 0 means any number.
    """

    expire: float = 10.0
    max_age: float = 0.0
    max_idle: int = 0


class ConnectionPool:
    """
    Ask one upstream over TCP or TLS.

    :param tls: makes the TLS side of a connection; None is TCP.
    :param counted: told for each query whether a connection was there already.
    :param unexpected: told of each message that nobody waits for.
    """

    def __init__(
        self,
        reactor: Any,
        target: Target,
        limits: PoolLimits,
        chance: Random,
        *,
        tls: Any = None,
        source: str = "",
        counted: Callable[[bool], object] = lambda hit: None,
        unexpected: Callable[[], None] = lambda: None,
    ) -> None:
        self.dial_time = DialTime()
        self.connections: list[StreamConnection] = []
        self._dialling: list[StreamConnection] = []
        self._waiting: list[Deferred[None]] = []
        self._reactor = reactor
        self._target = target
        self._limits = limits
        self._chance = chance
        self._tls = tls
        self._source = source
        self._counted = counted
        self._unexpected = unexpected
        self._sweep: Any = None
        self._closed = False

    @property
    def protocol(self) -> str:
        """As metrics name it."""
        return "tcp" if self._tls is None else "tcp-tls"

    async def ask(self, message: bytes, patience: float) -> bytes:
        """
        Send *message*, whose identifier is exchanged, and return the reply with that identifier.

        :param patience: seconds to wait for the reply once there is a connection.
        :raises PooledConnectionClosed: ask again.
        :raises ExchangeFailed: no connection, or no reply in time.
        """
        connection = self._idle()
        self._counted(connection is not None)
        if connection is None:
            connection = await self._make_or_share()
        ident = connection.free_ident()
        heard = connection.replies
        waiting = connection.ask(ident, ident.to_bytes(2, "big") + message[2:])
        try:
            return await waiting.addTimeout(patience, self._reactor)
        except TimeoutError:
            if connection.replies == heard:
                connection.retire()  # nothing at all since then: it may be dead
            raise read_timeout("tcp", connection.source, self._target.text) from None

    async def try_new(self, message: bytes, patience: float) -> bytes:
        """As :meth:`ask`, on a connection of its own that is closed afterwards: dialling is part of a health check."""
        connection = await self._dial(patience)
        try:
            return await connection.ask(message[0] << 8 | message[1], message).addTimeout(patience, self._reactor)
        except TimeoutError:
            raise read_timeout("tcp", connection.source, self._target.text) from None
        finally:
            connection.abort()

    def retire(self) -> None:
        """Close each connection when the queries on it have ended."""
        for connection in list(self.connections):
            connection.retire()

    def close(self) -> None:
        """Close all connections; whoever waits hears of it."""
        self._closed = True
        if self._sweep is not None and self._sweep.active():
            self._sweep.cancel()
        for connection in [*self.connections, *self._dialling]:
            connection.abort()

    def _idle(self) -> StreamConnection | None:
        now = self._reactor.seconds()
        for connection in list(self.connections):
            if connection.pending or not connection.usable:
                continue
            if self._is_stale(connection, now):
                connection.retire()
                continue
            return connection
        return None

    def _is_stale(self, connection: StreamConnection, now: float) -> bool:
        limits = self._limits
        if limits.max_age and now - connection.born >= limits.max_age:
            return True
        return now - connection.idle_since >= limits.expire

    async def _make_or_share(self) -> StreamConnection:
        while len(self.connections) + len(self._dialling) >= MOST_CONNECTIONS:
            usable = [connection for connection in self.connections if connection.usable]
            if usable:
                return min(usable, key=lambda connection: len(connection.pending))
            if not self._dialling or len(self._waiting) >= MOST_WAITING:
                raise ExchangeFailed(f"too many queries in flight to {self._target.text}", blame=False)
            dialled: Deferred[None] = Deferred(self._leave)
            self._waiting.append(dialled)
            await dialled
        return await self._dial_and_keep()

    async def _dial_and_keep(self) -> StreamConnection:
        try:
            connection = await self._dial(self.dial_time.limit)
        except ExchangeFailed as failure:
            # Who waits for a connection would have dialled the same way, and failed the same way.
            for waiter in self._take_waiting():
                if not waiter.called:
                    waiter.errback(ExchangeFailed(failure.text, silent=failure.silent, blame=failure.blame))
            raise
        except CancelledError:
            # Whoever dialled has lost patience; there is room for somebody who has not.
            self._wake()
            raise
        connection.on_idle = self._rested
        connection.on_close = self._gone
        self.connections.append(connection)
        self._wake()
        return connection

    def _wake(self) -> None:
        """Have those that wait look again."""
        for waiter in self._take_waiting():
            if not waiter.called:
                waiter.callback(None)

    def _leave(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def _take_waiting(self) -> list[Deferred[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    async def _dial(self, patience: float) -> StreamConnection:
        target, reactor = self._target, self._reactor
        began = reactor.seconds()
        connection = StreamConnection("tcp", target.text, reactor.seconds, self._chance, self._tls is not None)
        connection.unexpected = self._unexpected
        endpoint: Any = tcp_endpoint(reactor, target, patience, self._source)
        if self._tls is not None:
            endpoint = TlsEndpoint(endpoint, self._tls, reactor)
        self._dialling.append(connection)
        try:
            await endpoint.connect(StreamFactory(connection))
            left = max(0.001, patience - (reactor.seconds() - began))
            await connection.established.addTimeout(left, reactor)
        except (TimeoutError, ConnectTimeout):
            connection.abort()
            raise dial_timeout("tcp", target.text) from None
        except ConnectError as error:
            code = errno.ECONNREFUSED if isinstance(error, ConnectionRefusedError) else error.osError
            raise dial_error("tcp", target.text, code if isinstance(code, int) else 0) from None
        except ConnectingCancelledError:
            raise CancelledError from None  # Twisted's endpoints have a word of their own for it
        finally:
            self._dialling.remove(connection)
            self.dial_time.took(reactor.seconds() - began)
        if self._closed:
            connection.abort()
            raise ExchangeFailed(f"dial tcp {target.text}: closed here", blame=False)
        return connection

    def _rested(self, connection: StreamConnection) -> None:
        limits = self._limits
        if limits.max_age and self._reactor.seconds() - connection.born >= limits.max_age:
            connection.retire()
            return
        idle = [other for other in self.connections if not other.pending and other.usable]
        if limits.max_idle and len(idle) > limits.max_idle:
            connection.retire()
            return
        if self._sweep is None:
            self._sweep = self._reactor.callLater(limits.expire, self._expire)

    def _expire(self) -> None:
        """Close what had nothing to do for too long; the one timer of the pool."""
        self._sweep = None
        now = self._reactor.seconds()
        for connection in list(self.connections):
            if not connection.pending and self._is_stale(connection, now):
                connection.retire()
        left = [connection for connection in self.connections if connection.usable]
        if left and not self._closed:
            soonest = min(connection.idle_since for connection in left) + self._limits.expire
            self._sweep = self._reactor.callLater(max(0.1, soonest - now), self._expire)

    def _gone(self, connection: StreamConnection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
        if not self.connections and self._sweep is not None:
            if self._sweep.active():
                self._sweep.cancel()
            self._sweep = None
