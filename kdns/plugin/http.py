# -*- test-case-name: tests.plugin.test_http -*-
"""
HTTP pages for operators, for ``health``, ``ready`` and ``prometheus``: listeners, pages and connections.

There is one :class:`HttpListener` for each address and certificate. Pages come and go while it listens, so a new configuration adds its
page before the old one removes its own. The plugin makes the bytes of a page, at once or later.

twisted.web answers all requests of one read at once, whether or not the client reads the replies, and restarts its timeout with each
line of a request. Three classes fix that:

* :class:`Connections` bounds how many are open. Clients on this host have reserved places, so a probe never waits behind strangers.
* :class:`Connection` passes on what it reads when its turn comes, and ends when its time is over.
* :class:`Reply` sends one response in pieces, as the client reads them. The next request is answered when it has been sent.
"""

from __future__ import annotations

import socket
from collections import Counter as Count
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IPushProducer, IReactorSocket
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource as WebResource
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Site as WebSite
from zope.interface import implementer

from kdns.core.metrics import Counter
from kdns.core.text import reason_of
from kdns.core.timing import Clock, Timer, stop_timer
from kdns.corefile.errors import SetupError
from kdns.corefile.values import ListenAddress
from kdns.plugin.descriptors import page_connections
from kdns.plugin.listening import NO_FAMILY, CannotListen, bound_socket
from kdns.plugin.seam import BlockBuilder, Resource, ServerContext
from kdns.plugin.turns import Lane, TurnQueue

REQUEST_SECONDS = 5.0
"""From the connection, or from the last response, until a request has come whole."""

STREAM_SECONDS = 30.0
"""A stream ends when nothing was sent on it for this time, because there is nothing, or the client takes nothing."""

RESPONSE_SECONDS = 30.0
"""From the request until its response has been sent."""

PIECE = 16_384
"""Bytes read at a time, and written before it is seen whether the client takes them."""

ACCEPTED_AT_ONCE = 10
"""Connections accepted in one turn of the reactor, or 20 more; Twisted raises the number by itself each time there are many."""


