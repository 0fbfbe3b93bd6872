# -*- test-case-name: tests.plugins.forward.test_stream -*-
"""How connections to upstreams are made: over TCP, from a chosen address, and with TLS on top."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from kdns.plugins.forward.targets import Target


def tcp_endpoint(reactor: Any, target: Target, patience: float, source: str) -> TCP4ClientEndpoint | TCP6ClientEndpoint:
    """
    Where to connect to.

    :param patience: seconds until connecting is given up.
    :param source: the local address to connect from; empty leaves it to the kernel.
    """
    kind = TCP6ClientEndpoint if ":" in target.host else TCP4ClientEndpoint
    return kind(reactor, target.host, target.port, timeout=patience, bindAddress=(source, 0) if source else None)


@implementer(IStreamClientEndpoint)
class TlsEndpoint:
    """
    Another endpoint with TLS on top.

    Twisted's ``wrapClientTLS`` does the same on the time of the global reactor; here it is the reactor that is passed in.
    """

    def __init__(self, endpoint: Any, creator: Any, reactor: Any) -> None:
        self._endpoint = endpoint
        self._creator = creator
        self._reactor = reactor

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """Connect; fires with the protocol when the TCP connection is there, before the handshake is over."""
        factory = TLSMemoryBIOFactory(self._creator, True, protocolFactory, clock=self._reactor)
        connecting: Deferred[Any] = self._endpoint.connect(factory)
        return connecting.addCallback(lambda protocol: protocol.wrappedProtocol)
