# -*- test-case-name: tests.plugins.forward.test_streams -*-
"""
Connections to one upstream that carry queries: DNS over TCP and TLS here, over HTTPS in https.py.

A query goes on the oldest connection that has nothing to do. Without one a new connection is dialled, up to a limit; beyond it, queries
share connections (RFC 7766 section 6.2.1.1), and where none takes more they wait. So a slow answer does not hold up others, and a burst
does not open thousands of sockets.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from OpenSSL.SSL import Error
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import CannotListenError, ConnectError, ConnectionRefusedError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IAddress, IHandshakeListener
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.core.slices import in_portions
from kdns.core.text import bracketed
from kdns.core.timing import Clock
from kdns.plugins.forward.failures import (
    ExchangeFailed,
    PooledConnectionClosed,
    dial_error,
    dial_timeout,
    each_failed,
    read_timeout,
)
from kdns.plugins.forward.policy import DialTime
from kdns.plugins.forward.targets import Target

MOST_CONNECTIONS = 16
"""Connections to one upstream over one transport, those being dialled included."""

MOST_PIPELINED = 256
"""Queries in flight on one connection."""

MOST_WAITING = 4096
"""Queries that wait for a connection: as many as all connections together can carry."""


@implementer(IHandshakeListener)
class Connection(Protocol):
    """
    A connection that carries queries; subclasses say how.

    :param tls: whether TLS is underneath, so that it is established when the handshake is over.
    :ivar born: when it was established.
    :ivar idle_since: when the last query on it ended.
    :ivar retired: no more queries are put on it.
    :ivar replies: replies that came over it.
    :ivar pending: the queries on it.
    :cvar shared: whether a query joins others rather than dial a connection of its own.
    """

    shared = False
    protocol = "tcp"
    network = "tcp"
    """What is dialled."""

    def __init__(self, upstream: str, clock: Clock, chance: Random, tls: bool) -> None:
        self._established: Deferred[None] | None = None
        self._connector: Any = None
        self.born = self.idle_since = clock.seconds()
        self.retired = False
        self.closed = False
        self.replies = 0
        self.pending: dict[int, Deferred[bytes]] = {}
        self.on_room: Callable[[Connection], None] | None = None
        self.on_close: Callable[[Connection], None] | None = None
        self.unexpected: Callable[[], None] | None = None
        self._upstream = upstream
        self._clock = clock
        self._chance = chance
        self._tls = tls

    @property
    def source(self) -> str:
        """The local address, for failure texts."""
        transport: Any = self.transport
        if transport is None:
            return ""
        host = transport.getHost()
        return f"{bracketed(host.host)}:{host.port}"

    @property
    def usable(self) -> bool:
        """Whether it takes one more query."""
        return not (self.retired or self.closed) and len(self.pending) < self.most()

    def most(self) -> int:
        """Queries that may be in flight on it."""
        return MOST_PIPELINED

    def ask(self, message: bytes) -> Deferred[bytes]:
        """
        Send a query, without its identifier; fires with the reply, whose identifier means nothing.

        Cancelling it forgets the query; its reply, if it comes, is dropped.
        """
        transport: Any = self.transport
        if self.closed or transport is None:
            reply: Deferred[bytes] = Deferred()
            reply.errback(PooledConnectionClosed(self.closed_text()))
            return reply
        number = self.send(message)

        def forget(_: Deferred[bytes]) -> None:
            if self.pending.pop(number, None) is not None:
                self.forgotten(number)
                self.rest()

        reply = self.pending[number] = Deferred(forget)
        return reply

    def send(self, message: bytes) -> int:
        """Send a query; the number under which its reply will come."""
        raise NotImplementedError

    def forgotten(self, number: int) -> None:
        """The query with that number was given up."""

    def replied(self, number: int, reply: bytes | ExchangeFailed) -> None:
        """The reply to the query with that number, or a failure of it alone."""
        self.replies += 1
        waiting = self.pending.pop(number, None)
        if waiting is None:
            if self.unexpected is not None:
                self.unexpected()
        elif isinstance(reply, bytes):
            waiting.callback(reply)
        else:
            waiting.errback(reply)

    def retire(self) -> None:
        """Put no more queries on it, and close it when those in flight have ended."""
        self.retired = True
        self.rest()

    def abort(self) -> None:
        """Close it at once, or stop dialling."""
        self.retired = True
        if self.transport is not None:
            self.transport.abortConnection()
        elif self._connector is not None:
            self._connector.stopConnecting()

    def dial(self, connect: Callable[[], Any]) -> Deferred[None]:
        """
        Fires when queries can be sent; fails when it comes to nothing. Cancelling it stops dialling.

        :param connect: begins to connect; returns Twisted's connector.
        """
        established = self._established = Deferred(self._stop_dialling)
        self._connector = connect()
        return established

    def connect(self, reactor: Any, host: str, port: int, patience: float, source: str, tls: Any) -> Any:
        """
        Begin to connect, once.

        :param source: the address to connect from; empty leaves it to the kernel.
        :param tls: makes the TLS side; None is plain.
        :return: Twisted's connector.
        """
        factory: Any = _OneConnection(self)
        if tls is not None:
            # Twisted's wrapClientTLS would use the clock of the global reactor.
            factory = TLSMemoryBIOFactory(tls, True, factory, clock=reactor)
        return reactor.connectTCP(host, port, factory, patience, (source, 0) if source else None)

    def _stop_dialling(self, established: Deferred[None]) -> None:
        self._established = None
        self.abort()

    def dialled(self, failure: Exception | None = None) -> None:
        """Dialling has ended. Drop the reference to the Deferred, which refers to this: no cycle is left."""
        established, self._established, self._connector = self._established, None, None
        if established is None:
            return
        if failure is None:
            established.callback(None)
        else:
            established.errback(failure)

    def connectionMade(self) -> None:
        """TCP is connected; with TLS, the handshake begins."""
        if not self._tls:
            self.establish()

    def handshakeCompleted(self) -> None:
        self.establish()

    def establish(self) -> None:
        """Queries can be sent from now on."""
        self.born = self.idle_since = self._clock.seconds()
        self.dialled()

    def rest(self) -> None:
        """Queries on it have ended: it may have room for more, or be idle."""
        if self.closed:
            return
        if not self.pending:
            self.idle_since = self._clock.seconds()
            if self.retired:
                self._close()
                return
        if self.on_room is not None:
            self.on_room(self)

    def _close(self) -> None:
        transport: Any = self.transport
        if transport is None:
            return
        transport.loseConnection()
        if self._tls:
            # The TLS transport waits for the peer's close_notify without a limit; its TCP transport does not.
            transport.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The queries on it fail."""
        self.closed = True
        text = self.closed_text()
        self.dialled(ExchangeFailed(_handshake_text(self._upstream, reason) if self._tls else text))
        pending, self.pending = self.pending, {}
        # One that worked before may have been closed before the query arrived: that says nothing of the upstream.
        kind = PooledConnectionClosed if self.replies else ExchangeFailed
        in_portions(self._clock, each_failed(pending.values(), lambda: kind(text)))
        if self.on_close is not None:
            self.on_close(self)
        self.on_room = self.on_close = self.unexpected = None

    def closed_text(self) -> str:
        """The failure text of a query on it after it was closed."""
        return f"read {self.protocol} {self._upstream}: EOF"


