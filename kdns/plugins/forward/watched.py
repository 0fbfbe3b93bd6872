# -*- test-case-name: tests.plugins.forward.test_watched -*-
"""
An exchange that tells the watchers of its request about each attempt.

Exchanges of requests that nobody watches are of the base class, and pay nothing for this.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from kdns.core.attempts import Attempt, SocketAddress
from kdns.core.request import Request
from kdns.plugins.forward.exchange import Exchange
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.queries import Query
from kdns.plugins.forward.streams import Connection
from kdns.plugins.forward.targets import Carrier

if TYPE_CHECKING:
    from kdns.plugins.forward.forwarder import Forwarder
    from kdns.plugins.forward.sockets import UdpSocket

_SOCKET: Any = Query.__dict__["socket"]
"""The base's slot, which a socket fills when it takes the query, and empties when the reply comes."""

_STREAMS = {Carrier.DNS: "tcp", Carrier.GRPCS: "grpc"}
"""What carries attempts over streams, where it is not called as the carrier is."""

_log = Logger(namespace="plugin/forward")


class WatchedExchange(Exchange):
    __slots__ = ("_attempt_began", "_local", "_over_udp")

    def __init__(self, forwarder: Forwarder, request: Request, variant: tuple[int, bytes, bool], stream: bool) -> None:
        self._attempt_began = forwarder.seconds()
        self._local: SocketAddress | None = None
        self._over_udp = False
        super().__init__(forwarder, request, variant, stream)

    @property
    def socket(self) -> UdpSocket | None:
        found: UdpSocket | None = _SOCKET.__get__(self)
        return found

    @socket.setter
    def socket(self, socket: UdpSocket | None) -> None:
        _SOCKET.__set__(self, socket)
        if socket is not None:
            self._begin(True)
            self._local = SocketAddress(*socket.address)

    def _begin(self, over_udp: bool) -> None:
        self._attempt_began = self._forwarder.seconds()
        self._local = None
        self._over_udp = over_udp

    def ask_stream(self) -> Coroutine[Any, Any, bytes]:
        self._begin(False)
        assert self.upstream is not None, "an upstream is chosen first"
        return self.upstream.ask_stream(self.message, self.question, self._sent_on)

    def _sent_on(self, connection: Connection) -> None:
        transport: Any = connection.transport
        if transport is not None:
            host = transport.getHost()
            self._local = SocketAddress(host.host, host.port)

    # The ends of an attempt

    def take(self, message: bytes, udp: bool, now: float) -> None:
        self._tell(message, "", now)
        super().take(message, udp, now)

    def failed(self, failure: ExchangeFailed) -> None:
        self._tell(b"", failure.text, self._forwarder.seconds())
        super().failed(failure)

    def drop(self) -> None:
        if self.upstream is not None and self.in_flight:
            self._tell(b"", "the client gave up", self._forwarder.seconds())
        super().drop()

    def _tell(self, reply: bytes, failure: str, now: float) -> None:
        upstream = self.upstream
        assert upstream is not None, "an attempt has an upstream"
        target = upstream.target
        attempt = Attempt(
            upstream.text,
            SocketAddress(target.host, target.port),
            self._local,
            "udp" if self._over_udp else _STREAMS.get(target.carrier, target.carrier.value),
            (self.ident if self._over_udp else reply[:2] or b"\0\0") + self.message,
            reply,
            self._attempt_began,
            now,
            failure,
        )
        for watcher in self.request.watchers:
            try:
                watcher.asked_upstream(attempt)
            except Exception:  # a fault in a watcher must not take the reply from the client
                _log.failure("a watcher failed")
