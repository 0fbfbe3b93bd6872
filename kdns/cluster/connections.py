# -*- test-case-name: tests.cluster.test_credentials -*-
"""
Connections to the API server: HTTP/1.1 by Twisted's Agent, one for each watch and a small pool for lists.

The kernel notices a dead peer (a node that lost power, a firewall that forgot the connection) within a minute: keep-alive probes and
TCP_USER_TIMEOUT are set on the socket itself, since Twisted only offers SO_KEEPALIVE with its two hours. The idle timer of the watch
is the second line of defence.

The server's certificate is verified by chain and name, unless the kubeconfig says ``insecure-skip-tls-verify``. A TLS context costs
milliseconds, and memory that OpenSSL does not give back at once, so there is one for each :class:`Trust`, not one for each connection.
"""

from __future__ import annotations

import re
import socket
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from kdns.cluster.credentials import CredentialsError, Server, Trust
from kdns.core.timing import pause
from kdns.core.tls_identity import NameCheckedCreator

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def connection_creator(host: str, trust: Trust) -> Any:
    """
    What makes TLS connections to a host: an IOpenSSLClientConnectionCreator.

    :raises CredentialsError: certificate, key or authority are not what they have to be.
    """
    name = trust.server_name or host
    own, chain = _own(trust)
    options: dict[str, Any] = {"extraCertChain": chain} if chain else {}
    if not trust.verify:
        if own is not None:
            options.update(privateKey=own.privateKey.original, certificate=own.original)
        return _Unverified(CertificateOptions(verify=False, **options).getContext(), name)
    root = None
    if trust.authority is not None:
        root = trustRootFromCertificates(_certificates(trust.authority, trust.authority_from))
    try:
        return NameCheckedCreator(optionsForClientTLS(name, root, own, extraCertificateOptions=options), name)
    except SSL.Error as problem:
        raise CredentialsError(f"TLS: the certificate and its key cannot be used: {tls_reason(problem)}") from None
    except ValueError as problem:
        raise CredentialsError(f"TLS: {problem}") from None


def _certificates(pem: bytes, origin: str) -> list[Certificate]:
    blocks = _PEM.findall(pem)
    if not blocks:
        raise CredentialsError(f"unable to load root certificates: no PEM certificate in {origin or 'the authority'}")
    try:
        return [Certificate.loadPEM(block) for block in blocks]
    except (crypto.Error, ValueError) as problem:
        raise CredentialsError(f"unable to load root certificates from {origin}: {tls_reason(problem)}") from None


def _own(trust: Trust) -> tuple[PrivateCertificate | None, list[crypto.X509]]:
    """Our certificate with its key, and the intermediate certificates."""
    if not trust.certificate and not trust.key:
        return None, []
    blocks = _PEM.findall(trust.certificate)
    if not blocks:
        raise CredentialsError("tls: failed to find any PEM data in certificate input")
    try:
        key = KeyPair.load(trust.key, crypto.FILETYPE_PEM)
        own = PrivateCertificate.fromCertificateAndKeyPair(Certificate.loadPEM(blocks[0]), key)
        chain = [Certificate.loadPEM(block).original for block in blocks[1:]]
    except VerifyError:
        raise CredentialsError("tls: private key does not match public key") from None
    except (crypto.Error, ValueError, TypeError) as problem:
        raise CredentialsError(f"tls: the client certificate or its key is unusable: {tls_reason(problem)}") from None
    return own, chain


def tls_reason(problem: BaseException) -> str:
    if isinstance(problem, SSL.Error | crypto.Error) and problem.args and isinstance(problem.args[0], list):
        return "; ".join(entry[-1] for entry in problem.args[0] if entry) or "unknown"
    return " ".join(str(problem).split())[:200] or type(problem).__name__


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Connections without verification: only for ``insecure-skip-tls-verify``."""

    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Make a connection; the name is sent for servers that have several certificates."""
        connection = SSL.Connection(self._context, None)
        if not re.fullmatch(r"[0-9.]+|.*:.*", self._name):
            connection.set_tlsext_host_name(self._name.encode("idna"))
        return connection


CONNECT_PATIENCE = 10.0
"""Seconds for a connection to come about; an API server is at most a continent away."""

