# -*- test-case-name: tests.plugin.test_http -*-
"""
Small HTTP pages for operators: what ``health``, ``ready`` and ``prometheus`` have in common.

One :class:`HttpListener` per address and certificate. Pages come and go while it listens, so a new configuration brings its page before
the old one takes its own away. What a page says is left to the plugin; it is bytes, made at once or later.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorSocket
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.resource import Resource as WebResource
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Site as WebSite

from kdns.corefile.errors import SetupError
from kdns.corefile.values import ListenAddress
from kdns.plugin.seam import BlockBuilder, Resource, Unavailable

log = Logger(namespace="kdns.plugin.http")

PLAIN = "text/plain; charset=utf-8"

TIMEOUT = 5.0
"""Seconds that a connection may be idle, or take to send its request."""

MOST_CONNECTIONS = 100
"""Connections at a time: probes and scrapers need a handful, anything beyond that is a mistake or worse."""

BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Response:
    """What a page says."""

    body: bytes
    status: int = 200
    content_type: str = PLAIN


Page: TypeAlias = Callable[[], "Response | Deferred[Response]"]
"""Makes a response, at once or later. It is asked by whoever comes, so it must be cheap or remember what it said."""

NOT_FOUND = Response(b"404 page not found\n", 404)
BROKEN = Response(b"500 internal server error\n", 500)


class CannotListen(Unavailable):
    """
    An address is not to be had.

    :ivar address: the address as it was tried.
    :ivar reason: the system's reason.
    """

    def __init__(self, address: ListenAddress, reason: str) -> None:
        super().__init__(f"listen tcp {address}: bind: {reason}")
        self.address = address
        self.reason = reason


class HttpListener(Resource):
    """
    The listener of one address; it is open while it has pages.

    :param tls: an ``IOpenSSLServerConnectionCreator`` for secure connections.
    :ivar port: Twisted's listening port while it is open.
    """

    def __init__(self, reactor: Any, address: ListenAddress, tls: Any = None) -> None:
        self.address = address
        self.port: Any = None
        self._reactor = reactor
        self._tls = tls
        self._pages: dict[bytes, list[Page]] = {}
        self._connections: Any = None

    def serve(self, pages: Mapping[str, Page]) -> None:
        """
        Answer these paths, each with the page that came last for it.

        :raises CannotListen: the listener was not open and cannot be opened; then nothing has changed.
        """
        if self.port is None:
            self._open()
        for path, page in pages.items():
            self._pages.setdefault(path.encode(), []).append(page)

    def withdraw(self, pages: Mapping[str, Page]) -> Deferred[None] | None:
        """Take pages away again; with the last one the listener closes. What is not there is no error."""
        for path, page in pages.items():
            served = self._pages.get(path.encode(), [])
            if page in served:
                served.remove(page)
            if not served:
                self._pages.pop(path.encode(), None)
        return None if self._pages else self.stop()

    def page(self, path: bytes) -> Page | None:
        """The page that answers a path."""
        served = self._pages.get(path)
        return served[-1] if served else None

    def stop(self) -> Deferred[None] | None:
        """Close the listener and every connection; what was written is still sent."""
        self._pages.clear()
        port, self.port = self.port, None
        if port is None:
            return None
        if self._connections is not None:
            for connection in list(self._connections.protocols):
                connection.loseConnection()
        closed: Deferred[None] | None = port.stopListening()
        return closed

    def _open(self) -> None:
        builder = _PageSite(_Root(self), timeout=TIMEOUT, reactor=self._reactor)
        builder.displayTracebacks = False
        factory: Any = _Limited(builder)
        self._connections = factory
        if self._tls is not None:
            factory = TLSMemoryBIOFactory(self._tls, False, factory, self._reactor)
            factory.noisy = False
        self.port = _listen(self._reactor, self.address, factory)


def listener_for(builder: BlockBuilder, plugin: str, address: ListenAddress, tls: Any = None) -> HttpListener:
    """
    The listener of an address; all plugins and blocks that ask for it share it, and so do two configurations in a row.

    :param tls: makes the connections secure; equal ones share a listener.
    :raises SetupError: somebody else in the configuration wants the address with other certificates.
    """
    key, config = ("http", address), (address, tls)
    taken = builder.kept.taken.get(key)
    if taken is not None and taken[0] != config:
        raise SetupError(f"address {address} is already used with another tls setting", plugin=plugin, located=False)
    return builder.keep(key, config, lambda: HttpListener(builder.context.reactor, address, tls))


def _listen(reactor: Any, address: ListenAddress, factory: Any) -> Any:
    """A port on the first way to write *address* that the system knows."""
    hosts = _hosts(address.host)
    for host in hosts[:-1]:
        try:
            return _listen_on(reactor, host, address, factory)
        except CannotListen as error:
            if error.reason not in _NO_SUCH_FAMILY:
                raise
    return _listen_on(reactor, hosts[-1], address, factory)


_NO_SUCH_FAMILY = tuple(os.strerror(code).lower() for code in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL))


def _hosts(host: str) -> tuple[str, ...]:
    """Addresses to try: every address means IPv6 and IPv4 together, and IPv4 alone on a system without IPv6."""
    if not host:
        return "::", "0.0.0.0"
    if host == "localhost":
        return "127.0.0.1", "::1"
    return (host,)


def _listen_on(reactor: Any, host: str, address: ListenAddress, factory: Any) -> Any:
    shown = address if not address.host else ListenAddress(host, address.port)
    try:
        if not IReactorSocket.providedBy(reactor):
            # A reactor in memory has sockets of its own and cannot adopt one of the system's.
            return reactor.listenTCP(address.port, factory, BACKLOG, host)
        with _bound(host, address.port) as bound:
            return reactor.adoptStreamPort(bound.fileno(), bound.family, factory)
    except CannotListenError as error:
        cause = error.socketError
        reason = cause.strerror if isinstance(cause, OSError) else None
        raise CannotListen(shown, (reason or str(cause)).lower()) from error
    except OSError as error:
        raise CannotListen(shown, (error.strerror or str(error)).lower()) from error


def _bound(host: str, port: int) -> socket.socket:
    """
    A listening socket. Several processes may have the same address (SO_REUSEPORT), so a successor can start before its
    predecessor ends.
    """
    family = _family(host)
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _family(host: str) -> socket.AddressFamily:
    try:
        return socket.AF_INET if ip_address(host.partition("%")[0]).version == 4 else socket.AF_INET6
    except ValueError:
        # A name: the system's table of hosts decides, once, at the start.
        return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]


class _Limited(WrappingFactory):
    """Takes no more connections than are good."""

    noisy = False
    protocol = ProtocolWrapper

    def buildProtocol(self, addr: Any) -> Any:
        """Refuse what is too much by closing it."""
        if len(self.protocols) >= MOST_CONNECTIONS:
            return None
        return super().buildProtocol(addr)


class _NoContent:
    """Where the body of a request goes that nobody reads."""

    def write(self, data: bytes) -> int:
        """Drop it."""
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """There is nothing."""
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """It has one place only."""
        return 0

    def tell(self) -> int:
        """The same."""
        return 0

    def close(self) -> None:
        """Nothing is held."""


class _PageSite(WebSite):
    """Twisted's HTTP server without access log, clock of its own, or files for bodies (a container may have nowhere to write)."""

    noisy = False

    def getContentFile(self, length: int | None) -> _NoContent:
        """Where Twisted puts the body of a request."""
        return _NoContent()

    def startFactory(self) -> None:
        """Without an access log there is no date to keep up, which Twisted does each second."""

    def stopFactory(self) -> None:
        """Likewise."""

    def log(self, request: Any) -> None:
        """Probes are not worth a line each."""


