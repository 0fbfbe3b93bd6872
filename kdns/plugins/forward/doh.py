# -*- test-case-name: tests.plugins.forward.test_stream -*-
"""One upstream over HTTPS (RFC 8484): a shell of *forward*."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from kdns.plugins.forward.endpoints import TlsEndpoint, tcp_endpoint
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.stanza import DohMethod
from kdns.plugins.forward.targets import Target

MEDIA_TYPE = b"application/dns-message"

CONNECT_PATIENCE = 5.0
"""Seconds to wait for a connection; the query's own time mostly ends before."""

LONGEST = 65535
"""Octets of a message; a longer body is none."""


@implementer(IAgentEndpointFactory)
class _OneUpstream:
    """
    Whatever host the URL names, the connection goes to one upstream.

    Its certificate must be for the one name that the stanza wants.
    """

    def __init__(self, endpoint: TlsEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> TlsEndpoint:
        return self._endpoint


class HttpsUpstream:
    """
    Ask one upstream over HTTPS; connections are kept and used again.

    :param creator: the TLS side, for the name that the certificate must have.
    """

    protocol = "https"

    def __init__(
        self, reactor: Any, target: Target, creator: Any, method: DohMethod, *, expire: float, idle: int, source: str
    ) -> None:
        self._reactor = reactor
        self._target = target
        self._method = method
        self._pool = HTTPConnectionPool(reactor)
        self._pool.cachedConnectionTimeout = int(max(1, expire))
        self._pool.maxPersistentPerHost = idle or 16
        endpoint = TlsEndpoint(tcp_endpoint(reactor, target, CONNECT_PATIENCE, source), creator, reactor)
        self._agent = Agent.usingEndpointFactory(reactor, _OneUpstream(endpoint), self._pool)
        self._url = f"https://{target.text}/dns-query".encode()

    async def ask(self, message: bytes, patience: float) -> bytes:
        """
        Send *message* with identifier 0, which keeps URLs cacheable (RFC 8484 section 4.1), and return the reply.

        :param patience: seconds for the whole exchange.
        :raises ExchangeFailed: no reply in time, or another status than 200.
        """
        message = b"\0\0" + message[2:]
        try:
            return await Deferred.fromCoroutine(self._exchange(message)).addTimeout(patience, self._reactor)
        except ExchangeFailed:
            raise
        except TimeoutError:
            raise ExchangeFailed(f"read https {self._target.text}: i/o timeout", silent=True) from None
        except Exception as error:
            raise ExchangeFailed(f"https {self._target.text}: {_first_reason(error)}") from error

    async def _exchange(self, message: bytes) -> bytes:
        headers = Headers({b"accept": [MEDIA_TYPE]})
        if self._method is DohMethod.GET:
            url = self._url + b"?dns=" + urlsafe_b64encode(message).rstrip(b"=")
            response: Any = await self._agent.request(b"GET", url, headers)
        else:
            headers.addRawHeader(b"content-type", MEDIA_TYPE)
            body: Any = _Message(message)
            response = await self._agent.request(b"POST", self._url, headers, body)
        collected: Deferred[bytes] = Deferred(lambda _: reader.stop())
        reader = _Body(collected)
        response.deliverBody(reader)
        octets = await collected
        if response.code != 200:
            raise ExchangeFailed(f"https {self._target.text}: status {response.code}")
        return octets

    def close(self) -> Deferred[None]:
        """Close the connections that are kept; fires when they are."""
        closing: Deferred[None] = self._pool.closeCachedConnections()
        return closing


@implementer(IBodyProducer)
class _Message:
    """A short body, written at once. Twisted's producer for files would write it in slices, on the global reactor."""

    def __init__(self, octets: bytes) -> None:
        self.length = len(octets)
        self._octets = octets

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Write all of it."""
        consumer.write(self._octets)
        return succeed(None)

    def stopProducing(self) -> None:
        """There is nothing left to stop."""

    def pauseProducing(self) -> None:
        """Nor to pause."""

    def resumeProducing(self) -> None:
        """Nor to resume."""


class _Body(Protocol):
    """Collects a body of bounded length."""

    def __init__(self, done: Deferred[bytes]) -> None:
        self._done = done
        self._octets = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._octets += data
        if len(self._octets) > LONGEST:
            self.stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss) and len(self._octets) <= LONGEST:
            self._done.callback(bytes(self._octets))
        else:
            self._done.errback(ExchangeFailed(f"https: body ended early or is too long: {reason.getErrorMessage()}"))

    def stop(self) -> None:
        """Take no more."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


def _first_reason(error: Exception) -> str:
    """What lies behind the lists of failures that Agent wraps its errors in."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        return str(reasons[0].getErrorMessage() or reasons[0].type.__name__)
    return str(error) or type(error).__name__