KEEPALIVE = (
    ("TCP_KEEPIDLE", 30),  # seconds of quiet before the first probe
    ("TCP_KEEPINTVL", 10),  # seconds between probes
    ("TCP_KEEPCNT", 3),  # probes without an answer
    ("TCP_USER_TIMEOUT", 60_000),  # milliseconds that sent bytes may stay unacknowledged
)

POOLED = 2
"""Idle connections kept for lists."""


def tune(transport: Any) -> None:
    """Set the keep-alive options of a TCP transport, as far as the platform has them."""
    try:
        transport.setTcpKeepAlive(True)
        transport.setTcpNoDelay(True)
        handle = transport.getHandle()
        for name, value in KEEPALIVE:
            option = getattr(socket, name, None)
            if option is not None:
                handle.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        # The connection may be lost already; its user will notice.
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
        def connected(protocol: Any) -> Any:
            # Under TLS the protocol here is the TLS layer, and its transport the socket.
            transport = protocol.transport
            if transport is not None:
                tune(transport)
                self._opened[:] = [other for other in self._opened if other.connected]
                self._opened.append(transport)
            return protocol if self._creator is None else protocol.wrappedProtocol

        protocolFactory.noisy = False  # it would log two lines for each connection
        if self._creator is not None:
            protocolFactory = TLSMemoryBIOFactory(self._creator, True, protocolFactory, self._reactor)
        waiting: Deferred[Any] = self._inner.connect(protocolFactory)
        return waiting.addCallback(connected)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Endpoints for one server, whatever the URI; the Agent only gets URIs of that server."""

    def __init__(self, reactor: Any, server: Server, creator: Any, opened: list[Any]) -> None:
        self._reactor = reactor
        self._server = server
        self._creator = creator
        self._opened = opened

    def endpointForURI(self, uri: Any) -> Any:
        """An endpoint for the server; host names are resolved each time."""
        return _Tuned(self._reactor, self._plain(), self._creator, self._opened)

    def _plain(self) -> Any:
        host, port = self._server.host, self._server.port
        if self._server.scheme == "unix":
            return UNIXClientEndpoint(self._reactor, self._server.prefix, timeout=CONNECT_PATIENCE)
        for family, made in ((socket.AF_INET, TCP4ClientEndpoint), (socket.AF_INET6, TCP6ClientEndpoint)):
            try:
                socket.inet_pton(family, host)
            except OSError:
                continue
            return made(self._reactor, host, port, timeout=CONNECT_PATIENCE)
        return HostnameEndpoint(self._reactor, host, port, timeout=CONNECT_PATIENCE)


class Connection:
    """An Agent for one watch, whose connection can be cut at once."""

    def __init__(self, reactor: Any, server: Server, creator: Any) -> None:
        self._opened: list[Any] = []
        self.agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, server, creator, self._opened))

    def abort(self) -> None:
        """Cut it without a TLS goodbye, which a dead peer would never take."""
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
        # Shorter than the idle time of servers and balancers, so that a list rarely meets a closing connection.
        self._pool.cachedConnectionTimeout = 25
        endpoints = _Endpoints(reactor, server, self._creator, self._opened)
        self.lists = Agent.usingEndpointFactory(reactor, endpoints, pool=self._pool)

    def for_watch(self) -> Connection:
        """A connection for one watch; give it back to :meth:`forget`."""
        made = Connection(self._reactor, self.server, self._creator)
        self._watches.append(made)
        return made

    def forget(self, connection: Connection) -> None:
        connection.abort()
        if connection in self._watches:
            self._watches.remove(connection)

    def retire(self) -> Deferred[Any]:
        """Close idle connections; open watches run on until they end by themselves."""
        closing: Deferred[Any] = self._pool.closeCachedConnections()
        return closing.addErrback(_ignore)

    def stop(self) -> Deferred[Any]:
        """Cut all connections; fires when nothing is left in the reactor."""
        for connection in list(self._watches):
            self.forget(connection)
        for transport in self._opened:
            if transport.connected:
                transport.abortConnection()
        self._opened.clear()
        # An aborted connection closes one turn later.
        return DeferredList([self.retire(), pause(self._reactor, 0)])


def _ignore(failure: Failure) -> None:
    """Errors of closing connections are of no interest."""
