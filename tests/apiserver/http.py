# -*- test-case-name: tests.apiserver.test_http -*-
"""
HTTP/1.1 as the fake API server speaks it: requests in, answers out whole or in chunks, and everything that can be done badly.

A protocol of its own instead of ``twisted.web.server``, since answers here must also break off in the middle, drip, or never
come, on any reactor and with no timer of their own. What is answered is decided by the function given to the factory.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.apiserver.faults import BREAKING, Fault, FaultKind
from tests.apiserver.reading import BadHttp, RequestReader
from tests.apiserver.rest import ApiRequest
from tests.apiserver.timing import Clock, Timer

MAX_AHEAD = 64 * 1024  # bytes read ahead while an answer is under way


@implementer(IPushProducer)
class Exchange:
    """
    One request and its answer.

    An answer is a head, body bytes and an end. Streams look at *paused* before they write, and are called back through
    *on_resume* when the client has read, and through *on_end* exactly once, when the answer is over for whatever reason.
    """

    def __init__(self, connection: HttpConnection, request: ApiRequest, keep: bool) -> None:
        self.connection = connection
        self.request = request
        self.paused = False
        self.over = False
        self.on_resume: Callable[[], None] = _nothing
        self.on_end: list[Callable[[], None]] = []
        self._keep = keep
        self._chunked = False
        self._limit: tuple[FaultKind, int] | None = None
        self._drip: Fault | None = None
        self._dripping: deque[bytes] = deque()
        self._drip_call: Timer | None = None
        self._finishing = False
        self._producing = False

    @property
    def common_name(self) -> str:
        """The name in the client's certificate, which TLS has verified; empty: none."""
        return self.connection.common_name()

    def trouble(self, fault: Fault) -> None:
        """Take a fault that concerns bytes: break after some of them, or drip."""
        if fault.kind is FaultKind.DRIP:
            self._drip = fault
        elif fault.kind in BREAKING and fault.after_bytes is not None:
            self._limit = (fault.kind, fault.after_bytes)

    def head(
        self,
        code: int,
        content_type: str,
        length: int | None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Send status and headers; without a length the body comes in chunks."""
        phrase = HTTPStatus(code).phrase if code in HTTPStatus._value2member_map_ else "Unknown"
        lines = [f"HTTP/1.1 {code} {phrase}", f"Content-Type: {content_type}", "Cache-Control: no-cache, private"]
        if length is None:
            self._chunked = True
            lines.append("Transfer-Encoding: chunked")
        else:
            lines.append(f"Content-Length: {length}")
        if not self._keep:
            lines.append("Connection: close")
        lines.extend(f"{name}: {value}" for name, value in headers)
        self.connection.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def stream(self) -> None:
        """Let the transport tell when to pause."""
        if not self._producing and not self.over:
            self._producing = True
            self.connection.transport_any.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send a part of the body, through the faults taken."""
        if self.over or not data:
            return
        if self._drip is not None:
            self.paused = True
            self._dripping.append(data)
            if self._drip_call is None:
                self._next_drip()
            return
        self._write_now(data)

    def _write_now(self, data: bytes) -> None:
        breaking: FaultKind | None = None
        if self._limit is not None:
            kind, left = self._limit
            if len(data) >= left:
                data, breaking = data[:left], kind
            self._limit = (kind, left - len(data))
        if data and self.request.method != "HEAD":
            # One write for frame and data: they travel together.
            framed = b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
            self.connection.send(framed)
        if breaking is not None:
            self.breaks(breaking)

    def _next_drip(self) -> None:
        self._drip_call = None
        assert self._drip is not None
        if not self._dripping:
            self.paused = False
            if self._finishing:
                self.finish()
            else:
                self.on_resume()
            return
        data = self._dripping.popleft()
        if len(data) > self._drip.chunk:
            self._dripping.appendleft(data[self._drip.chunk :])
        self._drip_call = self.connection.clock.callLater(self._drip.seconds, self._next_drip)
        self._write_now(data[: self._drip.chunk])

    def finish(self) -> None:
        """The answer is complete; the connection goes on to the next request, or is closed."""
        if self.over:
            return
        if self._dripping or self._drip_call is not None:
            self._finishing = True
            return
        if self._chunked and self.request.method != "HEAD":
            self.connection.send(b"0\r\n\r\n")
        self._end()
        if self._keep:
            self.connection.next_request()
        else:
            self.connection.transport_any.loseConnection()

    def breaks(self, kind: FaultKind) -> None:
        """End the answer badly. Half-closed connections stay, silent, until the client closes its side."""
        if self.over:
            return
        if kind is FaultKind.HALF_CLOSE:
            self._stop()
            self.over = True
            self.connection.half_close()
            return
        self._end()
        if kind is FaultKind.RESET:
            self.connection.reset()
        else:
            self.connection.transport_any.loseConnection()

    def lost(self) -> None:
        """The connection is gone."""
        self._end()

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        if self.over or self._dripping:
            return
        self.paused = False
        self.on_resume()

    def stopProducing(self) -> None:
        self.paused = True

    def _stop(self) -> None:
        if self._producing:
            self._producing = False
            self.connection.transport_any.unregisterProducer()
        if self._drip_call is not None:
            self._drip_call.cancel()
            self._drip_call = None
        self._dripping.clear()
        self.on_resume = _nothing

    def _end(self) -> None:
        self.over = True
        self._stop()
        callbacks, self.on_end = self.on_end, []
        for callback in callbacks:
            callback()


def _nothing() -> None:
    """What an exchange calls when nobody listens."""


class HttpConnection(Protocol):
    """One connection: requests one after the other, answered in order."""

    def __init__(self, clock: Clock, answer: Callable[[Exchange], None], siblings: list[HttpConnection]) -> None:
        self.clock = clock
        self._answer = answer
        self._siblings = siblings
        self._reader = RequestReader()
        self._exchange: Exchange | None = None
        self._reading_paused = False
        self._soon: Timer | None = None
        self.closed: Deferred[None] = Deferred()

    @property
    def transport_any(self) -> Any:
        """The transport; the interfaces of stream transports are many and none holds all that is used here."""
        return self.transport

    def connectionMade(self) -> None:
        self._siblings.append(self)
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._exchange is None:
            self._read()
        elif self._reader.buffered > MAX_AHEAD and not self._reading_paused:
            # The end of the connection is then noticed only when the answer is over; nobody pipelines that much.
            self._reading_paused = True
            self.transport_any.pauseProducing()

    def _read(self) -> None:
        try:
            found = self._reader.next()
        except BadHttp as problem:
            phrase = HTTPStatus(problem.code).phrase
            self.send(f"HTTP/1.1 {problem.code} {phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            self.transport_any.loseConnection()
            return
        if found is None:
            if self._reader.expects_continue:
                self._reader.expects_continue = False
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self._exchange = Exchange(self, *found)
        self._answer(self._exchange)

    def next_request(self) -> None:
        """The answer is over: go on with what has been read meanwhile."""
        self._exchange = None
        if self._reading_paused:
            self._reading_paused = False
            self.transport_any.resumeProducing()
        if self._reader.buffered:
            self._read()

    def send(self, data: bytes) -> None:
        """Bytes to the client."""
        if self.transport is not None:
            self.transport_any.write(data)

    def common_name(self) -> str:
        """The common name in the client's certificate; empty: no TLS, or no certificate."""
        get_certificate = getattr(self.transport, "getPeerCertificate", None)
        certificate = get_certificate() if get_certificate is not None else None
        return "" if certificate is None else str(certificate.get_subject().commonName or "")

    def half_close(self) -> None:
        """Say that nothing more will come, and go on reading."""
        # A TLS transport hands this on to the TCP transport below it.
        lose = getattr(self.transport, "loseWriteConnection", self.transport_any.loseConnection)
        self._in_two_turns(lose)

    def reset(self) -> None:
        """Close with RST."""
        handle = getattr(self.transport, "socket", None)
        if isinstance(handle, socket.socket):
            # Lingering for zero seconds is how a socket is told to reset.
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._in_two_turns(self.transport_any.abortConnection)

    def _in_two_turns(self, call: Callable[[], None]) -> None:
        """Call when the reactor has sent what is written: TLS gathers writes for a turn, and TCP sends at the end of one."""
        self._soon = self.clock.callLater(0, self._in_one_turn, call)

    def _in_one_turn(self, call: Callable[[], None]) -> None:
        self._soon = self.clock.callLater(0, self._now, call)

    def _now(self, call: Callable[[], None]) -> None:
        self._soon = None
        call()

    def abort(self) -> None:
        """Close at once."""
        self.transport_any.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._siblings.remove(self)
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._exchange is not None:
            self._exchange.lost()
            self._exchange = None
        self.closed.callback(None)


class HttpFactory(Factory):
    """Makes the connections and knows those that are open."""

    noisy = False

    def __init__(self, clock: Clock, answer: Callable[[Exchange], None]) -> None:
        self._clock = clock
        self._answer = answer
        self.connections: list[HttpConnection] = []

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        connection = HttpConnection(self._clock, self._answer, self.connections)
        connection.factory = self
        return connection
