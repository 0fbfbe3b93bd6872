# -*- test-case-name: tests.plugins.secondary.test_zone -*-
"""Ask a primary over TCP: for the SOA of a zone, and for the zone."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from kdns.core.slices import in_slices
from kdns.core.timing import Timer, stop_timer
from kdns.plugin.seam import ServerContext
from kdns.plugins.transfer.config import Peer
from kdns.wire.records import Record
from kdns.zones.incoming import IncomingTransfer, State, TransferFailed, soa_of_reply, soa_query, transfer_query
from kdns.zones.zone import Zone

CONNECT, MESSAGE = 2.0, 2.0
"""Seconds for a connection, and for each message."""


async def ask_soa(context: ServerContext, peer: Peer, origin: bytes) -> Record:
    """
    The SOA of a zone at a primary.

    :raises TransferFailed: it does not tell it.
    """
    connection = await _connect(context, peer)
    try:
        ident = context.random.randrange(1 << 16)
        connection.send(soa_query(ident, origin))
        return soa_of_reply(await connection.message(), ident, origin)
    finally:
        connection.close()


async def transfer_in(context: ServerContext, peer: Peer, origin: bytes, current: Zone | None) -> IncomingTransfer:
    """
    Transfer a zone from a primary.

    :param current: the version that there is: only what changed since is asked for, and everything when that does not work.
    :raises TransferFailed: it is not sent, or not whole.
    """
    if current is not None:
        try:
            return await _transfer(context, peer, origin, current)
        except TransferFailed:
            pass
    return await _transfer(context, peer, origin, None)


async def _transfer(context: ServerContext, peer: Peer, origin: bytes, current: Zone | None) -> IncomingTransfer:
    connection = await _connect(context, peer)
    try:
        ident = context.random.randrange(1 << 16)
        connection.send(transfer_query(ident, origin, None if current is None else current.soa))
        transfer = IncomingTransfer(origin, ident, current)
        while transfer.state is not State.DONE:
            await in_slices(context.reactor, transfer.feed(await connection.message()))
    finally:
        connection.close()
    await in_slices(context.reactor, transfer.finish())
    return transfer


async def _connect(context: ServerContext, peer: Peer) -> _Connection:
    if not 0 < peer.port < 1 << 16:
        raise TransferFailed(f"dial tcp: address {peer.port}: invalid port")
    factory = _Factory(context, peer)
    connector = context.reactor.connectTCP(peer.host, peer.port, factory, timeout=CONNECT)
    factory.made.addErrback(_connect_failed, peer)
    try:
        return await factory.made
    except BaseException:
        connector.disconnect()
        raise


def _connect_failed(failure: Failure, peer: Peer) -> None:
    failure.trap(ConnectError)
    number = getattr(failure.value, "osError", None)
    if failure.check(ConnectTimeout):
        reason = "i/o timeout"
    else:
        reason = "connect: " + (os.strerror(number).lower() if isinstance(number, int) else failure.getErrorMessage())
    raise TransferFailed(f"dial tcp {peer}: {reason}")


class _Connection(Protocol):
    """A connection to a primary. It reads no more than one message ahead of who takes them."""

    transport: Any

    def __init__(self, context: ServerContext, peer: Peer, made: Deferred[_Connection]) -> None:
        self._context = context
        self._peer = peer
        self._made = made
        self._buffer = b""
        self._messages: deque[bytes] = deque()
        self._waiting: Deferred[bytes] | None = None
        self._timer: Timer | None = None
        self._ended = False
        self._paused = False

    def connectionMade(self) -> None:
        """Ready to be used."""
        self._made.callback(self)

    def send(self, message: bytes) -> None:
        """Ask."""
        self.transport.write(len(message).to_bytes(2, "big") + message)

    def message(self) -> Deferred[bytes]:
        """The next message; fails when none comes in time."""

        def cancelled(_: Deferred[bytes]) -> None:
            self._waiting = None
            stop_timer(self._timer)

        waiting: Deferred[bytes] = Deferred(cancelled)
        if self._messages:
            waiting.callback(self._messages.popleft())
            self._read_on()
        elif self._ended:
            waiting.errback(TransferFailed(f"{self._peer}: connection closed"))
        else:
            self._waiting = waiting
            self._timer = self._context.reactor.callLater(MESSAGE, self._late)
            self._read_on()
        return waiting

    def _late(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(TransferFailed(f"{self._peer}: no message within {MESSAGE:g} s"))

    def dataReceived(self, data: bytes) -> None:
        """Some bytes of messages, each behind its length."""
        self._buffer += data
        while len(self._buffer) >= 2:
            end = 2 + int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < end:
                break
            self._messages.append(self._buffer[2:end])
            self._buffer = self._buffer[end:]
        if self._messages and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            stop_timer(self._timer)
            waiting.callback(self._messages.popleft())
        if self._messages and not self._paused and not self._ended:
            self._paused = True
            self.transport.pauseProducing()

    def _read_on(self) -> None:
        if self._paused and not self._messages and not self._ended:
            self._paused = False
            self.transport.resumeProducing()

    def connectionLost(self, reason: Any = None) -> None:
        """The primary, or :meth:`close`, ended the connection."""
        self._ended = True
        stop_timer(self._timer)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(TransferFailed(f"{self._peer}: connection closed"))

    def close(self) -> None:
        """End the connection."""
        if not self._ended:
            self.transport.abortConnection()


class _Factory(ClientFactory[Protocol]):
    noisy = False

    def __init__(self, context: ServerContext, peer: Peer) -> None:
        self._context = context
        self._peer = peer
        self.made: Deferred[_Connection] = Deferred()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """The connection."""
        return _Connection(self._context, self._peer, self.made)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """There is none."""
        if not self.made.called:
            self.made.errback(reason)