def _handshake_text(upstream: str, reason: Failure) -> str:
    problem: Any = reason.value
    detail = reason.getErrorMessage()
    if isinstance(problem, Error) and problem.args and problem.args[0]:
        detail = "; ".join(str(part[-1]) for part in problem.args[0])  # (library, function, reason) each
    return f"tls handshake with {upstream}: {detail}"


class StreamConnection(Connection):
    """
    Messages with their length before them, both ways (RFC 1035 section 4.2.2).

    Each query on it has an identifier of its own, so replies may come in any order.
    """

    _buffer = b""

    def send(self, message: bytes) -> int:
        ident = self._chance.getrandbits(16)
        while ident in self.pending:
            ident = self._chance.getrandbits(16)
        transport: Any = self.transport
        transport.write((len(message) + 2).to_bytes(2, "big") + ident.to_bytes(2, "big") + message)
        return ident

    def dataReceived(self, data: bytes) -> None:
        """Cut the bytes into messages."""
        buffer = self._buffer + data if self._buffer else data
        position, size = 0, len(buffer)
        while position + 2 <= size:
            end = position + 2 + (buffer[position] << 8 | buffer[position + 1])
            if end > size:
                break
            ident = buffer[position + 2] << 8 | buffer[position + 3] if end - position >= 4 else -1
            self.replied(ident, buffer[position + 2 : end])
            position = end
        self._buffer = buffer[position:]
        self.rest()


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """
    How long connections are kept, and how many.

    :ivar expire: seconds that one may have nothing to do.
    :ivar max_age: seconds that one may live; 0 means any number.
    :ivar max_idle: connections that may have nothing to do at the same time; 0 means any number.
    """

    expire: float = 10.0
    max_age: float = 0.0
    max_idle: int = 0