class Connection(ProtocolWrapper):
    """One connection below TLS and HTTP; both see it as their transport."""

    factory: Connections
    transport: Any  # ITCPTransport

    def makeConnection(self, transport: Any) -> None:
        """Start the timeout of the first request."""
        self._held = b""
        self._paused = False
        self._timer: Timer | None = None
        self.client = transport.getPeer().host
        # A connection within a host has one address at both ends, unless it chose another; and the loopback is nowhere else.
        self.local = self.client == transport.getHost().host or ip_address(self.client.partition("%")[0]).is_loopback
        self.lane = Lane.PROBES if self.local else Lane.PAGES
        transport.bufferSize = PIECE
        self._timer = self.factory.reactor.callLater(REQUEST_SECONDS, transport.abortConnection)
        super().makeConnection(transport)

    def limit(self, seconds: float) -> None:
        """End the connection after *seconds*, unless another limit is set before."""
        stop_timer(self._timer)
        self._timer = self.factory.reactor.callLater(seconds, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """Queue the data until its turn: a request, or a step of a TLS handshake, takes some tenths of a millisecond."""
        self._held += data
        self.transport.pauseProducing()
        self.factory.turns.add(self._deliver, self.lane)

    def _deliver(self, end: float) -> None:
        data, self._held = self._held, b""
        if data:
            super().dataReceived(data)
            if not self._paused:
                self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """HTTP takes no more for now."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        if not self._held:
            self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._held = b""
        stop_timer(self._timer)
        super().connectionLost(reason)


class Connections(WrappingFactory):
    """
    The connections of one listener.

    When too many are open, the client with the most of them loses its oldest. A quarter of the places is for clients on this host.

    :param evicted: counts connections that were closed to make room.
    """

    noisy = False
    protocol = Connection
    protocols: dict[Connection, int]

    def __init__(self, wrapped: Any, reactor: Clock, turns: TurnQueue, evicted: Counter) -> None:
        super().__init__(wrapped)
        self.reactor = reactor
        self.turns = turns
        self.port: Any = None
        """The listening port."""

        most = page_connections()
        self._most = {True: most // 4, False: most - most // 4}
        self._evicted = evicted

    def registerProtocol(self, p: Connection) -> None:
        """Add a connection; see the class about the connections that are evicted for it."""
        rivals = [connection for connection in self.protocols if connection.local is p.local]
        if len(rivals) >= self._most[p.local]:
            self._evict(rivals)
        super().registerProtocol(p)
        if self.port is not None:
            self.port.numberAccepts = ACCEPTED_AT_ONCE

    def _evict(self, connections: list[Connection]) -> None:
        clients = Count(connection.client for connection in connections)
        most = max(clients.values())
        oldest = next(connection for connection in connections if clients[connection.client] == most)
        del self.protocols[oldest]
        self._evicted.value += 1
        oldest.transport.abortConnection()

    def unregisterProtocol(self, p: Connection) -> None:
        """Forget a connection that ended; an evicted one is forgotten already."""
        self.protocols.pop(p, None)


@implementer(IPushProducer)
class Reply:
    """
    The response to one request: sent in pieces, one in each turn, as long as the client takes them.

    :param seconds: from now until it has been sent.
    """

    def __init__(self, request: Request, turns: TurnQueue, seconds: float = RESPONSE_SECONDS) -> None:
        self._request = request
        self._turns = turns
        self._rest = memoryview(b"")
        self._next = b""
        self._sending = self._paused = self._queued = self._streams = False
        self.gone = False
        """Whether the client closed the connection."""

        connection: Any = request.channel.transport
        while not isinstance(connection, Connection):  # TLS may be in between
            connection = connection.transport
        self._connection: Connection = connection
        connection.limit(seconds)
        request.notifyFinish().addErrback(self._lost)

    def _lost(self, reason: Failure) -> None:
        self.gone = True

    def send(self, body: bytes) -> None:
        """Begin to send; status and headers have been set."""
        if self.gone:
            return
        self._rest = memoryview(body)
        self._request.registerProducer(self, True)
        self._queue()

    def open(self, body: bytes) -> None:
        """Begin a stream: *body* now, and what :meth:`push` brings until the client goes."""
        self._streams = True
        self.send(body)

    def push(self, data: bytes) -> None:
        """Send *data*, whole. What a slow client has not begun to take is replaced, so a stream holds one message at most."""
        if not self.gone:
            self._next = data
            self._queue()

    def closed(self) -> Deferred[None]:
        """Fires when the client has gone."""
        gone: Deferred[None] = Deferred()
        self._request.notifyFinish().addBoth(lambda _: gone.callback(None))
        return gone

    def _queue(self) -> None:
        if not self._queued:
            self._queued = True
            self._turns.add(self._send_piece, self._connection.lane)

    def _send_piece(self, end: float) -> None:
        self._queued = False
        if self.gone or self._paused:
            return
        if self._rest:
            piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
            self._request.write(bytes(piece))
        if self._paused:
            return
        if not self._rest and self._next:
            self._rest, self._next = memoryview(self._next), b""
        if self._rest:
            self._queue()
            return
        if self._streams:
            self._connection.limit(STREAM_SECONDS)
            return
        self._request.unregisterProducer()
        # Before the end of this one, because it may have twisted.web begin with the next.
        self._connection.limit(REQUEST_SECONDS)
        self._request.finish()

    def pauseProducing(self) -> None:
        """The client does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._paused = False
        self._queue()

    def stopProducing(self) -> None:
        self.gone = True


log = Logger(namespace="kdns.plugin.http")

PLAIN = "text/plain; charset=utf-8"

BACKLOG = 512
"""Connections that may wait to be accepted."""


@dataclass(frozen=True, slots=True)
class Response:
    """A page to be sent."""

    body: bytes
    status: int = 200
    content_type: str = PLAIN
    location: str = ""
    """Where a client is sent (302)."""

    headers: tuple[tuple[str, str], ...] = ()
    """Further headers."""

    stream: Callable[[Reply], None] | None = None
    """Sends more, behind *body*, until the client goes: it gets the reply, and calls :meth:`Reply.push`."""


Page: TypeAlias = Callable[[], "Response | Deferred[Response]"]
"""Makes a response, at once or later. Any client can ask, so it must be cheap, or give a response that it made again for a while."""


@dataclass(frozen=True, slots=True, eq=False)
class QueryPage:
    """A page that gets the query arguments and may be slow."""

    make: Callable[[Mapping[bytes, list[bytes]]], Response | Deferred[Response]]
    seconds: float = RESPONSE_SECONDS
    """From the request until the response has been sent."""

    local_only: bool = False
    """
    Whether the request must name a loopback host. A browser sends the name that it was given, so a web site whose name was made to lead to
    this address (DNS rebinding) gets nothing.
    """


class ServerTls(Protocol):
    """Twisted's IOpenSSLServerConnectionCreator as a type."""

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        pass


T = TypeVar("T")

NOT_FOUND = Response(b"404 page not found\n", 404)
FOREIGN_HOST = Response(b"ask for this page as localhost or by a loopback address\n", 403)
BROKEN = Response(b"500 internal server error\n", 500)


class HttpListener(Resource):
    """
    The listener of one address; it is open while it has pages.

    :param tls: makes the connections secure.
    :ivar port: Twisted's listening port while it is open.
    """

    at_parent = True

    def __init__(self, context: ServerContext, address: ListenAddress, tls: ServerTls | None = None) -> None:
        self.address = address
        self.port: Any = None
        self._context = context
        self._tls = tls
        self._pages: dict[bytes, list[Page | QueryPage]] = {}
        self._connections: Connections | None = None
        self._evicted = context.registry.counter(
            "kdns_http_evictions_total", "Connections to HTTP pages closed to make room for others."
        ).counter()

    def serve(self, pages: Mapping[str, Page] | Mapping[str, Page | QueryPage]) -> None:
        """
        Answer these paths, each with the page that came last for it.

        :raises CannotListen: the listener was not open and cannot be opened; then nothing has changed.
        """
        if self.port is None:
            self._open()
        for path, page in pages.items():
            self._pages.setdefault(path.encode(), []).append(page)

    def withdraw(self, pages: Mapping[str, Page] | Mapping[str, Page | QueryPage]) -> Deferred[None] | None:
        """Remove pages; without pages the listener closes. Unknown pages are ignored."""
        for path, page in pages.items():
            served = self._pages.get(path.encode(), [])
            if page in served:
                served.remove(page)
            if not served:
                self._pages.pop(path.encode(), None)
        return None if self._pages else self.stop()

    @property
    def connections(self) -> list[Connection]:
        """The connections that are open, oldest first."""
        return [] if self._connections is None else list(self._connections.protocols)

    def page(self, path: bytes) -> Page | QueryPage | None:
        """The page that answers a path."""
        served = self._pages.get(path)
        return served[-1] if served else None

    def stop(self) -> Deferred[None] | None:
        """Close the listener and every connection; written data is still sent."""
        self._pages.clear()
        port, self.port = self.port, None
        if port is None:
            return None
        for connection in self.connections:
            connection.loseConnection()
        self._connections = None
        closed: Deferred[None] | None = port.stopListening()
        return closed

    def check(self) -> None:
        """
        Open the port for a moment, to see whether it is free.

        :raises CannotListen: it cannot.
        """
        _on_first(self.address, self._bound).close()

    def _open(self) -> None:
        reactor, turns = self._context.reactor, self._context.turns
        factory: Any = _PageSite(_Root(self, turns), timeout=None, reactor=reactor)
        if self._tls is not None:
            factory = TLSMemoryBIOFactory(cast(Any, self._tls), False, factory, reactor)
            factory.noisy = False
        connections = Connections(factory, reactor, turns, self._evicted)
        self.port = connections.port = _on_first(self.address, partial(self._listen, connections))
        self._connections = connections

    def _listen(self, factory: Connections, host: str) -> Any:
        reactor = self._context.reactor
        if IReactorSocket.providedBy(reactor):
            with self._bound(host) as bound:
                return reactor.adoptStreamPort(bound.fileno(), bound.family, factory)
        # A memory reactor has its own sockets and cannot adopt a system socket.
        try:
            return reactor.listenTCP(self.address.port, factory, BACKLOG, host)
        except CannotListenError as error:
            cause = error.socketError
            raise OSError(cause.errno, reason_of(cause)) if isinstance(cause, OSError) else error from error

    def _bound(self, host: str) -> socket.socket:
        share, dual_stack = self._context.share_ports, host == "::"
        return bound_socket(
            socket.SOCK_STREAM, host, self.address.port, share=share, dual_stack=dual_stack, backlog=BACKLOG
        )


def listener_for(
    builder: BlockBuilder, plugin: str, address: ListenAddress, tls: ServerTls | None = None
) -> HttpListener:
    """
    The listener of an address; all plugins and blocks that ask for it share it, and so do two configurations in a row.

    :param tls: makes the connections secure; equal ones share a listener.
    :raises SetupError: somebody else in the configuration wants the address with other certificates.
    """
    key, config = ("http", address), (address, tls)
    taken = builder.kept.taken.get(key)
    if taken is not None and taken[0] != config:
        raise SetupError(f"address {address} is already used with another tls setting", plugin=plugin, located=False)
    return builder.keep(key, config, lambda: HttpListener(builder.context, address, tls))


def _on_first(address: ListenAddress, open: Callable[[str], T]) -> T:
    """
    What *open* makes of the first form of *address* that the system knows.

    The wildcard is IPv6 and IPv4 together, and IPv4 alone on a system without IPv6.

    :raises CannotListen: of none.
    """
    hosts = {"": ("::", "0.0.0.0"), "localhost": ("127.0.0.1", "::1")}.get(address.host, (address.host,))
    for host in hosts:
        try:
            return open(host)
        except OSError as error:
            if error.errno not in NO_FAMILY or host == hosts[-1]:
                shown = address if not address.host else ListenAddress(host, address.port)
                raise CannotListen("tcp", str(shown), reason_of(error)) from error
    raise AssertionError("there is an address at least")


def is_loopback(host: bytes) -> bool:
    """Whether the Host header of a request names this machine's loopback."""
    name = host.decode("ascii", "replace").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class _NoContent:
    """Discards the body of a request."""

    def write(self, data: bytes) -> int:
        return len(data)

    def read(self, size: int = -1) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Both the start and the end."""
        return 0

    tell = close = lambda self: 0


class _PageSite(WebSite):
    """Twisted's HTTP server without access log, timers, and files for bodies (a container may have no writable folder)."""

    noisy = False
    displayTracebacks = False

    def getContentFile(self, length: int | None) -> _NoContent:
        """Where Twisted puts the body of a request."""
        return _NoContent()

    def startFactory(self) -> None:
        """Without an access log there is no date to update each second."""

    def stopFactory(self) -> None:
        """Likewise."""

    def log(self, request: Request) -> None:
        """Probes are not logged."""


class _Root(WebResource):
    """Answers every path and method of one listener."""

    isLeaf = True

    def __init__(self, listener: HttpListener, turns: TurnQueue) -> None:
        super().__init__()
        self._listener = listener
        self._turns = turns

    def render(self, request: Request) -> int:
        """Call the page. A page that fails is logged; the client only sees the status."""
        page = self._listener.page(request.uri) or self._listener.page(request.path)
        if isinstance(page, QueryPage):
            reply = Reply(request, self._turns, page.seconds)
            refused = page.local_only and not is_loopback(request.getHeader(b"host") or b"")
            page = (lambda: FOREIGN_HOST) if refused else partial(page.make, request.args)
        else:
            reply = Reply(request, self._turns)

        def failed(failure: Failure) -> Response:
            path = request.path.decode(errors="replace")
            log.failure("The page {path} failed", failure=failure, path=path)
            return BROKEN

        def send(response: Response) -> None:
            if reply.gone:
                return
            request.setResponseCode(response.status)
            request.responseHeaders.removeHeader(b"server")
            request.setHeader(b"content-type", response.content_type.encode())
            if response.location:
                request.setHeader(b"location", response.location.encode())
            for name, value in response.headers:
                request.setHeader(name.encode(), value.encode())
            if response.stream is not None:
                reply.open(response.body)
                response.stream(reply)
                return
            request.setHeader(b"content-length", str(len(response.body)).encode())
            reply.send(response.body)

        made: Deferred[Response] = maybeDeferred(cast(Any, page or (lambda: NOT_FOUND)))
        made.addErrback(failed).addCallback(send)
        return NOT_DONE_YET
