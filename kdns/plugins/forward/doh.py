# -*- test-case-name: tests.plugins.forward.test_doh -*-
"""One upstream over HTTPS (RFC 8484): a shell of *forward*."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.stanza import DohMethod
from kdns.plugins.forward.targets import Target

MEDIA_TYPE = b"application/dns-message"

LONGEST = 65535
"""Octets of a message; a longer body is none."""


@implementer(IPolicyForHTTPS)
class _OneName:
    """Whatever host the URL names, the certificate must be for the one name that the stanza wants."""

    def __init__(self, creator: Any) -> None:
        self._creator = creator

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        return self._creator


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
        bound = (source, 0) if source else None
        self._agent = Agent(reactor, _OneName(creator), connectTimeout=5, bindAddress=bound, pool=self._pool)
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
            body: Any = FileBodyProducer(BytesIO(message))
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
