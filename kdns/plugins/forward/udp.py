# -*- test-case-name: tests.plugins.forward.test_forwarder -*-
"""
Sockets for UDP, and one message of kdns's own (a health check, a probe for loops) on a socket of its own. A shell of *forward*.

A socket is connected, so that only the upstream's datagrams arrive, and an ICMP refusal is seen at once. ``reactor.listenUDP`` is not used:
it writes two log lines for each port, closes a refused port without a word on epoll, and keeps the descriptor a turn longer
(``docs/design.md`` has what it costs). Queries of clients share sockets: ports.py.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.plugins.forward.failures import ExchangeFailed, dial_error, read_error, read_timeout
from kdns.plugins.forward.targets import Target

LONGEST = 65535
"""Octets of a datagram; an upstream may send more than the client said it can take."""

MOST_AT_ONCE = 32
"""Datagrams read in one turn, so that a flood of forged ones does not hold up everybody else."""

Take = Callable[[bytes], bool]
"""Looks at a datagram; whether it ends the wait."""


def udp_socket(reactor: Any, ipv6: bool) -> Any:
    """A new socket: the kernel's, or that of a reactor that brings its own, as the one of :mod:`kdns.testing` does."""
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    own = getattr(reactor, "datagram_socket", None)
    if own is not None:
        return own(family)
    return socket.socket(family, socket.SOCK_DGRAM)


def connected_socket(reactor: Any, target: Target, source: str = "") -> Any:
    """
    A socket that sends to and receives from *target* only, on a port that the kernel draws.

    :param source: the local address; empty leaves it to the kernel.
    :raises OSError: there can be none.
    """
    ipv6 = ":" in target.host
    made = udp_socket(reactor, ipv6)
    try:
        made.setblocking(False)
        made.bind((source or ("::" if ipv6 else "0.0.0.0"), 0))
        made.connect((target.host, target.port))
    except OSError:
        made.close()
        raise
    return made


def ask(reactor: Any, target: Target, message: bytes, take: Take, patience: float, source: str = "") -> Deferred[None]:
    """
    Send *message* and wait until *take* has accepted a datagram.

    :param patience: seconds.
    :param source: the local address to send from; empty leaves it to the kernel.
    :return: fires when the wait is over; fails with :class:`ExchangeFailed`. Cancelling it closes the socket.
    """
    done: Deferred[None] = Deferred(lambda _: exchange.close())
    exchange = _Exchange(reactor, target, take, done)
    exchange.begin(message, patience, source)
    return done


@implementer(IReadDescriptor)
class _Exchange:
    """A connected socket that waits for one reply."""

    __slots__ = ("_call", "_done", "_reactor", "_socket", "_take", "_target")

    def __init__(self, reactor: Any, target: Target, take: Take, done: Deferred[None]) -> None:
        self._reactor = reactor
        self._target = target
        self._take = take
        self._done: Deferred[None] | None = done
        self._socket: Any = None
        self._call: Any = None

    def begin(self, message: bytes, patience: float, source: str) -> None:
        target = self._target
        try:
            self._socket = made = connected_socket(self._reactor, target, source)
        except OSError as error:
            self._fail(dial_error("udp", target.text, error.errno or 0))
            return
        try:
            made.send(message)
        except BlockingIOError:
            pass  # the buffer is full: lost on the way, like any other datagram
        except OSError as error:
            self._fail(read_error("udp", self._source(), target.text, error.errno or 0))
            return
        self._reactor.addReader(self)
        self._call = self._reactor.callLater(patience, self._late)

    def fileno(self) -> int:
        """The socket's descriptor; -1 when it is closed."""
        return self._socket.fileno() if self._socket is not None else -1

    def logPrefix(self) -> str:
        """How Twisted names it in a log."""
        return "forward"

    def doRead(self) -> None:
        """Look at what has arrived."""
        for _ in range(MOST_AT_ONCE):
            if self._done is None:
                return
            try:
                datagram = self._socket.recvfrom(LONGEST)[0]
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                    return
                self._fail(read_error("udp", self._source(), self._target.text, error.errno or 0))
                return
            if self._take(datagram):
                done = self._done
                self.close()
                done.callback(None)
                return

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw an error and nothing to read, as epoll does after a refusal: the socket knows which."""
        self.doRead()
        if self._done is not None:
            self._fail(read_error("udp", self._source(), self._target.text, errno.EIO))

    def close(self) -> None:
        """Give socket and timer back."""
        self._done = None
        if self._call is not None:
            call, self._call = self._call, None
            if call.active():
                call.cancel()
        if self._socket is not None:
            self._reactor.removeReader(self)
            made, self._socket = self._socket, None
            made.close()

    def _source(self) -> str:
        return endpoint_text(self._socket.getsockname())

    def _late(self) -> None:
        self._fail(read_timeout("udp", self._source(), self._target.text))

    def _fail(self, failure: ExchangeFailed) -> None:
        done = self._done
        self.close()
        if done is not None:
            done.errback(failure)


def endpoint_text(address: tuple[Any, ...]) -> str:
    """Address and port of a socket as failures show them."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
