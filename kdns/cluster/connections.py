# -*- test-case-name: tests.cluster.test_api -*-
"""
Connections to the API server: HTTP/1.1 by Twisted's Agent, one for each watch and a small pool for lists.

A peer that is gone without a word (a node that lost power, a firewall that forgot the connection) is noticed by the kernel within a
minute: keep-alive probes and TCP_USER_TIMEOUT are set on the socket itself, below TLS, where Twisted offers no more than SO_KEEPALIVE with
its two hours. The idle timer of the watch (bodies.py) stands behind that.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from kdns.cluster.credentials import Server, Trust
from kdns.cluster.timing import pause
from kdns.cluster.tls import connection_creator

CONNECT_PATIENCE = 10.0
"""Seconds for a connection to come about; an API server is at most a continent away."""

KEEPALIVE = (
    ("TCP_KEEPIDLE", 30),  # seconds of quiet before the first probe
    ("TCP_KEEPINTVL", 10),  # seconds between probes
    ("TCP_KEEPCNT", 3),  # probes without an answer
    ("TCP_USER_TIMEOUT", 60_000),  # milliseconds that sent octets may stay unacknowledged
)

POOLED = 2
"""Idle connections kept for lists."""


def tune(transport: Any) -> None:
    """Set the keep-alive options of a TCP transport; a platform that has one of them not does without it."""
    try:
        transport.setTcpKeepAlive(True)
        transport.setTcpNoDelay(True)
        handle = transport.getHandle()
        for name, value in KEEPALIVE:
            option = getattr(socket, name, None)
            if option is not None:
                handle.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        # The connection may be lost already; whoever uses it will hear of that.
        pass


@implementer(IStreamClientEndpoint)
class _Tuned:
    """
    An endpoint that tunes the TCP connections of another one, adds them to *opened*, and speaks TLS on them if there is a *creator*.

    Twisted's wrapClientTLS would keep small writes in the global reactor, whichever reactor the connection belongs to.
    """

    def __init__(self, reactor: Any, inner: Any, creator: Any, opened: list[Any]) -> None:
        self._reactor = reactor
        self._inner = inner
        self._creator = creator
        self._opened = opened

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """Connect, as IStreamClientEndpoint has it."""

        def connected(protocol: Any) -> Any:
            # Under TLS the protocol here is the TLS layer, and its transport the socket.
            transport = protocol.transport
            if transport is not None:
                tune(transport)
                self._opened[:] = [other for other in self._opened if other.connected]
                self._opened.append(transport)
            return protocol if self._creator is None else protocol.wrappedProtocol

        if self._creator is not None:
            protocolFactory = TLSMemoryBIOFactory(self._creator, True, protocolFactory, self._reactor)
        waiting: Deferred[Any] = self._inner.connect(protocolFactory)
        return waiting.addCallback(connected)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Endpoints for one server, whatever the URI: the Agent is only ever given URIs of it."""

    def __init__(self, reactor: Any, server: Server, creator: Any, opened: list[Any]) -> None:
        self._reactor = reactor
        self._server = server
        self._creator = creator
        self._opened = opened

    def endpointForURI(self, uri: Any) -> Any:
        """An endpoint to the server; names are looked up each time, addresses never."""
        return _Tuned(self._reactor, self._plain(), self._creator, self._opened)

    def _plain(self) -> Any:
        host, port = self._server.host, self._server.port
        for family, made in ((socket.AF_INET, TCP4ClientEndpoint), (socket.AF_INET6, TCP6ClientEndpoint)):
            try:
                socket.inet_pton(family, host)
            except OSError:
                continue
            return made(self._reactor, host, port, timeout=CONNECT_PATIENCE)
        return HostnameEndpoint(self._reactor, host, port, timeout=CONNECT_PATIENCE)


class Connection:
    """What one watch runs on: an Agent whose connection can be cut at once."""

    def __init__(self, reactor: Any, server: Server, creator: Any) -> None:
        self._opened: list[Any] = []
        self.agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, server, creator, self._opened))

    def abort(self) -> None:
        """Cut it, without a good-bye that a dead peer would never take."""
        while self._opened:
            transport = self._opened.pop()
            if transport.connected:
                transport.abortConnection()


class Connections:
    """
    Everything that connects to one server with one trust; when either changes, a new one is made.

    :raises CredentialsError: TLS cannot be spoken with this trust.
    """

    def __init__(self, reactor: Any, server: Server, trust: Trust) -> None:
        self.server = server
        self.trust = trust
        self._reactor = reactor
        self._creator = connection_creator(server.host, trust) if server.scheme == "https" else None
        self._opened: list[Any] = []
        self._watches: list[Connection] = []
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = POOLED
        # Shorter than servers and balancers keep idle connections, so that a list seldom meets one that is just being closed.
        self._pool.cachedConnectionTimeout = 25
        endpoints = _Endpoints(reactor, server, self._creator, self._opened)
        self.lists = Agent.usingEndpointFactory(reactor, endpoints, pool=self._pool)

    def for_watch(self) -> Connection:
        """A connection of its own; give it back to :meth:`forget` when it is done with."""
        made = Connection(self._reactor, self.server, self._creator)
        self._watches.append(made)
        return made

    def forget(self, connection: Connection) -> None:
        """Cut a connection that :meth:`for_watch` gave."""
        connection.abort()
        if connection in self._watches:
            self._watches.remove(connection)

    def retire(self) -> Deferred[Any]:
        """Close what is idle; watches that are open stay so until they end by themselves."""
        closing: Deferred[Any] = self._pool.closeCachedConnections()
        return closing.addErrback(_ignore)

    def stop(self) -> Deferred[Any]:
        """Cut everything; fires when nothing is left in the reactor."""
        for connection in list(self._watches):
            self.forget(connection)
        for transport in self._opened:
            if transport.connected:
                transport.abortConnection()
        self._opened.clear()
        # An aborted connection is gone one turn later.
        return DeferredList([self.retire(), pause(self._reactor, 0)])


def _ignore(failure: Failure) -> None:
    """Connections that are closed may complain about how; nobody needs to hear it."""
