# -*- test-case-name: tests.server.test_secure -*-
"""
TLS in front of a listener's connections (``tls``).

The certificate is looked up for each connection, in the configuration that is served then. Without one a connection is plain: that is what
CoreDNS makes of such a Corefile, and a warning at the start says so.
"""

from __future__ import annotations

from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.core.metrics import Counter
from kdns.server.listener import Listener
from kdns.server.streams import READ_SIZE, StreamFactory

log = Logger(namespace="kdns.server")

QUIET = 10.0
"""Seconds between two log lines about handshakes that failed; scanners cause many."""


class FailedHandshakes:
    """Counts and logs the failed handshakes of a listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._count: Counter = listener.context.registry.counter(
            "kdns_tls_handshake_failures_total", "Connections of clients whose TLS handshake failed.", ["server"]
        ).counter(listener.label)
        self._untold = 0
        self._quiet_until = 0.0

    def failed(self, client: str, why: str) -> None:
        """A client's handshake failed."""
        self._count.value += 1
        self._untold += 1
        now = self._listener.context.clock()
        if now < self._quiet_until:
            return
        self._quiet_until = now + QUIET
        log.warn(
            "{label}: {count} TLS handshakes failed, the last one of {client}: {reasons}",
            label=self._listener.label,
            count=self._untold,
            client=client,
            reasons=why,
        )
        self._untold = 0


class SecureTransport(TLSMemoryBIOProtocol):
    """TLS of one connection. Shells write their replies in large pieces, so nothing is gained by gathering them here."""

    factory: SecureFactory
    transport: Any

    def makeConnection(self, transport: Any) -> None:
        """Read in pieces: each may take a decryption, or a step of the handshake."""
        transport.bufferSize = READ_SIZE
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes, behind the header of a proxy if there is one."""
        shell: Any = self.wrappedProtocol
        data = shell.without_header(data)
        if not data:
            return
        # Each record is given to the shell by itself, and a client may send one for each query: joined they cost less.
        records: list[bytes] = []
        shell.dataReceived = records.append
        try:
            super().dataReceived(data)
        finally:
            del shell.dataReceived
        if records:
            shell.dataReceived(records[0] if len(records) == 1 else b"".join(records))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count and tell of a handshake that failed."""
        failed = self._reason if not self._handshakeDone else None
        if failed is not None and failed.check(SSL.Error):
            self.factory.failed(self.transport.getPeer().host, failed.value)
        super().connectionLost(reason)


@implementer(IOpenSSLServerConnectionCreator)
class _CurrentCertificate:
    """The certificate of the configuration that is served now."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """The server's side of a new connection."""
        connection: SSL.Connection = self._listener.zones.tls.serverConnectionForTLS(tlsProtocol)
        return connection


class SecureFactory(TLSMemoryBIOFactory):
    """The connections of one listener, encrypted if its configuration has a certificate."""

    protocol = SecureTransport
    wrappedFactory: StreamFactory

    def __init__(self, streams: StreamFactory) -> None:
        context = streams.listener.context
        creator: Any = _CurrentCertificate(streams.listener)  # Twisted's stubs do not see its interface
        super().__init__(creator, False, cast(Any, streams), context.reactor)
        self.listener = streams.listener
        self.spoken = streams.spoken
        self._failures = FailedHandshakes(self.listener)

    def buildProtocol(self, addr: Any) -> Any:
        """A connection."""
        if self.listener.zones.tls is None:
            return self.wrappedFactory.buildProtocol(addr)
        return super().buildProtocol(addr)

    def failed(self, client: str, error: Any) -> None:
        """A client's handshake failed."""
        reasons = ", ".join(str(part[-1]) for part in error.args[0]) if error.args and error.args[0] else repr(error)
        self._failures.failed(client, reasons)
