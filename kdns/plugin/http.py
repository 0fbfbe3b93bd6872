# -*- test-case-name: tests.plugin.test_http -*-
"""
Small HTTP pages for operators: what ``health``, ``ready`` and ``prometheus`` have in common.

One :class:`HttpListener` per address and certificate. Pages come and go while it listens, so a new configuration adds its page before the
old one removes its own. The plugin makes the bytes of a page, at once or later.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorSocket
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource as WebResource
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Site as WebSite

from kdns.core.text import reason_of
from kdns.corefile.errors import SetupError
from kdns.corefile.values import ListenAddress
from kdns.plugin.http_connections import RESPONSE_SECONDS, Connection, Connections, Reply
from kdns.plugin.listening import NO_FAMILY, CannotListen, bound_socket
from kdns.plugin.seam import BlockBuilder, Resource, ServerContext
from kdns.plugin.turns import TurnQueue

log = Logger(namespace="kdns.plugin.http")

PLAIN = "text/plain; charset=utf-8"

BACKLOG = 512
"""Connections that may wait to be accepted."""


@dataclass(frozen=True, slots=True)
class Response:
    """A page as it is now."""

    body: bytes
    status: int = 200
    content_type: str = PLAIN
    location: str = ""
    """Where a client is sent (302)."""


Page: TypeAlias = Callable[[], "Response | Deferred[Response]"]
"""Makes a response, at once or later. Any client can ask, so it must be cheap, or give a response that it made again for a while."""


@dataclass(frozen=True, slots=True, eq=False)
class QueryPage:
    """A page that is told the arguments of its query, and may take its time."""

    make: Callable[[Mapping[bytes, list[bytes]]], Response | Deferred[Response]]
    seconds: float = RESPONSE_SECONDS
    """From the request until the response has been sent."""


class ServerTls(Protocol):
    """Makes connections secure; Twisted's IOpenSSLServerConnectionCreator as a type."""

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """The server's side of a new connection."""


T = TypeVar("T")

NOT_FOUND = Response(b"404 page not found\n", 404)
BROKEN = Response(b"500 internal server error\n", 500)


class HttpListener(Resource):
    """
    The listener of one address; it is open while it has pages.

    :param tls: makes the connections secure.
    :ivar port: Twisted's listening port while it is open.
    """

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
        """Remove pages; without any the listener closes. A page that is not there is no error."""
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
        """Close the listener and every connection; what was written is still sent."""
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
        Open the port for a moment, to find out whether it can be had.

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
        # A reactor in memory has sockets of its own and cannot adopt one of the system's.
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


class _NoContent:
    """Where the body of a request goes: nobody reads it."""

    def write(self, data: bytes) -> int:
        """Drop it."""
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Nothing."""
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """To the beginning, which is the end, too."""
        return 0

    tell = close = lambda self: 0


class _PageSite(WebSite):
    """Twisted's HTTP server without an access log, timers, and files for bodies (a container may have nowhere to write)."""

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
        """Probes are not worth a line each."""


class _Root(WebResource):
    """Answers every path and method of one listener."""

    isLeaf = True

    def __init__(self, listener: HttpListener, turns: TurnQueue) -> None:
        super().__init__()
        self._listener = listener
        self._turns = turns

    def render(self, request: Request) -> int:
        """Ask the page. A page that fails is logged; the client learns that it failed and nothing more."""
        page = self._listener.page(request.path)
        if isinstance(page, QueryPage):
            reply = Reply(request, self._turns, page.seconds)
            page = partial(page.make, request.args)
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
            request.setHeader(b"content-length", str(len(response.body)).encode())
            reply.send(response.body)

        made: Deferred[Response] = maybeDeferred(cast(Any, page or (lambda: NOT_FOUND)))
        made.addErrback(failed).addCallback(send)
        return NOT_DONE_YET