class _OneConnection(ClientFactory):
    """Makes the connection of one dial. Twisted's endpoints leave a reference cycle for each failed connection."""

    noisy = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return self._connection

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        error = reason.value
        self._connection.dialled(error if isinstance(error, Exception) else ConnectError())


class ConnectionPool:
    """
    The connections to one upstream over one transport.

    :param make: makes a connection, given the upstream as text, a clock, a source of chance, and whether TLS is underneath.
    :param one_by_one: dial one connection at a time until it is known whether connections are shared.
    :param tls: makes the TLS side of a connection; None is plain TCP.
    :param counted: called for each query: whether it reuses a connection.
    :param unexpected: called for each message without a waiting query.
    """

    def __init__(
        self,
        reactor: Any,
        target: Target,
        limits: PoolLimits,
        chance: Random,
        *,
        make: Callable[[str, Clock, Random, bool], Connection] = StreamConnection,
        one_by_one: bool = False,
        tls: Any = None,
        source: str = "",
        counted: Callable[[bool], object] = lambda hit: None,
        unexpected: Callable[[], None] = lambda: None,
    ) -> None:
        self.dial_time = DialTime()
        self.connections: list[Connection] = []
        self._dialling: list[Connection] = []
        self._waiting: deque[Deferred[None]] = deque()
        self._reactor = reactor
        self._target = target
        self._limits = limits
        self._chance = chance
        self._make = make
        self._one_by_one = one_by_one
        self._tls = tls
        self._source = source
        self._counted = counted
        self._unexpected = unexpected
        self._sweep: Any = None
        self._waking = False
        self._closed = False

    @property
    def in_flight(self) -> int:
        """Queries that wait for a reply."""
        return sum(len(connection.pending) for connection in self.connections)

    async def ask(self, message: bytes, patience: float, used: Callable[[Connection], None] | None = None) -> bytes:
        """
        Send *message*, without its identifier, and return the reply.

        :param patience: seconds to wait for the reply once there is a connection.
        :param used: called with that connection.
        :raises PooledConnectionClosed: ask again.
        :raises ExchangeFailed: no connection, or no reply in time.
        """
        connection = self._ready()
        self._counted(connection is not None)
        if connection is None:
            connection = await self._make_or_share()
        if used is not None:
            used(connection)
        heard = connection.replies
        reply = connection.ask(message)
        self._wake()
        try:
            return await reply.addTimeout(patience, self._reactor)
        except TimeoutError:
            if connection.replies == heard:
                connection.retire()  # nothing at all since then: it may be dead
            raise read_timeout(connection.protocol, connection.source, self._target.text) from None

    async def try_new(self, message: bytes, patience: float) -> bytes:
        """Like :meth:`ask`, on a separate connection that is closed afterwards: dialling is part of a health check."""
        connection = await self._dial(patience)
        try:
            return await connection.ask(message).addTimeout(patience, self._reactor)
        except TimeoutError:
            raise read_timeout(connection.protocol, connection.source, self._target.text) from None
        finally:
            connection.abort()

    def retire(self) -> None:
        """Close each connection when the queries on it have ended."""
        for connection in list(self.connections):
            connection.retire()

    def close(self) -> None:
        self._closed = True
        if self._sweep is not None and self._sweep.active():
            self._sweep.cancel()
        for connection in [*self.connections, *self._dialling]:
            connection.abort()
        self._wake()

    def _ready(self) -> Connection | None:
        """A connection that can take a query without dialling or sharing."""
        now = self._reactor.seconds()
        for connection in list(self.connections):
            if not connection.usable:
                continue
            if not connection.pending and self._is_stale(connection, now):
                connection.retire()
            elif not connection.pending or connection.shared:
                return connection
        return None

    def _is_stale(self, connection: Connection, now: float) -> bool:
        limits = self._limits
        if limits.max_age and now - connection.born >= limits.max_age:
            return True
        return now - connection.idle_since >= limits.expire

    async def _make_or_share(self) -> Connection:
        while not self._closed:
            usable = [connection for connection in self.connections if connection.usable]
            if usable and (usable[0].shared or not self._may_dial()):
                return min(usable, key=lambda connection: len(connection.pending))
            if self._may_dial():
                return await self._dial_and_keep()
            if len(self._waiting) >= MOST_WAITING:
                raise ExchangeFailed(f"too many queries in flight to {self._target.text}", blame=False)
            room: Deferred[None] = Deferred(self._leave)
            self._waiting.append(room)
            await room
        raise ExchangeFailed(f"dial tcp {self._target.text}: closed here", blame=False)

    def _may_dial(self) -> bool:
        if self._dialling and self._one_by_one:
            return False
        return len(self.connections) + len(self._dialling) < MOST_CONNECTIONS

    async def _dial_and_keep(self) -> Connection:
        try:
            connection = await self._dial(self.dial_time.limit)
        except ExchangeFailed as failure:
            if not self.connections:
                # The queries that wait would have dialled the same way, and failed the same way.
                waiting, self._waiting = self._waiting, deque()
                in_portions(self._reactor, each_failed(waiting, failure.again))
            self._wake()
            raise
        except CancelledError:
            self._wake()  # the query that dialled gave up; there is room for one that has not
            raise
        connection.on_room = self._has_room
        connection.on_close = self._gone
        self.connections.append(connection)
        self._one_by_one = connection.shared
        return connection

    def _wake(self) -> None:
        """Wake waiting queries while there is room for one."""
        if self._waking:
            return  # a query that was woken has been sent; the loop below goes on
        self._waking = True
        in_portions(self._reactor, self._woken())

    def _woken(self) -> Iterator[None]:
        """Each step lets one query look again."""
        while self._waiting and (self._closed or self._may_dial() or any(one.usable for one in self.connections)):
            waiter = self._waiting.popleft()
            if not waiter.called:
                waiter.callback(None)
            yield
        self._waking = False

    def _leave(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    async def _dial(self, patience: float) -> Connection:
        target, reactor = self._target, self._reactor
        began = reactor.seconds()
        connection = self._make(target.text, reactor, self._chance, self._tls is not None)
        connection.unexpected = self._unexpected
        connect = partial(connection.connect, reactor, target.host, target.port, patience, self._source, self._tls)
        self._dialling.append(connection)
        try:
            await connection.dial(connect).addTimeout(patience, reactor)
        except (TimeoutError, ConnectTimeout):
            connection.abort()
            raise dial_timeout(connection.network, target.text) from None
        except ConnectError as error:
            code = errno.ECONNREFUSED if isinstance(error, ConnectionRefusedError) else error.osError
            raise dial_error(connection.network, target.text, code if isinstance(code, int) else 0) from None
        except CannotListenError as error:
            code = getattr(error.socketError, "errno", None)
            raise dial_error(connection.network, target.text, code if isinstance(code, int) else 0) from None
        finally:
            self._dialling.remove(connection)
            self.dial_time.took(reactor.seconds() - began)
        if self._closed:
            connection.abort()
            raise ExchangeFailed(f"dial tcp {target.text}: closed here", blame=False)
        return connection

    def _has_room(self, connection: Connection) -> None:
        limits = self._limits
        if not connection.pending:
            if limits.max_age and self._reactor.seconds() - connection.born >= limits.max_age:
                connection.retire()
                return
            idle = [other for other in self.connections if not other.pending and other.usable]
            if limits.max_idle and len(idle) > limits.max_idle:
                connection.retire()
                return
            if self._sweep is None:
                self._sweep = self._reactor.callLater(limits.expire, self._expire)
        self._wake()

    def _expire(self) -> None:
        """Close connections that were idle for too long; the only timer of the pool."""
        self._sweep = None
        now = self._reactor.seconds()
        for connection in list(self.connections):
            if not connection.pending and self._is_stale(connection, now):
                connection.retire()
        left = [connection for connection in self.connections if connection.usable]
        if left and not self._closed:
            soonest = min(connection.idle_since for connection in left) + self._limits.expire
            self._sweep = self._reactor.callLater(max(0.1, soonest - now), self._expire)

    def _gone(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
        if not self.connections and self._sweep is not None:
            if self._sweep.active():
                self._sweep.cancel()
            self._sweep = None
        self._wake()