class _Root(WebResource):
    """Answers every path and method of one listener."""

    isLeaf = True

    def __init__(self, listener: HttpListener) -> None:
        super().__init__()
        self._listener = listener

    def render(self, request: Any) -> int:
        """Ask the page; a page that fails is logged, and its client learns that it failed and no more."""
        page = self._listener.page(request.path)
        try:
            response = NOT_FOUND if page is None else page()
        except Exception:
            _log_broken(Failure(), request.path)
            response = BROKEN
        if isinstance(response, Response):
            _send(request, response)
            return NOT_DONE_YET
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def failed(failure: Failure) -> Response:
            _log_broken(failure, request.path)
            return BROKEN

        def came(response: Response) -> None:
            if not gone:
                _send(request, response)

        response.addErrback(failed).addCallback(came)
        return NOT_DONE_YET


def _log_broken(failure: Failure, path: bytes) -> None:
    log.failure("The page {path} failed", failure=failure, path=path.decode(errors="replace"))


def _send(request: Any, response: Response) -> None:
    request.setResponseCode(response.status)
    request.responseHeaders.removeHeader(b"server")
    request.setHeader(b"content-type", response.content_type.encode())
    request.setHeader(b"content-length", str(len(response.body)).encode())
    request.write(response.body)
    request.finish()
